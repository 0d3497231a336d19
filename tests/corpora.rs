//! Everything that the fuzzer began with, and what it ever found, once more: see `fuzz/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../fuzz/harness.rs"]
mod harness;

use std::fs;
use std::path::Path;

#[test]
fn nothing_that_was_ever_found_is_found_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in harness::TARGETS {
        let mut count = 0;
        let beside = if *name == "inbound" { Some(root.join("tests/returned")) } else { None };
        for folder in [Some(root.join("fuzz/corpus").join(name)), beside].into_iter().flatten() {
            for file in fs::read_dir(&folder).unwrap() {
                target(&fs::read(file.unwrap().path()).unwrap());
                count += 1;
            }
        }
        assert!(count > 3, "{name}: {count}");
    }
}
