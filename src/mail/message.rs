//! The message of a digest (RFC 5322, MIME): a pure function of digest, site and instant, the same
//! to the byte whenever it is composed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use email_encoding::headers::rfc2047;
use email_encoding::headers::writer::EmailWriter;
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{
    self, ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue, Headers,
};
use lettre::message::{Body, Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::dkim::{self, Signer};
use super::unsubscribe::{Ways, return_path};
use crate::catalog::Catalog;
use crate::key::Key;
use crate::reminders::recipients::key;
use crate::reminders::{Digest, Duty, Item, Section};
use crate::site::Site;
use crate::templates::{self, Templates};
use crate::text;
use crate::tokens::Keys;

mod contents;
mod letter;

pub use contents::subject;
pub use letter::Shared;

use contents::{Context, SiteContext, sections};
pub(super) use letter::encoded;
use letter::{BOUNDARY, Frame, GAPS, Letter, Own, Text};

/// How large a message may be, in bytes: some readers cut mails at 100 KB.
const MAX_SIZE: usize = 90_000;

/// A complete message.
pub struct Composed {
    /// Its id, with the angle brackets.
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// Its sender, for the envelope.
    pub from: Address,
    /// Its recipient, for the envelope.
    pub to: Address,
    /// The message, lines ended by CRLF.
    pub bytes: Vec<u8>,
    /// What the messages of others have in common with it, from first to last.
    pub shared: Vec<Shared>,
    letter: Arc<Letter>,
    /// The recipient's own addresses, as they stand in HTML.
    addresses: Vec<String>,
}

impl Composed {
    /// Its part in HTML.
    pub fn html(&self) -> String {
        self.letter.html.filled(&self.addresses.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings do not say who sends.
    #[error("`mail.from` is missing in `content/site.yaml`: say who sends the digests")]
    NoSender,
    /// A template cannot be rendered.
    #[error(transparent)]
    Template(#[from] templates::Error),
    /// The message cannot be signed.
    #[error("the message cannot be signed: {0}")]
    Signature(#[from] dkim::Error),
    /// The message cannot be put together.
    #[error("the message cannot be put together: {0}")]
    Message(String),
}

/// What the messages of one run have in common.
pub struct Composer<'a> {
    site: &'a Site,
    signer: Option<&'a Signer>,
    keys: &'a Keys,
    now: DateTime<Utc>,
    /// What was rendered for others.
    letters: Mutex<HashMap<Key, Arc<Letter>>>,
}

/// How many letters are kept: a large list has a few hundred combinations of interests.
const MAX_LETTERS: usize = 1_000;

/// The recipient's own addresses while a digest is rendered, or what stands for them.
struct Links<'a> {
    unsubscribe: &'a str,
    preferences: Option<&'a str>,
    gaps: Vec<&'a str>,
}

/// As many items as there is room for, in their order. What is left out stands on the page that the mail
/// links to, which shows what is open: so what changed, and what somebody owns, goes before.
fn first<'i>(items: &[Item<'i>], shown: usize) -> Vec<Item<'i>> {
    let rank = |at: &usize| {
        items.get(*at).map(|item| match item.section {
            Section::Changed(_) => 0,
            Section::Owner(_) => 1,
            Section::Closing => 2,
            Section::New => 3,
        })
    };
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by_key(rank);
    places.truncate(shown);
    places.sort_unstable();
    places.into_iter().filter_map(|at| items.get(at).cloned()).collect()
}

/// How many postings have no item among those that are shown. One can have several.
fn left_out(items: &[Item<'_>], shown: &[Item<'_>]) -> usize {
    let postings = |items: &[Item<'_>]| {
        items.iter().map(|item| item.posting.id.clone()).collect::<HashSet<_>>()
    };
    postings(items).difference(&postings(shown)).count()
}

impl<'a> Composer<'a> {
    /// Composes for a site, with what signs messages and what links are made with. `now` is when
    /// they are sent.
    pub fn new(
        site: &'a Site,
        signer: Option<&'a Signer>,
        keys: &'a Keys,
        now: DateTime<Utc>,
    ) -> Self {
        Self { site, signer, keys, now, letters: Mutex::default() }
    }

