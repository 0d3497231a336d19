//! Pages: the list of open postings, and one page for each posting that has been shown.

use serde::Serialize;

use crate::feeds::Feed;
use crate::posting::State;
use crate::site::Site;
use crate::templates::{Error, Templates};
use crate::view::View;

/// Within how many days a closing date is said in relative words, too.
const SOON: i64 = 7;

/// What templates know of a site.
#[derive(Serialize)]
struct SiteView<'a> {
    title: &'a str,
    description: Option<&'a str>,
    url: &'a str,
    language: String,
}

impl<'a> SiteView<'a> {
    fn new(site: &'a Site) -> Self {
        Self {
            title: &site.title,
            description: site.description.as_deref(),
            url: site.url.as_str(),
            language: site.language.to_string(),
        }
    }
}

/// What `posting.html` knows.
#[derive(Serialize)]
struct PostingContext<'a> {
    site: SiteView<'a>,
    posting: &'a View,
    content: &'a str,
    state: State,
}

/// What `index.html` knows.
#[derive(Serialize)]
struct IndexContext<'a> {
    site: SiteView<'a>,
    postings: Vec<Line<'a>>,
    feeds: Vec<FeedLink<'a>>,
}

/// A posting's page. `content` is its entry's content, which feeds share.
///
/// # Errors
/// When the template cannot be rendered.
pub fn posting(
    of: &Site,
    view: &View,
    content: &str,
    state: State,
    templates: &Templates,
) -> Result<Vec<u8>, Error> {
    let site = SiteView::new(of);
    templates
        .render("posting.html", PostingContext { site, posting: view, content, state })
        .map(String::into_bytes)
}

/// A line of the list.
#[derive(Serialize)]
struct Line<'a> {
    url: &'a str,
    title: &'a str,
    employer: Option<&'a str>,
    deadline: Option<&'a str>,
    days_left: Option<i64>,
    closes_soon: bool,
}

#[derive(Serialize)]
struct FeedLink<'a> {
    title: &'a str,
    url: String,
}

/// The list of open postings, in the order in which they close; those without a closing date
/// follow, newest first.
///
/// # Errors
/// When the template cannot be rendered.
pub fn index(
    site: &Site,
    open: &[(&View, Option<i64>)],
    feeds: &[Feed<'_>],
    templates: &Templates,
) -> Result<Vec<u8>, Error> {
    let mut open = open.to_vec();
    open.sort_by_key(|(view, days_left)| {
        (days_left.is_none(), *days_left, std::cmp::Reverse(view.published), view.slug.clone())
    });
    let postings: Vec<Line<'_>> = open
        .iter()
        .map(|(view, days_left)| Line {
            url: &view.url,
            title: &view.title,
            employer: view.employer.as_deref(),
            deadline: view.deadline.as_deref(),
            days_left: *days_left,
            closes_soon: days_left.is_some_and(|days| days <= SOON),
        })
        .collect();
    let feeds: Vec<FeedLink<'_>> = feeds
        .iter()
        .map(|feed| FeedLink { title: &feed.title, url: feed.address("atom").into() })
        .collect();
    let context = IndexContext { site: SiteView::new(site), postings, feeds };
    templates.render("index.html", context).map(String::into_bytes)
}
