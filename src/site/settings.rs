//! Reading `site.yaml`: what stands there, what is missing, and what is wrong with it.

use std::collections::HashSet;
use std::path::PathBuf;

use chrono_tz::Tz;
use serde::Deserialize;
use unic_langid::LanguageIdentifier;
use url::Url;

use super::{
    Author, Feeds, Ids, LedgerPlace, LedgerServer, Mail, Reminders, SETTINGS, Security, Site,
    Subscribe, Unsubscribe, country, first_day, secrets, values,
};
use crate::diagnostics::{Code, Diagnostic, Severity, Source};
use crate::text;
use crate::yaml::{self, Node};

mod keys;

pub use keys::KEYS;

use keys::{repeated_keys, shown, unknown_keys};

/// What is wrong with the value of a setting, which only shows when it is used.
pub fn problem_with(text: &str, path: &str, message: String) -> Diagnostic {
    let text = text.trim_start_matches('\u{FEFF}');
    let tree = yaml::parse(text).ok().flatten();
    refusal(&shown(text, tree.as_ref()), tree.as_ref(), path, message)
}

impl Site {
    /// Reads the settings from their text.
    ///
    /// # Errors
    /// Every problem that can be found, when there is one.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let text = text.trim_start_matches('\u{FEFF}');
        let tree = match yaml::parse(text) {
            Ok(tree) => tree,
            Err(error) => {
                let source = shown(text, None);
                let span = error.span.start..error.span.end.max(error.span.start + 1);
                let message = format!("the settings cannot be read: {}", error.message);
                let help = "write one `key: value` on each line, with a space after the colon";
                return Err(vec![problem(Code::YamlSyntax, message).at(&source, &span).help(help)]);
            }
        };
        let source = shown(text, tree.as_ref());
        let mut problems = Vec::new();
        let settings = read_settings(text, &source, tree.as_ref(), &mut problems);
        let site = settings.map(|settings| settings.checked(&source, tree.as_ref(), &mut problems));
        match site {
            Some(site) if problems.is_empty() => Ok(site),
            _ => {
                for problem in &mut problems {
                    problem.message = secrets::hidden(&problem.message);
                }
                Err(problems)
            }
        }
    }
}

/// The file as it stands, before what is missing is filled in.
#[derive(Debug, Deserialize)]
struct Settings {
    title: String,
    #[serde(deserialize_with = "values::web_address")]
    url: Url,
    #[serde(default)]
    description: Option<String>,
    #[serde(default = "french", deserialize_with = "values::language")]
    language: LanguageIdentifier,
    #[serde(default = "paris", deserialize_with = "values::zone")]
    timezone: Tz,
    #[serde(default)]
    author: Option<Author>,
    #[serde(default)]
    ids: IdSettings,
    #[serde(default)]
    feeds: Feeds,
    #[serde(default)]
    reminders: Reminders,
    #[serde(default)]
    mail: Mail,
    #[serde(default)]
    unsubscribe: Unsubscribe,
    #[serde(default)]
    subscribe: Subscribe,
    #[serde(default)]
    recipients: Option<PathBuf>,
    #[serde(default)]
    stale_after_days: Option<u32>,
    #[serde(default, deserialize_with = "values::web_address")]
    hub: Option<Url>,
    #[serde(default)]
    country: Option<String>,
    #[serde(default)]
    ledger: Option<LedgerSettings>,
}

/// A word for a file, an address for a server, or the latter with what it needs.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "neither a word, nor an address, nor keys that belong here; write `sqlite`, or `{ url: …, password_file: … }`"
)]
enum LedgerSettings {
    Word(String),
    Server(LedgerServer),
}

/// Whether the address of a server holds a password, wherever libpq reads one.
fn has_password(url: &str) -> bool {
    url.parse().is_ok_and(|config: postgres::Config| config.get_password().is_some())
}

impl LedgerSettings {
    fn checked(self, refuse: &mut impl FnMut(&str, String, &str)) -> LedgerPlace {
        let server = match self {
            Self::Word(word) if word == "sqlite" => return LedgerPlace::File,
            Self::Word(url) => {
                LedgerServer { url, password_env: None, password_file: None, ca_file: None }
            }
            Self::Server(server) => server,
        };
        let url = Url::parse(&server.url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
        match url {
            None => refuse(
                "ledger",
                "`ledger` is neither `sqlite` nor the address of a PostgreSQL server".to_owned(),
                "write `ledger: sqlite`, or an address like `postgres://crieur@db.example.org/crieur`",
            ),
            Some(_) if has_password(&server.url) => refuse(
                "ledger",
                "`ledger` has a password in it, which does not stand here".to_owned(),
                "write `ledger: { url: …, password_file: … }` (or `password_env`)",
            ),
            Some(_) => {}
        }
        if server.password_env.is_some() && server.password_file.is_some() {
            refuse(
                "ledger",
                "`ledger`: there are two passwords".to_owned(),
                "keep one of `password_env` and `password_file`",
            );
        }
        LedgerPlace::Server(server)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IdSettings {
    authority: Option<String>,
    #[serde(deserialize_with = "values::date")]
    since: Option<String>,
}

fn french() -> LanguageIdentifier {
    unic_langid::langid!("fr")
}

fn paris() -> Tz {
    Tz::Europe__Paris
}

fn problem(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Error, code, SETTINGS, message)
}

/// Where a path through the document stands: the value, or as much of the way as there is.
fn locate<'a>(tree: Option<&'a Node>, path: &str) -> Option<&'a Node> {
    let mut node = tree?;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => node.item(index),
            None => node.entry(step).map(|(_, value)| value),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    Some(node)
}

