//! What `build` does to a folder, also when it is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::process::Stdio;

use common::Site;

const NOW: &str = "--now=2021-08-31";

#[test]
fn building_twice_touches_nothing_and_a_change_touches_what_depends_on_it() {
    let site = Site::new();
    site.posting("a.md", "title: A\nopens: 2021-08-01\nteam: X");
    site.posting("b.md", "title: B\nopens: 2021-08-02\nteam: Y");
    site.run(&[NOW, "build"]).exits(0);
    let before = site.times("out");
    let second = site.run(&[NOW, "build"]).exits(0);
    assert_eq!(second.stderr, "published 2 open postings in 3 feeds: nothing changed\n");
    assert_eq!(site.times("out"), before);
    site.posting("b.md", "title: B, changed\nopens: 2021-08-02\nteam: Y");
    site.run(&[NOW, "build"]).exits(0);
    let changed: Vec<String> = site
        .times("out")
        .into_iter()
        .filter(|(name, time)| before[name] != *time)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        changed,
        [
            "feed.atom",
            "feed.json",
            "feed.rss",
            "feeds/team/y.atom",
            "feeds/team/y.json",
            "feeds/team/y.rss",
            "index.html",
            "postings/b.html",
            "team/y.html"
        ]
    );
}

#[test]
fn what_is_ours_and_stale_goes_and_what_is_others_stays() {
    let site = Site::new();
    site.posting("a.md", "title: A");
    site.posting("b.md", "title: B\nteam: Y");
    site.write("out/CNAME", "jobs.example.org");
    site.write("out/feeds/team/readme.txt", "theirs");
    site.write("out/postings/a.html", "theirs");
    let build = site.run(&[NOW, "build"]).exits(1);
    assert!(
        build.stderr.contains("error[foreign-file]: was not written: crieur did not write it"),
        "{}",
        build.stderr
    );
    fs::remove_file(site.path("content/postings/b.md")).unwrap();
    site.run(&[NOW, "build"]).exits(1);
    assert!(!site.exists("out/postings/b.html") && !site.exists("out/feeds/team/y.atom"));
    assert_eq!(site.read("out/CNAME"), "jobs.example.org");
    assert_eq!(site.read("out/feeds/team/readme.txt"), "theirs");
    assert_eq!(site.read("out/postings/a.html"), "theirs");
}

