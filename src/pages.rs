//! Pages: the lists of open postings, one page for each posting that has been shown, and what a site
//! needs beside them. They link to each other by relative addresses, so that they can be looked at
//! wherever they lie.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::Serialize;

use crate::calendar;
use crate::feeds::{Category, Entry, Feed, facet_path};
use crate::job_posting;
use crate::posting::moment::rfc3339;
use crate::posting::{Posting, State};
use crate::site::{Facet, Site};
use crate::templates::{Error, Templates};
use crate::text;
use crate::view::{View, page_path};

/// Within how many days a closing date is said in relative words, too.
const SOON: i64 = 7;
/// How many other postings of a team a page names.
const RELATED: usize = 5;

/// What templates know of a site.
#[derive(Serialize)]
struct SiteView<'a> {
    title: &'a str,
    description: Option<&'a str>,
    url: &'a str,
    language: String,
    rtl: bool,
}

impl<'a> SiteView<'a> {
    fn new(site: &'a Site) -> Self {
        let language = site.language.to_string();
        Self {
            title: &site.title,
            description: site.description.as_deref(),
            url: site.url.as_str(),
            rtl: text::is_right_to_left(&language),
            language,
        }
    }
}

/// A posting that is open, in a list.
pub struct Listed<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Its entry in the feeds.
    pub entry: &'a Entry,
    /// Calendar days to its last day.
    pub days_left: Option<i64>,
}

/// The open postings of each team.
pub struct Teams<'a>(HashMap<String, Vec<&'a Listed<'a>>>);

impl<'a> Teams<'a> {
    /// Sorts the open postings by team.
    pub fn new(open: &'a [Listed<'a>]) -> Self {
        let mut teams: HashMap<String, Vec<&'a Listed<'a>>> = HashMap::new();
        for listed in open {
            if let Some(team) = &listed.posting.team {
                teams.entry(text::term(team)).or_default().push(listed);
            }
        }
        Self(teams)
    }

    /// The other open postings of a posting's team.
    fn beside(&self, posting: &Posting) -> impl Iterator<Item = &'a Listed<'a>> {
        let team = posting.team.as_deref().and_then(|team| self.0.get(&text::term(team)));
        let all = team.into_iter().flatten().copied();
        all.filter(move |listed| listed.posting.id != posting.id)
    }
}

/// A posting that has been shown, and its state now.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The posting.
    pub posting: &'a Posting,
    /// Its entry in the feeds.
    pub entry: &'a Entry,
    /// Its state.
    pub state: State,
    /// Whether it has a calendar of its own.
    pub in_calendar: bool,
    /// Whether it is offered to search engines as a job.
    pub is_job: bool,
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
}

/// A posting's page. `teams` is what a reader may want to see, too.
///
/// # Errors
/// When the template cannot be rendered.
pub fn posting(
    of: &Site,
    shown: &Shown<'_>,
    teams: &Teams<'_>,
    templates: &Templates,
) -> Result<Vec<u8>, Error> {
    let Shown { posting, entry, state, .. } = *shown;
    let view = &entry.view;
    let context = PostingContext {
        site: SiteView::new(of),
        root: "../",
        posting: view,
        body: text::headings_below_title(&view.body),
        content: &entry.content,
        state,
        rtl: view.language.as_deref().is_some_and(text::is_right_to_left),
        calendar: shown.in_calendar.then(|| calendar::event_path(&posting.slug)),
        json_ld: shown.is_job.then(|| job_posting::json_ld(posting, view, &entry.content, of)),
        related: teams
            .beside(posting)
            .take(RELATED)
            .map(|other| Link {
                path: page_path(&other.posting.slug),
                title: &other.entry.view.title,
            })
            .collect(),
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
    mail: Option<String>,
}

/// A line of the list.
#[derive(Serialize)]
struct Line<'a> {
    path: String,
    title: &'a str,
    /// Role, who hires, where, and by which contract.
    details: Vec<&'a str>,
    deadline: Option<&'a str>,
    days_left: Option<i64>,
    closes_soon: bool,
    language: Option<&'a str>,
}

#[derive(Serialize)]
struct Source<'a> {
    title: &'a str,
    path: &'a str,
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

/// The list of open postings, in the order in which they close; those without a closing date
/// follow, newest first. With `category`, those of one value of a facet.
///
/// # Errors
/// When the template cannot be rendered.
pub fn index<'a>(
    site: &'a Site,
    open: &'a [Listed<'a>],
    feeds: &'a [Feed<'a>],
    category: Option<&'a Category>,
    templates: &Templates,
) -> Result<Vec<u8>, Error> {
    let is_listed = |listed: &&Listed<'a>| {
        category.is_none_or(|category| {
            let of = &listed.entry.categories;
            of.iter().any(|of| of.is_same(category))
        })
    };
    let mut listed: Vec<&Listed<'a>> = open.iter().filter(is_listed).collect();
    listed.sort_by_key(|listed| {
        let published = std::cmp::Reverse(listed.entry.view.published);
        (listed.days_left.is_none(), listed.days_left, published, &listed.posting.slug)
    });
    let is_own = |feed: &&Feed<'_>| match (&feed.category, category) {
        (Some(of), Some(category)) => of.is_same(category),
        (None, None) => true,
        _ => false,
    };
    let source = |feed: &'a Feed<'_>| Source { title: &feed.title, path: &feed.path };
    let own_feeds: Vec<Source<'a>> = feeds.iter().filter(is_own).map(source).collect();
    let title = own_feeds.first().map_or(site.title.as_str(), |feed| feed.title);
    let path = category.map(facet_path);
    let context = IndexContext {
        site: SiteView::new(site),
        root: if category.is_some() { "../" } else { "" },
        url: path.map_or(site.url.clone(), |path| site.address(&path)).into(),
        title,
        facet: category,
        postings: listed.into_iter().map(line).collect(),
        facets: if category.is_some() { Vec::new() } else { groups(feeds) },
        feeds: feeds.iter().filter(|feed| category.is_none() || is_own(feed)).map(source).collect(),
        own_feeds,
        mail: site.mail.reply_to.as_ref().map(|mailbox| mailbox.email.to_string()),
    };
    page(templates, "index.html", &context)
}

fn line<'a>(listed: &'a Listed<'a>) -> Line<'a> {
    let view = &listed.entry.view;
    let role = view.role.as_deref().filter(|role| *role != view.title);
    let details =
        [role, view.employer.as_deref(), view.location.as_deref(), view.contract.as_deref()];
    Line {
        path: page_path(&view.slug),
        title: &view.title,
        details: details.into_iter().flatten().collect(),
        deadline: view.deadline.as_deref(),
        days_left: listed.days_left,
        closes_soon: listed.days_left.is_some_and(|days| days <= SOON),
        language: view.language.as_deref(),
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
                count: feed.entries.len(),
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
    Ok(ComposingNormalizerBorrowed::new_nfc().normalize(&page).into_owned().into_bytes())
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
        map.push_str(&format!(
            "<url><loc>{}</loc><lastmod>{}</lastmod></url>\n",
            html_escape::encode_text(&address),
            rfc3339(&changed)
        ));
    }
    map.push_str("</urlset>\n");
    map.into_bytes()
}
