//! `crieur list`: postings and their state.

use serde::Serialize;

use super::{Outcome, Result, Shell, Texts, print, table};
use crate::cli::{self, ListFormat};
use crate::posting::lifecycle::{self, Rules, State};
use crate::posting::{Moment, Posting};
use crate::view::page_path;

/// A posting, as `--format json` shows it. Dates are ISO 8601: a whole day in the site's time
/// zone, or an instant.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: &'a str,
    slug: &'a str,
    id: &'a str,
    url: String,
    title: &'a str,
    role: Option<&'a str>,
    organisation: Option<&'a str>,
    team: Option<&'a str>,
    contract: Option<&'a str>,
    domains: &'a [String],
    state: State,
    opens: Option<Moment>,
    closes: Option<Moment>,
    days_left: Option<i64>,
}

pub(super) fn run(shell: &Shell, arguments: &cli::List) -> Result {
    let opened = shell.site()?;
    let loaded = opened.postings(Texts::Few)?;
    let rules = Rules::of(&opened.site);
    let mut rows: Vec<Row<'_>> = loaded
        .postings
        .iter()
        .map(|posting| Row {
            path: &posting.source.path,
            slug: &posting.slug,
            id: &posting.id,
            url: opened.site.address(&page_path(&posting.slug)).into(),
            title: &posting.title,
            role: posting.role.as_deref(),
            organisation: posting.organisation.as_deref(),
            team: posting.team.as_deref(),
            contract: posting.contract.as_deref(),
            domains: &posting.domains,
            state: lifecycle::state(posting, opened.now, &rules),
            opens: posting.opens,
            closes: posting.closes,
            days_left: lifecycle::days_left(posting, opened.now, opened.site.timezone),
        })
        .filter(|row| arguments.all || row.state == State::Open)
        .filter(|row| match arguments.closing_within {
            Some(days) => {
                row.state == State::Open
                    && row.days_left.is_some_and(|left| left <= i64::from(days))
            }
            None => true,
        })
        .collect();
    // What closes first stands first; what has no closing date follows, then what is not open.
    rows.sort_by_key(|row| {
        (row.state != State::Open, row.days_left.is_none(), row.days_left, row.path)
    });
    let text = match arguments.format {
        ListFormat::Json => table::json(&rows)?,
        ListFormat::Csv => csv(&rows)?,
        ListFormat::Table => table(&rows),
    };
    print(text.as_bytes())?;
    shell.report(&loaded.diagnostics);
    Ok(Outcome::Done)
}

fn csv(rows: &[Row<'_>]) -> Result<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let header = [
        "path",
        "slug",
        "id",
        "url",
        "title",
        "role",
        "organisation",
        "team",
        "contract",
        "domains",
        "state",
        "opens",
        "closes",
        "days_left",
    ];
    let row = |row: &Row<'_>| {
        [
            row.path.to_owned(),
            row.slug.to_owned(),
            row.id.to_owned(),
            row.url.clone(),
            row.title.to_owned(),
            row.role.unwrap_or_default().to_owned(),
            row.organisation.unwrap_or_default().to_owned(),
            row.team.unwrap_or_default().to_owned(),
            row.contract.unwrap_or_default().to_owned(),
            row.domains.join("; "),
            row.state.as_str().to_owned(),
            text(row.opens.map(|moment| moment.to_string())),
            text(row.closes.map(|moment| moment.to_string())),
            text(row.days_left.map(|days| days.to_string())),
        ]
    };
    table::csv(std::iter::once(header.map(str::to_owned)).chain(rows.iter().map(row)))
}

fn table(rows: &[Row<'_>]) -> String {
    let row = |row: &Row<'_>| {
        [
            row.state.as_str().to_owned(),
            row.closes.map_or_else(String::new, |moment| moment.to_string()),
            row.days_left
                .filter(|_| row.state == State::Open)
                .map_or_else(String::new, |days| days.to_string()),
            row.title.to_owned(),
            row.organisation.or(row.team).unwrap_or_default().to_owned(),
            row.slug.to_owned(),
        ]
    };
    let header = ["state", "closes", "left", "title", "employer", "slug"];
    table::table(header, rows.iter().map(row))
}

/// The posting that somebody means by a file, slug or id.
pub(super) fn find<'a>(postings: &'a [Posting], meant: &str) -> Option<&'a Posting> {
    let name = meant.trim_start_matches("./");
    postings.iter().find(|posting| {
        posting.slug == meant
            || posting.id == meant
            || &*posting.source.path == name
            || name.ends_with(&*posting.source.path)
            || posting.source.path.rsplit('/').next() == Some(name)
    })
}
