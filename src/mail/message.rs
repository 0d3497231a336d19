//! The message of a digest (RFC 5322, MIME): a pure function of digest, site and instant, the same
//! to the byte whenever it is composed.

use chrono::{DateTime, NaiveDate, Utc};
use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::dkim::{self, Signer};
use super::unsubscribe::Ways;
use crate::catalog::Catalog;
use crate::reminders::{Change, Digest, Duty, Item, Recipient, Section};
use crate::site::Site;
use crate::templates::{self, Templates};
use crate::text;
use crate::view::page_path;

/// How large a message may be, in bytes: some readers cut mails at 100 KB.
const MAX_SIZE: usize = 90_000;
/// How many postings a digest shows at most; the rest is a link.
const MAX_ITEMS: usize = 60;
/// How much of a title or a name a digest shows, in characters.
const MAX_TEXT: usize = 120;

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// Its id, with the angle brackets.
    pub message_id: String,
    /// Its subject.
    pub subject: String,
    /// Its part in HTML.
    pub html: String,
    /// Its sender, for the envelope.
    pub from: Address,
    /// Its recipient, for the envelope.
    pub to: Address,
    /// The message, lines ended by CRLF.
    pub bytes: Vec<u8>,
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
    /// The site.
    pub site: &'a Site,
    /// What signs them.
    pub signer: Option<&'a Signer>,
    /// What tokens are made with.
    pub secret: &'a [u8],
    /// When they are sent.
    pub now: DateTime<Utc>,
}

#[derive(Serialize)]
struct Context<'a> {
    language: String,
    subject: &'a str,
    site: SiteContext<'a>,
    sections: Vec<SectionContext>,
    more: usize,
    subscribed: bool,
    unsubscribe: &'a str,
}

#[derive(Serialize)]
struct SiteContext<'a> {
    title: &'a str,
    url: &'a str,
}

#[derive(Serialize)]
struct SectionContext {
    name: &'static str,
    heading: String,
    items: Vec<ItemContext>,
}

#[derive(Serialize)]
struct ItemContext {
    title: String,
    role: Option<String>,
    employer: Option<String>,
    url: String,
    /// What there is to know, in a sentence.
    notice: String,
    /// The same, relative to today.
    relative: Option<String>,
}

impl Composer<'_> {
    /// Composes a digest's message, in the language of the catalog, with as many postings as fit.
    ///
    /// # Errors
    /// When nobody sends, a template cannot be rendered, or the key does not sign.
    pub fn compose(
        &self,
        digest: &Digest<'_>,
        catalog: &Catalog,
        templates: &Templates,
    ) -> Result<Composed, Error> {
        let mut shown = digest.items.len().min(MAX_ITEMS);
        loop {
            let composed = self.compose_first(shown, digest, catalog, templates)?;
            if composed.bytes.len() <= MAX_SIZE || shown <= 1 {
                return Ok(composed);
            }
            shown /= 2;
        }
    }

    /// Composes the message with the first so many postings.
    fn compose_first(
        &self,
        shown: usize,
        digest: &Digest<'_>,
        catalog: &Catalog,
        templates: &Templates,
    ) -> Result<Composed, Error> {
        let site = self.site;
        let sender = site.mail.from.clone().ok_or(Error::NoSender)?;
        let (from, to) = envelope(site, digest.recipient)?;
        let identity = identity(site, digest.recipient, digest.day);
        let message_id = format!("<{identity}@{}>", site.list_id());
        let subject = subject(digest, catalog);
        let ways = Ways::new(site, from.as_ref(), self.secret, &digest.recipient.key());
        let context = Context {
            language: catalog.language().to_string(),
            subject: &subject,
            site: SiteContext { title: &site.title, url: site.url.as_str() },
            sections: sections(site, &digest.items[..shown], catalog),
            more: digest.items.len() - shown,
            subscribed: digest.recipient.subscribed,
            unsubscribe: ways.best(),
        };
        let plain = templates.render("digest.txt", &context)?;
        let html = templates.render("digest.html", &context)?;

        // Names are quoted or encoded by the library; none is a way into another header.
        let mut message = Message::builder()
            .from(Mailbox::new(sender.name, from.clone()))
            .to(Mailbox::new(digest.recipient.name.clone(), to.clone()))
            .subject(subject.clone())
            .date(self.now.into())
            .message_id(Some(message_id.clone()));
        if let Some(Mailbox { name, email }) = site.mail.reply_to.clone() {
            message = message.reply_to(Mailbox::new(name, deliverable(&email)?));
        }
        for (name, value) in self.headers(digest, catalog, &ways) {
            let name = HeaderName::new_from_ascii_str(name);
            message = message.raw_header(HeaderValue::new(name, value));
        }
        let message = message
            .multipart(
                // Clients show the last part that they understand.
                MultiPart::alternative()
                    .boundary(format!("=_{identity}"))
                    .singlepart(part(ContentType::TEXT_PLAIN, plain)?)
                    .singlepart(part(ContentType::TEXT_HTML, html.clone())?),
            )
            .map_err(|error| Error::Message(error.to_string()))?;
        let mut bytes = message.formatted();
        if let Some(signer) = self.signer {
            let signature = signer.sign(&bytes, self.now)?;
            bytes.splice(0..0, signature.into_bytes());
        }
        Ok(Composed { message_id, subject, html, from, to, bytes })
    }

    /// The headers of a list, and those that keep machines from answering.
    fn headers(
        &self,
        digest: &Digest<'_>,
        catalog: &Catalog,
        ways: &Ways,
    ) -> Vec<(&'static str, String)> {
        let list = self.site.list_id();
        let unsubscribe = match &ways.page {
            Some(page) => format!("<{page}>, <{}>", ways.mail),
            None => format!("<{}>", ways.mail),
        };
        let mut headers = vec![
            ("List-Id", format!("<{list}>")),
            ("List-Unsubscribe", unsubscribe),
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Auto-Response-Suppress", "All".to_owned()),
            ("Content-Language", catalog.language().to_string()),
            ("Feedback-ID", format!("{}:{list}:digest:crieur", digest.day)),
        ];
        if ways.page.as_ref().is_some_and(|page| page.scheme() == "https") {
            // RFC 8058 section 3.1.
            headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        }
        headers
    }
}

