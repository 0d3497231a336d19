//! What all commands about digests begin with: the mailing list, the languages, the way out.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use lettre::transport::smtp::authentication::Credentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use unic_langid::LanguageIdentifier;

use super::{Failure, Opened, Outcome, Result, Shell, configuration, locks, temporary};
use crate::catalog::{self, Catalog};
use crate::diagnostics::Diagnostic;
use crate::ledger::{self, Ledger, People, Subscriber, Suppressions};
use crate::mail::dkim::Signer;
use crate::mail::transport::{self, Outbox, Sendmail, smtp, trust};
use crate::mail::{Composed, Composer, message};
use crate::posting::Posting;
use crate::reminders::recipients::Source;
use crate::reminders::recipients::{self, key, read_yaml};
use crate::reminders::{Digest, Owners, Recipient};
use crate::site::{Layout, LedgerPlace, LedgerServer, SETTINGS, Security, Smtp, Transport};
use crate::templates::Templates;

/// The mailing list, one recipient after another. A list in CSV is read as it goes; one in YAML is
/// read as a whole.
pub(super) struct List {
    shown: Arc<str>,
    rows: Rows,
}

enum Rows {
    Read(std::vec::IntoIter<Recipient>, Vec<Diagnostic>),
    Csv(Box<recipients::Rows<File>>),
}

impl List {
    /// Begins to read. A site without a list has nobody to remind.
    pub(super) fn new(opened: &Opened) -> Result<Self> {
        let path = opened.layout.recipients(&opened.site);
        let shown = opened.layout.relative(&path);
        let is_absent = fs::metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if is_absent && opened.site.recipients.is_none() {
            return Ok(Self { shown, rows: Rows::Read(Vec::new().into_iter(), Vec::new()) });
        }
        Self::of(&path, &shown)
    }

    /// Begins to read a list by its path. Messages call it by another name.
    pub(super) fn of(path: &Path, shown: &str) -> Result<Self> {
        let read = || -> io::Result<Rows> {
            let mut file = File::open(path)?;
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
                return Ok(Rows::Csv(Box::new(recipients::Rows::new(shown, file)?)));
            }
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            let (list, problems) = read_yaml(shown, &content);
            Ok(Rows::Read(list.into_iter(), problems))
        };
        let rows = read().map_err(|error| unreadable(shown, error))?;
        Ok(Self { shown: shown.into(), rows })
    }

    /// What there is to say about what was read.
    pub(super) fn problems(self) -> Vec<Diagnostic> {
        match self.rows {
            Rows::Read(_, problems) => problems,
            Rows::Csv(rows) => rows.problems(),
        }
    }
}

fn unreadable(shown: &str, error: io::Error) -> Failure {
    let problem = format!("cannot read the mailing list `{shown}`");
    Failure::Configuration(anyhow!(error).context(problem))
}

impl Iterator for List {
    type Item = Result<Recipient>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Rows::Read(list, _) => list.next().map(Ok),
            Rows::Csv(rows) => Some(rows.next()?.map_err(|error| unreadable(&self.shown, error))),
        }
    }
}

/// Everybody who may be written to, some after others: the mailing list in the site's files, the
/// people who subscribe, who win over it, and the owners of postings who are on neither; of these,
/// the ones that are meant, or all.
pub(super) struct Audience {
    list: List,
    /// After whom the next of those who subscribe come; nothing when all were met.
    after: Option<String>,
    owners: Owners,
    /// The keys of those on the list who chose their wishes by themselves.
    both: HashSet<String>,
    /// The keys of those that are meant and were not met yet, with their addresses.
    wanted: HashMap<String, String>,
    all: bool,
}

impl Audience {
    pub(super) fn new(opened: &Opened, postings: &[Posting], wanted: &[String]) -> Result<Self> {
        Ok(Self {
            list: List::new(opened)?,
            after: Some(String::new()),
            owners: Owners::new(postings, opened.site.reminders.owners),
            both: HashSet::new(),
            wanted: wanted.iter().map(|email| (key(email), email.clone())).collect(),
            all: wanted.is_empty(),
        })
    }

