//! `content/site.yaml`: the settings of a site, its paths and its time zone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;
use lettre::message::Mailbox;
use serde::Deserialize;
use unic_langid::LanguageIdentifier;
use url::Url;

use crate::key::Key;

mod country;
mod secrets;
mod settings;
mod values;

pub use settings::{KEYS, problem_with};

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
    /// How people get on the list by themselves.
    pub subscribe: Subscribe,
    /// The mailing list, where it is not beside the settings.
    pub recipients: Option<PathBuf>,
    /// After how many days a posting without a closing date closes by itself.
    pub stale_after_days: Option<u32>,
    /// A WebSub hub that is told of changes.
    pub hub: Option<Url>,
    /// Where it is kept what was sent.
    pub ledger: LedgerPlace,
    /// The country in which the work is (ISO 3166-1), for search engines.
    pub country: Option<String>,
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
    /// The first day of that.
    pub since_day: NaiveDate,
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
    #[serde(deserialize_with = "values::time_of_day")]
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
    #[serde(deserialize_with = "values::mailbox")]
    pub from: Option<Mailbox>,
    /// Where answers go.
    #[serde(deserialize_with = "values::mailbox")]
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
    /// The address that what cannot be delivered comes back to, and that `crieur receive` reads.
    pub bounces: Option<String>,
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
    #[serde(deserialize_with = "values::web_address")]
    pub url: Option<Url>,
}

/// How people get on the list by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subscribe {
    /// The page with the form, which `crieur serve` shows.
    #[serde(deserialize_with = "values::web_address")]
    pub url: Option<Url>,
}

/// Where it is kept what was sent, and who subscribes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LedgerPlace {
    /// In a file, in `.crieur/`: nothing is needed, and one machine sends.
    #[default]
    File,
    /// On a server, for several machines.
    Server(LedgerServer),
}

/// A server that keeps the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LedgerServer {
    /// Where: `postgres://user@host/database`, without a password.
    pub url: String,
    /// The environment variable with the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// The file with it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A file with the certificates of authorities that are trusted beside the machine's own.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl Site {
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

/// The folders and files of a site.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The site's own folder.
    pub root: PathBuf,
}

/// What tells a folder from others.
fn key_of(folder: &Path) -> Key {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    Key::of(absolute.as_os_str().as_encoded_bytes())
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

    /// A cache by its name: what can be found out again.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.private().join("cache").join(name)
    }

    /// What was written into an output folder, and from what.
    pub fn record(&self, out: &Path) -> PathBuf {
        self.cache(&format!("output-{}", key_of(out).name()))
    }

    /// For how long what was written into an output folder is what a build would write.
    pub fn standing(&self, out: &Path) -> PathBuf {
        self.cache(&format!("standing-{}", key_of(out).name()))
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
