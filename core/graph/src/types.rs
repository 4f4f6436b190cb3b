//! Element types and tensor types.

use std::{fmt, str::FromStr};

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// `f`: the engine's working precision, f32 or f64.
    Float,
    /// `bf16`: a value rounded to bfloat16, whatever it is stored as.
    Bf16,
    I32,
    U8,
    Bool,
}

impl DType {
    pub const ALL: [DType; 5] = [DType::Float, DType::Bf16, DType::I32, DType::U8, DType::Bool];

    /// The word used in graph text and across the plugin boundary.
    pub fn name(self) -> &'static str {
        match self {
            DType::Float => "f",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// Whether values of this type carry gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::Float | DType::Bf16)
    }

    /// Bytes of one element where `f` is stored in `float_bytes`.
    pub fn bytes(self, float_bytes: usize) -> usize {
        match self {
            DType::Float => float_bytes,
            DType::Bf16 => 2,
            DType::I32 => 4,
            DType::U8 | DType::Bool => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        DType::ALL
            .into_iter()
            .find(|d| d.name() == word)
            .ok_or_else(|| format!("no element type is called {word:?}; there are f, bf16, i32, u8, bool"))
    }
}

/// The most elements a tensor may have: larger ones are refused before anything is allocated.
pub const MAX_ELEMENTS: usize = 1 << 36;
/// The most axes a tensor may have.
pub const MAX_RANK: usize = 8;

/// Element type and concrete shape, row-major.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl TensorType {
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// A float tensor.
    pub fn float(shape: impl Into<Vec<usize>>) -> Self {
        Self::new(DType::Float, shape)
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; 1 for a scalar. Saturates, so that an absurd shape is seen as absurd.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1usize, |n, &d| n.saturating_mul(d))
    }

    /// Whether the shape is one the graph accepts: no empty axis, not too many axes or elements.
    pub fn is_sane(&self) -> bool {
        self.rank() <= MAX_RANK && !self.shape.contains(&0) && self.elements() <= MAX_ELEMENTS
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}