    /// The next of them, so many at most; none at the end.
    pub(super) fn next(&mut self, people: &dyn People, most: usize) -> Result<Vec<Recipient>> {
        let somebody_subscribes = !people.subscribers("", 1).map_err(ledger_failure)?.is_empty();
        loop {
            let mut next: Vec<Recipient> =
                self.list.by_ref().take(most).collect::<Result<Vec<_>>>()?;
            let mut is_over = false;
            if !next.is_empty() {
                if somebody_subscribes {
                    // They come later, with what they wish now.
                    let keys: Vec<String> = next.iter().map(Recipient::key).collect();
                    let subscribing = people.subscribing(&keys).map_err(ledger_failure)?;
                    next.retain(|recipient| !subscribing.contains_key(&recipient.key()));
                    let listed = |(_, source): &(String, Source)| *source == Source::List;
                    self.both.extend(subscribing.into_iter().filter(listed).map(|(key, _)| key));
                }
            } else if let Some(after) = self.after.take() {
                let page = people.subscribers(&after, most).map_err(ledger_failure)?;
                self.after = page.last().map(|subscriber| subscriber.recipient.key());
                // Somebody from the list who only chose their wishes is on it as long as they stand there.
                let is_there = |subscriber: &Subscriber| {
                    subscriber.source != Source::List
                        || self.both.contains(&subscriber.recipient.key())
                };
                let page = page.into_iter().filter(is_there);
                next.extend(page.map(|subscriber| subscriber.recipient));
                if next.is_empty() && self.after.is_some() {
                    continue;
                }
            } else {
                next.extend(self.owners.by_ref().take(most));
                is_over = next.is_empty();
            }
            for recipient in &next {
                self.owners.leave_out(&recipient.key());
            }
            if !self.all {
                next.retain(|recipient| self.wanted.remove(&recipient.key()).is_some());
            }
            if is_over || !next.is_empty() {
                return Ok(next);
            }
        }
    }

    /// What there is to say about the list, once it was read to its end.
    pub(super) fn problems(self) -> Result<Vec<Diagnostic>> {
        match self.wanted.into_values().min() {
            Some(email) => Err(unknown(&email)),
            None => Ok(self.list.problems()),
        }
    }
}

/// Everybody on the list, and everybody who subscribes.
pub(super) fn recipients(
    opened: &Opened,
    people: &dyn People,
) -> Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let mut audience = Audience::new(opened, &[], &[])?;
    let mut all = Vec::new();
    loop {
        let next = audience.next(people, PAGE)?;
        if next.is_empty() {
            return Ok((all, audience.problems()?));
        }
        all.extend(next);
    }
}

/// How many people are read at once.
pub(super) const PAGE: usize = 2_048;

/// The mailing list in the site's files, as a whole.
pub(super) fn listed(opened: &Opened) -> Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let mut list = List::new(opened)?;
    let recipients = list.by_ref().collect::<Result<_>>()?;
    Ok((recipients, list.problems()))
}

/// Those of the audience that are meant, or everybody.
pub(super) fn narrowed(audience: &mut Vec<Recipient>, wanted: &[String]) -> Result<()> {
    let keys: HashSet<String> = wanted.iter().map(|email| key(email)).collect();
    for email in wanted {
        find(audience, email)?;
    }
    if !keys.is_empty() {
        audience.retain(|recipient| keys.contains(&recipient.key()));
    }
    Ok(())
}

/// The recipient with an address.
pub(super) fn find<'a>(audience: &'a [Recipient], email: &str) -> Result<&'a Recipient> {
    let wanted = key(email);
    audience.iter().find(|recipient| recipient.key() == wanted).ok_or_else(|| unknown(email))
}

fn unknown(email: &str) -> Failure {
    Failure::Usage(anyhow!("`{}` is not on the mailing list", masked(email)))
}

/// Leaves out those whom nobody writes to any more.
pub(super) fn leave_out(audience: &mut Vec<Recipient>, suppressed: &Suppressions) {
    audience.retain(|recipient| !suppressed.contains(&recipient.key()));
}

/// The server that has the ledger, if one has. Not where there is one in a file, too: whoever left, and
/// what was sent, would be forgotten.
fn only_server(opened: &Opened) -> Result<Option<ledger::Address>> {
    let (server, file) = (server(opened)?, ledger::file(&opened.layout.private()));
    if server.is_some() && file.exists() {
        let path = opened.layout.relative(&file);
        return Err(configuration(anyhow!(
            "`ledger` names a server, and there is a ledger in `{path}`: `crieur ledger move` brings it there; or move the file out of the way"
        )));
    }
    Ok(server)
}

/// The ledger, made where there is none.
pub(super) fn ledger(opened: &Opened) -> Result<Ledger> {
    if let Some(address) = only_server(opened)? {
        return Ledger::connect(&address).map_err(ledger_failure);
    }
    // Nobody puts another one in its place meanwhile.
    let presence = locks::presence(&opened.layout.private())?;
    let ledger = Ledger::open(&opened.layout.private()).map_err(ledger_failure)?;
    Ok(ledger.holding(presence))
}

