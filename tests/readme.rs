//! What the README shows is what happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;

use common::Site;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced block of a kind that contains a line.
fn block(kind: &str, containing: &str) -> String {
    let readme = readme();
    let fence = format!("```{kind}\n");
    let blocks = readme.split(&fence).skip(1);
    let mut found = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    found
        .find(|block| block.contains(containing))
        .unwrap_or_else(|| panic!("no block with {containing}"))
}

/// A copy of the repository's own site.
fn sample() -> Site {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let site = Site::empty();
    for folder in ["content", "templates"] {
        for (name, bytes) in Site::copy(&root.join(folder)).files("") {
            site.write(&format!("{folder}/{name}"), bytes);
        }
    }
    site
}

fn arguments(line: &str) -> Vec<String> {
    let line = line.trim_start_matches("cargo run --release -- ").trim_start_matches("crieur ");
    line.split('"').enumerate().fold(Vec::new(), |mut words, (n, part)| {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
        words
    })
}

#[test]
fn the_sample_site_is_published_and_reminds() {
    let command = block("sh", "cargo run");
    let words = arguments(command.trim());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let site = sample();
    let run = site.run(&words).exits(0);
    assert!(run.stderr.contains("published 4 open postings"), "{}", run.stderr);
    assert_eq!(site.files(".crieur/outbox").len(), 3);
    let before = (site.times("out"), site.files(".crieur/outbox"));
    let again = site.run(&words).exits(0);
    assert!(
        again.stderr.contains("nothing changed") && again.stderr.contains("no digest is due"),
        "{}",
        again.stderr
    );
    assert_eq!((site.times("out"), site.files(".crieur/outbox")), before);
    site.run(&["--now", "2026-09-01", "check", "--strict"]).exits(0);
}

#[test]
fn the_first_steps_work_as_shown() {
    let site = Site::empty();
    let mut inside = false;
    for line in block("sh", "crieur init").lines() {
        match line {
            "cargo install --path ." => {}
            "cd jobs" => inside = true,
            _ => {
                let mut words = vec!["--now".to_owned(), "2026-09-01".to_owned()];
                if inside {
                    words.extend(["--site".to_owned(), "jobs".to_owned()]);
                }
                words.extend(arguments(line));
                site.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
            }
        }
    }
    assert!(site.exists("jobs/out/feed.atom"));
    assert!(!site.files("jobs/.crieur/outbox").is_empty());
}

#[test]
fn the_posting_and_the_list_that_are_shown_are_understood() {
    let site = Site::new();
    site.write("content/postings/a.md", block("markdown", "closes:"));
    site.write("content/recipients.yaml", block("yaml", "cadence:"));
    let check = site.run(&["--now", "2026-09-01", "check", "--strict"]).exits(0);
    assert!(check.stdout.is_empty(), "{}", check.stdout);
    let list =
        site.run(&["--now", "2026-09-08T21:59:59Z", "list", "--format", "json"]).exits(0).json();
    assert_eq!(list[0]["days_left"], 0);
}

#[test]
fn every_key_that_is_known_is_in_the_readme() {
    let readme = readme();
    for (key, _) in crieur::posting::vocabulary::VOCABULARY {
        assert!(readme.contains(&format!("`{key}`")), "{key}");
    }
}
