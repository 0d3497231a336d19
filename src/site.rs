//! `content/site.yaml`: the settings of a site, its paths and its time zone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;
use lettre::message::Mailbox;
use serde::Deserialize;
use unic_langid::LanguageIdentifier;
use url::Url;

use crate::diagnostics::{Code, Diagnostic, Severity, Source, nearest};
use crate::text;
use crate::yaml::{self, Node};

/// Where the settings stand, from the site's folder.
pub const SETTINGS: &str = "content/site.yaml";
/// The names that a mailing list can have, beside the settings.
pub const RECIPIENTS: [&str; 2] = ["recipients.yaml", "recipients.csv"];
/// Where the postings stand, from the site's folder.
pub const POSTINGS: &str = "content/postings";

/// A site's settings, complete and checked.
#[derive(Debug, Clone)]
pub struct Site {
    /// What the site is called.
    pub title: String,
    /// What it is about, in a sentence.
    pub description: Option<String>,
    /// Where `out/` is served, with a slash at the end.
    pub url: Url,
    /// The language of what is written for readers.
    pub language: LanguageIdentifier,
    /// The zone in which days begin and end.
    pub timezone: Tz,
    /// Who publishes.
    pub author: Option<Author>,
    /// What ids are made of.
    pub ids: Ids,
    /// Which feeds there are.
    pub feeds: Feeds,
    /// When reminders are sent.
    pub reminders: Reminders,
    /// How mail is sent.
    pub mail: Mail,
    /// How people get off the list.
    pub unsubscribe: Unsubscribe,
    /// The mailing list, where it is not beside the settings.
    pub recipients: Option<PathBuf>,
    /// After how many days a posting without a closing date closes by itself.
    pub stale_after_days: Option<u32>,
    /// A WebSub hub that is told of changes.
    pub hub: Option<Url>,
}

/// Who publishes a site.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Author {
    /// A name.
    pub name: String,
    /// A mail address.
    pub email: Option<String>,
}

/// What ids are made of: a tag URI's authority and date (RFC 4151). Neither ever changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// A domain or mail address that belonged to the site on the date.
    pub authority: String,
    /// A year, month or day.
    pub since: String,
}

impl Ids {
    /// The first day of the date.
    pub fn since_day(&self) -> NaiveDate {
        first_day(&self.since).unwrap_or_default()
    }
}

/// The first day of a year, month or day.
fn first_day(date: &str) -> Option<NaiveDate> {
    let whole = match date.len() {
        4 => format!("{date}-01-01"),
        7 => format!("{date}-01"),
        10 => date.to_owned(),
        _ => return None,
    };
    whole.parse().ok()
}

/// What postings can be sorted by into feeds of their own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Facet {
    /// By field of work.
    Domain,
    /// By team.
    Team,
    /// By kind of contract.
    Contract,
    /// By the organisation that hires.
    Organisation,
}

impl Facet {
    /// All facets.
    pub const ALL: [Self; 4] = [Self::Domain, Self::Team, Self::Contract, Self::Organisation];

    /// The name in addresses and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Team => "team",
            Self::Contract => "contract",
            Self::Organisation => "organisation",
        }
    }
}

/// Which feeds there are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Feeds {
    /// What there are feeds by, beside the one of everything.
    pub by: Vec<Facet>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self { by: Facet::ALL.to_vec() }
    }
}

/// When reminders are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reminders {
    /// How many days before the closing, for recipients who do not say otherwise.
    pub lead_days: Vec<u16>,
    /// Not earlier in the day than this, in the site's zone.
    #[serde(deserialize_with = "time_of_day")]
    pub send_after: NaiveTime,
    /// Whether the people who own a posting are reminded, too.
    pub owners: bool,
    /// What to do with a mail that may or may not have arrived.
    pub in_doubt: InDoubt,
}

impl Default for Reminders {
    fn default() -> Self {
        Self {
            lead_days: vec![7, 3, 1],
            send_after: NaiveTime::from_hms_opt(8, 0, 0).unwrap_or_default(),
            owners: false,
            in_doubt: InDoubt::Resend,
        }
    }
}

