//! The real program on a miniature site: everything that it writes, compared to the byte.
//!
//! To renew what is expected, look at the difference that a failing test shows, and run
//! `RENEW=1 cargo test --test golden`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Site;

const NOW: &str = "--now=2021-08-31T08:00:00+02:00";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares a folder of a site with what is expected.
fn compare(site: &Site, below: &str, expected: &str) {
    let expected_folder = golden(expected);
    let found = site.files(below);
    if std::env::var_os("RENEW").is_some() {
        let _ = fs::remove_dir_all(&expected_folder);
        for (name, bytes) in &found {
            let path = expected_folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        return;
    }
    let wanted = Site::copy(&expected_folder).files("");
    let names = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
        files.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&found), names(&wanted), "the files differ; RENEW=1 renews them");
    for (name, bytes) in &found {
        let (found, wanted) =
            (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&wanted[name]));
        if found != wanted {
            let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
            panic!(
                "{below}/{name} differs, first (found, wanted): {differs:#?}; RENEW=1 renews it"
            );
        }
    }
}

#[test]
fn the_miniature_site_is_published_as_expected() {
    let site = Site::copy(&golden("site"));
    site.run(&[NOW, "build"]).exits(0);
    compare(&site, "out", "expected/out");
    let again = site.times("out");
    site.run(&[NOW, "build"]).exits(0);
    assert_eq!(site.times("out"), again, "an unchanged build touches nothing");
}

#[test]
fn its_digests_are_as_expected() {
    let site = Site::copy(&golden("site"));
    site.run(&[NOW, "remind"]).exits(0);
    compare(&site, ".crieur/outbox", "expected/outbox");
}
