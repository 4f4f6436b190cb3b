//! PyTorch's zip archives: `NAME/data.pkl` says what the tensors are, `NAME/data/KEY` holds their elements.

mod archive;
mod entries;
mod globals;
mod input;
mod pickle;
mod rebuild;
mod values;

use std::{collections::BTreeMap, path::Path};

use fer_engine::Tensor;

use crate::{
    error::Result,
    stored::{StoredTensor, StoredType},
};

/// How a file of before PyTorch 1.6 begins: a pickle of a magic number.
pub const LEGACY: [u8; 14] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// A piece of a storage seen as a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub dtype: StoredType,
    /// The storage's file in the archive.
    pub key: String,
    /// Elements before the first.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Elements from one index to the next, an axis each.
    pub strides: Vec<usize>,
}

impl View {
    /// Elements, or `None` where the product overflows.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side))
    }

    /// Elements of the storage that the view reaches into, or `None` on overflow.
    pub fn reach(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |at, (&side, &stride)| {
            (side - 1).checked_mul(stride).and_then(|step| at.checked_add(step))
        })?;
        last.checked_add(1)
    }

    /// Whether the elements lie in a row.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&side, &stride)| {
            let fits = side == 1 || stride == expected;
            expected = expected.saturating_mul(side);
            fits
        })
    }
}

/// All tensors of an archive, and what was done to get at them.
pub fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, Vec<String>)> {
    let mut archive = archive::Archive::open(path)?;
    let (views, notes) = archive.views()?;
    Ok((archive.tensors(&views)?, notes))
}

/// What an archive holds.
pub fn inspect(path: &Path) -> Result<(Vec<StoredTensor>, Vec<String>)> {
    let mut archive = archive::Archive::open(path)?;
    let (views, notes) = archive.views()?;
    archive.check(&views)?;
    let tensors = views.into_iter().map(|(name, view)| {
        let elements = view.elements().unwrap_or(usize::MAX) as u64;
        let bytes = elements.saturating_mul(view.dtype.width() as u64);
        StoredTensor { name, dtype: view.dtype, shape: view.shape, elements, bytes }
    });
    Ok((tensors.collect(), notes))
}
