//! OPML 2.0: all feeds of a site, to import into a reader.

use opml::{Body, Head, OPML, Outline};

use super::{Error, Feed};
use crate::site::Site;

/// Writes the list of feeds, each in Atom: readers that know OPML know Atom.
///
/// # Errors
/// When the library cannot write it.
pub fn write(site: &Site, feeds: &[Feed<'_>]) -> Result<Vec<u8>, Error> {
    let outlines = feeds
        .iter()
        .map(|feed| Outline {
            text: feed.title.clone(),
            title: Some(feed.title.clone()),
            r#type: Some("rss".to_owned()),
            xml_url: Some(feed.address("atom").into()),
            html_url: Some(feed.home.to_string()),
            language: Some(site.language.to_string()),
            ..Outline::default()
        })
        .collect();
    let author = site.author.as_ref();
    let document = OPML {
        version: "2.0".to_owned(),
        head: Some(Head {
            title: Some(site.title.clone()),
            date_modified: feeds.first().map(|feed| feed.updated.to_rfc2822()),
            owner_name: author.map(|author| author.name.clone()),
            owner_email: author.and_then(|author| author.email.clone()),
            ..Head::default()
        }),
        body: Body { outlines },
    };
    let xml = document
        .to_string()
        .map_err(|error| Error { what: "feeds.opml".to_owned(), message: error.to_string() })?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}\n").into_bytes())
}
