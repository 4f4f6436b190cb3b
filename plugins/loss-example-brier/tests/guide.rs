//! The Rust of docs/custom-ops.md is this example's and its neighbour's, word for word.

use std::{fs, path::Path};

#[test]
fn the_guide_shows_what_is_built() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(here.join(path)).expect("is there").replace("\r\n", "\n");
    let sources = ["src/lib.rs", "src/terms.rs", "../loss-example-focal/src/lib.rs"].map(read);
    let guide = read("../../docs/custom-ops.md");
    let blocks: Vec<&str> =
        guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 5, "{} blocks", blocks.len());
    for block in blocks {
        assert!(sources.iter().any(|source| source.contains(block)), "no example has this:\n{block}");
    }
}
