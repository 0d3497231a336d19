//! What the documentation shows works: the commands of each page are run, one after another, in a site
//! that was just made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::Site;

/// The pages of `docs/` with their texts.
fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut pages: Vec<(String, String)> = files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    pages.sort();
    pages
}

/// The commands that a page shows. What a test's machine does not have is shown as `console`.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("\n```sh\n").skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn every_command_that_is_shown_works() {
    let mut count = 0;
    for (page, text) in pages() {
        let site = Site::empty();
        site.run(&["--now=2026-09-01", "init", "."]).exits(0);
        for block in commands(&text) {
            let has_openssl = Command::new("openssl").arg("version").output().is_ok();
            if block.contains("openssl") && !has_openssl {
                continue;
            }
            let output = site.shell(&format!("set -e\n{block}")).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}:\n{block}\n{said}");
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

#[test]
fn what_is_shown_is_run_without_the_environment_of_whoever_runs_the_tests() {
    // The tests' own environment has something of cargo's in it.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    let site = Site::empty();
    let output = site.shell("env").output().unwrap();
    let known = ["PATH", "HOME", "CRIEUR_NOW", "PWD", "OLDPWD", "SHLVL", "_"];
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let name = line.split('=').next().unwrap();
        assert!(known.contains(&name), "{line}");
    }
}

#[test]
fn links_lead_to_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") {
                assert!(folder.join(file).exists(), "{page}: {link}");
            }
        }
    }
}
