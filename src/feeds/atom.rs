//! Atom 1.0 (RFC 4287), whole feeds (RFC 5005 section 2), closing dates as `dcterms:valid`.

use std::collections::BTreeMap;

use atom_syndication as atom;
use atom_syndication::extension::{Extension, ExtensionMap};

use super::{Entry, Feed, GENERATOR};
use crate::frame::Frame;
use crate::site::Site;
use crate::text;

/// The namespace of `complete`.
pub const HISTORY: &str = "http://purl.org/syndication/history/1.0";
/// The namespace of `valid`.
pub const TERMS: &str = "http://purl.org/dc/terms/";

/// What stands around the entries of a feed.
///
/// # Errors
/// When the library cannot write it.
pub fn frame(feed: &Feed<'_>) -> Result<Frame, String> {
    let mut document = document(feed);
    document.entries.push(atom::Entry::default());
    Frame::cut(&write(&document)?, SEPARATOR, ENTRY)
}

/// An entry as it stands in any feed.
///
/// # Errors
/// When the library cannot write it.
pub fn part(of: &Entry, site: &Site) -> Result<String, String> {
    let alone = atom::Feed { entries: vec![entry(of, site)], ..atom::Feed::default() };
    let part = super::cut(&write(&alone)?, ENTRY)?;
    let content = text::escaped(&of.content, &REFERENCES);
    Ok(text::filled(&part, (">", text::STAND_IN, "</content>"), &content))
}

/// How an entry begins and ends.
const ENTRY: (&str, &str) = ("<entry>", "</entry>");
/// What stands between entries.
const SEPARATOR: &str = "\n  ";

/// How the library writes characters in a text.
static REFERENCES: text::References = text::References::new([
    (b'<', "&lt;"),
    (b'>', "&gt;"),
    (b'&', "&amp;"),
    (b'\'', "&apos;"),
    (b'"', "&quot;"),
]);

fn write(document: &atom::Feed) -> Result<String, String> {
    let config = atom::WriteConfig { write_document_declaration: true, indent_size: Some(2) };
    let bytes =
        document.write_with_config(Vec::new(), config).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(bytes).map_err(|error| error.to_string())? + "\n")
}

fn document(feed: &Feed<'_>) -> atom::Feed {
    let link = |rel: &str, href: String, mime: Option<&str>| atom::Link {
        rel: rel.to_owned(),
        href,
        mime_type: mime.map(str::to_owned),
        ..atom::Link::default()
    };
    let site = feed.site;
    let mut links = vec![
        link("self", feed.address("atom").into(), Some("application/atom+xml")),
        link("alternate", feed.home.to_string(), Some("text/html")),
    ];
    links.extend(site.hub.as_ref().map(|hub| link("hub", hub.to_string(), None)));
    atom::Feed {
        title: atom::Text::plain(feed.title.clone()),
        subtitle: (feed.description != feed.title)
            .then(|| atom::Text::plain(feed.description.clone())),
        id: feed.id.clone(),
        updated: feed.updated.fixed_offset(),
        // RFC 4287 section 4.1.1: an author, unless every entry has one; readers show it.
        authors: vec![match &site.author {
            Some(author) => atom::Person {
                name: author.name.clone(),
                email: author.email.clone(),
                ..atom::Person::default()
            },
            None => person(&site.title),
        }],
        generator: Some(atom::Generator { value: GENERATOR.to_owned(), uri: None, version: None }),
        links,
        // "Complete": what is not in the feed is not open any more.
        extensions: extension("fh", "complete", Some(String::new())),
        namespaces: BTreeMap::from([
            ("fh".to_owned(), HISTORY.to_owned()),
            ("dcterms".to_owned(), TERMS.to_owned()),
        ]),
        lang: Some(site.language.to_string()),
        ..atom::Feed::default()
    }
}

fn person(name: &str) -> atom::Person {
    atom::Person { name: name.to_owned(), ..atom::Person::default() }
}

fn entry(entry: &Entry, site: &Site) -> atom::Entry {
    let view = &entry.view;
    // What is not said is in the language of the feed.
    let said = |text: &str| atom::Text { lang: view.language.clone(), ..plain(text) };
    atom::Entry {
        title: said(&view.title),
        id: view.id.clone(),
        updated: view.updated.fixed_offset(),
        published: view.published.map(|published| published.fixed_offset()),
        authors: entry.authors.iter().map(|name| person(name)).collect(),
        categories: entry
            .categories
            .iter()
            .map(|category| atom::Category {
                term: category.term.clone(),
                // A scheme tells the team "design" from the field of work.
                scheme: Some(site.tag(&format!("facets/{}", category.facet.as_str()))),
                label: Some(category.label.clone()),
            })
            .collect(),
        links: vec![atom::Link {
            rel: "alternate".to_owned(),
            href: view.url.clone(),
            mime_type: Some("text/html".to_owned()),
            ..atom::Link::default()
        }],
        summary: (!view.summary.is_empty()).then(|| said(&view.summary)),
        content: Some(atom::Content {
            value: Some(text::STAND_IN.to_owned()),
            content_type: Some("html".to_owned()),
            lang: view.language.clone(),
            ..atom::Content::default()
        }),
        extensions: match entry.closes() {
            Some(closes) => extension("dcterms", "valid", Some(closes.to_string())),
            None => ExtensionMap::new(),
        },
        ..atom::Entry::default()
    }
}

/// Plain text; where a reader could take it for HTML, as HTML: not every reader looks at the type.
fn plain(text: &str) -> atom::Text {
    let is_tag = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if text.split('<').skip(1).any(is_tag) || text.split('&').skip(1).any(is_reference) {
        atom::Text::html(html_escape::encode_text(text))
    } else {
        atom::Text::plain(text)
    }
}

/// Whether what follows an ampersand looks like a character reference, with or without its end.
fn is_reference(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '#').unwrap_or(text.len());
    let name = &text[..end];
    let written = format!("&{name};");
    !name.is_empty()
        && (!name.chars().all(char::is_alphabetic)
            || html_escape::decode_html_entities(&written) != written)
}

fn extension(prefix: &str, name: &str, value: Option<String>) -> ExtensionMap {
    let extension = Extension { name: format!("{prefix}:{name}"), value, ..Extension::default() };
    ExtensionMap::from([(prefix.to_owned(), BTreeMap::from([(name.to_owned(), vec![extension])]))])
}