    /// What a digest says, from what was said to others where that is the same.
    fn letter(
        &self,
        shown: usize,
        digest: &Digest<'_>,
        ways: &Ways,
        catalog: &Catalog,
        templates: &Templates,
    ) -> Result<Arc<Letter>, Error> {
        let language = catalog.language().to_string();
        let about = format!(
            "{shown} {} {} {}",
            digest.items.len(),
            digest.recipient.subscribed,
            digest.day
        );
        // Without pages of their own, everybody unsubscribes at the same address.
        let has_pages = ways.page.is_some() || ways.preferences.is_some();
        let address = if ways.page.is_some() { "" } else { ways.best() };
        let mut items = Vec::with_capacity(64 * digest.items.len());
        for Item { posting, section, days_left, open_for, stage: _ } in &digest.items {
            let is_endless = *section == Section::Owner(Duty::Endless);
            let endless = open_for.filter(|_| is_endless).unwrap_or_default();
            for text in [&posting.id, section.as_str(), section.what().unwrap_or_default()] {
                items.extend_from_slice(text.as_bytes());
                items.push(b'\n');
            }
            items.extend_from_slice(&endless.to_le_bytes());
            items.extend_from_slice(&days_left.unwrap_or(i64::MIN).to_le_bytes());
        }
        let parts = [language.as_bytes(), about.as_bytes(), address.as_bytes(), &items];
        let key = Key::join(parts);
        if let Some(letter) = self.kept().get(&key) {
            return Ok(letter.clone());
        }
        let links = |[unsubscribe, preferences]: [&'static str; 2]| Links {
            unsubscribe: if ways.page.is_some() { unsubscribe } else { ways.best() },
            preferences: ways.preferences.as_ref().map(|_| preferences),
            gaps: if has_pages { vec![unsubscribe, preferences] } else { Vec::new() },
        };
        let [first, second] = GAPS;
        let letter = self.render(shown, digest, &links(first), ways, catalog, templates)?;
        if has_pages {
            let other = self.render(shown, digest, &links(second), ways, catalog, templates)?;
            let same = letter.plain.is_like(&other.plain) && letter.html.is_like(&other.html);
            if !same {
                // The template makes something else of an address: nobody can share it.
                let links = Links {
                    unsubscribe: ways.best(),
                    preferences: ways.preferences.as_ref().map(Url::as_str),
                    gaps: Vec::new(),
                };
                let own = self.render(shown, digest, &links, ways, catalog, templates)?;
                let (plain, html) = (own.plain.alone(), own.html.alone());
                return Ok(Arc::new(Letter { plain, html, ..own }));
            }
        }
        let letter = Arc::new(letter);
        let mut kept = self.kept();
        if kept.len() >= MAX_LETTERS {
            kept.clear();
        }
        kept.insert(key, letter.clone());
        Ok(letter)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Arc<Letter>>> {
        // Nothing in it is ever half changed.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Composes a digest's message, in the language of the catalog, with as many postings as fit.
    /// `edition` is how many of that day were given up before it.
    ///
    /// # Errors
    /// When nobody sends, a template cannot be rendered, or the key does not sign.
    pub fn compose(
        &self,
        digest: &Digest<'_>,
        edition: u32,
        (catalog, templates): (&Catalog, &Templates),
    ) -> Result<Composed, Error> {
        let identity = self.identity(digest, edition);
        let mut shown = digest.items.len();
        loop {
            let composed = self.compose_first(shown, digest, &identity, catalog, templates)?;
            if composed.bytes.len() <= MAX_SIZE || shown <= 1 {
                return Ok(composed);
            }
            // About as many as there is room for.
            shown = (shown * MAX_SIZE / composed.bytes.len()).clamp(1, shown - 1);
        }
    }

    /// Composes the message with the first so many postings.
    fn compose_first(
        &self,
        shown: usize,
        digest: &Digest<'_>,
        identity: &str,
        catalog: &Catalog,
        templates: &Templates,
    ) -> Result<Composed, Error> {
        let site = self.site;
        let (from, to) = envelope(site, self.keys, &digest.recipient.email)?;
        let message_id = format!("<{identity}@{}>", site.list_id());
        let sender = sender(site)?.to_string();
        let ways = Ways::new(site, &sender, self.keys, &digest.recipient.key());
        let letter = self.letter(shown, digest, &ways, catalog, templates)?;
        let preferences = ways.preferences.as_ref().map_or("", Url::as_str);
        let own_addresses = [ways.best(), preferences];
        let escaped =
            own_addresses.map(|address| html_escape::encode_quoted_attribute(address).into_owned());
        let all = |addresses: &[&str]| -> Result<Vec<Vec<u8>>, Error> {
            addresses.iter().map(|address| encoded(address)).collect()
        };
        let addresses = if letter.plain.gaps.is_empty() && letter.html.gaps.is_empty() {
            Default::default()
        } else {
            [all(&own_addresses)?, all(&escaped.each_ref().map(String::as_str))?]
        };
        // Names are quoted or encoded by the library; none is a way into another header.
        let recipient = Mailbox::new(digest.recipient.name.clone(), to.clone());
        let own = Own {
            to: &value(header::To::from(Mailboxes::from(recipient))),
            message_id: &value(header::MessageId::from(message_id.clone())),
            unsubscribe: &raw_value(LIST_UNSUBSCRIBE, unsubscribe(&ways)),
            boundary: &format!("=_{identity}"),
            addresses,
        };
        let (mut bytes, mut shared) = letter.message(&own);
        if let Some(signer) = self.signer {
            let signature = signer.sign(&bytes, self.now)?;
            for Shared { range, .. } in &mut shared {
                *range = range.start + signature.len()..range.end + signature.len();
            }
            bytes.splice(0..0, signature.into_bytes());
        }
        let (subject, addresses) = (letter.subject.clone(), escaped.to_vec());
        Ok(Composed { message_id, subject, from, to, bytes, shared, letter, addresses })
    }

    /// What tells this digest from all others: a function of list, recipient and day, so that what is
    /// composed again is the same message; one that says something else after that may have arrived is
    /// another. Where messages come back to a program, only who has seen
    /// one can say it.
    fn identity(&self, digest: &Digest<'_>, edition: u32) -> String {
        let Digest { recipient, day, .. } = digest;
        let mut named = format!("{}\n{}\n{day}", self.site.list_id(), recipient.key());
        if edition > 0 {
            named.push_str(&format!("\n{edition}"));
        }
        if self.site.mail.bounces.is_some() {
            return self.keys.identity(&named);
        }
        Sha256::digest(named).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What the messages to all who are told the same have around what differs.
    fn frame(
        &self,
        subject: &str,
        digest: &Digest<'_>,
        catalog: &Catalog,
        ways: &Ways,
    ) -> Result<Frame, Error> {
        let site = self.site;
        let sender = site.mail.from.clone().ok_or(Error::NoSender)?;
        let from = deliverable(&sender.email)?;
        let stand_in = |name: &'static str| {
            let (name, value) = (HeaderName::new_from_ascii_str(name), text::STAND_IN.to_owned());
            HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value)
        };
        let envelope = Envelope::new(Some(from.clone()), vec![from.clone()]);
        let mut message = Message::builder()
            .envelope(envelope.map_err(|error| Error::Message(error.to_string()))?)
            .from(Mailbox::new(sender.name, from))
            .raw_header(stand_in("To"))
            .raw_header(subject_header(subject))
            .date(self.now.into())
            .raw_header(stand_in("Message-ID"));
        if let Some(Mailbox { name, email }) = site.mail.reply_to.clone() {
            message = message.reply_to(Mailbox::new(name, deliverable(&email)?));
        }
        for (name, value) in self.headers(digest, catalog, ways) {
            message = message.raw_header(match value {
                Some(value) => HeaderValue::new(HeaderName::new_from_ascii_str(name), value),
                None => stand_in(name),
            });
        }
        let text = || text::STAND_IN.as_bytes().to_vec();
        let message = message
            .multipart(
                // Clients show the last part that they understand.
                MultiPart::alternative()
                    .boundary(BOUNDARY)
                    .singlepart(part(ContentType::TEXT_PLAIN, text()))
                    .singlepart(part(ContentType::TEXT_HTML, text())),
            )
            .map_err(|error| Error::Message(error.to_string()))?;
        Frame::of(&message.formatted())
    }

    /// Renders a digest with these addresses, and with gaps where they stand.
    fn render(
        &self,
        shown: usize,
        digest: &Digest<'_>,
        links: &Links<'_>,
        ways: &Ways,
        catalog: &Catalog,
        templates: &Templates,
    ) -> Result<Letter, Error> {
        let site = self.site;
        let items = first(&digest.items, shown);
        let subject = subject(digest, catalog);
        let language = catalog.language().to_string();
        let context = Context {
            rtl: text::is_right_to_left(&language),
            language,
            subject: &subject,
            site: SiteContext { title: &site.title, url: site.url.as_str() },
            sections: sections(site, &items, catalog),
            more: left_out(&digest.items, &items),
            subscribed: digest.recipient.subscribed,
            unsubscribe: links.unsubscribe,
            preferences: links.preferences.filter(|_| digest.recipient.subscribed),
        };
        let plain = templates.render("digest.txt", &context)?;
        let html = templates.render("digest.html", &context)?;
        let escaped: Vec<_> =
            links.gaps.iter().map(|gap| html_escape::encode_quoted_attribute(gap)).collect();
        let plain = Text::new(&plain, &links.gaps)?;
        let html = Text::new(&html, &escaped.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        let frame = self.frame(&subject, digest, catalog, ways)?;
        Ok(Letter { subject, plain, html, frame })
    }

    /// The headers of a list, and those that keep machines from answering; those without a value
    /// differ.
    fn headers(
        &self,
        digest: &Digest<'_>,
        catalog: &Catalog,
        ways: &Ways,
    ) -> Vec<(&'static str, Option<String>)> {
        let list = self.site.list_id();
        let mut headers = vec![
            ("List-Id", Some(format!("<{list}>"))),
            (LIST_UNSUBSCRIBE, None),
            ("Auto-Submitted", Some("auto-generated".to_owned())),
            ("X-Auto-Response-Suppress", Some("All".to_owned())),
            ("Content-Language", Some(catalog.language().to_string())),
            ("Feedback-ID", Some(format!("{}:{list}:digest:crieur", digest.day))),
        ];
        if ways.page.as_ref().is_some_and(|page| page.scheme() == "https") {
            // RFC 8058 section 3.1.
            headers.push(("List-Unsubscribe-Post", Some("List-Unsubscribe=One-Click".to_owned())));
        }
        headers
    }
}

/// A subject. What looks like an encoded word in a title was not meant as one, and is encoded itself (RFC
/// 2047, section 7): the library takes it for what it looks like.
pub(super) fn subject_header(subject: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    if !subject.contains("=?") {
        return HeaderValue::new(name, subject.to_owned());
    }
    let mut encoded = String::new();
    let mut writer = EmailWriter::new(&mut encoded, "Subject: ".len(), 0, false);
    // A text in memory takes everything.
    let _ = rfc2047::encode(subject, &mut writer);
    drop(writer);
    HeaderValue::dangerous_new_pre_encoded(name, subject.to_owned(), encoded)
}

const LIST_UNSUBSCRIBE: &str = "List-Unsubscribe";

/// What `List-Unsubscribe` says (RFC 2369, section 3.2).
fn unsubscribe(ways: &Ways) -> String {
    match &ways.page {
        Some(page) => format!("<{page}>, <{}>", ways.mail_for_programs),
        None => format!("<{}>", ways.mail_for_programs),
    }
}

/// What a header says, folded and encoded.
fn value(header: impl Header) -> String {
    let mut headers = Headers::new();
    headers.set(header);
    told(&headers)
}

/// The same of one that the library does not know.
fn raw_value(name: &'static str, value: String) -> String {
    let mut headers = Headers::new();
    headers.insert_raw(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
    told(&headers)
}

fn told(headers: &Headers) -> String {
    let line = headers.to_string();
    let value = line.split_once(": ").map_or(&*line, |(_, value)| value);
    value.strip_suffix("\r\n").unwrap_or(value).to_owned()
}

/// Who sends.
///
/// # Errors
/// When nobody does.
pub fn sender(site: &Site) -> Result<Address, Error> {
    deliverable(&site.mail.from.as_ref().ok_or(Error::NoSender)?.email)
}

/// Sender and recipient, for the envelope: what cannot be delivered comes back to the sender.
///
/// # Errors
/// When nobody sends, or an address is none that a mail can be sent to.
pub fn envelope(site: &Site, keys: &Keys, email: &str) -> Result<(Address, Address), Error> {
    let parsed = |text: &str| {
        let address = text.parse::<Address>();
        deliverable(&address.map_err(|error| Error::Message(error.to_string()))?)
    };
    let from = match &site.mail.bounces {
        Some(bounces) => {
            let path = return_path(bounces, keys, &key(email));
            parsed(&path).or_else(|_| parsed(bounces))?
        }
        None => sender(site)?,
    };
    Ok((from, parsed(email)?))
}

/// An address whose domain every server understands (RFC 5891): only the part before the `@` may
/// need SMTPUTF8.
pub(super) fn deliverable(address: &Address) -> Result<Address, Error> {
    if address.domain().is_ascii() {
        return Ok(address.clone());
    }
    let domain = url::Host::parse(address.domain()).map(|host| host.to_string());
    let domain = domain.map_err(|error| Error::Message(error.to_string()))?;
    Address::new(address.user(), domain).map_err(|error| Error::Message(error.to_string()))
}

/// A part whose text is encoded already.
pub(super) fn part(kind: ContentType, encoded: Vec<u8>) -> SinglePart {
    let encoding = ContentTransferEncoding::QuotedPrintable;
    SinglePart::builder().header(kind).body(Body::dangerous_pre_encoded(encoded, encoding))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::posting::parse::tests::posting;
    use crate::reminders::Recipient;
    use chrono::NaiveDate;

    #[test]
    fn a_title_is_no_encoded_word() {
        for subject in [
            "Une offre : =?utf-8?q?=0D=0ABcc:_victim@example.org?=",
            "=?utf-8?b?4oCu?= normal",
            "Développeur =?iso-8859-1?Q?x?= fin",
            "=?unknown-charset?b?////?= x",
            "x =?????",
            "Développeuse",
            "plain",
            &"=?é ".repeat(60),
        ] {
            let mut headers = Headers::new();
            headers.insert_raw(subject_header(subject));
            let header = told(&headers);
            assert!(header.lines().all(|line| line.len() <= 76), "{header}");
            let message = format!("Subject: {}\r\n\r\n", header.trim());
            let parsed = mail_parser::MessageParser::default().parse(message.as_bytes());
            let read = parsed.as_ref().and_then(|message| message.subject()).unwrap();
            assert_eq!(read.trim(), subject.trim(), "{header}");
        }
    }

    #[test]
    fn what_is_left_out_is_postings_and_each_counts_once() {
        let postings = ["a", "b", "c"].map(|slug| {
            posting(&format!("title: A\nslug: {slug}\nid: 'urn:{slug}'\ncloses: 2021-09-03"))
        });
        let item = |posting, section| Item {
            posting,
            section,
            stage: None,
            open_for: None,
            days_left: Some(3),
        };
        let items: Vec<Item<'_>> = postings
            .iter()
            .flat_map(|posting| {
                [item(posting, Section::Closing), item(posting, Section::Owner(Duty::Closes))]
            })
            .collect();
        // What somebody owns goes first.
        for (shown, expected) in [(6, 0), (4, 0), (2, 1), (1, 2)] {
            assert_eq!(left_out(&items, &first(&items, shown)), expected, "{shown}");
        }
    }

    /// With a page to unsubscribe at, or without one: what all are told is most of a message.
    #[test]
    fn messages_have_most_in_common() {
        let (site, catalog) =
            ("title: T\nurl: https://jobs.example.org/\nmail: { from: a@example.org }", "fr");
        let catalog = Arc::new(Catalog::new(&catalog.parse().unwrap(), None).unwrap());
        let templates = Templates::new(&BTreeMap::new(), catalog.clone()).unwrap();
        let posting = posting("title: A\ncloses: 2021-09-03");
        let item = Item {
            posting: &posting,
            section: Section::Closing,
            stage: Some(3),
            open_for: None,
            days_left: Some(3),
        };
        let keys = Keys::new(b"secret".to_vec(), Vec::new());
        for page in [
            "",
            "\nunsubscribe: { url: https://jobs.example.org/unsubscribe }",
            "\nunsubscribe: { url: https://jobs.example.org/off }\nsubscribe: { url: https://jobs.example.org/on }",
        ] {
            let site = Site::parse(&format!("{site}{page}\n")).unwrap();
            let composer = Composer::new(&site, None, &keys, DateTime::UNIX_EPOCH);
            let messages = ["a", "b"].map(|name| {
                let recipient = Recipient::new(format!("{name}@example.org"));
                let day = NaiveDate::default();
                let digest = Digest { recipient: &recipient, day, items: vec![item.clone()] };
                composer.compose(&digest, 0, (&catalog, &templates)).unwrap()
            });
            let [first, second] = messages.each_ref().map(|message| message.shared.clone());
            let fingerprints = |shared: &[Shared]| -> Vec<[u8; 32]> {
                shared.iter().map(|shared| shared.fingerprint).collect()
            };
            assert_eq!(fingerprints(&first), fingerprints(&second));
            for (message, shared) in messages.iter().zip([&first, &second]) {
                for Shared { range, fingerprint } in shared {
                    assert_eq!(blake3::hash(&message.bytes[range.clone()]).as_bytes(), fingerprint);
                }
            }
            let common: usize = first.iter().map(|shared| shared.range.len()).sum();
            assert!(common * 2 > messages[0].bytes.len(), "{common}{page}");
        }
    }
}
