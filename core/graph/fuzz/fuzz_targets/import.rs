//! Fragments made of whatever the fuzzer thinks of: importing one never panics, hangs or grows without bound, and what is accepted
//! is whole.
//!
//! With a nightly compiler and cargo-fuzz, in `core/graph`:
//!
//! ```text
//! cargo +nightly fuzz run import -- -timeout=10 -rss_limit_mb=4096 -max_len=4096 -runs=1000000
//! ```
//!
//! Ops that fragments define are kept for the life of the process, so memory grows slowly, by accepted definitions; `-runs` ends a
//! round before that matters. `cargo test -p fer-graph --test it` tries the same with random bytes and a stable compiler.
#![no_main]

#[path = "../fragment.rs"]
mod fragment;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(what) = fragment::hold(&fragment::from_bytes(bytes)) {
        panic!("{what}");
    }
});
