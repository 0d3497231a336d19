//! What people look at, and what search engines read of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::Site;

const NOW: &str = "--now=2021-08-31";

fn built(postings: &[(&str, &str)]) -> Site {
    let site = Site::new();
    for (name, yaml) in postings {
        site.posting(&format!("{name}.md"), yaml);
    }
    site.run(&[NOW, "build"]).exits(0);
    site
}

/// The JSON-LD of a page.
fn job(page: &str) -> Option<serde_json::Value> {
    let start = page.split("<script type=\"application/ld+json\">").nth(1)?;
    Some(serde_json::from_str(start.split("</script>").next()?).unwrap())
}

#[test]
fn an_open_posting_is_a_job_and_a_closed_one_is_kept_with_a_note() {
    let site = built(&[
        ("open", "title: A </script><b>x</b>\nequipe: E\ncloses: 2021-09-03"),
        ("closed", "title: B\ncloses: 2021-08-01"),
        ("filled", "title: C\nfilled: true\ncloses: 2021-09-03"),
        ("draft", "title: D\nstatus: draft"),
        ("hugo", "title: H\ndraft: true\nstatus: open"),
        ("jekyll", "title: J\npublished: false"),
        ("endless", "title: E\nopens: 2021-01-01"),
        ("forgotten", "title: F\nopens: 2019-01-01"),
    ]);
    // Nobody has touched it for years: its page stays, search engines forget it.
    let page = |name: &str| site.read(&format!("out/postings/{name}.html"));
    assert!(self::job(&page("endless")).is_some() && self::job(&page("forgotten")).is_none());
    assert!(!page("forgotten").contains("noindex"));
    let open = site.read("out/postings/open.html");
    let job = job(&open).unwrap();
    assert_eq!(job["title"], "A x");
    assert_eq!(job["validThrough"], "2021-09-03T23:59:59+02:00");
    assert!(!open.contains("noindex") && open.contains("open.ics"));
    for (name, note) in [("closed", "Cette offre est fermée"), ("filled", "Ce poste est pourvu")] {
        let page = site.read(&format!("out/postings/{name}.html"));
        assert!(page.contains(note) && page.contains("noindex"), "{page}");
        assert!(self::job(&page).is_none() && page.contains("../index.html"));
    }
    for draft in ["draft", "hugo", "jekyll"] {
        assert!(!site.exists(&format!("out/postings/{draft}.html")), "{draft}");
    }
    let map = site.read("out/sitemap.xml");
    assert!(map.contains("postings/open.html") && !map.contains("closed.html"), "{map}");
}

#[test]
fn no_mark_takes_the_end_of_a_tag_or_of_an_escape() {
    // Unicode has one character for `>` and the stroke behind it, and for `e` and the accent.
    let site = Site::new();
    let text = "---\ntitle: \"\u{338} A onmouseover=alert(1) x\"\ndomaines: [\"\u{338} D\"]\ncloses: 2021-09-03\n---\n\n\u{338} autofocus onfocus=alert(1) e\u{301}\n\u{303} <b>\u{301}</b>\n";
    site.write("content/postings/a.md", text);
    site.run(&[NOW, "build"]).exits(0);
    let page = site.read("out/postings/a.html");
    for whole in ["<h1>\u{338} A", "<title>\u{338} A", "<p>\u{338} autofocus onfocus=alert(1) é"] {
        assert!(page.contains(whole), "{whole}: {page}");
    }
    assert!(job(&page).unwrap()["description"].as_str().unwrap().contains("<b>\u{301}</b>"));
    let list = site.read("out/index.html");
    assert!(list.contains("href=\"postings/a.html\">\u{338} A"), "{list}");
}

#[test]
fn what_is_read_in_another_direction_says_so() {
    let site = Site::new();
    site.posting("a.md", "title: A\nlang: ar\nsalary: 35-45 (brut)!\ncloses: 2021-09-03");
    site.posting("l.md", "title: L\nlang: ar-Latn\ncloses: 2021-09-03");
    site.run(&[NOW, "build"]).exits(0);
    let page = site.read("out/postings/a.html");
    assert!(page.contains("<article lang=\"ar\" dir=\"rtl\">"), "{page}");
    assert!(page.contains("<dl class=\"facts\" lang=\"fr\" dir=\"ltr\">"), "{page}");
    assert!(!site.read("out/postings/l.html").contains("dir="));
}

#[test]
fn within_a_day_the_hour_decides() {
    let site = built(&[
        ("day", "title: Jour\ncloses: 2021-09-03"),
        ("evening", "title: Soir\ncloses: 2021-09-03T23:00:00+02:00"),
        ("noon", "title: Midi\ncloses: 2021-09-03T12:00:00+02:00"),
    ]);
    let list = site.read("out/index.html");
    let at = |title: &str| list.find(&format!(">{title}<")).unwrap();
    assert!(at("Midi") < at("Soir") && at("Soir") < at("Jour"), "{list}");
}

