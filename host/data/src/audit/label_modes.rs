//! FERPlus sizes as they are usually quoted: a label mode applied to all three lists.
//!
//! The splits of this workspace always validate and test on majority labels, so their sizes in the soft modes are not
//! the quoted ones. Both are shown, so that a reader can tell which of the two a number is.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::ferplus;
use crate::spec::{LabelMode, VoteSource};

/// How many rows of each list one label mode keeps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelModeSizes {
    pub labels: LabelMode,
    /// Train, public and private test list; rows without an image name count nowhere.
    pub kept: [usize; 3],
    /// The sizes that are quoted for these votes; absent where none are known.
    pub published: Option<[usize; 3]>,
    /// Whether they are those; absent where none are known.
    pub matches: Option<bool>,
}

/// All three modes on the votes of `source`.
pub(super) fn label_modes(root: &Path, source: VoteSource) -> Result<Vec<LabelModeSizes>> {
    let modes = [LabelMode::Majority, LabelMode::Probability, LabelMode::MultiTarget];
    let kept = ferplus::kept(root, source, modes)?;
    Ok(modes.into_iter().zip(kept).map(|(labels, kept)| compare(labels, kept, published(source, labels))).collect())
}

fn compare(labels: LabelMode, kept: [usize; 3], published: Option<[usize; 3]>) -> LabelModeSizes {
    LabelModeSizes { labels, kept, published, matches: published.map(|p| p == kept) }
}

/// What other code and the literature report; each number is of one vote file, and the other file gives another.
fn published(source: VoteSource, labels: LabelMode) -> Option<[usize; 3]> {
    match (source, labels) {
        (VoteSource::ImageLists, LabelMode::Majority) => Some([25_045, 3_191, 3_137]),
        (VoteSource::ImageLists, LabelMode::Probability) => Some([27_947, 3_508, 3_507]),
        (VoteSource::NewCsv, LabelMode::Majority) => Some([25_060, 3_199, 3_153]),
        (VoteSource::NewCsv, LabelMode::MultiTarget) => Some([27_671, 3_472, 3_472]),
        (VoteSource::ImageLists, LabelMode::MultiTarget) | (VoteSource::NewCsv, LabelMode::Probability) => None,
    }
}

/// A row of the table: the mode in the config's spelling, the counts and the verdict.
impl fmt::Display for LabelModeSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug of a plain enum does not pad.
        write!(f, "{:<12}", format!("{:?}", self.labels))?;
        for n in self.kept {
            write!(f, "  {n:>10}")?;
        }
        match self.published {
            Some(p) if p == self.kept => write!(f, "  matches"),
            Some([a, b, c]) => write!(f, "  differs from {a} / {b} / {c}"),
            None => write!(f, "  none published"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_sizes_are_the_published_ones() {
        let quoted = published(VoteSource::ImageLists, LabelMode::Probability);
        let same = compare(LabelMode::Probability, [27_947, 3_508, 3_507], quoted);
        assert_eq!((same.matches, same.to_string().ends_with("3507  matches")), (Some(true), true));
        let other = compare(LabelMode::Probability, [27_947, 3_508, 3_506], quoted);
        assert_eq!(other.matches, Some(false));
        assert!(other.to_string().ends_with("differs from 27947 / 3508 / 3507"), "{other}");
        let unknown = compare(LabelMode::MultiTarget, [1, 2, 3], None);
        assert_eq!((unknown.matches, unknown.to_string().ends_with("none published")), (None, true));
    }
}
