//! Feeds are written by one library and read back by another: mistakes that mirror each other
//! would cancel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::Site;
use feed_rs::model::Feed;
use proptest::prelude::*;

const NOW: &str = "--now=2021-08-31";

/// The three formats, read back.
fn feeds(site: &Site, stem: &str) -> [Feed; 3] {
    ["atom", "rss", "json"].map(|extension| {
        let text = site.read(&format!("out/{stem}.{extension}"));
        feed_rs::parser::parse(text.as_bytes())
            .unwrap_or_else(|error| panic!("{stem}.{extension}: {error}"))
    })
}

fn ids(feed: &Feed) -> Vec<&str> {
    feed.entries.iter().map(|entry| entry.id.as_str()).collect()
}

#[test]
fn all_formats_have_the_same_open_postings_newest_first() {
    let site = Site::new();
    site.posting("old.md", "title: Old\nopens: 2021-07-01");
    site.posting("new.md", "title: New\nopens: 2021-08-20\ncloses: 2021-09-03");
    site.posting("closed.md", "title: Closed\nopen: true\nopens: 2021-08-01\ncloses: 2021-08-30");
    site.posting("filled.md", "title: Filled\nposte_pourvu: true");
    site.posting("later.md", "title: Later\nopens: 2021-09-01");
    site.run(&[NOW, "build"]).exits(0);
    for feed in feeds(&site, "feed") {
        assert_eq!(ids(&feed), ["tag:jobs.example.org,2021:new", "tag:jobs.example.org,2021:old"]);
        let titles: Vec<_> =
            feed.entries.iter().map(|entry| &entry.title.as_ref().unwrap().content).collect();
        assert_eq!(titles, ["New", "Old"]);
        assert_eq!(feed.entries[0].links[0].href, "https://jobs.example.org/postings/new.html");
    }
    // A page stays when its posting closes; what is not open yet has none.
    for page in ["old", "new", "closed", "filled"] {
        assert!(site.exists(&format!("out/postings/{page}.html")), "{page}");
    }
    assert!(!site.exists("out/postings/later.html"));
}

