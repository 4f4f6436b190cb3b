//! What numbers are rounded to before tensor cores multiply them, in the kernels of `kernels/tensor.cuh`.

use crate::Element;

/// What a word that tensor cores are fed has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    /// Two numbers of bfloat16.
    Bf16,
    /// A number of f32, rounded to ten bits of mantissa.
    Tf32,
}

impl Factor {
    /// Its name in the kernels' sources.
    pub(super) fn c(self) -> &'static str {
        match self {
            Factor::Bf16 => "bf16",
            Factor::Tf32 => "tf32",
        }
    }

    /// Numbers of a word.
    pub(super) fn numbers(self) -> usize {
        match self {
            Factor::Bf16 => 2,
            Factor::Tf32 => 1,
        }
    }

    /// As which numbers are in memory that are read without being converted.
    pub(super) fn stored(self) -> Element {
        match self {
            Factor::Bf16 => Element::Bf16,
            Factor::Tf32 => Element::F32,
        }
    }
}
