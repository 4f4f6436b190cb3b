//! What a component claims of itself, for its contract and `fer-host plugin check` to hold it to.

use fer_abi::{Attribute, NamedAttribute, law};

/// A claim; `plugin show` prints it.
///
/// ```
/// # use fer_sdk::{Law, Size};
/// const LAWS: &[Law] = &[Law::KeepsConstants, Law::OutputSize(Size::Square("size"))];
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Loss: never below zero, for distributions as truth and weights above zero.
    NonNegative,
    /// Loss: sees logits through softmax alone.
    ShiftInvariant,
    /// Loss: no class is special.
    ClassSymmetric,
    /// Loss: with its default options least where softmax gives the targets, and their entropy there.
    LeastAtTruth,
    /// Resizer: an image that is one number everywhere stays so.
    KeepsConstants,
    /// Resizer: before training, nothing happens to the images.
    StartsAsIdentity,
    /// Resizer: before training, the images are resized bilinearly.
    StartsAsBilinear,
    /// Resizer: the size of what it gives. Of several, the first whose option is given holds.
    OutputSize(Size),
    /// Backbone and resizer: every convolution starts as PyTorch's do, or at zero.
    TorchConvolutions,
    /// Backbone and resizer: parameters whose name matches `of` (`*` stands for anything) start around zero with this standard
    /// deviation.
    InitialDeviation { of: &'static str, is: f64 },
    /// Backbone and resizer: takes `images` `[n, c, h, w]` with these options, as in `"embed_dim: 8, depths: [1, 1]"`. Checks start
    /// from such problems, so they should be small: a few thousand parameters.
    Takes { images: [usize; 4], options: &'static str },
}

/// The size that a resizer promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// That of what it gets.
    Same,
    /// A square whose side is this option.
    Square(&'static str),
    /// Height and width times this option, rounded down.
    Times(&'static str),
}

impl Law {
    /// The claim as it crosses the boundary: see [`fer_abi::law`].
    pub fn property(&self) -> NamedAttribute {
        let flag = |name| (name, Attribute::Bool(true));
        let text = |name, text: String| (name, Attribute::Text(text.into()));
        let (name, value) = match *self {
            Law::NonNegative => flag(law::NON_NEGATIVE),
            Law::ShiftInvariant => flag(law::SHIFT_INVARIANT),
            Law::ClassSymmetric => flag(law::CLASS_SYMMETRIC),
            Law::LeastAtTruth => flag(law::LEAST_AT_TRUTH),
            Law::KeepsConstants => flag(law::KEEPS_CONSTANTS),
            Law::StartsAsIdentity => flag(law::STARTS_AS_IDENTITY),
            Law::StartsAsBilinear => flag(law::STARTS_AS_BILINEAR),
            Law::TorchConvolutions => flag(law::TORCH_CONVOLUTIONS),
            Law::OutputSize(Size::Same) => text(law::OUTPUT_SIZE, "same".into()),
            Law::OutputSize(Size::Square(option)) => text(law::OUTPUT_SIZE, format!("square of {option}")),
            Law::OutputSize(Size::Times(option)) => text(law::OUTPUT_SIZE, format!("times {option}")),
            Law::InitialDeviation { of, is } => text(law::INITIAL_DEVIATION, format!("{of} {is}")),
            Law::Takes { images: [n, c, h, w], options } => {
                let with = if options.is_empty() { String::new() } else { format!(" with {options}") };
                text(law::TAKES, format!("{n}x{c}x{h}x{w}{with}"))
            }
        };
        NamedAttribute { name: name.into(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_cross_as_words() {
        let said = |law: Law| {
            let property = law.property();
            match property.value {
                Attribute::Text(text) => format!("{}: {text}", property.name),
                other => format!("{}: {other:?}", property.name),
            }
        };
        assert_eq!(said(Law::NonNegative), "non_negative: Bool(true)");
        assert_eq!(said(Law::OutputSize(Size::Times("scale"))), "output_size: times scale");
        assert_eq!(said(Law::InitialDeviation { of: "*.weight", is: 0.02 }), "initial_deviation: *.weight 0.02");
        assert_eq!(said(Law::Takes { images: [3, 3, 8, 8], options: "" }), "takes: 3x3x8x8");
        assert_eq!(said(Law::Takes { images: [1, 3, 8, 8], options: "depth: 1" }), "takes: 1x3x8x8 with depth: 1");
    }
}
