//! What the README shows is what happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
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
    let table = site.path("table");
    let sh = |command: &str| {
        let mut sh = site.shell(&format!("PATH=\"$BIN:$PATH\"; {command}"));
        sh.env("BIN", &bin).env("TABLE", &table).current_dir(site.path("jobs here"));
        assert!(sh.status().unwrap().success(), "{command}");
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

/// The names of all tests in a text of Rust: what nobody runs, or is only a function, is none.
fn tests_in(code: &str) -> impl Iterator<Item = &str> {
    code.split("#[test]").skip(1).filter_map(|rest| {
        let (before, function) = rest.split_once("fn ")?;
        // Nothing but other attributes and remarks stands between.
        let is_direct = before
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with(['#', '/', ')']));
        let is_direct = is_direct && !before.contains("ignore");
        is_direct.then(|| function.split('(').next().unwrap_or_default())
    })
}

/// Words that are written as tests are: keys of files and of logs, and another program.
fn is_known_word(name: &str) -> bool {
    let known = ["exit_code", "message_id", "pg_dump"];
    name.starts_with("crieur_")
        || known.contains(&name)
        || crieur::site::KEYS.iter().any(|(_, keys)| keys.contains(&name))
        || crieur::posting::vocabulary::VOCABULARY.iter().any(|(key, _)| *key == name)
}

#[test]
fn each_test_that_a_promise_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(root.join(folder)) {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|end| end == "rs") {
                code.push_str(&std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let tests: HashSet<&str> = tests_in(&code).collect();
    let steps = std::fs::read_to_string(root.join(".ci/acceptance")).unwrap_or_default();
    let runs_all =
        "CRIEUR_TEST_POSTGRES=$ledger cargo test --locked --quiet --features server-tests";
    assert!(steps.is_empty() || steps.contains(runs_all), "nobody runs what needs a server");
    let is_name = |name: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.contains('_') && name.chars().all(is_part)
    };
    for page in ["SECURITY.md", "docs/operating.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        // Whatever is shown as a block names none.
        let prose: String = text.split("\n```").step_by(2).collect();
        for name in prose.split('`').skip(1).step_by(2).filter(is_name) {
            assert!(tests.contains(name) || is_known_word(name), "{page}: {name} is no test");
        }
        let (mut is_of_promises, mut rows) = (false, 0);
        for line in prose.lines() {
            if !line.starts_with('|') {
                is_of_promises = false;
            }
            let cell = line.trim_end_matches('|').rsplit('|').next().unwrap().trim();
            if line.starts_with('|') && cell == "test" {
                is_of_promises = true;
                continue;
            }
            if !is_of_promises || cell.starts_with("---") {
                continue;
            }
            let named = cell.split('`').skip(1).step_by(2).filter(|name| tests.contains(name));
            let mut count = named.count();
            for step in cell.split('“').skip(1).filter_map(|rest| rest.split('”').next()) {
                // A package comes without them.
                let is_there = steps.is_empty() || steps.contains(&format!("step \"{step}"));
                assert!(is_there, "{page}: there is no step {step}");
                count += 1;
            }
            assert!(count > 0, "{page}: nothing shows this: {line}");
            rows += 1;
        }
        assert!(rows > 20, "{page}: {rows}");
    }
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    let code = "#[test]\nfn one() {}\n\nfn two() {}\n#[test]\n#[ignore]\nfn three() {}\n#[test]\n#[allow(\n)]\n/// Four.\nfn four() {}\n// #[test] stands for\nmod x { fn five() {} }\n";
    assert_eq!(tests_in(code).collect::<Vec<_>>(), ["one", "four"]);
}
