//! Pages: the lists of open postings, one page for each posting that has been shown, and what a site
//! needs beside them. They link to each other by relative addresses, so that they can be looked at
//! wherever they lie.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde::Serialize;
use unic_langid::LanguageIdentifier;
use url::Url;

use crate::calendar;
use crate::catalog::Catalog;
use crate::feeds::{Entry, Feed, facet_path};
use crate::job_posting;
use crate::outline::{self, Category, Outline};
use crate::posting::Posting;
use crate::posting::State;
use crate::posting::moment::rfc3339;
use crate::site::{Facet, Site};
use crate::templates::{Error, Templates};
use crate::text;
use crate::view::{self, View, page_path};

/// Within how many days a closing date is said in relative words, too.
const SOON: i64 = 7;
/// How many other postings of a team a page names.
pub const RELATED: usize = 5;

/// What templates know of a site.
#[derive(Serialize)]
pub(crate) struct SiteView<'a> {
    title: &'a str,
    description: Option<&'a str>,
    url: &'a str,
    language: String,
    rtl: bool,
}

impl<'a> SiteView<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        Self::in_language(site, &site.language)
    }

    /// A site whose page is written in some language.
    pub(crate) fn in_language(site: &'a Site, language: &LanguageIdentifier) -> Self {
        let language = language.to_string();
        Self {
            title: &site.title,
            description: site.description.as_deref(),
            url: site.url.as_str(),
            rtl: text::is_right_to_left(&language),
            language,
        }
    }
}

/// What `posting.html` knows.
#[derive(Serialize)]
struct PostingContext<'a> {
    site: SiteView<'a>,
    root: &'static str,
    posting: &'a View,
    /// The text, with headings that come after the page's own.
    body: String,
    /// The content of the feeds' entry.
    content: &'a str,
    state: State,
    rtl: bool,
    calendar: Option<String>,
    json_ld: Option<String>,
    related: Vec<Link<'a>>,
}

#[derive(Serialize)]
struct Link<'a> {
    path: String,
    title: &'a str,
    /// The language of the title, where it is not the site's, and whether it is written from right to left.
    language: Option<&'a str>,
    rtl: bool,
}

impl<'a> Link<'a> {
    fn new(posting: &'a Posting, site: &Site) -> Self {
        let language = view::language(posting, site);
        let rtl = language.is_some_and(text::is_right_to_left);
        Self { path: page_path(&posting.slug), title: &posting.title, language, rtl }
    }
}

/// A posting's page. `related` is what a reader may want to see, too.
///
/// # Errors
/// When the template cannot be rendered.
pub fn posting(
    of: &Site,
    outline: &Outline<'_>,
    entry: &Entry,
    related: &[&Outline<'_>],
    templates: &Templates,
) -> Result<Vec<u8>, Error> {
    let posting = outline.posting;
    let view = &entry.view;
    let context = PostingContext {
        site: SiteView::new(of),
        root: "../",
        posting: view,
        body: text::part_of_page(&view.body),
        content: &entry.content,
        state: outline.state,
        rtl: view.language.as_deref().is_some_and(text::is_right_to_left),
        calendar: outline.calendar.map(|_| calendar::event_path(&posting.slug)),
        json_ld: outline.is_job.then(|| job_posting::json_ld(posting, view, &entry.content, of)),
        related: related.iter().map(|other| Link::new(other.posting, of)).collect(),
    };
    page(templates, "posting.html", &context)
}

/// What `index.html` knows: of everything, or of one value of a facet.
#[derive(Serialize)]
struct IndexContext<'a> {
    site: SiteView<'a>,
    root: &'static str,
    url: String,
    title: &'a str,
    facet: Option<&'a Category>,
    postings: Vec<Line<'a>>,
    facets: Vec<Group<'a>>,
    /// Every feed that readers of this page may want.
    feeds: Vec<Source<'a>>,
    /// Those of this page itself.
    own_feeds: Vec<Source<'a>>,
    /// The form to subscribe by mail with this page's facet chosen, or whom to ask.
    form: Option<String>,
    mail: Option<String>,
}

/// A line of the list.
#[derive(Serialize)]
struct Line<'a> {
    path: String,
    title: &'a str,
    /// Role, who hires, where, and by which contract.
    details: Vec<&'a str>,
    deadline: Option<String>,
    days_left: Option<i64>,
    closes_soon: bool,
    language: Option<&'a str>,
    rtl: bool,
}

#[derive(Serialize)]
struct Source<'a> {
    title: &'a str,
    path: &'a str,
}

impl<'a> Source<'a> {
    fn of(feed: &'a Feed<'_>) -> Self {
        Self { title: &feed.title, path: &feed.path }
    }
}

/// The values of a facet, to choose from.
#[derive(Serialize)]
struct Group<'a> {
    name: &'static str,
    values: Vec<Choice<'a>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    label: &'a str,
    path: String,
    count: usize,
}