/// Sender and recipient, for the envelope.
///
/// # Errors
/// When nobody sends, or an address is none that a mail can be sent to.
pub fn envelope(site: &Site, recipient: &Recipient) -> Result<(Address, Address), Error> {
    let from = &site.mail.from.as_ref().ok_or(Error::NoSender)?.email;
    let to = recipient.email.parse::<Address>();
    let to = to.map_err(|error| Error::Message(error.to_string()))?;
    Ok((deliverable(from)?, deliverable(&to)?))
}

/// The sections of the items, in their order.
fn sections(site: &Site, items: &[Item<'_>], catalog: &Catalog) -> Vec<SectionContext> {
    let mut sections: Vec<SectionContext> = Vec::new();
    for item in items {
        let name = item.section.as_str();
        if sections.last().is_none_or(|section| section.name != name) {
            let heading = catalog.word(&format!("digest-{name}"));
            sections.push(SectionContext { name, heading, items: Vec::new() });
        }
        if let Some(section) = sections.last_mut() {
            section.items.push(item_context(site, item, catalog));
        }
    }
    sections
}

fn item_context(site: &Site, item: &Item<'_>, catalog: &Catalog) -> ItemContext {
    let posting = item.posting;
    let deadline = posting.closes.map(|closes| catalog.deadline(closes, site.timezone));
    let dated = |name: &str| match &deadline {
        Some(date) => catalog.with(name, [("date", date.as_str().into())]),
        None => catalog.word("no-closing-date"),
    };
    let notice = match item.section {
        Section::Closing | Section::New | Section::Owner(Duty::Closes) => dated("closes-on"),
        Section::Changed(Change::Moved) if deadline.is_none() => catalog.word("change-endless"),
        Section::Changed(Change::Moved) => dated("change-moved"),
        Section::Changed(Change::Closed) if deadline.is_none() => catalog.word("state-closed"),
        Section::Changed(Change::Closed) => dated("change-closed"),
        Section::Changed(Change::Filled) => catalog.word("state-filled"),
        Section::Changed(Change::Withdrawn) => catalog.word("state-withdrawn"),
        Section::Owner(Duty::StillOpen) => dated("owner-still-open"),
        Section::Owner(Duty::Endless(days)) => {
            catalog.with("owner-endless", [("days", days.into())])
        }
    };
    let is_over = matches!(
        item.section,
        Section::Changed(Change::Closed | Change::Filled | Change::Withdrawn)
            | Section::Owner(Duty::StillOpen)
    );
    let days = item.days_left.filter(|_| !is_over);
    ItemContext {
        title: short(&posting.title),
        role: posting.role.as_deref().filter(|role| *role != posting.title).map(short),
        employer: posting.employer().map(short),
        url: site.address(&page_path(&posting.slug)).into(),
        notice,
        relative: days.map(|days| catalog.with("closes-in", [("days", days.into())])),
    }
}

fn short(text: &str) -> String {
    text::shortened(text, MAX_TEXT)
}

/// An address whose domain every server understands (RFC 5891): only the part before the `@` may
/// need SMTPUTF8.
fn deliverable(address: &Address) -> Result<Address, Error> {
    if address.domain().is_ascii() {
        return Ok(address.clone());
    }
    let domain = url::Host::parse(address.domain()).map(|host| host.to_string());
    let domain = domain.map_err(|error| Error::Message(error.to_string()))?;
    Address::new(address.user(), domain).map_err(|error| Error::Message(error.to_string()))
}

/// A part whose lines are short and whose bytes are ASCII, so that no server has to change it.
fn part(kind: ContentType, text: String) -> Result<SinglePart, Error> {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| Error::Message("the text cannot be encoded".to_owned()))?;
    Ok(SinglePart::builder().header(kind).body(body))
}

/// What tells this digest from all others: a function of recipient, list and day.
fn identity(site: &Site, recipient: &Recipient, day: NaiveDate) -> String {
    let text = format!("{}\n{}\n{day}", site.list_id(), recipient.key());
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The subject of a digest: what its first section is about.
pub fn subject(digest: &Digest<'_>, catalog: &Catalog) -> String {
    let name = digest.items.first().map_or("closing", |item| item.section.as_str());
    let items: Vec<_> = digest.items.iter().filter(|item| item.section.as_str() == name).collect();
    let first = items.first();
    let days = first.and_then(|item| item.days_left).unwrap_or_default();
    let soonest = items.iter().filter(|item| item.days_left == Some(days)).count();
    let what = first.and_then(|item| item.section.what()).unwrap_or_default();
    catalog.with(
        &format!("subject-{name}"),
        [
            ("count", items.len().into()),
            ("soonest", days.into()),
            ("first", soonest.into()),
            ("days", days.into()),
            ("what", what.into()),
            ("title", first.map_or_else(String::new, |item| short(&item.posting.title)).into()),
        ],
    )
}
