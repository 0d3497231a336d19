//! The message to somebody who entered an address: only whoever reads it can confirm that the
//! address is to be written to. A pure function of request, site and keys.

use chrono::{DateTime, TimeDelta, Utc};
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use serde::Serialize;

use super::dkim::Signer;
use super::message::{Error, deliverable, encoded, envelope, part, subject_header};
use super::unsubscribe::below;
use crate::catalog::Catalog;
use crate::reminders::Recipient;
use crate::site::Site;
use crate::templates::Templates;
use crate::text;
use crate::tokens::Keys;

/// A complete message.
pub struct Confirmation {
    /// Its id, with the angle brackets.
    pub message_id: String,
    /// Its sender, for the envelope.
    pub from: Address,
    /// Its recipient, for the envelope.
    pub to: Address,
    /// The message, lines ended by CRLF.
    pub bytes: Vec<u8>,
}

/// Somebody who entered an address.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The address, and what they wish.
    pub recipient: &'a Recipient,
    /// When.
    pub at: DateTime<Utc>,
    /// How long it can be confirmed.
    pub within: TimeDelta,
}

#[derive(Serialize)]
struct Context<'a> {
    language: String,
    /// Whether the language is written from right to left.
    rtl: bool,
    subject: &'a str,
    site: SiteContext<'a>,
    confirm: &'a str,
    hours: i64,
}

#[derive(Serialize)]
struct SiteContext<'a> {
    title: &'a str,
    url: &'a str,
}

/// Composes the message.
///
/// # Errors
/// When nobody sends, there is no page to confirm at, a template cannot be rendered, or the key does
/// not sign.
pub fn confirmation(
    asked: Asked<'_>,
    site: &Site,
    keys: &Keys,
    signer: Option<&Signer>,
    (catalog, templates): (&Catalog, &Templates),
    now: DateTime<Utc>,
) -> Result<Confirmation, Error> {
    let Asked { recipient, at, within } = asked;
    let page = site.subscribe.url.as_ref().and_then(|page| below(page, "confirm"));
    let mut page = page.ok_or_else(|| {
        Error::Message("`subscribe.url` is missing in `content/site.yaml`".to_owned())
    })?;
    page.query_pairs_mut().append_pair("token", &keys.confirmation(&recipient.key(), at));
    let subject = catalog.with("subject-confirm", [("site", site.title.as_str().into())]);
    let language = catalog.language().to_string();
    let context = Context {
        rtl: text::is_right_to_left(&language),
        language,
        subject: &subject,
        site: SiteContext { title: &site.title, url: site.url.as_str() },
        confirm: page.as_str(),
        hours: within.num_hours(),
    };
    let plain = encoded(&templates.render("confirm.txt", &context)?)?;
    let html = encoded(&templates.render("confirm.html", &context)?)?;

    let named = format!("{}\nconfirm\n{}\n{at}", site.list_id(), recipient.key());
    let identity = keys.identity(&named);
    let message_id = format!("<{identity}@{}>", site.list_id());
    let (from, to) = envelope(site, keys, &recipient.email)?;
    let sender = site.mail.from.clone().ok_or(Error::NoSender)?;
    let failed = |error: lettre::error::Error| Error::Message(error.to_string());
    let mut message = Message::builder()
        .from(Mailbox::new(sender.name, deliverable(&sender.email)?))
        .to(Mailbox::new(recipient.name.clone(), to.clone()))
        .raw_header(subject_header(&subject))
        .date(now.into())
        .message_id(Some(message_id.clone()));
    if let Some(Mailbox { name, email }) = site.mail.reply_to.clone() {
        message = message.reply_to(Mailbox::new(name, deliverable(&email)?));
    }
    for (name, value) in [
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("Content-Language", catalog.language().to_string()),
    ] {
        let name = HeaderName::new_from_ascii_str(name);
        message = message.raw_header(HeaderValue::new(name, value));
    }
    let message = message
        .multipart(
            MultiPart::alternative()
                .boundary(format!("=_{identity}"))
                .singlepart(part(ContentType::TEXT_PLAIN, plain))
                .singlepart(part(ContentType::TEXT_HTML, html)),
        )
        .map_err(failed)?;
    let mut bytes = message.formatted();
    if let Some(signer) = signer {
        let signature = signer.sign(&bytes, now)?;
        bytes.splice(0..0, signature.into_bytes());
    }
    Ok(Confirmation { message_id, from, to, bytes })
}