/// What to do with a mail that may or may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InDoubt {
    /// Send it again, the same to the byte.
    Resend,
    /// Leave it to a person.
    Hold,
}

/// How mail is sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Mail {
    /// The sender: `Name <address>`.
    pub from: Option<Mailbox>,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// The list's id (RFC 2919); the host of the site's address by default.
    pub list_id: Option<String>,
    /// By which way.
    pub transport: Transport,
    /// The server, for `transport: smtp`.
    pub smtp: Smtp,
    /// The command, for `transport: sendmail`, where it is not the machine's own.
    pub sendmail: Option<PathBuf>,
    /// How mail is signed.
    pub dkim: Option<Dkim>,
}

/// The way by which mail leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One `.eml` file a mail in `.crieur/outbox/`.
    #[default]
    File,
    /// A mail server.
    Smtp,
    /// The machine's own mail system.
    Sendmail,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Smtp {
    /// Its name or number.
    pub host: String,
    /// Its port; the usual one for the kind of security by default.
    pub port: Option<u16>,
    /// How the connection is kept private.
    pub security: Option<Security>,
    /// How many connections there are at once.
    pub connections: u16,
    /// How many messages may leave in a second.
    pub rate_per_second: Option<u32>,
    /// How long an answer may take, in seconds.
    pub timeout_seconds: u16,
    /// How long to wait, in seconds, before what was not taken is tried again in the same run:
    /// once for each number.
    pub retry_after: Vec<u16>,
    /// A file with the certificates of authorities that are trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub user: Option<String>,
    /// How; by default as the server likes, PLAIN or LOGIN.
    pub auth: Option<Authentication>,
    /// The environment variable with the password, or with the token of XOAUTH2.
    pub password_env: Option<String>,
    /// The file with it.
    pub password_file: Option<PathBuf>,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: None,
            security: None,
            connections: 4,
            rate_per_second: None,
            timeout_seconds: 60,
            retry_after: vec![1, 5, 15],
            ca_file: None,
            user: None,
            auth: None,
            password_env: None,
            password_file: None,
        }
    }
}

impl Smtp {
    /// Whether the server is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|number| number.is_loopback())
    }

    /// How the connection is kept private: on the way to another machine, always somehow.
    pub fn security(&self) -> Security {
        self.security.unwrap_or(match (self.port, self.is_loopback()) {
            (Some(465), _) => Security::Tls,
            (_, true) => Security::None,
            _ => Security::Starttls,
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security() {
            Security::None => 25,
            Security::Starttls => 587,
            Security::Tls => 465,
        })
    }
}

/// How the connection to a mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS from the first greeting on (RFC 3207).
    Starttls,
    /// TLS from the first byte on (RFC 8314).
    Tls,
    /// None; for loopback addresses only.
    None,
}

/// How to log in to a mail server (RFC 4954).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// User and password at once.
    Plain,
    /// The same, one after the other.
    Login,
    /// User and a token of OAuth 2.
    Xoauth2,
}

/// How mail is signed (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the settings")]
pub struct Dkim {
    pub domain: String,
    pub selector: String,
    pub key_file: PathBuf,
}

/// How people get off the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Unsubscribe {
    /// An address to write to.
    pub mailto: Option<String>,
    /// A page that can be opened and posted to (RFC 8058).
    pub url: Option<Url>,
}

/// The file as it stands, before what is missing is filled in.
#[derive(Debug, Deserialize)]
struct Settings {
    title: String,
    url: Url,
    #[serde(default)]
    description: Option<String>,
    #[serde(default = "french")]
    language: LanguageTag,
    #[serde(default = "paris", deserialize_with = "zone")]
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
    recipients: Option<PathBuf>,
    #[serde(default)]
    stale_after_days: Option<u32>,
    #[serde(default)]
    hub: Option<Url>,
    /// Known, so that a site that names the default engine is not refused.
    #[serde(default)]
    ledger: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IdSettings {
    authority: Option<String>,
    since: Option<Since>,
}

/// A year is a number in YAML, a day is a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Since {
    Year(u16),
    Text(String),
}

