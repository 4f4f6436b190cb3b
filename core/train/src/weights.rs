//! Tensors in safetensors files: reading anyone's, writing ours byte for byte alike, and placing them into a store.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use fer_engine::{Data, Store, Tensor};
use fer_graph::{Graph, Role, TensorType};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::atomic::{FileError, write_atomically_with};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;
/// A file's notes on itself.
pub type Metadata = BTreeMap<String, String>;

/// A weight file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a safetensors file, or a truncated or damaged one.
    #[error("{} is not a whole safetensors file: {message}", path.display())]
    Corrupt { path: PathBuf, message: String },
    #[error("{}: tensor {name:?} {message}", path.display())]
    Tensor { path: PathBuf, name: String, message: String },
}

/// All tensors of a safetensors file by name, and its metadata.
///
/// F64, F32, I32, U8 and BOOL stay as they are; F16 and BF16 become f32 exactly; I64 becomes i32 where every number fits.
///
/// # Errors
/// [`WeightsError`]; a truncated or damaged file is never read in part.
pub fn read_safetensors_with_metadata(path: &Path) -> Result<(Tensors, Metadata), WeightsError> {
    let bytes = fs::read(path).map_err(FileError::on("read", path))?;
    let corrupt = |message: String| WeightsError::Corrupt { path: path.to_owned(), message };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| corrupt(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| corrupt(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let data = decode(view.dtype(), view.data()).map_err(|message| WeightsError::Tensor {
            path: path.to_owned(),
            name: name.to_owned(),
            message,
        })?;
        tensors.insert(name.to_owned(), Tensor::new(view.shape(), data));
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((tensors, metadata))
}

/// All tensors of a safetensors file by name.
///
/// # Errors
/// See [`read_safetensors_with_metadata`].
pub fn read_safetensors(path: &Path) -> Result<Tensors, WeightsError> {
    Ok(read_safetensors_with_metadata(path)?.0)
}

/// Writes tensors in their own precision, atomically. Equal content gives equal bytes.
///
/// # Errors
/// [`FileError`]; the old file is then untouched.
pub fn write_safetensors(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<(), FileError> {
    let header = header(tensors, metadata);
    write_atomically_with(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        in_file_order(tensors).into_iter().try_for_each(|(_, tensor)| write_data(&tensor.data, out))
    })
}

/// The JSON header, padded to 8 bytes. Written here and not by the library, which keeps metadata in a hash map whose order
/// changes from run to run; the library reads it back.
fn header(tensors: &Tensors, metadata: &Metadata) -> String {
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    }
    let mut offset = 0;
    for (name, tensor) in in_file_order(tensors) {
        let (dtype, width) = dtype(&tensor.data);
        let end = offset + tensor.data.len() * width;
        let entry = serde_json::json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
        entries.insert(name.clone(), entry);
        offset = end;
    }
    let text = serde_json::Value::Object(entries).to_string();
    let padding = text.len().next_multiple_of(8) - text.len();
    text + &" ".repeat(padding)
}

/// The library's order, which aligns every tensor: wide elements first, then by name.
fn in_file_order(tensors: &Tensors) -> Vec<(&String, &Tensor)> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(dtype(&tensor.data).1));
    order
}

/// Name and bytes of an element.
fn dtype(data: &Data) -> (&'static str, usize) {
    match data {
        Data::F64(_) => ("F64", 8),
        Data::F32(_) => ("F32", 4),
        Data::I32(_) => ("I32", 4),
        Data::U8(_) => ("U8", 1),
        Data::Bool(_) => ("BOOL", 1),
    }
}

/// The elements as little-endian bytes.
pub(crate) fn write_data(data: &Data, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    match data {
        Data::F64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::F32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::I32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::U8(v) => out.write_all(v),
        Data::Bool(v) => v.iter().try_for_each(|&x| out.write_all(&[u8::from(x)])),
    }
}

