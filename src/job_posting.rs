//! An open posting for search engines: schema.org's `JobPosting` in JSON-LD, with what Google wants.

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;

use crate::posting::lifecycle::{self, Rules};
use crate::posting::{Moment, Posting, values};
use crate::site::Site;
use crate::text;
use crate::view::View;

/// How long a posting without a closing date is offered to search engines after its last change: they
/// want to know an end, and what nobody has touched for a year is what readers complain of.
const UNTOUCHED: TimeDelta = TimeDelta::days(365);

/// Until when a posting is offered to search engines: until it closes, or, where nothing closes it,
/// for a while after its last change.
pub fn offered_until(
    posting: &Posting,
    rules: &Rules,
    updated: impl FnOnce() -> DateTime<Utc>,
) -> DateTime<Utc> {
    lifecycle::closing(posting, rules).unwrap_or_else(|| updated() + UNTOUCHED)
}

/// schema.org's type, in the alphabetical order of the properties' names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobPosting<'a> {
    #[serde(rename = "@context")]
    context: &'static str,
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    applicant_location_requirements: Option<Thing<'a>>,
    date_posted: NaiveDate,
    description: &'static str,
    direct_apply: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    employment_type: Option<Vec<&'static str>>,
    hiring_organization: Thing<'a>,
    identifier: Thing<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_location: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_location_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occupational_category: Option<&'a str>,
    title: &'a str,
    url: &'a str,
    valid_through: String,
}

/// Something that has a name: a country, an organisation, a property.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Thing<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

impl<'a> Thing<'a> {
    fn new(kind: &'static str, name: &'a str) -> Self {
        Self { kind, name, same_as: None, value: None }
    }
}

#[derive(Serialize)]
struct Place<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    address: PostalAddress<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostalAddress<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_country: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_locality: Option<&'a str>,
}

/// The posting in JSON-LD, safe to stand in a `script` element. `content` is its text in HTML.
pub fn json_ld(posting: &Posting, view: &View, content: &str, site: &Site) -> String {
    // Everything in it can be JSON. Composed before it is escaped: a mark behind an escape would
    // become one character with its last letter.
    let json = serde_json::to_string(&job(posting, view, site)).unwrap_or_default();
    let around = text::composed(json).replace('<', "\\u003c").replace('>', "\\u003e");
    let content = text::composed_page(content.to_owned());
    let content = text::escaped(&content, &text::JSON_IN_SCRIPT);
    text::filled(&around, ("\"", text::STAND_IN_JSON, "\""), &content)
}

fn job<'a>(posting: &'a Posting, view: &'a View, site: &'a Site) -> JobPosting<'a> {
    let zone = site.timezone;
    let published = view.published.unwrap_or(view.updated).with_timezone(&zone);
    // The last moment: what closes with a day is open until its last second.
    let end = match posting.closes {
        Some(Moment::Instant(instant)) => instant.to_utc(),
        _ => offered_until(posting, &Rules::of(site), || view.updated) - TimeDelta::seconds(1),
    };
    let author = site.author.as_ref().map(|author| author.name.as_str());
    let employer = view.employer.as_deref().or(author).unwrap_or(&site.title);
    let is_ours = posting.organisation.is_none();
    let country = site.country.as_deref();
    let is_remote = posting.remote.as_deref().is_some_and(|remote| {
        // Where there is a place, remote work that is merely possible is work at that place.
        is_fully_remote(remote)
            || (view.location.is_none() && values::yes_or_no(remote) == Some(true))
    });
    JobPosting {
        context: "https://schema.org/",
        kind: "JobPosting",
        applicant_location_requirements: country
            .filter(|_| is_remote)
            .map(|country| Thing::new("Country", country)),
        date_posted: published.date_naive(),
        description: text::STAND_IN,
        direct_apply: false,
        employment_type: view.contract.as_deref().map(employment_types),
        hiring_organization: Thing {
            same_as: is_ours.then_some(site.url.as_str()),
            ..Thing::new("Organization", employer)
        },
        identifier: Thing {
            value: Some(&view.id),
            ..Thing::new("PropertyValue", &site.ids.authority)
        },
        job_location: (view.location.is_some() || !is_remote).then_some(Place {
            kind: "Place",
            address: PostalAddress {
                kind: "PostalAddress",
                address_country: country,
                address_locality: view.location.as_deref(),
            },
        }),
        job_location_type: is_remote.then_some("TELECOMMUTE"),
        occupational_category: view.role.as_deref(),
        title: &view.title,
        url: &view.url,
        valid_through: end.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false),
    }
}

