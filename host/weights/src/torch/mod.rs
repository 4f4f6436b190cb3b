//! PyTorch's zip archives: `NAME/data.pkl` says what the tensors are, `NAME/data/KEY` holds their elements.

use std::{collections::BTreeMap, path::Path};

use fer_engine::Tensor;

use crate::{
    error::{Result, WeightError, WeightErrorKind},
    stored::StoredTensor,
};

/// How a file of before PyTorch 1.6 begins: a pickle of a magic number.
pub const LEGACY: [u8; 14] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

fn unsupported(path: &Path) -> WeightError {
    WeightError::new(
        WeightErrorKind::Unsupported,
        format!("{} is a PyTorch file, which is not read yet", path.display()),
    )
    .help("save it as safetensors")
}

/// All tensors of an archive, and what was done to get at them.
pub fn read(path: &Path) -> Result<(BTreeMap<String, Tensor>, Vec<String>)> {
    Err(unsupported(path))
}

/// What an archive holds.
pub fn inspect(path: &Path) -> Result<(Vec<StoredTensor>, Vec<String>)> {
    Err(unsupported(path))
}
