//! A posting as its readers see it, in the site's language: what feeds, pages and mails are made of.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::catalog::Catalog;
use crate::posting::moment::rfc3339;
use crate::posting::{Moment, Posting, markdown, values};
use crate::site::Site;

/// How long a summary may be, in characters.
const SUMMARY: usize = 300;

/// What templates and feeds know of a posting. Nothing here depends on the day.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names are those of the posting's own fields")]
pub struct View {
    pub id: String,
    pub slug: String,
    /// The posting's page.
    pub url: String,
    pub title: String,
    pub role: Option<String>,
    /// Who hires: the organisation, or else the team.
    pub employer: Option<String>,
    pub organisation: Option<String>,
    pub team: Option<String>,
    pub contract: Option<String>,
    pub partner: bool,
    pub domains: Vec<String>,
    pub technologies: Vec<String>,
    pub junior: Option<bool>,
    pub location: Option<String>,
    pub remote: Option<String>,
    pub salary: Option<String>,
    pub apply_url: Option<String>,
    pub contacts: Vec<Contact>,
    pub opens: Option<Moment>,
    pub closes: Option<Moment>,
    /// The closing date in words.
    pub deadline: Option<String>,
    /// What the posting says of itself, as labels and values.
    pub facts: Vec<Fact>,
    /// The beginning of the text, without markup.
    pub summary: String,
    /// The text, as HTML that is safe to show.
    pub body: String,
    /// A language tag, where it is not the site's.
    pub language: Option<String>,
    /// When it was published, where that is known.
    #[serde(serialize_with = "instant_or_none")]
    pub published: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(serialize_with = "instant")]
    pub updated: DateTime<Utc>,
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Whom to ask.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Contact {
    pub text: String,
    pub email: Option<String>,
}

/// A label and its value, in the site's language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Fact {
    pub label: String,
    pub value: String,
}

fn instant<S: serde::Serializer>(
    instant: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(instant))
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn instant_or_none<S: serde::Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => instant(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// The path of a posting's page in `out/`.
pub fn page_path(slug: &str) -> String {
    ["postings/", slug, ".html"].concat()
}

impl View {
    /// A posting as readers see it.
    pub fn new(posting: &Posting, site: &Site, catalog: &Catalog) -> Self {
        let page = site.address(&page_path(&posting.slug));
        let text = markdown::render(posting.markdown(), SUMMARY, &site.url, &page);
        Self {
            id: posting.id.clone(),
            slug: posting.slug.clone(),
            url: page.to_string(),
            title: posting.title.clone(),
            role: posting.role.clone(),
            employer: posting.employer().map(str::to_owned),
            organisation: posting.organisation.clone(),
            team: posting.team.clone(),
            contract: posting.contract.clone(),
            partner: posting.partner,
            domains: posting.domains.clone(),
            technologies: posting.technologies.clone(),
            junior: posting.junior,
            location: posting.location.clone(),
            remote: posting.remote.clone(),
            salary: posting.salary.clone(),
            apply_url: posting.apply_url.as_ref().map(ToString::to_string),
            contacts: posting
                .contacts
                .iter()
                .map(|contact| Contact { text: contact.text.clone(), email: contact.email.clone() })
                .collect(),
            opens: posting.opens,
            closes: posting.closes,
            deadline: posting.closes.map(|closes| catalog.deadline(closes, site.timezone)),
            facts: facts(posting, catalog),
            summary: text.summary,
            body: text.html,
            language: language(posting, site).map(str::to_owned),
            published: posting.came(site.timezone),
            updated: updated(posting, site),
            extra: posting.extra.clone(),
        }
    }
}

fn facts(posting: &Posting, catalog: &Catalog) -> Vec<Fact> {
    let yes_no = |value: &str, yes: &str, no: &str| match values::yes_or_no(value) {
        Some(true) => catalog.word(yes),
        Some(false) => catalog.word(no),
        None => value.to_owned(),
    };
    let joined = |values: &[String]| (!values.is_empty()).then(|| values.join(", "));
    let role = posting.role.clone().filter(|role| *role != posting.title);
    let remote = posting.remote.as_ref().map(|value| yes_no(value, "remote-yes", "remote-no"));
    [
        ("label-role", role),
        ("label-organisation", posting.organisation.clone()),
        ("label-team", posting.team.clone()),
        ("label-contract", posting.contract.clone()),
        ("label-location", posting.location.clone()),
        ("label-remote", remote),
        ("label-salary", posting.salary.clone()),
        ("label-domains", joined(&posting.domains)),
        ("label-technologies", joined(&posting.technologies)),
        (
            "label-junior",
            posting.junior.filter(|junior| *junior).map(|_| catalog.word("junior-yes")),
        ),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some(Fact { label: catalog.word(label), value: value? }))
    .collect()
}

/// When a posting last changed: an instant that no other posting of the site shares.
pub fn updated(posting: &Posting, site: &Site) -> DateTime<Utc> {
    distinct(posting.updated(site.timezone, site.ids.since_day), &posting.id)
}

/// The language of a posting, where it is not the site's.
pub fn language<'a>(posting: &'a Posting, site: &Site) -> Option<&'a str> {
    let language = posting.language.as_deref();
    let usual = site.language.to_string();
    language.filter(|language| *language != usual)
}

/// An instant that differs from that of another posting changed in the same second. git and
/// people count seconds at best, and files are often committed together; readers that sort by
/// `updated` need more, and validators warn where two entries of a feed share it.
/// The digits below the second are a function of the id, so they never change.
fn distinct(updated: DateTime<Utc>, id: &str) -> DateTime<Utc> {
    if updated.nanosecond() != 0 {
        return updated;
    }
    let hash = Sha256::digest(id.as_bytes());
    let number = hash.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    updated + TimeDelta::nanoseconds(i64::from(number % 999_999_999) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posting::parse::tests::posting;

    #[test]
    fn instants_are_distinct_and_stay_within_their_second() {
        let at = DateTime::UNIX_EPOCH;
        let (a, b) = (distinct(at, "a"), distinct(at, "b"));
        assert_ne!(a, b);
        assert_eq!(a.timestamp(), at.timestamp());
        assert_eq!(distinct(a, "b"), a);
    }

    #[test]
    fn facts_are_said_in_the_sites_language() {
        let site = Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap();
        let catalog = Catalog::new(&site.language, None).unwrap();
        let posting = posting(
            "title: A\nrole: B\nteletravail: oui\njunior: true\ndomaines: [x, y]\nequipe: E",
        );
        let facts: Vec<String> = View::new(&posting, &site, &catalog)
            .facts
            .into_iter()
            .map(|fact| format!("{}={}", fact.label, fact.value))
            .collect();
        assert_eq!(
            facts,
            [
                "Métier=B",
                "Équipe=E",
                "Télétravail=possible",
                "Domaines=x, y",
                "Débutant·es=bienvenu·es"
            ]
        );
    }
}
