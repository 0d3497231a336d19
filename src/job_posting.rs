//! An open posting for search engines: schema.org's `JobPosting` in JSON-LD, with what Google wants.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

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
pub fn offered_until(posting: &Posting, updated: DateTime<Utc>, site: &Site) -> DateTime<Utc> {
    lifecycle::closing(posting, &Rules::of(site)).unwrap_or(updated + UNTOUCHED)
}

/// The posting in JSON-LD, safe to stand in a `script` element. `content` is its text in HTML.
pub fn json_ld(posting: &Posting, view: &View, content: &str, site: &Site) -> String {
    let zone = site.timezone;
    let published = view.published.unwrap_or(view.updated).with_timezone(&zone);
    let mut job = Map::new();
    let mut set = |name: &str, value: Value| {
        job.insert(name.to_owned(), value);
    };
    set("@context", json!("https://schema.org/"));
    set("@type", json!("JobPosting"));
    set("title", json!(view.title));
    set("description", json!(content));
    set("url", json!(view.url));
    set(
        "identifier",
        json!({ "@type": "PropertyValue", "name": site.ids.authority, "value": view.id }),
    );
    set("datePosted", json!(published.date_naive().to_string()));
    // The last moment: what closes with a day is open until its last second.
    let end = match posting.closes {
        Some(Moment::Instant(instant)) => instant.to_utc(),
        _ => offered_until(posting, view.updated, site) - TimeDelta::seconds(1),
    };
    let end = end.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false);
    set("validThrough", json!(end));
    let author = site.author.as_ref().map(|author| author.name.as_str());
    let employer = view.employer.as_deref().or(author).unwrap_or(&site.title);
    let mut organisation = json!({ "@type": "Organization", "name": employer });
    if posting.organisation.is_none() {
        organisation["sameAs"] = json!(site.url.as_str());
    }
    set("hiringOrganization", organisation);
    if let Some(contract) = &view.contract {
        set("employmentType", json!(employment_types(contract)));
    }
    if let Some(role) = &view.role {
        set("occupationalCategory", json!(role));
    }
    set("directApply", json!(false));

    let country = site.country.as_deref();
    let is_remote = posting.remote.as_deref().is_some_and(|remote| {
        // Where there is a place, remote work that is merely possible is work at that place.
        is_fully_remote(remote)
            || (view.location.is_none() && values::yes_or_no(remote) == Some(true))
    });
    if is_remote {
        set("jobLocationType", json!("TELECOMMUTE"));
        if let Some(country) = country {
            set("applicantLocationRequirements", json!({ "@type": "Country", "name": country }));
        }
    }
    if view.location.is_some() || !is_remote {
        let mut address = Map::from_iter([("@type".to_owned(), json!("PostalAddress"))]);
        if let Some(place) = &view.location {
            address.insert("addressLocality".to_owned(), json!(place));
        }
        if let Some(country) = country {
            address.insert("addressCountry".to_owned(), json!(country));
        }
        set("jobLocation", json!({ "@type": "Place", "address": address }));
    }
    // Nothing in it may end the element that it stands in.
    let text = Value::Object(job).to_string();
    let mut safe = String::with_capacity(text.len() + text.len() / 4);
    let mut from = 0;
    for (at, mark) in text.match_indices(['<', '>']) {
        safe.push_str(&text[from..at]);
        safe.push_str(if mark == "<" { "\\u003c" } else { "\\u003e" });
        from = at + 1;
    }
    safe.push_str(&text[from..]);
    safe
}

/// Whether the work is never at a place.
fn is_fully_remote(remote: &str) -> bool {
    let folded = text::folded(remote);
    ["100", "complet", "total", "integral", "full", "only"].iter().any(|word| folded.contains(word))
}

/// What Google calls a contract. Several may be in one line.
fn employment_types(contract: &str) -> Vec<&'static str> {
    const WORDS: &[(&str, &[&str])] = &[
        ("FULL_TIME", &["cdi", "permanent", "full", "plein", "titulaire"]),
        ("PART_TIME", &["partiel", "part"]),
        ("CONTRACTOR", &["freelance", "independant", "independante", "prestation", "contractor"]),
        ("TEMPORARY", &["cdd", "temporary", "interim", "temporaire", "vacation", "contractuel"]),
        ("INTERN", &["stage", "intern", "internship", "alternance", "apprentissage", "apprenti"]),
        ("VOLUNTEER", &["benevole", "benevolat", "volontariat", "volunteer"]),
    ];
    let folded = text::folded(contract);
    let words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).collect();
    let found: Vec<&str> = WORDS
        .iter()
        .filter(|(_, known)| known.iter().any(|word| words.contains(word)))
        .map(|(name, _)| *name)
        .collect();
    if found.is_empty() { vec!["OTHER"] } else { found }
}

#[cfg(test)]
mod tests {
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
            ("Indépendant·e ou CDD de deux ans", vec!["CONTRACTOR", "TEMPORARY"]),
            ("Stage", vec!["INTERN"]),
            ("à négocier", vec!["OTHER"]),
        ] {
            assert_eq!(employment_types(contract), expected, "{contract}");
        }
    }
}