/// What is wrong with the value of a key.
fn refusal(source: &Source, tree: Option<&Node>, path: &str, message: String) -> Diagnostic {
    let node = locate(tree, path);
    let span = node.map_or(0..0, |node| node.span.clone());
    let problem = problem(Code::InvalidValue, message);
    if path == "ledger" || node.is_some_and(has_login) {
        // A password may stand in it: only the key is shown.
        let key = path.rsplit('.').next().unwrap_or(path);
        problem.at_line(line_of(source, span.start), &format!("{key}: …"), &(0..key.len()))
    } else {
        problem.at(source, &span)
    }
}

/// Whether a value is an address with a user or a password in it.
fn has_login(value: &Node) -> bool {
    let url = value.as_text().and_then(|text| Url::parse(text).ok());
    url.is_some_and(|url| !url.username().is_empty() || url.password().is_some())
}

/// The line of a place, counted from 1.
fn line_of(source: &Source, at: usize) -> usize {
    source.text[..at.min(source.text.len())].matches('\n').count() + 1
}

fn read_settings(
    text: &str,
    source: &Source,
    tree: Option<&Node>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Settings> {
    if let Some(tree) = tree {
        unknown_keys(source, tree, problems);
        let before = problems.len();
        repeated_keys(source, tree, problems);
        if problems.len() > before {
            return None;
        }
    }
    // A key without a value is not there.
    let value: serde_yaml::Value = match serde_yaml::from_str(text) {
        Ok(value) => without_nulls(value),
        Err(error) => {
            let at = error.location().map_or(0, |location| location.index());
            let error = error.to_string();
            let help = if error.contains("more than one document") {
                "delete the line `---` and what follows it"
            } else {
                "write one `key: value` on each line, with a space after the colon"
            };
            problems.push(
                problem(Code::YamlSyntax, format!("the settings cannot be read: {error}"))
                    .at(source, &(at..at + 1))
                    .help(help),
            );
            return None;
        }
    };
    match serde_path_to_error::deserialize(value) {
        Ok(settings) => Some(settings),
        Err(error) => {
            let path = error.path().to_string();
            let inner = error.into_inner().to_string();
            let (message, help) = values::explained(&path, inner.trim_end());
            problems.push(refusal(source, tree, &path, message).help(help));
            None
        }
    }
}

fn without_nulls(value: serde_yaml::Value) -> serde_yaml::Value {
    match value {
        serde_yaml::Value::Mapping(mapping) => serde_yaml::Value::Mapping(
            mapping
                .into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        serde_yaml::Value::Null => serde_yaml::Value::Mapping(serde_yaml::Mapping::new()),
        other => other,
    }
}

impl IdSettings {
    fn checked(self, host: String, refuse: &mut impl FnMut(&str, String, &str)) -> Ids {
        let given = self.authority.is_some();
        // Not every host is a domain (RFC 4151, section 2.1): one has `_` in it, or is a number.
        let as_domain = |host: String| {
            let name = host
                .to_ascii_lowercase()
                .replace(|c: char| !(c.is_ascii_alphanumeric() || c == '.'), "-");
            name.trim_matches('-').to_owned()
        };
        let authority = self.authority.unwrap_or_else(|| as_domain(host));
        let is_domain = authority.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        });
        let is_address =
            authority.is_ascii() && !authority.contains('&') && text::is_address(&authority);
        if given && !is_domain && !is_address {
            refuse(
                "ids.authority",
                format!("`ids.authority`: `{authority}` is neither a domain nor a mail address"),
                "write a domain in lower case, like `jobs.example.org` (RFC 4151)",
            );
        }
        let since = self.since.unwrap_or_else(|| "2021".to_owned());
        let since_day = first_day(&since);
        if since_day.is_none() {
            refuse(
                "ids.since",
                format!("`ids.since`: `{since}` is no date"),
                "write a year, like `2021`, and never change it (RFC 4151)",
            );
        }
        Ids { authority, since, since_day: since_day.unwrap_or_default() }
    }
}