#[test]
fn a_build_that_is_killed_leaves_whole_files_and_the_next_completes_it() {
    let site = Site::new();
    let write = |text: &str| {
        for n in 0..300 {
            let body = text.repeat(200);
            site.write(
                &format!("content/postings/p{n}.md"),
                format!("---\ntitle: P{n}\nteam: T{}\n---\n\n{body}\n", n % 40),
            );
        }
    };
    write("old ");
    site.run(&[NOW, "--quiet", "build"]).exits(0);
    let old = site.files("out");
    write("new ");
    let reference = Site::new();
    for (name, bytes) in site.files("content/postings") {
        reference.write(&format!("content/postings/{name}"), bytes);
    }
    reference.run(&[NOW, "--quiet", "build"]).exits(0);
    let new = reference.files("out");
    let is_new =
        || site.files("out").iter().filter(|(name, bytes)| new.get(*name) == Some(bytes)).count();
    let is_whole = || {
        for (name, bytes) in site.files("out") {
            let whole = old.get(&name) == Some(&bytes) || new.get(&name) == Some(&bytes);
            assert!(whole || name.contains(".crieur-") || name == ".published", "half of {name}");
        }
    };
    let begin_anew = || {
        for (name, bytes) in &old {
            site.write(&format!("out/{name}"), bytes);
        }
    };
    // The kernel kills it in the midst of the first file that is longer than it lets files be: one of
    // the feeds of everything.
    let longest = new.values().map(Vec::len).max().unwrap();
    let limit = longest / 1024 - 8;
    let killed = site.run_after(&format!("ulimit -c 0; ulimit -f {limit}"), &[NOW, "build"]);
    assert_eq!(killed.code, -1, "it was not killed: {}", killed.stderr);
    assert!(is_new() < new.len());
    assert!(site.files("out").keys().any(|name| name.contains(".crieur-")), "nothing is half");
    is_whole();
    // Killed once so many files are new. No clock is involved: the folder tells how far it is.
    for changed in [1, 20, 60, 120, 200] {
        begin_anew();
        let mut build = site
            .command()
            .args([NOW, "build"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One that is faster than this has ended: it was killed too late, and that is one of the moments.
        while is_new() < changed && build.try_wait().unwrap().is_none() {}
        build.kill().unwrap();
        build.wait().unwrap();
        is_whole();
    }
    site.run(&[NOW, "--quiet", "build"]).exits(0);
    assert_eq!(site.files("out"), new);
}

#[test]
fn strict_publishes_all_or_nothing() {
    let site = Site::new();
    site.posting("a.md", "title: A");
    site.posting("b.md", "title: B\nposte_ferme: 31/08/2021");
    let strict = site.run(&[NOW, "build", "--strict"]).exits(1);
    assert!(!site.exists("out"));
    assert!(strict.stderr.contains("nothing was published: 1 warning"), "{}", strict.stderr);
    site.posting("b.md", "title: B\nposte_ferme: 2021-08-31");
    site.run(&[NOW, "build", "--strict"]).exits(0);
    assert!(site.exists("out/feed.atom"));
}

#[test]
fn out_may_be_anywhere_and_is_whole_without_its_manifest() {
    let site = Site::new();
    site.posting("a.md", "title: A");
    site.run(&[NOW, "build", "--out", "elsewhere/public"]).exits(0);
    assert!(site.exists("elsewhere/public/feed.atom") && !site.exists("out"));
    fs::remove_file(site.path("elsewhere/public/.published")).unwrap();
    site.run(&[NOW, "build", "--out", "elsewhere/public"]).exits(0);
}

#[cfg(unix)]
#[test]
fn files_can_be_served_and_links_do_not_lead_out() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let site = Site::new();
    site.posting("a.md", "title: A");
    let elsewhere = Site::empty();
    elsewhere.write("secret.md", "---\ntitle: Secret\n---\n");
    symlink(elsewhere.path("secret.md"), site.path("content/postings/link.md")).unwrap();
    symlink(site.path("content/postings/a.md"), site.path("content/postings/inside.md")).unwrap();
    symlink("nowhere", site.path("content/postings/broken.md")).unwrap();
    symlink(elsewhere.root(), site.path("content/postings/folder")).unwrap();
    // As most machines have it; with less, it is the operator who does not want files to be served.
    let build = site.run_after("umask 022", &[NOW, "build"]).exits(1);
    for expected in [
        "error[outside-site]",
        "content/postings/link.md",
        "content/postings/broken.md",
        "content/postings/folder",
    ] {
        assert!(build.stderr.contains(expected), "{expected}: {}", build.stderr);
    }
    assert!(!site.exists("out/postings/link.html") && !site.exists("out/postings/secret.html"));
    assert!(site.exists("out/postings/inside.html"));
    let mode = fs::metadata(site.path("out/feed.atom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    assert_eq!(mode & 0o044, 0o044, "{mode:o}");
}

/// What is in `out/` of a site whose caches were kept is what a build without any makes.
fn is_the_same_without_caches(site: &Site, now: &str, what: &str) {
    let kept = site.run(&[now, "build"]);
    let kept = (kept.code, site.files("out"));
    let fresh = tempfile::tempdir().unwrap();
    let out = fresh.path().join("out");
    let copy = Site::copy(site.root());
    fs::remove_dir_all(copy.path(".crieur")).unwrap();
    let mut command = copy.command();
    command.env("RAYON_NUM_THREADS", "1").args([now, "build", "--out"]).arg(&out);
    let status = command.output().unwrap().status.code().unwrap();
    let mut files = std::collections::BTreeMap::new();
    for entry in walkdir::WalkDir::new(&out).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(&out).unwrap().to_string_lossy().into_owned();
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    assert_eq!(kept.0, status, "{what}");
    assert_eq!(kept.1.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in files {
        assert!(kept.1[&name] == bytes, "{what}: {name} differs");
    }
}

#[test]
fn caches_and_threads_change_nothing() {
    let site = Site::new();
    for number in 0..40 {
        let yaml = format!(
            "title: T{number}\nopens: 2021-08-{:02}\nteam: Team {}\ndomains: [d{}, e]\ncloses: 2021-09-{:02}",
            number % 28 + 1,
            number % 5,
            number % 3,
            number % 20 + 1
        );
        site.posting(&format!("p{number:02}.md"), &yaml);
    }
    let now = NOW;
    is_the_same_without_caches(&site, now, "new");
    is_the_same_without_caches(&site, now, "unchanged");
    site.posting("p03.md", "title: Changed\nopens: 2021-08-03\nteam: Team 1");
    is_the_same_without_caches(&site, now, "one changed");
    fs::rename(site.path("content/postings/p04.md"), site.path("content/postings/q04.md")).unwrap();
    fs::remove_file(site.path("content/postings/p05.md")).unwrap();
    is_the_same_without_caches(&site, now, "renamed and removed");
    site.posting("p06.md", "title: Filled\nopens: 2021-08-03\nfilled: true\ncloses: 2021-09-09");
    site.posting("p07.md", "title: Moved\nopens: 2021-08-03\nredirect_from: [/old/p07]");
    site.posting("p08.md", "title: [broken\nopens: 2021-08-03");
    is_the_same_without_caches(&site, now, "filled, moved, broken");
    is_the_same_without_caches(&site, "--now=2021-09-05T12:00:00Z", "another day");
    is_the_same_without_caches(&site, now, "back again");
    // What is so for a while is not asked twice, and what time changes is seen at once.
    site.posting("p01.md", "title: At noon\nopens: 2021-08-01\ncloses: 2021-08-31T12:00:00Z");
    site.posting("p02.md", "title: At one\nopens: 2021-08-31T13:00:00Z\ncloses: 2021-10-01");
    site.posting("p09.md", "title: To come\nopens: 2021-08-01\nupdated: 2021-08-31T14:00:00Z");
    for time in ["11:00", "11:59", "12:00", "13:00", "13:30", "12:59", "14:00", "22:00", "11:00"] {
        is_the_same_without_caches(&site, &format!("--now=2021-08-31T{time}:00Z"), time);
        is_the_same_without_caches(&site, &format!("--now=2021-08-31T{time}:01Z"), time);
    }
    // Whoever changes what we wrote finds it as it was.
    fs::write(site.path("out/postings/p10.html"), "tampered").unwrap();
    fs::write(site.path("out/feed.atom"), "tampered").unwrap();
    fs::remove_file(site.path("out/feed.rss")).unwrap();
    fs::remove_file(site.path("out/postings/p11.ics")).unwrap();
    is_the_same_without_caches(&site, now, "tampered");
    fs::remove_file(site.path("out/.published")).unwrap();
    is_the_same_without_caches(&site, now, "without the list");
    fs::remove_dir_all(site.path("out")).unwrap();
    is_the_same_without_caches(&site, now, "without the folder");
    site.write("templates/posting.html", "{{ posting.title }} {{ body|safe }}");
    is_the_same_without_caches(&site, now, "another template");
    site.write("templates/posting.html", "{% if posting.slug == 'p12' %}{{ posting.no.thing }}{% endif %}{{ posting.title }}{% for o in related %} {{ o.path }}{% endfor %}");
    is_the_same_without_caches(&site, now, "a template that fails for one");
    fs::remove_file(site.path("templates/posting.html")).unwrap();
    is_the_same_without_caches(&site, now, "the template is gone");
    for entry in fs::read_dir(site.path(".crieur/cache")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&path, bytes).unwrap();
    }
    is_the_same_without_caches(&site, now, "damaged caches");
    site.write(
        "content/site.yaml",
        "title: Other\nurl: https://other.example.org/\nlanguage: en\n",
    );
    is_the_same_without_caches(&site, now, "other settings");
}

#[test]
fn what_is_known_is_read_again_where_it_is_shown() {
    let site = Site::new();
    site.posting("a.md", "title: A\nopens: 2021-08-01\nteam: X");
    site.posting("b.md", "title: B\ncloses: 2021-08-02\nopen: true");
    site.posting("c.md", "title: C\nslug: a");
    let first = site.run(&["-v", NOW, "build"]).exits(1);
    let page = site.read("out/postings/a.html");
    fs::remove_file(site.path("out/postings/a.html")).unwrap();
    let second = site.run(&["-v", NOW, "build"]).exits(1);
    assert_eq!(site.read("out/postings/a.html"), page);
    let problems = |said: &str| said.rsplit_once("published").unwrap().0.to_owned();
    assert!(first.stderr.contains("open: true") && first.stderr.contains("slug: a"));
    assert_eq!(problems(&second.stderr), problems(&first.stderr));
}

#[test]
fn a_template_that_makes_a_page_keeps_no_feed_from_being_made() {
    let site = Site::new();
    site.posting(
        "a.md",
        "title: A\nopens: 2021-08-01\ncloses: 2021-09-01\nteam: X\ndomains: [d, e]",
    );
    site.posting(
        "b.md",
        "title: B\nopens: 2021-08-02\nteam: Y\ndomains: [d, f]\nredirect_from: [/old]",
    );
    site.run(&[NOW, "build"]).exits(0);
    let (index, moved) = (site.read("out/index.html"), site.read("out/old/index.html"));
    for template in ["index.html", "moved.html", "404.html"] {
        site.write(&format!("templates/{template}"), "{{ nothing.here }}");
        let build = site.run(&["--now=2021-10-01", "build"]).exits(78);
        assert!(build.stderr.contains(&format!("templates/{template}`, line 1")), "{build:?}");
        for feed in ["feed", "feeds/domain/d"] {
            let feed = site.read(&format!("out/{feed}.atom"));
            assert!(feed.contains("<title>B</title>") && !feed.contains("<title>A</title>"));
        }
        assert!(
            !site.exists("out/feeds/team/x.atom") && !site.read("out/feeds.opml").contains("/x.")
        );
        assert!(site.read("out/postings/a.html").contains("noindex"));
        // What the template makes is as it was, and still ours.
        if template == "index.html" {
            assert_eq!(site.read("out/index.html"), index);
        }
        assert_eq!(site.read("out/old/index.html"), moved, "{template}");
        fs::remove_file(site.path(&format!("templates/{template}"))).unwrap();
        site.run(&["--now=2021-10-01", "build"]).exits(0);
        assert_ne!(site.read("out/index.html"), index);
    }
}

#[test]
fn a_posting_that_a_template_cannot_show_changes_nothing_a_second_time() {
    let site = Site::new();
    site.posting("a.md", "title: A\nteam: T\nphoto: p");
    site.posting("b.md", "title: B\nteam: T");
    site.posting("c.md", "title: C\nphoto: q");
    site.write("templates/entry.html", "<p>{{ posting.extra.photo|length }}</p>");
    let first = site.run(&[NOW, "build"]).exits(1);
    assert!(first.stderr.contains("b.md") && !site.exists("out/postings/b.html"), "{first:?}");
    let before = site.times("out");
    // All but the list of them.
    let written = format!("{} files written", before.len() - 1);
    assert!(first.stderr.contains(&written), "{written}: {first:?}");
    // Another day: it is not enough that nothing changed.
    let second = site.run(&["--now=2021-09-15", "build"]).exits(1);
    assert!(
        second.stderr.contains("b.md") && second.stderr.contains("nothing changed"),
        "{second:?}"
    );
    assert_eq!(site.times("out"), before);
    site.posting("b.md", "title: B\nteam: T\nphoto: q");
    site.run(&["--now=2021-09-15", "build"]).exits(0);
    assert!(site.read("out/postings/a.html").contains("postings/b.html"));
}

#[test]
fn of_two_postings_with_one_id_the_open_one_is_told_by_what_has_happened() {
    let site = Site::new();
    site.write("content/site.yaml", format!("{}stale_after_days: 30\n", common::SETTINGS));
    site.posting("2021-01-01-a.md", "title: A\nid: urn:jobs:1\nupdated: 2021-12-01");
    site.posting("b.md", "title: B\nid: urn:jobs:1\nopens: 2021-08-20");
    let build = site.run(&[NOW, "build"]).exits(1);
    assert!(build.stderr.contains("published 1 open posting"), "{}", build.stderr);
    assert!(site.read("out/feed.atom").contains("<title>B</title>"));
}
