//! What a pickle is made of, and why one is refused.

use super::{View, globals::Global};
use crate::{error::WeightErrorKind, stored::StoredType};

/// A value's place in the list.
pub type Id = u32;

/// A value of a pickle.
#[derive(Debug)]
pub enum Value {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<View>),
    /// What weights have no use for.
    Aside,
}

/// A file of elements in the archive.
#[derive(Debug)]
pub struct Storage {
    pub key: String,
    /// `None` where the tensor says it.
    pub dtype: Option<StoredType>,
}

/// Why a pickle is refused: fits "FILE's pickle ...".
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: WeightErrorKind,
    pub why: String,
}

pub type Result<T, E = Refusal> = std::result::Result<T, E>;

pub fn damaged(why: impl Into<String>) -> Refusal {
    Refusal { kind: WeightErrorKind::Damaged, why: why.into() }
}

pub fn unsupported(why: impl Into<String>) -> Refusal {
    Refusal { kind: WeightErrorKind::Unsupported, why: why.into() }
}
