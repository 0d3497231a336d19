#![no_main]

#[path = "../harness.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::front_matter(data));
