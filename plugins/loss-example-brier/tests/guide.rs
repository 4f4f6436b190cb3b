//! The Rust and the CUDA C of docs/custom-ops.md are this example's and its neighbour's, word for word.

use std::{fs, path::Path};

#[test]
fn the_guide_shows_what_is_built() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(here.join(path)).expect("is there").replace("\r\n", "\n");
    let sources = ["src/lib.rs", "src/terms.rs", "src/terms.cu", "../loss-example-focal/src/lib.rs"].map(read);
    let guide = read("../../docs/custom-ops.md");
    let blocks = |language: &str| -> Vec<&str> {
        let begin = format!("```{language}\n");
        let rests: Vec<&str> = guide.split(begin.as_str()).skip(1).collect();
        rests.into_iter().map(|rest| rest.split("```").next().unwrap_or_default()).collect()
    };
    let (rust, cuda) = (blocks("rust"), blocks("cuda"));
    assert!(rust.len() >= 5 && cuda.len() == 1, "{} and {} blocks", rust.len(), cuda.len());
    for block in rust.into_iter().chain(cuda) {
        assert!(sources.iter().any(|source| source.contains(block)), "no example has this:\n{block}");
    }
}