#[derive(Debug)]
struct LanguageTag(LanguageIdentifier);

impl<'de> Deserialize<'de> for LanguageTag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known =
            text.parse::<LanguageIdentifier>().ok().filter(|l| l.language.as_str() != "und");
        let message = || format!("`{text}` is no language tag; write a tag like `fr` or `en`");
        known.map(Self).ok_or_else(|| serde::de::Error::custom(message()))
    }
}

fn french() -> LanguageTag {
    LanguageTag(unic_langid::langid!("fr"))
}

fn paris() -> Tz {
    Tz::Europe__Paris
}

fn zone<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let near = nearest(&text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        let hint = near.map_or("write a name like `Europe/Paris`".to_owned(), |near| {
            format!("did you mean `{near}`?")
        });
        serde::de::Error::custom(format!("`{text}` is no time zone; {hint}"))
    })
}

fn time_of_day<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<NaiveTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    NaiveTime::parse_from_str(&text, "%H:%M").map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is no time of day; write hours and minutes, like \"08:00\""
        ))
    })
}

/// Every key, by the mapping that it stands in, to suggest one and to refuse the rest.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "title",
            "description",
            "url",
            "language",
            "timezone",
            "author",
            "ids",
            "feeds",
            "reminders",
            "mail",
            "unsubscribe",
            "recipients",
            "stale_after_days",
            "hub",
            "ledger",
        ],
    ),
    ("author", &["name", "email"]),
    ("ids", &["authority", "since"]),
    ("feeds", &["by"]),
    ("reminders", &["lead_days", "send_after", "owners", "in_doubt"]),
    ("mail", &["from", "reply_to", "list_id", "transport", "smtp", "sendmail", "dkim"]),
    (
        "mail.smtp",
        &[
            "host",
            "port",
            "security",
            "connections",
            "rate_per_second",
            "timeout_seconds",
            "retry_after",
            "ca_file",
            "user",
            "auth",
            "password_env",
            "password_file",
        ],
    ),
    ("mail.dkim", &["domain", "selector", "key_file"]),
    ("unsubscribe", &["mailto", "url"]),
];

impl Site {
    /// Reads the settings from their text.
    ///
    /// # Errors
    /// Every problem that can be found, when there is one.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let text = text.trim_start_matches('\u{FEFF}');
        let source = Source::new(SETTINGS, text);
        let tree = match yaml::parse(text) {
            Ok(tree) => tree,
            Err(error) => {
                let span = error.span.start..error.span.end.max(error.span.start + 1);
                let message = format!("the settings cannot be read: {}", error.message);
                let help = "write one `key: value` on each line";
                return Err(vec![problem(Code::YamlSyntax, message).at(&source, &span).help(help)]);
            }
        };
        let mut problems = Vec::new();
        let settings = read_settings(text, &source, tree.as_ref(), &mut problems);
        let site =
            settings.and_then(|settings| settings.checked(&source, tree.as_ref(), &mut problems));
        match site {
            Some(site) if problems.is_empty() => Ok(site),
            _ => Err(problems),
        }
    }

    /// Whether `03/09/2021` is the third of September here. In English it may be the ninth of March.
    pub fn reads_day_first(&self) -> bool {
        self.language.language.as_str() != "en"
            || self.language.region.is_some_and(|region| region.as_str() != "US")
    }

    /// The address of something in `out/`, from its path there.
    pub fn address(&self, path: &str) -> Url {
        // A path that we made has nothing in it that an address may not have.
        self.url.join(path).unwrap_or_else(|_| self.url.clone())
    }

    /// A tag URI of the site (RFC 4151). Those of postings have no slash in them.
    pub fn tag(&self, specific: &str) -> String {
        format!("tag:{},{}:{specific}", self.ids.authority, self.ids.since)
    }

    /// The list's id (RFC 2919).
    pub fn list_id(&self) -> &str {
        self.mail.list_id.as_deref().unwrap_or_else(|| self.url.host_str().unwrap_or("localhost"))
    }
}

