//! `docs/ops.md` is printed from the op table, and must be what the table says.

use std::path::Path;

/// `FER_UPDATE_DOCS=1 cargo test -p fer-tests --test reference` writes the page anew.
#[test]
fn the_op_reference_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops.md");
    let expected = fer_graph::reference_markdown();
    if std::env::var_os("FER_UPDATE_DOCS").is_some() {
        std::fs::write(&page, &expected).expect("docs/ops.md can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    let different = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    assert!(
        found == expected,
        "docs/ops.md differs from the op table, first in line {}: run FER_UPDATE_DOCS=1 cargo test -p fer-tests --test reference",
        different.map_or(found.lines().count().min(expected.lines().count()) + 1, |l| l + 1)
    );
}