/// Little-endian elements; the library has checked their count.
fn decode(dtype: Dtype, bytes: &[u8]) -> Result<Data, String> {
    fn all<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
    }
    Ok(match dtype {
        Dtype::F64 => Data::F64(all(bytes, f64::from_le_bytes)),
        Dtype::F32 => Data::F32(all(bytes, f32::from_le_bytes)),
        Dtype::F16 => Data::F32(all(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Data::F32(all(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::I32 => Data::I32(all(bytes, i32::from_le_bytes)),
        Dtype::I64 => {
            let wide = all(bytes, i64::from_le_bytes);
            let narrow = wide.iter().map(|&x| i32::try_from(x).map_err(|_| format!("holds {x}, too large for i32")));
            Data::I32(narrow.collect::<Result<_, _>>()?)
        }
        Dtype::U8 => Data::U8(bytes.to_vec()),
        Dtype::BOOL => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
        other => return Err(format!("is {other}, which is not supported")),
    })
}

/// How tensors differ from what graphs hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// In the graphs, not among the tensors.
    pub missing: Vec<String>,
    /// Among the tensors, not in the graphs.
    pub unexpected: Vec<String>,
    /// `(name, wanted, found)`.
    pub other_type: Vec<(String, TensorType, TensorType)>,
}

impl Mismatch {
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.other_type.is_empty()
    }
}

/// Names shown of each kind.
const SHOWN: usize = 5;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tensors do not fit the model")?;
        let types: Vec<String> =
            self.other_type.iter().map(|(name, wanted, found)| format!("{name} is {found}, not {wanted}")).collect();
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another type", &types)]
        {
            if !names.is_empty() {
                let rest = if names.len() > SHOWN { ", ..." } else { "" };
                write!(f, "; {} {what}: {}{rest}", names.len(), names[..names.len().min(SHOWN)].join(", "))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mismatch {}

/// Compares tensors with the parameters and states of some graphs, taken together. Names are in order.
pub fn compare(tensors: &Tensors, graphs: &[&Graph]) -> Mismatch {
    let mut wanted: BTreeMap<&str, &TensorType> = BTreeMap::new();
    for graph in graphs {
        let kept = graph.arguments.iter().filter(|a| a.role != Role::Input);
        wanted.extend(kept.map(|a| (a.name.as_str(), graph.ty(a.value))));
    }
    let mut mismatch = Mismatch::default();
    for (&name, &ty) in &wanted {
        match tensors.get(name) {
            None => mismatch.missing.push(name.to_owned()),
            // bfloat16 values are held as floats.
            Some(found) if found.shape == ty.shape && found.data.dtype().is_float() == ty.dtype.is_float() => {}
            Some(found) => mismatch.other_type.push((name.to_owned(), ty.clone(), found.ty())),
        }
    }
    mismatch.unexpected = tensors.keys().filter(|name| !wanted.contains_key(name.as_str())).cloned().collect();
    mismatch
}

/// Writes tensors into a store if they are exactly the parameters and states of the graphs.
///
/// # Errors
/// [`Mismatch`]; the store is then unchanged.
pub fn place(tensors: &Tensors, store: &mut dyn Store, graphs: &[&Graph]) -> Result<(), Mismatch> {
    let mismatch = compare(tensors, graphs);
    if !mismatch.is_empty() {
        return Err(mismatch);
    }
    tensors.iter().for_each(|(name, tensor)| store.write(name, tensor));
    Ok(())
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn write_raw(path: &Path, views: Vec<(&str, Dtype, Vec<usize>, &[u8])>) {
        let views: Vec<_> = views.into_iter().map(|(n, d, s, b)| (n, TensorView::new(d, s, b).unwrap())).collect();
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    #[test]
    fn every_element_type_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let brain: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        let long = 70_000i64.to_le_bytes();
        write_raw(
            &path,
            vec![
                ("half", Dtype::F16, vec![2], &half),
                ("brain", Dtype::BF16, vec![1, 2], &brain),
                ("count", Dtype::I64, vec![], &long),
                ("mask", Dtype::BOOL, vec![2], &[0, 1]),
                ("byte", Dtype::U8, vec![2], &[7, 255]),
            ],
        );
        let read = read_safetensors(&path).unwrap();
        assert_eq!(read["half"], Tensor::f32([2], vec![1.5, -2.0]));
        assert_eq!(read["brain"], Tensor::f32([1, 2], vec![1.5, -2.0]));
        assert_eq!(read["count"], Tensor::i32([], vec![70_000]));
        assert_eq!(read["mask"].data, Data::Bool(vec![false, true]));
        assert_eq!(read["byte"].data, Data::U8(vec![7, 255]));
    }

    #[test]
    fn what_cannot_be_held_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write_raw(&path, vec![("n", Dtype::I64, vec![1], &i64::MAX.to_le_bytes())]);
        let message = read_safetensors(&path).unwrap_err().to_string();
        assert!(message.contains("\"n\"") && message.contains("too large"), "{message}");
        write_raw(&path, vec![("q", Dtype::F8_E4M3, vec![1], &[1])]);
        assert!(read_safetensors(&path).unwrap_err().to_string().contains("\"q\""));
        let missing = read_safetensors(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read") && missing.contains("none"), "{missing}");
    }

    /// The library's own writer gives the same bytes.
    #[test]
    fn our_writer_is_the_librarys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let tensors: Tensors = [
            ("a".to_owned(), Tensor::f32([2], vec![1.0, 2.0])),
            ("b\"é".to_owned(), Tensor::f64([1, 1], vec![0.1])),
            ("c".to_owned(), Tensor::u8([3], vec![1, 2, 3])),
        ]
        .into();
        let metadata: Metadata = [("format".to_owned(), "pt".to_owned())].into();
        write_safetensors(&path, &tensors, &metadata).unwrap();
        let (a, b): (Vec<u8>, Vec<u8>) =
            (tensors["a"].to_f32().iter().flat_map(|x| x.to_le_bytes()).collect(), 0.1f64.to_le_bytes().to_vec());
        let views = [
            ("a", TensorView::new(Dtype::F32, vec![2], &a).unwrap()),
            ("b\"é", TensorView::new(Dtype::F64, vec![1, 1], &b).unwrap()),
            ("c", TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap()),
        ];
        let theirs = safetensors::serialize(views, Some(metadata.clone().into_iter().collect())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), theirs);
        assert_eq!(read_safetensors_with_metadata(&path).unwrap(), (tensors, metadata));
    }
}
