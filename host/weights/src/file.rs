//! A weight file of any format: recognised by its first bytes, since names lie.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use fer_engine::Tensor;
use fer_train::weights::WeightsError;
use safetensors::{Dtype, tensor::Metadata};
use serde::Serialize;

use crate::{
    error::{Result, WeightError, WeightErrorKind},
    stored::{StoredTensor, StoredType},
    torch,
};

/// What a weight file is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Safetensors,
    /// A zip archive with a pickle, as `torch.save` writes it.
    PyTorch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Safetensors => "safetensors",
            Format::PyTorch => "PyTorch",
        })
    }
}

/// All of a weight file.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightFile {
    pub path: PathBuf,
    pub format: Format,
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's notes on itself; a PyTorch file has none.
    pub metadata: BTreeMap<String, String>,
    /// What was done to get at the tensors, a sentence each: a dictionary unwrapped, a prefix stripped, entries left aside.
    pub notes: Vec<String>,
}

/// What a weight file holds, without its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    pub path: PathBuf,
    pub format: Format,
    /// The file's size in bytes.
    pub bytes: u64,
    /// By name.
    pub tensors: Vec<StoredTensor>,
    pub metadata: BTreeMap<String, String>,
    /// As in [`WeightFile`].
    pub notes: Vec<String>,
}

impl Inspection {
    /// Elements of all tensors.
    pub fn elements(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.elements))
    }
}

/// All tensors of a weight file. F64, F32, I32, U8 and BOOL stay as they are; F16 and BF16 become f32 exactly; other whole
/// numbers become i32 where every one fits.
///
/// # Errors
/// [`WeightError`]: a file that cannot be read, is of another format, damaged, unsafe, or holds what is not supported. None is
/// read in part.
pub fn read(path: &Path) -> Result<WeightFile> {
    let mut weights = match recognise(path)? {
        Format::Safetensors => {
            let (tensors, metadata) = fer_train::read_safetensors_with_metadata(path).map_err(safetensors_error)?;
            WeightFile { path: path.to_owned(), format: Format::Safetensors, tensors, metadata, notes: vec![] }
        }
        Format::PyTorch => {
            let (tensors, notes) = torch::read(path)?;
            WeightFile { path: path.to_owned(), format: Format::PyTorch, tensors, metadata: BTreeMap::new(), notes }
        }
    };
    if has_prefix(weights.tensors.keys()) {
        weights.tensors = weights.tensors.into_iter().map(|(name, t)| (without_prefix(name), t)).collect();
        weights.notes.push(PREFIX_NOTE.to_owned());
    }
    Ok(weights)
}

/// What a weight file holds, in its own types and without reading the elements.
///
/// # Errors
/// As [`read`], but for elements that cannot be converted.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let bytes = path.metadata().map_err(WeightError::io("read", path))?.len();
    let format = recognise(path)?;
    let (mut tensors, metadata, mut notes) = match format {
        Format::Safetensors => {
            let (tensors, metadata) = inspect_safetensors(path, bytes)?;
            (tensors, metadata, vec![])
        }
        Format::PyTorch => {
            let (tensors, notes) = torch::inspect(path)?;
            (tensors, BTreeMap::new(), notes)
        }
    };
    if has_prefix(tensors.iter().map(|tensor| &tensor.name)) {
        tensors.iter_mut().for_each(|tensor| tensor.name = without_prefix(std::mem::take(&mut tensor.name)));
        notes.push(PREFIX_NOTE.to_owned());
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Inspection { path: path.to_owned(), format, bytes, tensors, metadata, notes })
}

/// What DataParallel puts before the name of every parameter.
const PREFIX: &str = "module.";
const PREFIX_NOTE: &str = "\"module.\", which DataParallel puts before every name, was stripped";

fn has_prefix<'n>(names: impl IntoIterator<Item = &'n String>) -> bool {
    let mut names = names.into_iter().peekable();
    names.peek().is_some() && names.all(|name| name.len() > PREFIX.len() && name.starts_with(PREFIX))
}

fn without_prefix(name: String) -> String {
    name[PREFIX.len()..].to_owned()
}

