//! Everything that the fuzzer began with, and what it ever found, once more: see `fuzz/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../fuzz/harness.rs"]
mod harness;

use std::fs;
use std::path::Path;

/// What stands elsewhere in the repository, and is as good to begin with.
const BESIDE: &[(&str, &str)] = &[
    ("front_matter", "content/postings"),
    ("posting", "content/postings"),
    ("posting", "tests/golden/site/content/postings"),
    ("recipients_yaml", "content"),
    ("recipients_yaml", "src/commands/init"),
    ("settings", "content"),
    ("settings", "src/commands/init"),
    ("settings", "tests/golden/site/content"),
    ("template", "templates"),
    ("inbound", "tests/returned"),
];

#[test]
fn nothing_that_was_ever_found_is_found_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in harness::TARGETS {
        let mut count = 0;
        let beside =
            BESIDE.iter().filter(|(of, _)| of == name).map(|(_, folder)| root.join(folder));
        for folder in beside.chain([root.join("fuzz/corpus").join(name)]) {
            let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
            for file in files.filter(|file| file.is_file()) {
                target(&fs::read(file).unwrap());
                count += 1;
            }
        }
        assert!(count > 4, "{name}: {count}");
    }
}