/// The same, after all of it was looked at: for what writes much, or for long.
pub(super) fn sound_ledger(opened: &Opened) -> Result<Ledger> {
    let ledger = ledger(opened)?;
    ledger.refuse_damage().map_err(ledger_failure)?;
    Ok(ledger)
}

/// The ledger as it stands, or an empty one, for what writes nothing.
pub(super) fn ledger_to_read(opened: &Opened) -> Result<Ledger> {
    let found = match only_server(opened)? {
        Some(address) => Ledger::connect_to_read(&address),
        None => Ledger::open_to_read(&opened.layout.private()),
    };
    found.and_then(|found| found.map_or_else(Ledger::in_memory, Ok)).map_err(ledger_failure)
}

/// Where the ledger is, where it is on a server.
pub(super) fn server(opened: &Opened) -> Result<Option<ledger::Address>> {
    let LedgerPlace::Server(server) = &opened.site.ledger else { return Ok(None) };
    let LedgerServer { url, password_env, password_file, ca_file } = server;
    let layout = &opened.layout;
    let password = match (password_env, password_file) {
        (None, None) => None,
        _ => Some(password(layout, password_env.as_deref(), password_file.as_deref())?),
    };
    let tls = || trust::config(authorities(layout, ca_file.as_deref())?).map_err(configuration);
    let refused = |why| configuration(anyhow!("`ledger` in `{SETTINGS}`: {why}"));
    ledger::Address::new(url, password.as_deref(), tls, refused).map(Some)
}

/// Backs up the ledger after somebody came or left: whoever restores it must not bring them back, or
/// lose them. What they wished is entered, whether or not that succeeds; where it does not, a person has
/// to look.
pub(super) fn keep(shell: &Shell, opened: &Opened, ledger: &Ledger, now: DateTime<Utc>) -> Outcome {
    match ledger.back_up(&opened.layout.private(), now) {
        Ok(()) => Outcome::Done,
        Err(error) => {
            shell.complain(&format!("there is no new backup of the ledger: {error}"));
            Outcome::Attention
        }
    }
}

/// What a ledger that cannot be used asks of the operator.
pub(super) fn ledger_failure(error: ledger::Error) -> Failure {
    if error.is_temporary() { temporary(error) } else { configuration(error) }
}

/// What became of digests, in words: "3 digests sent, 1 refused".
pub(super) fn counted(sent: String, others: [(u32, &str); 3]) -> String {
    let others = others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    std::iter::once(sent).chain(others).collect::<Vec<_>>().join(", ")
}

/// An address that may stand in a log: `a…@example.org`.
pub(super) fn masked(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().next().unwrap_or('?')),
        None => "…".to_owned(),
    }
}

/// The catalog and templates of each language that recipients read.
pub(super) struct Languages<'a> {
    opened: &'a Opened,
    /// `None` for a language that nobody wrote a catalog for, or whose catalog cannot be read:
    /// who reads it is written to in the site's.
    all: HashMap<LanguageIdentifier, Option<(Arc<Catalog>, Templates)>>,
    /// Catalogs that cannot be read.
    pub(super) problems: Vec<String>,
}

impl<'a> Languages<'a> {
    /// The site's own language.
    pub(super) fn new(opened: &'a Opened) -> Result<Self> {
        let mut languages = Self { opened, all: HashMap::new(), problems: Vec::new() };
        languages.learn(&opened.site.language)?;
        Ok(languages)
    }

    /// The languages of these recipients.
    pub(super) fn of_all(opened: &'a Opened, recipients: &[Recipient]) -> Result<Self> {
        let mut languages = Self::new(opened)?;
        for language in recipients.iter().filter_map(|recipient| recipient.language.as_ref()) {
            languages.learn(language)?;
        }
        Ok(languages)
    }

    /// Makes sure that what is known of a language is at hand.
    pub(super) fn learn(&mut self, language: &LanguageIdentifier) -> Result<()> {
        if self.all.contains_key(language) {
            return Ok(());
        }
        let own = &self.opened.own;
        let text = own.get(&format!("{}.ftl", language.language)).map(String::as_str);
        let known = match Catalog::new(language, text) {
            Ok(catalog) => {
                let catalog = Arc::new(catalog);
                let templates = Templates::new(own, catalog.clone()).map_err(configuration)?;
                Some((catalog, templates))
            }
            Err(catalog::Error::Missing(_)) => None,
            Err(error) => {
                self.problems.push(error.to_string());
                None
            }
        };
        self.all.insert(language.clone(), known);
        Ok(())
    }

    /// Whether somebody can be written to in a language.
    pub(super) fn speaks(&self, language: &LanguageIdentifier) -> bool {
        self.all.get(language).is_some_and(Option::is_some)
    }

