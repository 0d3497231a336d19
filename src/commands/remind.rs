//! `crieur remind`: sends the digests that are due.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use chrono::Utc;

use super::{
    Failure, Opened, Outcome, Result, Shell, configuration, outcome, own_templates, print,
    temporary,
};
use crate::catalog::{self, Catalog};
use crate::cli;
use crate::diagnostics::{Diagnostic, plural};
use crate::ledger::{self, Ledger, Planned};
use crate::mail::{self, Composed, transport::Outbox};
use crate::posting::Posting;
use crate::reminders::{Digest, Recipient, Sent, plan, recipients as list};
use crate::site::{Site, Transport};
use crate::templates::Templates;

pub(super) fn run(shell: &Shell, arguments: &cli::Remind) -> Result {
    let opened = shell.site()?;
    let loaded = opened.postings()?;
    shell.report(&loaded.diagnostics);
    let outcome = outcome(&loaded.diagnostics, false);
    let (reminded, line) = remind(shell, &opened, &loaded.postings, arguments)?;
    shell.say(&line);
    Ok(outcome.max(reminded))
}

/// Reads the mailing list. A site without one has nobody to remind.
pub(super) fn recipients(opened: &Opened) -> Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let path = opened.layout.recipients(&opened.site);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && opened.site.recipients.is_none() =>
        {
            return Ok((Vec::new(), Vec::new()));
        }
        Err(error) => {
            return Err(configuration(
                anyhow!(error)
                    .context(format!("cannot read the mailing list `{}`", path.display())),
            ));
        }
    };
    Ok(list::read(&opened.layout.relative(&path), &text))
}

/// Sends the digests that are due for a site that is open already, and says so on one line.
pub(super) fn remind(
    shell: &Shell,
    opened: &Opened,
    postings: &[Posting],
    arguments: &cli::Remind,
) -> Result<(Outcome, String)> {
    let (mut everyone, problems) = recipients(opened)?;
    shell.report(&problems);
    let mut outcome = outcome(&problems, false);
    for wanted in &arguments.recipient {
        if !everyone.iter().any(|recipient| recipient.key() == wanted.to_lowercase()) {
            return Err(Failure::Usage(anyhow!("`{wanted}` is not on the mailing list")));
        }
    }
    if !arguments.recipient.is_empty() {
        let wanted: Vec<String> =
            arguments.recipient.iter().map(|email| email.to_lowercase()).collect();
        everyone.retain(|recipient| wanted.contains(&recipient.key()));
    }
    let site = &opened.site;
    let folder = opened.layout.private();
    let languages = Languages::new(opened, &everyone)?;
    if arguments.dry_run {
        let sent = match Ledger::open_to_read(&folder).map_err(temporary)? {
            Some(ledger) => ledger.sent().map_err(temporary)?,
            None => Sent::default(),
        };
        let digests = plan(site, postings, &everyone, &sent, opened.now);
        return Ok((outcome, show(&digests, &languages, opened)?));
    }
    if site.mail.transport != Transport::File {
        return Err(configuration(anyhow!(
            "`mail.transport`: this version sends to files only; write `transport: file`"
        )));
    }
    let _lock = lock(&folder)?;
    let mut ledger = Ledger::open(&folder).map_err(temporary)?;
    let outbox = Outbox { folder: folder.join("outbox") };
    // A run was killed between its mark and the next: the folder tells whether the file was written.
    for begun in ledger.waiting().map_err(temporary)?.iter().filter(|waiting| waiting.begun) {
        let settled = if outbox.has(begun.day, &begun.message_id) {
            ledger.mark_sent(begun.id, opened.now)
        } else {
            ledger.not_sent(begun.id)
        };
        settled.map_err(temporary)?;
    }
    ledger.forget_planned().map_err(temporary)?;
    let sent = ledger.sent().map_err(temporary)?;
    let digests = plan(site, postings, &everyone, &sent, opened.now);
    let mut planned = Vec::with_capacity(digests.len());
    for digest in &digests {
        match languages.compose(site, digest, opened.now) {
            Ok(composed) => planned.push(enter(digest, composed)),
            // One that cannot be composed must not stop the others.
            Err(mail::message::Error::Message(message)) => {
                shell.complain(&format!(
                    "no digest for {}: {message}",
                    masked(&digest.recipient.email)
                ));
                outcome = Outcome::Attention;
            }
            Err(error) => return Err(configuration(error)),
        }
    }
    ledger.plan(&planned, opened.now).map_err(temporary)?;
    let mut count = 0;
    for waiting in ledger.waiting().map_err(temporary)? {
        // Written before the wire: if this fails, nothing leaves.
        ledger.sending(waiting.id).map_err(temporary)?;
        let written = ledger::private_folder(&outbox.folder)
            .and_then(|()| outbox.send(waiting.day, &waiting.message_id, &waiting.message));
        if written.is_err() {
            ledger.not_sent(waiting.id).map_err(temporary)?;
        }
        written
            .with_context(|| format!("cannot write to `{}`", outbox.folder.display()))
            .map_err(temporary)?;
        ledger.mark_sent(waiting.id, opened.now).map_err(temporary)?;
        count += 1;
    }
    let line = match count {
        0 => "no digest is due".to_owned(),
        _ => format!("{} in `{}.crieur/outbox`", plural(count, "digest"), shell.prefix()),
    };
    Ok((outcome, line))
}