#[test]
fn lists_say_what_closes_soonest_first_and_lead_to_their_facets() {
    let site = built(&[
        ("a", "title: Later\ndomaines: Dev\ncloses: 2021-10-03"),
        ("b", "title: Tomorrow\ndomaines: [Dev, Design]\ncloses: 2021-09-01"),
        ("c", "title: Endless\nopens: 2021-08-01"),
    ]);
    let index = site.read("out/index.html");
    let places: Vec<usize> =
        ["Tomorrow", "Later", "Endless"].iter().map(|title| index.find(title).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(index.contains("ferme demain") && !index.contains("ferme dans 33"));
    assert!(index.contains("<a href=\"domain/dev.html\">Dev</a> (2)"), "{index}");
    let design = site.read("out/domain/design.html");
    assert!(design.contains("../postings/b.html") && !design.contains("Later"));
    assert!(design.contains("../feeds/domain/design.atom"));
}

#[test]
fn a_page_has_one_heading_of_its_own_and_nothing_from_elsewhere() {
    let site = Site::new();
    site.write(
        "content/postings/a.md",
        "---\ntitle: A\n---\n\n# Premier\n\n## Second\n\ne\u{301}te\u{301}\n",
    );
    site.run(&[NOW, "build"]).exits(0);
    let page = site.read("out/postings/a.html");
    assert_eq!(page.matches("<h1").count(), 1);
    assert!(page.contains("<h2>Premier") || page.contains("<h2 id"), "{page}");
    assert!(page.contains("été"), "{page}");
    for (name, bytes) in site.files("out") {
        let text = String::from_utf8(bytes).unwrap();
        if text.starts_with("<!DOCTYPE html>") {
            assert!(text.len() < 60_000 && !text.contains("<script src"), "{name}");
            for attribute in ["src=\"http", "rel=\"stylesheet\" href=\"http"] {
                assert!(!text.contains(attribute), "{name}: {attribute}");
            }
        }
    }
}

#[test]
fn old_addresses_lead_to_the_posting_and_take_nobodys_place() {
    let site = Site::new();
    site.posting("a.md", "title: A\nredirect_from: [/old/a.html, /older/a/, /oldest/a]");
    site.posting("b.md", "title: B\nredirect_from: /postings/a.html");
    let build = site.run(&[NOW, "-v", "build"]).exits(0);
    for path in ["old/a.html", "older/a/index.html", "oldest/a/index.html"] {
        let page = site.read(&format!("out/{path}"));
        assert!(page.contains("0; url=https://jobs.example.org/postings/a.html"), "{page}");
    }
    assert!(site.read("out/postings/a.html").contains("<h1>A</h1>"));
    assert!(build.stderr.contains("there can be no page"), "{}", build.stderr);
}

#[test]
fn no_old_address_keeps_a_site_from_being_published() {
    let long = format!("/{}.html", "x".repeat(300));
    for address in [
        "/feed.atom/x",
        "/index.html/y",
        "/.published",
        "/.published/a",
        "/style.css",
        "/a/.b",
        "/con\\u0001x",
        "/old.html, /old.html/b",
        "/old/b, /old/b/index.html",
        &long,
    ] {
        let site = Site::new();
        let list = address.replace(", ", "\", \"");
        site.posting("a.md", &format!("title: A\nredirect_from: [\"{list}\"]"));
        site.posting("b.md", "title: B");
        site.run(&[NOW, "build"]).exits(0);
        assert!(site.exists("out/postings/b.html") && site.exists("out/feed.atom"), "{address}");
        site.run(&[NOW, "build"]).exits(0);
    }
}

#[test]
fn without_postings_a_site_says_so_and_has_everything_else() {
    let site = built(&[]);
    assert!(
        site.read("out/index.html").contains("Aucune")
            || site.read("out/index.html").contains("n’est ouverte")
    );
    for name in
        ["404.html", "style.css", "icon.svg", "sitemap.xml", "closing-dates.ics", "feed.atom"]
    {
        assert!(site.exists(&format!("out/{name}")), "{name}");
    }
    // A calendar has something in it (RFC 5545, section 3.6), and nothing that anybody sees.
    let calendar = site.read("out/closing-dates.ics");
    assert!(calendar.contains("BEGIN:VTIMEZONE") && !calendar.contains("VEVENT"), "{calendar}");
    let site = built(&[("a", "title: A\ncloses: 2021-09-30")]);
    assert!(!site.read("out/closing-dates.ics").contains("VTIMEZONE"));
}

#[test]
fn a_sites_own_style_and_templates_are_used() {
    let site = Site::new();
    site.write("templates/style.css", "body { color: red }");
    site.write(
        "templates/posting.html",
        "{% extends \"base.html\" %}{% block main %}mine{% endblock %}",
    );
    site.posting("a.md", "title: A");
    site.run(&[NOW, "build"]).exits(0);
    assert_eq!(site.read("out/style.css"), "body { color: red }");
    assert!(site.read("out/postings/a.html").contains("mine"));
    site.write("templates/posting.html", "\n");
    let empty = site.run(&[NOW, "build"]).exits(78);
    assert!(
        empty.stderr.contains("`templates/posting.html`: makes an empty page"),
        "{}",
        empty.stderr
    );
    site.write("templates/posting.html", "a\n\n{{ posting.nothing.more }}");
    let failed = site.run(&[NOW, "build"]).exits(78);
    assert!(failed.stderr.contains("`templates/posting.html`, line 3"), "{}", failed.stderr);
    assert!(failed.stderr.contains("at `posting.nothing.more`"), "{}", failed.stderr);
}