    /// The catalog and templates of a recipient.
    pub(super) fn of(&self, recipient: &Recipient) -> Option<&(Arc<Catalog>, Templates)> {
        let wanted =
            recipient.language.as_ref().and_then(|language| self.all.get(language)?.as_ref());
        wanted.or_else(|| self.all.get(&self.opened.site.language)?.as_ref())
    }

    pub(super) fn compose(
        &self,
        composer: &Composer<'_>,
        digest: &Digest<'_>,
        edition: u32,
    ) -> std::result::Result<Composed, message::Error> {
        let missing = || message::Error::Message("no language to write in".to_owned());
        let (catalog, templates) = self.of(digest.recipient).ok_or_else(missing)?;
        composer.compose(digest, edition, (catalog, templates))
    }

    pub(super) fn subject(&self, digest: &Digest<'_>) -> String {
        let found = self.of(digest.recipient);
        found.map(|(catalog, _)| message::subject(digest, catalog)).unwrap_or_default()
    }
}

/// What signs messages, if anything does.
pub(super) fn signer(opened: &Opened) -> Result<Option<Signer>> {
    let Some(dkim) = &opened.site.mail.dkim else { return Ok(None) };
    let path = opened.layout.secret(&dkim.key_file);
    let shown = opened.layout.relative(&path);
    let problem = |what: &str| format!("the DKIM key `{shown}` {what}");
    let key = fs::read(&path)
        .with_context(|| problem("cannot be read"))
        .map_err(Failure::Configuration)?;
    Signer::new(&dkim.domain, &dkim.selector, &key)
        .with_context(|| problem("cannot be used"))
        .map_err(Failure::Configuration)
        .map(Some)
}

/// The folder of messages that left as files.
pub(super) fn outbox(layout: &Layout) -> Outbox {
    Outbox { folder: layout.private().join("outbox") }
}

/// The way by which messages leave.
pub(super) fn transport(opened: &Opened) -> Result<Box<dyn transport::Transport>> {
    let mail = &opened.site.mail;
    Ok(match mail.transport {
        Transport::File => Box::new(outbox(&opened.layout)),
        Transport::Sendmail => {
            let timeout = Duration::from_secs(mail.smtp.timeout_seconds.into());
            Box::new(Sendmail::new(mail.sendmail.as_deref(), &opened.layout.root, timeout))
        }
        Transport::Smtp => {
            let file = mail.smtp.ca_file.as_deref();
            let trusted = match mail.smtp.security() {
                Security::None => Vec::new(),
                _ => authorities(&opened.layout, file)?,
            };
            Box::new(smtp::Smtp {
                host: mail.smtp.host.clone(),
                port: mail.smtp.port(),
                security: mail.smtp.security(),
                tls: trust::config(trusted).map_err(configuration)?,
                login: login(&opened.layout, &mail.smtp)?,
                connections: mail.smtp.connections.into(),
                timeout: Duration::from_secs(mail.smtp.timeout_seconds.into()),
            })
        }
    })
}

/// Whose certificates are trusted: the machine's authorities, and those in a file.
fn authorities(layout: &Layout, file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>> {
    let mut trusted = rustls_native_certs::load_native_certs().certs;
    if let Some(file) = file {
        let path = layout.root.join(file);
        let read = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .with_context(|| {
                format!("cannot read the certificates in `{}`", layout.relative(&path))
            });
        let read = read.map_err(Failure::Configuration)?;
        if read.is_empty() {
            let path = layout.relative(&path);
            return Err(configuration(anyhow!("`{path}` has no certificates in PEM")));
        }
        trusted.extend(read);
    }
    Ok(trusted)
}

/// User and password for a mail server.
fn login(layout: &Layout, settings: &Smtp) -> Result<Option<smtp::Login>> {
    let Some(user) = &settings.user else { return Ok(None) };
    let (name, file) = (settings.password_env.as_deref(), settings.password_file.as_deref());
    let credentials = Credentials::new(user.clone(), password(layout, name, file)?);
    Ok(Some(smtp::Login { mechanism: settings.auth, credentials }))
}

/// A password from the environment, or from a file. It is never shown, not even when it cannot be
/// read.
fn password(layout: &Layout, name: Option<&str>, file: Option<&Path>) -> Result<String> {
    let password = if let Some(name) = name {
        std::env::var(name).map_err(|_| anyhow!("the environment has no password in `{name}`"))
    } else {
        let path = layout.secret(file.unwrap_or(Path::new("")));
        let read = fs::read_to_string(&path);
        read.with_context(|| format!("cannot read the password in `{}`", layout.relative(&path)))
    };
    let password = password.map_err(Failure::Configuration)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