fn lock(folder: &std::path::Path) -> Result<File> {
    let path = folder.join("remind.lock");
    let failed = |error: io::Error| {
        temporary(anyhow!(error).context(format!("cannot use `{}`", folder.display())))
    };
    ledger::private_folder(folder).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(temporary(anyhow!("another run is sending digests"))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn enter(digest: &Digest<'_>, composed: Composed) -> Planned {
    Planned {
        recipient: digest.recipient.key(),
        day: digest.day,
        message_id: composed.message_id,
        message: composed.bytes,
        items: digest
            .items
            .iter()
            .map(|item| (item.posting.id.clone(), item.closes.to_string(), item.stage))
            .collect(),
    }
}

/// What a dry run prints: it writes nothing.
fn show(digests: &[Digest<'_>], languages: &Languages, opened: &Opened) -> Result<String> {
    let mut lines = String::new();
    for digest in digests {
        let composed =
            languages.compose(&opened.site, digest, opened.now).map_err(configuration)?;
        lines.push_str(&format!("{}: {}\n", digest.recipient.email, composed.subject));
        for item in &digest.items {
            lines.push_str(&format!(
                "  {} closes {}: {}\n",
                item.posting.slug, item.closes, item.posting.title
            ));
        }
    }
    print(lines.as_bytes())?;
    Ok(format!("{} would be sent", plural(digests.len(), "digest")))
}

/// An address that may stand in a log: `a…@example.org`.
fn masked(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().next().unwrap_or('?')),
        None => "…".to_owned(),
    }
}

/// The catalog and templates of each language that recipients read.
struct Languages {
    site: String,
    all: HashMap<String, (Arc<Catalog>, Templates)>,
}

impl Languages {
    fn new(opened: &Opened, recipients: &[Recipient]) -> Result<Self> {
        let own = own_templates(&opened.layout).map_err(Failure::Configuration)?;
        let mut all = HashMap::new();
        let wanted = recipients.iter().filter_map(|recipient| recipient.language.clone());
        for language in wanted.chain([opened.site.language.clone()]) {
            if all.contains_key(&language.to_string()) {
                continue;
            }
            let text = own.get(&format!("{}.ftl", language.language)).map(String::as_str);
            let catalog = match Catalog::new(&language, text) {
                Ok(catalog) => catalog,
                // Somebody whose language nobody wrote a catalog for is written to in the site's.
                Err(catalog::Error::Missing(_)) => continue,
                Err(error) => return Err(configuration(error)),
            };
            let catalog = Arc::new(catalog);
            let templates = Templates::new(&own, catalog.clone()).map_err(configuration)?;
            all.insert(language.to_string(), (catalog, templates));
        }
        Ok(Self { site: opened.site.language.to_string(), all })
    }

    fn compose(
        &self,
        site: &Site,
        digest: &Digest<'_>,
        now: chrono::DateTime<Utc>,
    ) -> std::result::Result<Composed, mail::message::Error> {
        let wanted = digest.recipient.language.as_ref().map(ToString::to_string);
        let found = wanted.and_then(|language| self.all.get(&language));
        let found = found.or_else(|| self.all.get(&self.site));
        let Some((catalog, templates)) = found else {
            return Err(mail::message::Error::Message("no language to write in".to_owned()));
        };
        mail::compose(site, digest, catalog, templates, now)
    }
}