fn problem(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Error, code, SETTINGS, message)
}

/// Where a path through the document stands: the value, or as much of the way as there is.
fn locate<'a>(tree: Option<&'a Node>, path: &str) -> Option<&'a Node> {
    let mut node = tree?;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let step = step.trim_start_matches('[').trim_end_matches(']');
        let next = match step.parse::<usize>() {
            Ok(index) => node.item(index),
            Err(_) => node.entry(step).map(|(_, value)| value),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    Some(node)
}

fn unknown_keys(source: &Source, tree: &Node, problems: &mut Vec<Diagnostic>) {
    for (path, keys) in KEYS {
        let mapping = path
            .split('.')
            .filter(|step| !step.is_empty())
            .try_fold(tree, |node, step| node.entry(step).map(|(_, value)| value));
        let Some(Node { value: yaml::Value::Mapping(entries), .. }) = mapping else { continue };
        for (key, _) in entries {
            let name = key.as_text().unwrap_or_default();
            if keys.contains(&name) {
                continue;
            }
            let place = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
            let help = nearest(name, keys.iter().copied()).map_or_else(
                || format!("the keys{place} are: {}", keys.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let unknown = problem(Code::UnknownKey, format!("`{name}` is not a setting{place}"));
            problems.push(if ["password", "secret", "token"].iter().any(|word| name.contains(word)) {
                // What stands there is not shown to whoever reads a log.
                let line = source.text[..key.span.start.min(source.text.len())].matches('\n').count();
                let help = "secrets do not stand here: name where it is with `password_file` or `password_env`";
                unknown.at_line(line + 1, name, &(0..name.len())).help(help)
            } else {
                unknown.at(source, &key.span).help(help)
            });
        }
    }
}

fn read_settings(
    text: &str,
    source: &Source,
    tree: Option<&Node>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Settings> {
    if let Some(tree) = tree {
        unknown_keys(source, tree, problems);
    }
    // A key without a value is not there.
    let value: serde_yaml::Value = match serde_yaml::from_str(text) {
        Ok(value) => without_nulls(value),
        Err(error) => {
            let at = error.location().map_or(0, |location| location.index());
            problems.push(
                problem(Code::YamlSyntax, format!("the settings cannot be read: {error}"))
                    .at(source, &(at..at + 1)),
            );
            return None;
        }
    };
    match serde_path_to_error::deserialize(value) {
        Ok(settings) => Some(settings),
        Err(error) => {
            let path = error.path().to_string();
            let span = locate(tree, &path).map_or(0..0, |node| node.span.clone());
            let inner = error.into_inner().to_string();
            let inner = inner.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
            let (message, help) = match inner.strip_prefix("missing field ") {
                Some(field) => {
                    let field = field.trim_matches('`');
                    (format!("`{field}` is missing"), format!("add a line `{field}: …`"))
                }
                None if path == "." => {
                    (inner.to_owned(), "write one `key: value` on each line".to_owned())
                }
                None => (format!("`{path}`: {inner}"), "correct the value".to_owned()),
            };
            let span = if span.len() > 200 { 0..0 } else { span };
            problems.push(problem(Code::InvalidValue, message).at(source, &span).help(help));
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
        let authority = self.authority.unwrap_or(host);
        let is_domain = authority.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        });
        let is_address = authority.is_ascii() && text::is_address(&authority);
        if given && !is_domain && !is_address {
            refuse(
                "ids.authority",
                format!("`ids.authority`: `{authority}` is neither a domain nor a mail address"),
                "write a domain in lower case, like `jobs.example.org` (RFC 4151)",
            );
        }
        let since = match self.since {
            None => "2021".to_owned(),
            Some(Since::Year(year)) => format!("{year:04}"),
            Some(Since::Text(text)) => text,
        };
        let ids = Ids { authority, since };
        if first_day(&ids.since).is_none() {
            refuse(
                "ids.since",
                format!("`ids.since`: `{}` is no date", ids.since),
                "write a year, like `2021`, and never change it (RFC 4151)",
            );
        }
        ids
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
        self,
        source: &Source,
        tree: Option<&Node>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Site> {
        let mut refuse = |path: &str, message: String, help: &str| {
            let span = locate(tree, path).map_or(0..0, |node| node.span.clone());
            problems.push(problem(Code::InvalidValue, message).at(source, &span).help(help));
        };
        let mut url = self.url;
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let Some(host) =
            url.host_str().map(str::to_owned).filter(|_| matches!(url.scheme(), "http" | "https"))
        else {
            refuse(
                "url",
                "`url` is not an address of the web".to_owned(),
                "write the address where out/ is served, like `https://jobs.example.org/`",
            );
            return None;
        };
        let line = |text: &str| text::one_line(&text::without_markup(text));
        let title = line(&self.title);
        if title.is_empty() {
            refuse("title", "`title` is empty".to_owned(), "write what the site is called");
        }
        let ids = self.ids.checked(host, &mut refuse);
        for (path, address) in [
            ("author.email", self.author.as_ref().and_then(|author| author.email.as_ref())),
            ("unsubscribe.mailto", self.unsubscribe.mailto.as_ref()),
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
        for (path, message, help) in self.mail.problems() {
            refuse(path, message.to_owned(), help);
        }
        if self.ledger.as_deref().is_some_and(|ledger| ledger != "sqlite") {
            refuse(
                "ledger",
                "`ledger`: this version keeps its ledger in SQLite only".to_owned(),
                "write `ledger: sqlite`, or delete the line",
            );
        }
        if let Some(page) = &self.unsubscribe.url
            && !matches!(page.scheme(), "http" | "https")
        {
            refuse(
                "unsubscribe.url",
                "`unsubscribe.url` is not an address of the web".to_owned(),
                "write an address that begins with `https://`",
            );
        }
        if let Some(hub) = &self.hub
            && !matches!(hub.scheme(), "http" | "https")
        {
            refuse(
                "hub",
                "`hub` is not an address of the web".to_owned(),
                "write an address that begins with `https://`",
            );
        }
        Some(Site {
            title,
            description: self.description.map(|text| line(&text)).filter(|text| !text.is_empty()),
            url,
            language: self.language.0,
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
            recipients: self.recipients,
            stale_after_days: self.stale_after_days,
            hub: self.hub,
        })
    }
}

/// The folders and files of a site.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The site's own folder.
    pub root: PathBuf,
}

impl Layout {
    /// The settings.
    pub fn settings(&self) -> PathBuf {
        self.root.join(SETTINGS)
    }

    /// The folder of postings.
    pub fn postings(&self) -> PathBuf {
        self.root.join(POSTINGS)
    }

    /// Templates that replace the built-in ones.
    pub fn templates(&self) -> PathBuf {
        self.root.join("templates")
    }

    /// What `build` writes, by default.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    /// What nobody else may read.
    pub fn private(&self) -> PathBuf {
        self.root.join(".crieur")
    }

    /// The mailing list: where the settings say, or beside them.
    pub fn recipients(&self, site: &Site) -> PathBuf {
        let beside = |name: &str| self.root.join("content").join(name);
        match &site.recipients {
            Some(path) => self.root.join(path),
            None if !beside(RECIPIENTS[0]).exists() && beside(RECIPIENTS[1]).exists() => {
                beside(RECIPIENTS[1])
            }
            None => beside(RECIPIENTS[0]),
        }
    }

    /// A file with a secret: a systemd credential of that name, or else a file of the site.
    pub fn secret(&self, path: &Path) -> PathBuf {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let credential = credentials.map(|folder| folder.join(path));
        credential.filter(|file| file.exists()).unwrap_or_else(|| self.root.join(path))
    }

    /// A path as messages show it: from the site's folder, with forward slashes.
    pub fn relative(&self, path: &Path) -> Arc<str> {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        relative.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/").into()
    }
}