/// Reads every feed below a folder with a reader of its own kind: those that the golden site expects,
/// or those in the folder that `CRIEUR_FEEDS` names.
#[test]
fn every_feed_of_a_folder_says_the_same_in_all_formats() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/expected/out");
    let folder = std::env::var_os("CRIEUR_FEEDS").map_or(golden, std::path::PathBuf::from);
    let mut read = 0;
    for entry in walkdir::WalkDir::new(&folder) {
        let path = entry.unwrap().into_path();
        if path.extension().is_none_or(|extension| extension != "atom") {
            continue;
        }
        let [atom, rss, json] = ["atom", "rss", "json"].map(|extension| {
            let text = std::fs::read(path.with_extension(extension)).unwrap();
            feed_rs::parser::parse(&text[..])
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        let said = |feed: &Feed| -> Vec<(String, String, String)> {
            let text = |entry: &feed_rs::model::Entry| {
                let title = entry.title.as_ref().map_or("", |title| &title.content);
                html_escape::decode_html_entities(title).into_owned()
            };
            feed.entries.iter().map(|e| (e.id.clone(), text(e), e.links[0].href.clone())).collect()
        };
        assert!(said(&atom) == said(&rss) && said(&atom) == said(&json), "{}", path.display());
        read += atom.entries.len();
    }
    assert!(read > 0, "no entries in {}", folder.display());
}

#[test]
fn machines_find_the_closing_date_in_every_format() {
    let site = Site::new();
    site.posting("a.md", "title: A\nopens: 2021-08-02\ncloses: 2021-09-03");
    site.posting("b.md", "title: B\nopens: 2021-08-01\ncloses: 2021-09-04T12:00:00+02:00");
    site.run(&[NOW, "build"]).exits(0);
    for format in ["atom", "rss"] {
        let text = site.read(&format!("out/feed.{format}"));
        assert!(text.contains("<dcterms:valid>2021-09-03</dcterms:valid>"), "{text}");
        assert!(
            text.contains("<dcterms:valid>2021-09-04T12:00:00+02:00</dcterms:valid>"),
            "{text}"
        );
        assert!(text.contains("fh:complete"), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&site.read("out/feed.json")).unwrap();
    let closes: Vec<_> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["_crieur"]["closes"].as_str().unwrap())
        .collect();
    assert_eq!(closes, ["2021-09-03", "2021-09-04T12:00:00+02:00"]);
    assert!(
        json["items"][0]["content_html"]
            .as_str()
            .unwrap()
            .starts_with("<p><strong>Ferme le vendredi 3 septembre 2021</strong></p>")
    );
}

#[test]
fn each_value_of_a_facet_has_a_feed_while_a_posting_with_it_is_open() {
    let site = Site::new();
    site.posting(
        "a.md",
        "title: A\ncontrat: indépendant\ndomaines: [Développement, Design]\nequipe: E",
    );
    site.posting("b.md", "title: B\ncontrat: Indépendant\nfriend: O");
    site.posting("c.md", "title: C\ncontrat: CDI\nopen: false");
    site.run(&[NOW, "build"]).exits(0);
    let found: Vec<String> = site
        .files("out/feeds")
        .into_keys()
        .filter(|name| name.strip_suffix(".rss").is_some())
        .collect();
    assert_eq!(
        found,
        [
            "contract/independant.rss",
            "domain/design.rss",
            "domain/developpement.rss",
            "organisation/o.rss",
            "team/e.rss"
        ]
    );
    for feed in feeds(&site, "feeds/contract/independant") {
        assert_eq!(feed.entries.len(), 2);
    }
    let opml = site.read("out/feeds.opml");
    assert_eq!(opml.matches("xmlUrl=").count(), 6, "{opml}");

    site.write("content/site.yaml", format!("{}feeds: {{ by: [team] }}\n", common::SETTINGS));
    site.run(&[NOW, "build"]).exits(0);
    assert_eq!(site.files("out/feeds").len(), 3);
}

#[test]
fn an_empty_site_has_empty_feeds() {
    let site = Site::new();
    site.run(&[NOW, "build"]).exits(0);
    for feed in feeds(&site, "feed") {
        assert!(feed.entries.is_empty());
    }
}

#[test]
fn a_feed_changes_when_its_membership_does_and_not_because_a_day_has_passed() {
    let site = Site::new();
    site.posting("a.md", "title: A\nopens: 2021-08-01\nupdated: 2021-08-02T00:00:00Z");
    site.posting(
        "b.md",
        "title: B\nopens: 2021-08-03\ncloses: 2021-09-10\nupdated: 2021-08-03T05:00:00Z",
    );
    let updated = |now: &str| {
        site.run(&[&format!("--now={now}"), "build"]).exits(0);
        feeds(&site, "feed")[0].updated.unwrap().format("%Y-%m-%dT%H:%M").to_string()
    };
    assert_eq!(updated("2021-08-02"), "2021-08-02T00:00");
    assert_eq!(updated("2021-08-03"), "2021-08-03T05:00");
    let before = site.times("out");
    assert_eq!(updated("2021-09-01"), "2021-08-03T05:00");
    let index = site.path("out/index.html");
    assert!(
        site.times("out")
            .iter()
            .filter(|(name, _)| !index.ends_with(name))
            .all(|(name, time)| before[name] == *time)
    );
    assert_eq!(updated("2021-09-12"), "2021-09-10T22:00");
}

#[test]
fn the_languages_of_a_site_and_of_a_posting_are_told() {
    let site = Site::new();
    site.write("content/site.yaml", "title: T\nurl: https://jobs.example.org/\nlanguage: en\n");
    site.posting("a.md", "title: A\nlang: fr\ncloses: 2021-09-03");
    site.run(&[NOW, "build"]).exits(0);
    let [atom, rss, json] =
        ["atom", "rss", "json"].map(|extension| site.read(&format!("out/feed.{extension}")));
    assert!(atom.contains(r#"xml:lang="en""#) && atom.contains(r#"xml:lang="fr""#), "{atom}");
    assert!(
        rss.contains("<language>en</language>") && rss.contains("<dc:language>fr</dc:language>"),
        "{rss}"
    );
    assert!(json.contains(r#""language": "fr""#), "{json}");
    assert!(atom.contains("Closes on Friday 3 September 2021"));
}

/// A hub that answers so many requests, and what they said.
fn hub(requests: usize, answer: &'static str) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        (0..requests)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                let mut buffer = [0; 4096];
                // The form is as long as its header says.
                let complete = |request: &str| {
                    let (head, body) = request.split_once("\r\n\r\n")?;
                    let head = head.to_lowercase();
                    let length = head
                        .split("content-length:")
                        .nth(1)?
                        .lines()
                        .next()?
                        .trim()
                        .parse::<usize>()
                        .ok()?;
                    Some(body.len() >= length)
                };
                while complete(&request) != Some(true) {
                    let read = stream.read(&mut buffer).unwrap();
                    assert_ne!(read, 0, "the form has no end: {request}");
                    request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
                stream.write_all(answer.as_bytes()).unwrap();
                request.rsplit("\r\n\r\n").next().unwrap().to_owned()
            })
            .collect()
    });
    (port, thread)
}

#[test]
fn a_hub_is_named_and_told_of_the_feeds_that_changed() {
    let site = Site::new();
    site.posting("a.md", "title: A\nopens: 2021-08-01");
    let (port, told) = hub(3, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    site.write("content/site.yaml", format!("{}hub: http://127.0.0.1:{port}/\n", common::SETTINGS));
    assert_eq!(site.run(&[NOW, "build"]).exits(0).stderr.lines().count(), 1);
    let told = told.join().unwrap();
    assert_eq!(told[0], "hub.mode=publish&hub.url=https%3A%2F%2Fjobs.example.org%2Ffeed.atom");
    assert!(
        site.read("out/feed.atom")
            .contains(&format!(r#"<link href="http://127.0.0.1:{port}/" rel="hub"/>"#))
    );
    // Nothing changed: nobody is told, and that the hub is gone does not matter.
    assert_eq!(site.run(&[NOW, "build"]).exits(0).stderr.lines().count(), 1);
}

#[test]
fn a_hub_that_refuses_or_is_away_is_a_warning() {
    let site = Site::new();
    let (port, told) =
        hub(1, "HTTP/1.1 503 Away\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    site.write("content/site.yaml", format!("{}hub: http://127.0.0.1:{port}/\n", common::SETTINGS));
    let build = site.run(&[NOW, "build"]).exits(0);
    assert!(
        build.stderr.contains("was not told of `https://jobs.example.org/feed.atom`"),
        "{}",
        build.stderr
    );
    told.join().unwrap();
    site.posting("a.md", "title: A");
    let build = site.run(&[NOW, "build"]).exits(0);
    assert!(build.stderr.contains("was not told of"), "{}", build.stderr);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever a title and a text contain, every format can be read, and says the same.
    #[test]
    fn any_text_survives_every_format(title in "\\PC{1,40}", text in any::<String>()) {
        let site = Site::new();
        let quoted = serde_json::to_string(&title).unwrap();
        site.write("content/postings/a.md", format!("---\nrole: dev\ntitle: {quoted}\n---\n\n{text}\n"));
        site.run(&[NOW, "build"]);
        let read = feeds(&site, "feed");
        let titles = read.each_ref().map(|feed| {
            prop_assert_eq!(feed.entries.len(), 1);
            Ok(feed.entries[0].title.as_ref().unwrap().content.clone())
        });
        let [atom, rss, json] = titles;
        let (atom, rss, json) = (atom?, rss?, json?);
        // Atom may give a title that looks like HTML as HTML.
        prop_assert_eq!(html_escape::decode_html_entities(&atom), html_escape::decode_html_entities(&json));
        // The reader takes RSS titles for HTML where they look like it.
        prop_assert!(rss == atom || atom.contains(['<', '&']), "{} {}", rss, atom);
    }
}