/// The format by content.
fn recognise(path: &Path) -> Result<Format> {
    let error = |message: String| WeightError::new(WeightErrorKind::Format, format!("{} {message}", path.display()));
    if path.is_dir() {
        return Err(error("is a folder, not a weight file".into()).help("name the file in it that holds the weights"));
    }
    let mut start = vec![];
    let file = File::open(path).map_err(WeightError::io("read", path))?;
    file.take(512).read_to_end(&mut start).map_err(WeightError::io("read", path))?;
    let text = String::from_utf8_lossy(&start).trim_start().to_lowercase();
    let begins = |signature: &[u8]| start.starts_with(signature);
    Err(if start.is_empty() {
        error("is empty".into()).help("fetch or copy it again")
    } else if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") {
        return Ok(Format::PyTorch);
    } else if start.len() > 8 && start[8] == b'{' {
        return Ok(Format::Safetensors);
    } else if begins(&torch::LEGACY) {
        error("is in PyTorch's old format of before version 1.6".into()).help(
            "save it again with a newer PyTorch: torch.save(torch.load(\"FILE\", weights_only=True), \"NEW.pth\")",
        )
    } else if begins(&[0x80]) {
        error("is a pickle, but not in the archive that PyTorch writes".into())
            .help("save the state dict with torch.save or safetensors.torch.save_file")
    } else if text.starts_with("version https://git-lfs") {
        error("is Git LFS's pointer to a file, not the file".into())
            .help("get the file itself: git lfs pull, or fer-host weights fetch")
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        error("is a web page, not a weight file".into()).help("download the file that the page links to")
    } else if begins(b"\x89HDF") {
        error("is an HDF5 file of Keras or TensorFlow".into()).help("only safetensors and PyTorch state dicts are read")
    } else if begins(&[0x1f, 0x8b]) {
        error("is compressed with gzip".into()).help("unpack it first: gunzip FILE")
    } else if begins(b"GGUF") || begins(b"\x93NUMPY") {
        error("is no weight file that is read here".into()).help("only safetensors and PyTorch state dicts are read")
    } else {
        error("is neither a safetensors file nor a PyTorch state dict, or its beginning is damaged".into())
            .help("fetch or copy it again, or save the weights as safetensors")
    })
}

fn safetensors_error(error: WeightsError) -> WeightError {
    match error {
        WeightsError::File(error) => WeightError::io(error.action, &error.path)(error.source),
        WeightsError::Corrupt { path, message } => damaged(&path, &message),
        WeightsError::Tensor { .. } => WeightError::new(WeightErrorKind::Unsupported, error.to_string()),
    }
}

fn damaged(path: &Path, message: &str) -> WeightError {
    let sentence = format!("{} is not a whole safetensors file: {message}", path.display());
    WeightError::new(WeightErrorKind::Damaged, sentence).help("fetch or copy it again")
}

/// The library's own limit on a header.
const HEADER: u64 = 100_000_000;

/// Only the header is read, and never more than the file has.
fn inspect_safetensors(path: &Path, bytes: u64) -> Result<(Vec<StoredTensor>, BTreeMap<String, String>)> {
    let mut file = File::open(path).map_err(WeightError::io("read", path))?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(WeightError::io("read", path))?;
    let header = u64::from_le_bytes(length);
    if header > HEADER || header.saturating_add(8) > bytes {
        return Err(damaged(path, &format!("its header claims {header} bytes, the file has {bytes}")));
    }
    let mut text = vec![];
    file.take(header).read_to_end(&mut text).map_err(WeightError::io("read", path))?;
    // Checks products, offsets and their order, as the library does when it reads all of a file.
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|e| damaged(path, &e.to_string()))?;
    let tensors: Vec<StoredTensor> = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| StoredTensor {
            name,
            dtype: stored_type(info.dtype),
            shape: info.shape.clone(),
            // The library has checked the product and that the offsets agree with it.
            elements: info.shape.iter().fold(1, |n: u64, &side| n.saturating_mul(side as u64)),
            bytes: (info.data_offsets.1 - info.data_offsets.0) as u64,
        })
        .collect();
    let claimed = (metadata.data_len() as u64).saturating_add(header + 8);
    if claimed != bytes {
        return Err(damaged(path, &format!("its header describes {claimed} bytes, the file has {bytes}")));
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default().into_iter().collect()))
}

fn stored_type(dtype: Dtype) -> StoredType {
    match dtype {
        Dtype::F64 => StoredType::F64,
        Dtype::F32 => StoredType::F32,
        Dtype::F16 => StoredType::F16,
        Dtype::BF16 => StoredType::BF16,
        Dtype::I64 => StoredType::I64,
        Dtype::I32 => StoredType::I32,
        Dtype::I16 => StoredType::I16,
        Dtype::I8 => StoredType::I8,
        Dtype::U8 => StoredType::U8,
        Dtype::BOOL => StoredType::Bool,
        Dtype::U64 => StoredType::Other("U64", 8),
        Dtype::U32 => StoredType::Other("U32", 4),
        Dtype::U16 => StoredType::Other("U16", 2),
        Dtype::C64 => StoredType::Other("C64", 8),
        Dtype::F8_E4M3 => StoredType::Other("F8_E4M3", 1),
        Dtype::F8_E5M2 => StoredType::Other("F8_E5M2", 1),
        _ => StoredType::Other("another type", 0),
    }
}
