//! The message of a digest (RFC 5322, MIME): a pure function of digest, site and instant, the same
//! to the byte whenever it is composed.

use chrono::{DateTime, NaiveDate, Utc};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::catalog::Catalog;
use crate::reminders::{Digest, Recipient};
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
    /// The message cannot be put together.
    #[error("the message cannot be put together: {0}")]
    Message(String),
}

#[derive(Serialize)]
struct Context<'a> {
    language: String,
    subject: &'a str,
    site: SiteContext<'a>,
    items: Vec<ItemContext>,
    more: usize,
    unsubscribe: String,
}

#[derive(Serialize)]
struct SiteContext<'a> {
    title: &'a str,
    url: &'a str,
}

#[derive(Serialize)]
struct ItemContext {
    title: String,
    role: Option<String>,
    employer: Option<String>,
    url: String,
    deadline: String,
    days_left: i64,
}

/// Composes a digest's message, in the language of the catalog, with as many postings as fit.
///
/// # Errors
/// When nobody sends, or a template cannot be rendered.
pub fn compose(
    site: &Site,
    digest: &Digest<'_>,
    catalog: &Catalog,
    templates: &Templates,
    now: DateTime<Utc>,
) -> Result<Composed, Error> {
    let mut shown = digest.items.len().min(MAX_ITEMS);
    loop {
        let composed = compose_first(shown, site, digest, catalog, templates, now)?;
        if composed.bytes.len() <= MAX_SIZE || shown <= 1 {
            return Ok(composed);
        }
        shown /= 2;
    }
}

/// Composes the message with the first so many postings.
fn compose_first(
    shown: usize,
    site: &Site,
    digest: &Digest<'_>,
    catalog: &Catalog,
    templates: &Templates,
    now: DateTime<Utc>,
) -> Result<Composed, Error> {
    let from = site.mail.from.clone().ok_or(Error::NoSender)?;
    let refused = |error: &dyn std::fmt::Display| Error::Message(error.to_string());
    let identity = identity(site, digest.recipient, digest.day);
    let message_id = format!("<{identity}@{}>", site.list_id());
    let subject = subject(digest, catalog);
    let unsubscribe = unsubscribe(site, &from);
    let shown = &digest.items[..shown];
    let context = Context {
        language: catalog.language().to_string(),
        subject: &subject,
        site: SiteContext { title: &site.title, url: site.url.as_str() },
        items: shown
            .iter()
            .map(|item| ItemContext {
                title: short(&item.posting.title),
                role: item.posting.role.as_deref().map(short),
                employer: item.posting.employer().map(short),
                url: site.address(&page_path(&item.posting.slug)).into(),
                deadline: catalog.deadline(item.closes, site.timezone),
                days_left: item.days_left,
            })
            .collect(),
        more: digest.items.len() - shown.len(),
        unsubscribe: unsubscribe.clone(),
    };
    let plain = templates.render("digest.txt", &context)?;
    let html = templates.render("digest.html", &context)?;

    // The display name is quoted by the library; a name is never a way into another header.
    let to = Mailbox::new(
        digest.recipient.name.clone(),
        digest.recipient.email.parse().map_err(|e| refused(&e))?,
    );
    let mut message = Message::builder()
        .from(from)
        .to(to)
        .subject(subject.clone())
        .date(now.into())
        .message_id(Some(message_id.clone()));
    if let Some(reply_to) = site.mail.reply_to.clone() {
        message = message.reply_to(reply_to);
    }
    for (name, value) in [
        ("List-Id", format!("<{}>", site.list_id())),
        ("List-Unsubscribe", format!("<{unsubscribe}>")),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("Content-Language", catalog.language().to_string()),
    ] {
        message = message.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
    }
    let message = message
        .multipart(
            // Clients show the last part that they understand.
            MultiPart::alternative()
                .boundary(format!("=_{identity}"))
                .singlepart(part(ContentType::TEXT_PLAIN, plain)?)
                .singlepart(part(ContentType::TEXT_HTML, html)?),
        )
        .map_err(|error| refused(&error))?;
    Ok(Composed { message_id, subject, bytes: message.formatted() })
}

fn short(text: &str) -> String {
    text::shortened(text, MAX_TEXT)
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

fn subject(digest: &Digest<'_>, catalog: &Catalog) -> String {
    let soonest = digest.items.first();
    let days = soonest.map_or(0, |item| item.days_left);
    let first = digest.items.iter().filter(|item| item.days_left == days).count();
    catalog.with(
        "digest-subject",
        [
            ("count", digest.items.len().into()),
            ("soonest", days.into()),
            ("first", first.into()),
            ("title", soonest.map_or_else(String::new, |item| short(&item.posting.title)).into()),
        ],
    )
}

/// Where people get off the list: the settings' address, or else the one that answers go to.
fn unsubscribe(site: &Site, from: &Mailbox) -> String {
    let address = site
        .unsubscribe
        .mailto
        .clone()
        .unwrap_or_else(|| site.mail.reply_to.as_ref().unwrap_or(from).email.to_string());
    format!("mailto:{address}?subject=unsubscribe")
}