impl Mail {
    /// What cannot work: key, what is wrong, what to do.
    fn problems(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let smtp = &self.smtp;
        let is_domain = |name: &str| {
            name.is_ascii() && url::Host::parse(name).is_ok_and(|host| host.to_string() == name)
        };
        [
            (
                smtp.security == Some(Security::None) && !smtp.is_loopback(),
                "mail.smtp.security",
                "`mail.smtp.security`: mail does not leave this machine unencrypted",
                "write `starttls` or `tls`, or the host `127.0.0.1`",
            ),
            (
                !(1..=100).contains(&smtp.connections),
                "mail.smtp.connections",
                "`mail.smtp.connections` needs a number from 1 to 100",
                "write for example `4`",
            ),
            (
                smtp.rate_per_second == Some(0),
                "mail.smtp.rate_per_second",
                "`mail.smtp.rate_per_second` needs a number from 1 on",
                "write how many messages may leave in a second, or delete the line",
            ),
            (
                smtp.timeout_seconds == 0,
                "mail.smtp.timeout_seconds",
                "`mail.smtp.timeout_seconds` needs a number from 1 on",
                "write for example `60`",
            ),
            (
                smtp.user.is_some()
                    != (smtp.password_env.is_some() || smtp.password_file.is_some()),
                "mail.smtp.user",
                "`mail.smtp`: `user` and a password belong together",
                "name where the password is with `password_file` or `password_env`",
            ),
            (
                smtp.password_env.is_some() && smtp.password_file.is_some(),
                "mail.smtp.password_env",
                "`mail.smtp`: there are two passwords",
                "keep one of `password_env` and `password_file`",
            ),
            (
                self.reply_to.as_ref().is_some_and(|mailbox| !mailbox.email.user().is_ascii()),
                "mail.reply_to",
                "`mail.reply_to`: not everybody can write to an address beyond ASCII",
                "write an address in ASCII letters",
            ),
            (
                self.list_id.as_deref().is_some_and(|id| !is_domain(id)),
                "mail.list_id",
                "`mail.list_id` is not a name like that of a host (RFC 2919)",
                "write for example `jobs.example.org`",
            ),
            (
                self.dkim
                    .as_ref()
                    .is_some_and(|dkim| !is_domain(&dkim.domain) || !is_domain(&dkim.selector)),
                "mail.dkim",
                "`mail.dkim`: `domain` and `selector` are names in lower case",
                "write for example `domain: example.org` and `selector: crieur`",
            ),
        ]
        .into_iter()
        .filter(|(wrong, ..)| *wrong)
        .map(|(_, path, message, help)| (path, message, help))
        .collect()
    }
}

impl Settings {
    fn checked(
        mut self,
        source: &Source,
        tree: Option<&Node>,
        problems: &mut Vec<Diagnostic>,
    ) -> Site {
        let mut refuse = |path: &str, message: String, help: &str| {
            problems.push(refusal(source, tree, path, message).help(help));
        };
        let mut url = self.url;
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        // An address of the web has one: it was read as such.
        let host = url.host_str().unwrap_or_default().to_owned();
        let line = |text: &str| text::one_line(&text::without_markup(text));
        let title = line(&self.title);
        if title.is_empty() {
            refuse("title", "`title` is empty".to_owned(), "write what the site is called");
        }
        let ids = self.ids.checked(host, &mut refuse);
        for (path, address) in [
            ("author.email", self.author.as_ref().and_then(|author| author.email.as_ref())),
            ("unsubscribe.mailto", self.unsubscribe.mailto.as_ref()),
            ("mail.bounces", self.mail.bounces.as_ref()),
        ] {
            if let Some(address) = address
                && !(text::is_address(address) && address.is_ascii())
            {
                refuse(
                    path,
                    format!("`{path}`: `{address}` is not a mail address"),
                    "write an address like `jobs@example.org`",
                );
            }
        }
        if self.reminders.lead_days.is_empty()
            || self.reminders.lead_days.iter().any(|days| *days > 365)
        {
            refuse(
                "reminders.lead_days",
                "`reminders.lead_days` needs numbers of days from 0 to 365".to_owned(),
                "write for example `[7, 3, 1]`",
            );
        }
        // Two alarms at one time would be one too many.
        let mut known = HashSet::new();
        self.reminders.lead_days.retain(|days| known.insert(*days));
        for (path, message, help) in self.mail.problems() {
            refuse(path, message.to_owned(), help);
        }
        let ledger = self.ledger.map(|ledger| ledger.checked(&mut refuse)).unwrap_or_default();
        let country = self.country.or_else(|| country::of(self.timezone).map(str::to_owned));
        if let Some(country) = &country
            && !(country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            refuse(
                "country",
                "`country` is not the code of a country (ISO 3166-1)".to_owned(),
                "write two capital letters, like `FR`",
            );
        }
        Site {
            country,
            title,
            description: self.description.map(|text| line(&text)).filter(|text| !text.is_empty()),
            url,
            language: self.language,
            timezone: self.timezone,
            author: self
                .author
                .map(|author| Author { name: line(&author.name), ..author })
                .filter(|author| !author.name.is_empty()),
            ids,
            feeds: self.feeds,
            reminders: self.reminders,
            mail: self.mail,
            unsubscribe: self.unsubscribe,
            subscribe: self.subscribe,
            recipients: self.recipients,
            stale_after_days: self.stale_after_days,
            hub: self.hub,
            ledger,
        }
    }
}
