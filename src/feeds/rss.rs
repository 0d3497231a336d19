//! RSS 2.0 with the profile of the RSS Advisory Board, closing dates as `dcterms:valid`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rss::extension::atom::{AtomExtension, Link};
use rss::extension::dublincore::DublinCoreExtension;
use rss::extension::{Extension, ExtensionMap};

use super::atom::{HISTORY, TERMS};
use super::{Entry, Feed, GENERATOR};
use crate::frame::Frame;
use crate::site::Site;
use crate::text;

/// What stands around the items of a feed.
///
/// # Errors
/// When the library cannot write it.
pub fn frame(feed: &Feed<'_>) -> Result<Frame, String> {
    let mut document = document(feed);
    // The library declares the namespaces that an item of ours needs.
    document.items.push(rss::Item {
        content: Some(String::new()),
        dublin_core_ext: Some(DublinCoreExtension::default()),
        ..rss::Item::default()
    });
    Frame::cut(&write(&document)?, SEPARATOR, ITEM)
}

/// An item as it stands in any feed.
///
/// # Errors
/// When the library cannot write it.
pub fn part(of: &Entry, site: &Site) -> Result<String, String> {
    let alone = rss::Channel { items: vec![item(of, site)], ..rss::Channel::default() };
    let part = super::cut(&write(&alone)?, ITEM)?;
    // The end of a section of CDATA cannot stand in one.
    let content = if memchr::memmem::find(of.content.as_bytes(), b"]]>").is_some() {
        Cow::Owned(of.content.replace("]]>", "]]]]><![CDATA[>"))
    } else {
        Cow::Borrowed(&*of.content)
    };
    Ok(text::filled(&part, ("<![CDATA[", text::STAND_IN, "]]>"), &content))
}

/// How an item begins and ends.
const ITEM: (&str, &str) = ("<item>", "</item>");
/// What stands between items.
const SEPARATOR: &str = "\n    ";

fn write(document: &rss::Channel) -> Result<String, String> {
    let bytes = document.pretty_write_to(Vec::new(), b' ', 2).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    Ok(character_references(&text) + "\n")
}

/// Plain text that contains `<` or `&` is read as HTML by some readers. The profile's
/// recommendation, "Character Data": hexadecimal references instead of the named ones, which
/// mean the same to an XML parser. Sections of CDATA stay as they are.
fn character_references(xml: &str) -> String {
    let mut parts = xml.split("<![CDATA[");
    let plain = |text: &str| text.replace("&lt;", "&#x3C;").replace("&amp;", "&#x26;");
    let mut written = plain(parts.next().unwrap_or_default());
    for part in parts {
        let (data, after) = part.split_once("]]>").unwrap_or((part, ""));
        written.push_str(&format!("<![CDATA[{data}]]>{}", plain(after)));
    }
    written
}

fn document(feed: &Feed<'_>) -> rss::Channel {
    let site = feed.site;
    let link = |rel: &str, href: String, mime: Option<&str>| Link {
        rel: rel.to_owned(),
        href,
        mime_type: mime.map(str::to_owned),
        ..Link::default()
    };
    let mut links = vec![link("self", feed.address("rss").into(), Some("application/rss+xml"))];
    links.extend(site.hub.as_ref().map(|hub| link("hub", hub.to_string(), None)));
    let editor = site
        .author
        .as_ref()
        .and_then(|author| author.email.as_ref().map(|email| format!("{email} ({})", author.name)));
    rss::Channel {
        title: feed.title.clone(),
        link: feed.home.to_string(),
        description: feed.description.clone(),
        language: Some(site.language.to_string().to_lowercase()),
        managing_editor: editor,
        last_build_date: Some(feed.updated.to_rfc2822()),
        generator: Some(GENERATOR.to_owned()),
        docs: Some("https://www.rssboard.org/rss-specification".to_owned()),
        extensions: extension("fh", "complete", Some(String::new())),
        atom_ext: Some(AtomExtension { links }),
        namespaces: BTreeMap::from([
            ("fh".to_owned(), HISTORY.to_owned()),
            ("dcterms".to_owned(), TERMS.to_owned()),
        ]),
        ..rss::Channel::default()
    }
}

fn item(entry: &Entry, site: &Site) -> rss::Item {
    let view = &entry.view;
    let summary = if view.summary.is_empty() { &view.title } else { &view.summary };
    rss::Item {
        title: Some(view.title.clone()),
        link: Some(view.url.clone()),
        // The profile: an item's description is HTML, unlike its title.
        description: Some(html_escape::encode_text(summary).into_owned()),
        content: Some(text::STAND_IN.to_owned()),
        categories: entry
            .categories
            .iter()
            .map(|category| rss::Category {
                name: category.label.clone(),
                domain: Some(site.tag(&format!("facets/{}", category.facet.as_str()))),
            })
            .collect(),
        guid: Some(rss::Guid { value: view.id.clone(), permalink: false }),
        pub_date: Some(entry.published().to_rfc2822()),
        // `author` takes an address and must not be without one.
        dublin_core_ext: Some(DublinCoreExtension {
            creators: entry.authors.clone(),
            languages: view.language.clone().into_iter().collect(),
            ..DublinCoreExtension::default()
        }),
        extensions: match entry.closes() {
            Some(closes) => extension("dcterms", "valid", Some(closes.to_string())),
            None => ExtensionMap::new(),
        },
        ..rss::Item::default()
    }
}

fn extension(prefix: &str, name: &str, value: Option<String>) -> ExtensionMap {
    let extension = Extension { name: format!("{prefix}:{name}"), value, ..Extension::default() };
    ExtensionMap::from([(prefix.to_owned(), BTreeMap::from([(name.to_owned(), vec![extension])]))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_change_outside_of_cdata_only() {
        assert_eq!(
            character_references("<a>R&amp;D &lt;b&gt;</a><c><![CDATA[&lt;&amp;]]></c>&amp;"),
            "<a>R&#x26;D &#x3C;b&gt;</a><c><![CDATA[&lt;&amp;]]></c>&#x26;"
        );
    }
}
