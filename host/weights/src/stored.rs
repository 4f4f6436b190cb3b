//! Elements as files store them.

use std::fmt;

use fer_engine::Data;
use half::{bf16, f16};
use serde::{Serialize, Serializer};

/// An element type of a weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    /// One that is listed but not read, by the file's own name for it, with its bytes for an element (0 when not known).
    Other(&'static str, usize),
}

impl StoredType {
    /// Bytes of an element.
    pub fn width(self) -> usize {
        match self {
            StoredType::F64 | StoredType::I64 => 8,
            StoredType::F32 | StoredType::I32 => 4,
            StoredType::F16 | StoredType::BF16 | StoredType::I16 => 2,
            StoredType::I8 | StoredType::U8 | StoredType::Bool => 1,
            StoredType::Other(_, width) => width,
        }
    }

    /// Little-endian elements as the host holds them: F16 and BF16 become f32 exactly, whole numbers become i32 where
    /// every one fits. A rest that fills no element is left out: the caller has checked the count.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Data, String> {
        fn all<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
        }
        Ok(match self {
            StoredType::F64 => Data::F64(all(bytes, f64::from_le_bytes)),
            StoredType::F32 => Data::F32(all(bytes, f32::from_le_bytes)),
            StoredType::F16 => Data::F32(all(bytes, |b| f16::from_le_bytes(b).to_f32())),
            StoredType::BF16 => Data::F32(all(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            StoredType::I32 => Data::I32(all(bytes, i32::from_le_bytes)),
            StoredType::I16 => Data::I32(all(bytes, |b| i16::from_le_bytes(b).into())),
            StoredType::I8 => Data::I32(all(bytes, |b| i8::from_le_bytes(b).into())),
            StoredType::I64 => {
                let wide = all(bytes, i64::from_le_bytes);
                let narrow =
                    wide.iter().map(|&x| i32::try_from(x).map_err(|_| format!("holds {x}, too large for i32")));
                Data::I32(narrow.collect::<Result<_, _>>()?)
            }
            StoredType::U8 => Data::U8(bytes.to_vec()),
            StoredType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
            StoredType::Other(name, _) => return Err(format!("is {name}, which is not supported")),
        })
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StoredType::F64 => "F64",
            StoredType::F32 => "F32",
            StoredType::F16 => "F16",
            StoredType::BF16 => "BF16",
            StoredType::I64 => "I64",
            StoredType::I32 => "I32",
            StoredType::I16 => "I16",
            StoredType::I8 => "I8",
            StoredType::U8 => "U8",
            StoredType::Bool => "BOOL",
            StoredType::Other(name, _) => name,
        })
    }
}

impl Serialize for StoredType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A tensor as a file describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredTensor {
    pub name: String,
    #[serde(rename = "type")]
    pub dtype: StoredType,
    pub shape: Vec<usize>,
    /// Elements.
    pub elements: u64,
    /// Bytes of its elements in the file's type.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_values() {
        let half: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let brain: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        assert_eq!(StoredType::F16.decode(&half), Ok(Data::F32(vec![1.5, -2.0])));
        assert_eq!(StoredType::BF16.decode(&brain), Ok(Data::F32(vec![1.5, -2.0])));
        assert_eq!(StoredType::F64.decode(&0.1f64.to_le_bytes()), Ok(Data::F64(vec![0.1])));
        assert_eq!(StoredType::I64.decode(&(-7i64).to_le_bytes()), Ok(Data::I32(vec![-7])));
        assert_eq!(StoredType::I16.decode(&(-7i16).to_le_bytes()), Ok(Data::I32(vec![-7])));
        assert_eq!(StoredType::I8.decode(&[0xff]), Ok(Data::I32(vec![-1])));
        assert_eq!(StoredType::Bool.decode(&[0, 1]), Ok(Data::Bool(vec![false, true])));
        assert!(StoredType::I64.decode(&i64::MAX.to_le_bytes()).unwrap_err().contains("too large"));
        assert!(StoredType::Other("F8_E4M3", 1).decode(&[1]).unwrap_err().contains("F8_E4M3"));
    }
}
