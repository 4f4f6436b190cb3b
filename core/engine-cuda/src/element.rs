//! What buffers are made of.

use fer_graph::DType;

/// An element of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    F32,
    Bf16,
    I32,
    U8,
    Bool,
}

impl Element {
    /// How a value of this type is stored where nothing is rounded.
    pub fn of(dtype: DType) -> Element {
        match dtype {
            DType::Float => Element::F32,
            DType::Bf16 => Element::Bf16,
            DType::I32 => Element::I32,
            DType::U8 => Element::U8,
            DType::Bool => Element::Bool,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Element::F32 | Element::I32 => 4,
            Element::Bf16 => 2,
            Element::U8 | Element::Bool => 1,
        }
    }

    /// The type in the kernels' sources.
    pub fn c(self) -> &'static str {
        match self {
            Element::F32 => "float",
            Element::Bf16 => "bf16",
            Element::I32 => "int",
            Element::U8 => "u8",
            Element::Bool => "bool8",
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::Bf16)
    }
}