/// The list of a feed's postings, in the order in which they close; those without a closing date
/// follow, newest first. `all` is every feed of the site.
///
/// # Errors
/// When the template cannot be rendered.
pub fn index(
    site: &Site,
    outlines: &[Outline<'_>],
    feed: &Feed<'_>,
    all: &[Feed<'_>],
    catalog: &Catalog,
    templates: &Templates,
) -> Result<Vec<u8>, Error> {
    let mut listed: Vec<&Outline<'_>> =
        feed.members.iter().filter_map(|at| outlines.get(*at)).collect();
    listed.sort_by_cached_key(|outline| {
        let end = outline.posting.closes.map(|closes| closes.end(site.timezone));
        (end.is_none(), end, Reverse(outline.published), &outline.posting.slug)
    });
    let category = feed.category.as_ref();
    let path = category.map(facet_path);
    let context = IndexContext {
        site: SiteView::new(site),
        root: if category.is_some() { "../" } else { "" },
        url: path.map_or(site.url.clone(), |path| site.address(&path)).into(),
        title: &feed.title,
        facet: category,
        postings: listed.into_iter().map(|outline| line(outline, site, catalog)).collect(),
        facets: if category.is_some() { Vec::new() } else { groups(all) },
        feeds: match category {
            Some(_) => vec![Source::of(feed)],
            None => all.iter().map(Source::of).collect(),
        },
        own_feeds: vec![Source::of(feed)],
        form: site.subscribe.url.clone().map(|form| chosen(form, category).into()),
        mail: site.mail.reply_to.as_ref().map(|mailbox| mailbox.email.to_string()),
    };
    page(templates, "index.html", &context)
}

/// The form with a value of a facet chosen in it, where people can choose by that facet.
fn chosen(mut form: Url, category: Option<&Category>) -> Url {
    if let Some(Category { facet, term, .. }) = category
        && *facet != Facet::Organisation
    {
        form.query_pairs_mut().append_pair(facet.as_str(), term);
    }
    form
}

fn line<'a>(outline: &Outline<'a>, site: &Site, catalog: &Catalog) -> Line<'a> {
    let posting = outline.posting;
    let Link { path, title, language, rtl } = Link::new(posting, site);
    Line {
        path,
        title,
        details: outline::details(posting).collect(),
        deadline: posting.closes.map(|closes| catalog.deadline(closes, site.timezone)),
        days_left: outline.days_left,
        closes_soon: outline.days_left.is_some_and(|days| days <= SOON),
        language,
        rtl,
    }
}

/// The facets with the values that an open posting has.
fn groups<'a>(feeds: &'a [Feed<'_>]) -> Vec<Group<'a>> {
    let of = |facet: Facet| -> Vec<Choice<'a>> {
        let choices = feeds.iter().filter_map(|feed| {
            let category = feed.category.as_ref().filter(|category| category.facet == facet)?;
            Some(Choice {
                label: &category.label,
                path: facet_path(category),
                count: feed.members.len(),
            })
        });
        choices.collect()
    };
    Facet::ALL
        .into_iter()
        .map(|facet| Group { name: facet.as_str(), values: of(facet) })
        .filter(|group| !group.values.is_empty())
        .collect()
}

/// The page for addresses that lead nowhere. It is shown at any of them, so its own links begin at
/// the site's root.
///
/// # Errors
/// When the template cannot be rendered.
pub fn not_found(site: &Site, templates: &Templates) -> Result<Vec<u8>, Error> {
    #[derive(Serialize)]
    struct Context<'a> {
        site: SiteView<'a>,
        root: &'a str,
    }
    page(templates, "404.html", &Context { site: SiteView::new(site), root: site.url.path() })
}

/// The page at an address where a posting was before.
///
/// # Errors
/// When the template cannot be rendered.
pub fn moved(site: &Site, view: &View, templates: &Templates) -> Result<Vec<u8>, Error> {
    #[derive(Serialize)]
    struct Context<'a> {
        site: SiteView<'a>,
        posting: &'a View,
    }
    page(templates, "moved.html", &Context { site: SiteView::new(site), posting: view })
}

/// The file in `out/` of an address where a posting was before, if there can be one.
pub fn moved_path(address: &str) -> Option<String> {
    let path = address.trim_start_matches('/');
    // What begins with a dot is hidden, ours, or a way upwards; and names have an end.
    let is_name = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.len() <= text::MAX_SLUG + ".html".len()
    };
    let is_sound = path.strip_suffix('/').unwrap_or(path).split('/').all(is_name)
        && !path.contains(['\\', '?', '#', '%', ':'])
        && !path.contains(char::is_control);
    let extension = std::path::Path::new(path).extension();
    let is_file = extension.is_some_and(|extension| extension == "html" || extension == "htm");
    is_sound.then(|| match path.strip_suffix('/') {
        Some(folder) => format!("{folder}/index.html"),
        None if is_file => path.to_owned(),
        None => format!("{path}/index.html"),
    })
}

/// Brings the text of a page into the form that the web wants (Unicode's NFC), whatever keyboards
/// it was typed on.
fn page(templates: &Templates, name: &str, context: impl Serialize) -> Result<Vec<u8>, Error> {
    let page = templates.render(name, context)?;
    if page.trim().is_empty() {
        // Nobody publishes a page with nothing on it, and a file that was cut short looks like that.
        let message = "makes an empty page".to_owned();
        return Err(Error { name: name.to_owned(), line: None, message });
    }
    Ok(text::composed_page(page).into_bytes())
}

/// The pages for search engines, with the time of their last change: a site's map
/// (sitemaps.org, 0.9).
pub fn sitemap(pages: impl IntoIterator<Item = (String, DateTime<Utc>)>) -> Vec<u8> {
    let mut map = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    for (address, changed) in pages {
        let changed = changed.timestamp();
        let changed = DateTime::from_timestamp(changed, 0).unwrap_or_default();
        map.push_str("<url><loc>");
        map.push_str(&html_escape::encode_text(&address));
        map.push_str("</loc><lastmod>");
        map.push_str(&rfc3339(&changed));
        map.push_str("</lastmod></url>\n");
    }
    map.push_str("</urlset>\n");
    map.into_bytes()
}
