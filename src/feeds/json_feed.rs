//! JSON Feed 1.1, with a posting's dates and terms in a `_crieur` object.

use serde::Serialize;

use super::{Entry, Feed};
use crate::frame::Frame;
use crate::posting::Moment;
use crate::posting::moment::rfc3339;
use crate::text;

/// What stands around the items of a feed.
///
/// # Errors
/// Never in practice: everything in it can be JSON.
pub fn frame(feed: &Feed<'_>) -> Result<Frame, String> {
    let text = serde_json::to_string_pretty(&document(feed)).map_err(|error| error.to_string())?;
    let (head, tail) = text.rsplit_once("[]").ok_or("a feed without a list of items")?;
    Ok(Frame {
        head: format!("{head}["),
        open: "\n    ",
        separator: ",\n    ",
        close: "\n  ",
        tail: format!("]{tail}\n"),
    })
}

/// An item as it stands in any feed.
///
/// # Errors
/// Never in practice: everything in it can be JSON.
pub fn part(of: &Entry) -> Result<String, String> {
    let text = serde_json::to_string_pretty(&item(of)).map_err(|error| error.to_string())?;
    // The text of a value has no line breaks of its own.
    let part = text.replace('\n', "\n    ");
    let content = text::escaped(&of.content, &text::JSON);
    Ok(text::filled(&part, ("\"", text::STAND_IN_JSON, "\""), &content))
}

/// The top level of a feed.
#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    title: &'a str,
    home_page_url: &'a str,
    feed_url: String,
    description: &'a str,
    language: String,
    authors: Vec<Author<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hubs: Vec<Hub<'a>>,
    _crieur: FeedExtension,
    /// Written apart.
    items: [(); 0],
}

#[derive(Serialize)]
struct Author<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Hub<'a> {
    r#type: &'static str,
    url: &'a str,
}

/// What a whole feed says beside the format's own fields.
#[derive(Serialize)]
struct FeedExtension {
    /// What is not in the feed is not open any more.
    complete: bool,
    /// When the feed last changed (RFC 3339).
    updated: String,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    url: &'a str,
    title: &'a str,
    content_html: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    summary: &'a str,
    date_published: String,
    date_modified: String,
    authors: Vec<Author<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    _crieur: ItemExtension<'a>,
}

/// What a posting says for machines. Dates are ISO 8601: a whole day in the site's time zone, or
/// an instant.
#[derive(Serialize)]
struct ItemExtension<'a> {
    opens: Option<Moment>,
    closes: Option<Moment>,
    role: Option<&'a str>,
    organisation: Option<&'a str>,
    team: Option<&'a str>,
    contract: Option<&'a str>,
    partner: bool,
    domains: &'a [String],
    technologies: &'a [String],
    junior: Option<bool>,
    location: Option<&'a str>,
    remote: Option<&'a str>,
    salary: Option<&'a str>,
    apply_url: Option<&'a str>,
    contacts: Vec<&'a str>,
}

fn document<'a>(feed: &'a Feed<'_>) -> Document<'a> {
    let site = feed.site;
    let author = site.author.as_ref().map_or(site.title.as_str(), |author| author.name.as_str());
    Document {
        version: "https://jsonfeed.org/version/1.1",
        title: &feed.title,
        home_page_url: feed.home.as_str(),
        feed_url: feed.address("json").into(),
        description: &feed.description,
        language: site.language.to_string(),
        authors: vec![Author { name: author }],
        hubs: site.hub.iter().map(|hub| Hub { r#type: "WebSub", url: hub.as_str() }).collect(),
        _crieur: FeedExtension { complete: true, updated: rfc3339(&feed.updated) },
        items: [],
    }
}

fn item(entry: &Entry) -> Item<'_> {
    let view = &entry.view;
    let mut tags: Vec<&str> = Vec::new();
    for category in &entry.categories {
        if !tags.contains(&category.label.as_str()) {
            tags.push(&category.label);
        }
    }
    Item {
        id: &view.id,
        url: &view.url,
        title: &view.title,
        content_html: text::STAND_IN,
        summary: &view.summary,
        date_published: rfc3339(&entry.published()),
        date_modified: rfc3339(&view.updated),
        authors: entry.authors.iter().map(|name| Author { name }).collect(),
        tags,
        language: view.language.as_deref(),
        _crieur: ItemExtension {
            opens: view.opens,
            closes: view.closes,
            role: view.role.as_deref(),
            organisation: view.organisation.as_deref(),
            team: view.team.as_deref(),
            contract: view.contract.as_deref(),
            partner: view.partner,
            domains: &view.domains,
            technologies: &view.technologies,
            junior: view.junior,
            location: view.location.as_deref(),
            remote: view.remote.as_deref(),
            salary: view.salary.as_deref(),
            apply_url: view.apply_url.as_deref(),
            contacts: view.contacts.iter().map(|contact| contact.text.as_str()).collect(),
        },
    }
}