/// Whether the work is never at a place. Search engines ask for nothing less, so whatever says how much,
/// or that it might be, speaks against it.
fn is_fully_remote(remote: &str) -> bool {
    const ALL: &[&str] = &[
        "complet",
        "complete",
        "completement",
        "total",
        "totale",
        "totalement",
        "integral",
        "integrale",
        "integralement",
        "entierement",
        "exclusivement",
        "full",
        "fully",
        "only",
        "entirely",
    ];
    const NOT_ALL: &[&str] = &[
        "pas",
        "non",
        "sans",
        "sauf",
        "jour",
        "jours",
        "semaine",
        "mois",
        "an",
        "partiel",
        "partielle",
        "partiellement",
        "possible",
        "occasionnel",
        "hybride",
        "presence",
        "presentiel",
        "site",
        "max",
        "maximum",
        "jusqu",
        "no",
        "not",
        "day",
        "days",
        "week",
        "month",
        "year",
        "partial",
        "partly",
        "up",
        "hybrid",
        "office",
        "occasional",
    ];
    let folded = any_ascii::any_ascii(remote).to_lowercase();
    let words: Vec<&str> =
        folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_all = folded.replace(' ', "").contains("100%")
        || words.windows(2).any(|pair| matches!(pair, ["100", "pour" | "percent"]))
        || words.iter().any(|word| ALL.contains(word));
    is_all && !words.iter().any(|word| NOT_ALL.contains(word))
}

/// What Google calls a contract. Several may be in one line.
fn employment_types(contract: &str) -> Vec<&'static str> {
    const WORDS: &[(&str, &[&str])] = &[
        ("FULL_TIME", &["cdi", "permanent", "full", "plein", "titulaire"]),
        ("PART_TIME", &["partiel", "part"]),
        ("CONTRACTOR", &["freelance", "independant", "independante", "prestation", "contractor"]),
        ("TEMPORARY", &["cdd", "temporary", "interim", "temporaire", "vacation", "contractuel"]),
        (
            "INTERN",
            &[
                "stage",
                "stagiaire",
                "trainee",
                "intern",
                "internship",
                "alternance",
                "apprentissage",
                "apprenti",
            ],
        ),
        ("VOLUNTEER", &["benevole", "benevolat", "volontariat", "volunteer"]),
    ];
    let folded = text::folded(contract);
    let words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).collect();
    let mut found: Vec<&str> = WORDS
        .iter()
        .filter(|(_, known)| known.iter().any(|word| words.contains(word)))
        .map(|(name, _)| *name)
        .collect();
    // A contract without an end is one for all hours, unless it says otherwise.
    if found.contains(&"PART_TIME") && !folded.contains("full") && !folded.contains("plein") {
        found.retain(|name| *name != "FULL_TIME");
    }
    if found.is_empty() { vec!["OTHER"] } else { found }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::catalog::Catalog;
    use crate::posting::parse::tests::posting;

    fn job(yaml: &str) -> Value {
        let site = Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap();
        let catalog = Catalog::new(&site.language, None).unwrap();
        let posting = posting(yaml);
        let view = View::new(&posting, &site, &catalog);
        let text = json_ld(&posting, &view, "<p>Text</p></script>", &site);
        assert!(!text.contains('<'), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_work_that_is_never_at_a_place_is_remote() {
        for remote in ["100 %", "100% remote", "Télétravail complet", "full remote", "remote only"]
        {
            assert!(is_fully_remote(remote), "{remote}");
        }
        for remote in [
            "oui",
            "jusqu'à 100 jours par an",
            "2 days a week only",
            "no, full presence on site",
            "pas de télétravail complet",
            "partiel (2 jours), à compléter",
            "télétravail possible à 100 %",
        ] {
            assert!(!is_fully_remote(remote), "{remote}");
        }
    }

    #[test]
    fn a_job_has_what_search_engines_want() {
        let job = job("title: A\nopens: 2021-08-01\ncloses: 2021-09-03\nequipe: E\nlieu: Lyon");
        assert_eq!(job["datePosted"], "2021-08-01");
        assert_eq!(job["validThrough"], "2021-09-03T23:59:59+02:00");
        assert_eq!(job["hiringOrganization"]["name"], "E");
        assert_eq!(job["jobLocation"]["address"]["addressLocality"], "Lyon");
        assert_eq!(job["jobLocation"]["address"]["addressCountry"], "FR");
        assert_eq!(job["description"], "<p>Text</p></script>");
        assert_eq!(job["jobLocationType"], Value::Null);
    }

    #[test]
    fn work_from_anywhere_says_where_from() {
        let job = job("title: A\nteletravail: oui\ncloses: 2021-09-03T12:00:00Z");
        assert_eq!(job["jobLocationType"], "TELECOMMUTE");
        assert_eq!(job["applicantLocationRequirements"]["name"], "FR");
        assert_eq!(job["jobLocation"], Value::Null);
        assert_eq!(job["validThrough"], "2021-09-03T14:00:00+02:00");
    }

    #[test]
    fn what_nothing_closes_is_offered_for_a_year_after_its_last_change() {
        let job = job("title: A\nopens: 2021-08-01\nupdated: 2021-08-05T10:00:00Z");
        assert_eq!(job["validThrough"].as_str().map(|end| &end[..10]), Some("2022-08-05"));
    }

    #[test]
    fn contracts_are_what_google_calls_them() {
        for (contract, expected) in [
            ("CDI", vec!["FULL_TIME"]),
            ("CDI à temps partiel", vec!["PART_TIME"]),
            ("Full or part time", vec!["FULL_TIME", "PART_TIME"]),
            ("Stagiaire", vec!["INTERN"]),
            ("Indépendant·e ou CDD de deux ans", vec!["CONTRACTOR", "TEMPORARY"]),
            ("Stage", vec!["INTERN"]),
            ("à négocier", vec!["OTHER"]),
        ] {
            assert_eq!(employment_types(contract), expected, "{contract}");
        }
    }
}
