//! What the README shows is what happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

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
    let line =
        line.trim_start_matches("cargo run --profile quick -- ").trim_start_matches("crieur ");
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
            "cargo install --locked --path . --profile quick" => {}
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

/// A `crontab` that keeps its table in a file. Nobody's own is touched.
const CRONTAB: &str = r#"#!/bin/sh
case "$1" in
  -l) cat "$TABLE" 2>/dev/null || { echo "no crontab for you" >&2; exit 1; } ;;
  -) cat > "$TABLE.new" && mv "$TABLE.new" "$TABLE" ;;
esac
"#;

#[test]
fn the_cron_line_is_added_to_those_that_are_there() {
    let site = Site::empty();
    site.write("bin/crontab", CRONTAB);
    site.write("jobs here/content/site.yaml", "title: T\nurl: https://jobs.example.org/\n");
    site.write("jobs here/content/postings/a.md", "---\ntitle: A\n---\n");
    let bin = site.path("bin");
    std::fs::set_permissions(bin.join("crontab"), Permissions::from_mode(0o755)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_crieur"));
    let ours = program.parent().unwrap();
    let path = format!("{}:{}:{}", bin.display(), ours.display(), env::var("PATH").unwrap());
    let table = site.path("table");
    let sh = |command: &str| {
        let mut sh = Command::new("sh");
        sh.args(["-c", command])
            .env("PATH", &path)
            .env("TABLE", &table)
            .env("CRIEUR_NOW", "2026-09-01");
        assert!(sh.current_dir(site.path("jobs here")).status().unwrap().success(), "{command}");
    };
    std::fs::write(&table, "0 0 * * * true\n").unwrap();
    sh(&block("sh", "crontab"));
    let lines = std::fs::read_to_string(&table).unwrap();
    let (before, line) = lines.trim_end().split_once('\n').unwrap();
    assert_eq!(before, "0 0 * * * true");
    sh(&format!("cd / && {}", line.strip_prefix("15 * * * * ").unwrap()));
    assert!(site.exists("jobs here/out/feed.atom"));
    std::fs::remove_file(&table).unwrap();
    sh(&block("sh", "crontab"));
    assert_eq!(std::fs::read_to_string(&table).unwrap().trim_end(), line);
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
fn the_list_of_a_spreadsheet_and_the_settings_of_mail_are_understood() {
    let site = Site::new();
    site.write("content/recipients.csv", block("csv", "email,"));
    let mail = block("yaml", "dkim:");
    let settings = format!("title: Jobs\nurl: https://jobs.example.org/\nlanguage: en\n{mail}");
    site.write("content/site.yaml", settings);
    // The key is the reader's to make.
    let check = site.run(&["check"]).exits(0);
    assert!(check.stderr.contains("0 postings: 1 note"), "{}", check.stderr);
    assert!(check.stdout.contains("the DKIM key `dkim.pem` cannot be read"), "{}", check.stdout);
}

#[test]
fn the_template_that_is_shown_is_used() {
    let site = Site::new();
    site.write("templates/404.html", block("html", "extends"));
    site.run(&["build"]).exits(0);
    let page = site.read("out/404.html");
    assert!(page.contains("01 23 45 67 89") && page.contains("/style.css"), "{page}");
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = readme();
    let help = Site::new().run(&["help"]).exits(0).stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("`crieur {name}")), "{name}");
    }
}

#[test]
fn every_key_that_is_known_is_in_the_readme() {
    let readme = readme();
    for (_, keys) in crieur::site::KEYS {
        for key in *keys {
            assert!(readme.contains(key), "{key}");
        }
    }
    for (key, _) in crieur::posting::vocabulary::VOCABULARY {
        assert!(readme.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn each_test_that_a_promise_names_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(root.join(folder)) {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|end| end == "rs") {
                code.push_str(&std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let steps = std::fs::read_to_string(root.join(".ci/acceptance")).unwrap_or_default();
    let operating = std::fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let (_, operating) = operating.split_once("## What is promised").unwrap();
    let security = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    for (text, at_least) in [(operating, 40), (&security, 40)] {
        let mut named = 0;
        let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
        for line in rows {
            let cell = line.trim_end_matches('|').rsplit('|').next().unwrap();
            for name in cell.split('`').skip(1).step_by(2) {
                assert!(code.contains(&format!("fn {name}(")), "{name}");
                named += 1;
            }
            for step in cell.split('“').skip(1).filter_map(|rest| rest.split('”').next()) {
                // A package comes without them.
                assert!(steps.is_empty() || steps.contains(&format!("step \"{step}")), "{step}");
            }
        }
        assert!(named > at_least, "{named}");
    }
}
