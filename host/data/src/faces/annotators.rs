//! Ten simulated annotators a face, who err as FERPlus's did.

use crate::prior::FERPLUS_PRIOR;
use crate::rng::{Draws, Purpose};
use crate::spec::LabelMode;
use crate::votes::{Verdict, Votes, decide};

/// Chance that an annotator says `unknown`.
const UNKNOWN: f32 = 0.01;

/// Ten votes on a face of `class`, drawn from FERPlus's mean vote shares until their majority is `class`.
pub fn annotate(class: usize, seed: u64) -> Votes {
    let mut draws = Draws::new(seed, Purpose::Votes, class as u32, 0, 0);
    loop {
        let mut votes = [0u8; 10];
        for _ in 0..10 {
            votes[vote(class, &mut draws)] += 1;
        }
        if matches!(decide(&votes, LabelMode::Majority), Verdict::Label { label, .. } if label == class) {
            return votes;
        }
    }
}

fn vote(class: usize, draws: &mut Draws) -> usize {
    if draws.chance(UNKNOWN) {
        return 8;
    }
    let mut left = draws.unit();
    for (choice, share) in FERPLUS_PRIOR[class].iter().enumerate() {
        left -= *share as f32;
        if left < 0.0 {
            return choice;
        }
    }
    class
}
