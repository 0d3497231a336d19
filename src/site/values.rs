//! The values of `site.yaml`: reading those that are more than a word or a number, and saying in
//! plain words what is wrong with one.
//!
//! What a reader here refuses, it refuses as `what it is not; what to write`.

use chrono::NaiveTime;
use chrono_tz::Tz;
use lettre::message::Mailbox;
use serde::de::{Deserialize, Deserializer, Error};
use serde_yaml::Value;
use unic_langid::LanguageIdentifier;
use url::Url;

use crate::diagnostics::nearest;

/// A value's text, whether it stands in quotes or looks like a number.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(D::Error::custom(
            "this is not a text; write one, in quotes if it looks like something else",
        )),
    }
}

pub(super) fn language<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<LanguageIdentifier, D::Error> {
    let text = text(deserializer)?;
    let known = text.parse().ok().filter(|tag: &LanguageIdentifier| tag.language != "und");
    let message = || format!("`{text}` is no language tag; write a tag like `fr` or `en`");
    known.ok_or_else(|| D::Error::custom(message()))
}

pub(super) fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let text = text(deserializer)?;
    text.parse().map_err(|_| {
        let near = nearest(&text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        let hint = near.map_or("write a name like `Europe/Paris`".to_owned(), |near| {
            format!("did you mean `{near}`?")
        });
        D::Error::custom(format!("`{text}` is no time zone; {hint}"))
    })
}

pub(super) fn time_of_day<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<NaiveTime, D::Error> {
    let text = text(deserializer)?;
    NaiveTime::parse_from_str(&text, "%H:%M").map_err(|_| {
        let help = "write hours and minutes, like `\"08:00\"`";
        D::Error::custom(format!("`{text}` is no time of day; {help}"))
    })
}

/// An address of the web, in a field that must have one or in one that may.
pub(super) fn web_address<'de, D: Deserializer<'de>, T: From<Url>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = text(deserializer)?;
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        let why = "an address that everybody reads has neither a user nor a password in it";
        return Err(D::Error::custom(format!("{why}; write what follows the `@`")));
    }
    url.filter(Url::has_host).map(T::from).ok_or_else(|| {
        let help = "write it as a browser shows it, like `https://jobs.example.org/`";
        D::Error::custom(format!("`{text}` is not an address of the web; {help}"))
    })
}

pub(super) fn mailbox<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Mailbox>, D::Error> {
    let text = text(deserializer)?;
    text.parse().map(Some).map_err(|_| {
        let help = "write `Name <jobs@example.org>`, or the address alone";
        D::Error::custom(format!("`{text}` is not a mail address; {help}"))
    })
}

/// A year, month or day, as it is written.
pub(super) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text(deserializer).map(Some)
}

/// What is wrong at a path, and what to do, from what serde or a reader of this module says.
pub(super) fn explained(path: &str, said: &str) -> (String, String) {
    if let Some(field) = said.strip_prefix("missing field ") {
        let field = field.trim_matches('`');
        let whole = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
        return (format!("`{whole}` is missing"), format!("add a line `{field}: …`"));
    }
    let whole = if path == "." { "this".to_owned() } else { format!("`{path}`") };
    if let Some((variant, words)) =
        said.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, expected "))
    {
        let words = words.trim_start_matches("one of ");
        let near = nearest(variant, words.split('`').filter(|word| word.len() > 2));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {words}"),
        };
        return (format!("{whole}: `{variant}` is none of {words}"), help);
    }
    if let Some((_, kind)) = said.rsplit_once(", expected ") {
        let (kind, how) = match kind {
            "u16" => ("a whole number from 0 to 65535", ""),
            "u32" => ("a whole number", " from 0 on"),
            "a boolean" => ("`true` or `false`", ""),
            "a string" => ("a text", ", in quotes if it looks like something else"),
            "path string" => ("a path", ""),
            "a sequence" => ("a list", ", like `[a, b]`"),
            kind if kind.starts_with("struct ") => ("a group of keys", ", each with its value"),
            kind => (kind, ""),
        };
        return (format!("{whole} is not {kind}"), format!("write {kind}{how}"));
    }
    match said.split_once("; ") {
        Some((what, help)) => (format!("{whole}: {what}"), help.to_owned()),
        None => (format!("{whole}: {said}"), "correct the value".to_owned()),
    }
}
