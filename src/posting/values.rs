//! What single values mean, whichever key they stand under.

use percent_encoding::percent_decode_str;
use url::Url;

use super::Contact;
use crate::text;
use crate::yaml::{Node, Value};

/// Whether a text can stand as an id: an absolute IRI (RFC 4287 section 4.2.6) that is what its
/// scheme asks for, in the schemes that people use for ids.
pub fn is_identity(url: &Url, text: &str) -> bool {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest);
    let sound = match url.scheme() {
        "http" | "https" => rest.starts_with("//") && url.host_str().is_some_and(|h| !h.is_empty()),
        // RFC 4151: authority, date, specific part.
        "tag" => rest.split_once(':').and_then(|(entity, _)| entity.split_once(',')).is_some_and(
            |(authority, date)| {
                !authority.is_empty()
                    && matches!(date.len(), 4 | 7 | 10)
                    && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
            },
        ),
        // RFC 8141, and RFC 9562 for the one namespace that has a form of its own.
        "urn" => rest.split_once(':').is_some_and(|(namespace, specific)| {
            let is_uuid = specific.len() == 36
                && specific.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            namespace.len() >= 2 && !specific.is_empty() && (namespace != "uuid" || is_uuid)
        }),
        _ => !rest.is_empty(),
    };
    sound && !text.contains(|c: char| c.is_whitespace() || "<>\"{}|\\^`[]".contains(c))
}

/// Whether a code stands for a language (ISO 639): readers refuse others.
pub fn is_language(code: &str) -> bool {
    isolang::Language::from_639_1(code).or_else(|| isolang::Language::from_639_3(code)).is_some()
}

/// Whether two values say the same.
pub fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: a, .. }, Value::Scalar { text: b, .. }) => {
            text::one_line(a) == text::one_line(b)
        }
        (Value::Sequence(a), Value::Sequence(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Sequence(items), Value::Scalar { .. }) => items.len() == 1 && same(&items[0], b),
        (Value::Scalar { .. }, Value::Sequence(items)) => items.len() == 1 && same(a, &items[0]),
        _ => false,
    }
}

/// Yes or no, in the words of YAML 1.1, English and French.
pub fn yes_or_no(text: &str) -> Option<bool> {
    match text::folded(text).as_str() {
        "true" | "yes" | "y" | "on" | "1" | "oui" | "o" | "vrai" => Some(true),
        "false" | "no" | "n" | "off" | "0" | "non" | "faux" => Some(false),
        _ => None,
    }
}

/// A contact, with the mail address that stands in it, if one does.
pub fn contact(text: &str) -> Contact {
    let inner =
        text.split(['<', '>', ' ', '(', ')']).map(|word| word.trim_start_matches("mailto:"));
    // A full stop ends the sentence.
    let inner = inner.map(|word| word.trim_end_matches(['.', ',', ';', ':']));
    let email = inner.filter(|word| text::is_address(word)).map(str::to_owned).next();
    Contact { text: text.to_owned(), email }
}

/// The contacts on one line, each with one address: a comma or semicolon ends one where another address
/// is to come.
pub fn contacts(line: &str) -> Vec<Contact> {
    let mut contacts: Vec<Contact> = Vec::new();
    let mut begun = String::new();
    for piece in line.split_inclusive([',', ';']) {
        begun.push_str(piece);
        let text = begun.trim_end_matches([',', ';', ' ']).trim();
        let found = contact(text);
        if found.email.is_some() {
            contacts.push(found);
            begun.clear();
        }
    }
    // What is left over belongs to the last.
    let rest = begun.trim();
    match contacts.last_mut() {
        _ if rest.is_empty() => {}
        Some(last) => last.text = format!("{}, {rest}", last.text),
        None => contacts.push(contact(rest)),
    }
    contacts
}

/// An old address as a path below the site's root: no way upwards, no other site. A whole address may
/// lie below that of the site; one that was somewhere else had its path there.
pub fn redirect(text: &str, site: &Url) -> Option<String> {
    let path = match Url::parse(text) {
        Ok(url) => {
            let below = url.path().strip_prefix(site.path());
            below.filter(|_| url.origin() == site.origin()).unwrap_or(url.path()).to_owned()
        }
        Err(_) => text.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    // As browsers show it, or as they copy it.
    let path = percent_decode_str(&path).decode_utf8().ok()?;
    let segments: Vec<&str> =
        path.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
    let sound = !segments.is_empty()
        && segments.iter().all(|s| *s != ".." && !s.contains('\\') && s.len() <= 200);
    sound.then(|| format!("/{}{}", segments.join("/"), if path.ends_with('/') { "/" } else { "" }))
}

/// A value for templates. Its depth is bounded, so recursion is safe.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Scalar { text, quoted: false } if node.is_null() && text.len() < 5 => {
            serde_json::Value::Null
        }
        Value::Scalar { text, quoted: false } if text == "true" || text == "false" => {
            (text == "true").into()
        }
        Value::Scalar { text, .. } => text::allowed(text).into(),
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .filter_map(|(key, value)| Some((key.as_text()?.to_owned(), json(value))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
