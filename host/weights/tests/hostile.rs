//! Files that somebody made to do harm, and files that are something else.

mod common;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use common::{refused, told};
use fer_weights::{WeightErrorKind as Kind, inspect, read};
use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn file(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.bin");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

/// An archive of a pickle and one storage.
fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    entries(&[("archive/data.pkl", pickle), ("archive/data/0", storage)])
}

fn entries(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(vec![]));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[track_caller]
fn refuse(content: &[u8], kind: Kind, parts: &[&str]) {
    let (_folder, path) = file(content);
    refused(&path, kind, parts);
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// `{"w": tensor}` with numbers of the file's own choosing, as 8-byte integers.
fn tensor(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let number = |n: &i64| [b"\x8a\x08".as_slice(), &n.to_le_bytes()].concat();
    let tuple = |numbers: &[i64]| [b"(".to_vec(), numbers.iter().flat_map(number).collect(), b"t".to_vec()].concat();
    [
        b"\x80\x02}".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x04tQ".to_vec(),
        number(&offset),
        tuple(shape),
        tuple(strides),
        b"\x89}tRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn the_helper_makes_what_is_read() {
    let elements: Vec<u8> = [1f32, 2., 3., 4.].iter().flat_map(|x| x.to_le_bytes()).collect();
    let (_folder, path) = file(&archive(&tensor(0, &[2, 2], &[1, 2]), &elements));
    assert_eq!(read(&path).unwrap().tensors["w"].to_f32(), [1., 3., 2., 4.]);
}

#[test]
fn a_pickle_that_runs_a_command_runs_nothing() {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let command = format!("touch {}", trace.display());
    for module in ["os", "posix", "subprocess"] {
        let pickle = [format!("\x02c{module}\nsystem\n(").into_bytes(), text(&command), b"tR.".to_vec()].concat();
        let content = archive(&[b"\x80".to_vec(), pickle].concat(), b"");
        refuse(&content, Kind::Unsafe, &[&format!("asks for {module}.system"), "nothing of it was executed"]);
    }
    // Within a state dict that is otherwise sound, too.
    let inner =
        [b"\x80\x02}".to_vec(), text("w"), b"c__builtin__\neval\n(".to_vec(), text("1"), b"tRs.".to_vec()].concat();
    refuse(&archive(&inner, b""), Kind::Unsafe, &["__builtin__.eval"]);
    assert!(!trace.exists());
}

#[test]
fn a_tensor_of_impossible_size_is_no_allocation() {
    let storage = [0; 16];
    for (offset, shape, strides) in [
        (0, vec![1 << 60], vec![1]),
        (0, vec![1 << 40, 1 << 40], vec![1 << 40, 1]),
        (0, vec![i64::MAX, 4, 0], vec![1, 1, 1]),
        (i64::MAX, vec![1], vec![1]),
        (0, vec![2, 2], vec![i64::MAX, i64::MAX]),
        (2, vec![4], vec![1]),
        (0, vec![-1], vec![1]),
        (-4, vec![1], vec![1]),
        (0, vec![2, 2], vec![1]),
        (0, vec![1; 100], vec![1; 100]),
    ] {
        refuse(&archive(&tensor(offset, &shape, &strides), &storage), Kind::Damaged, &["w.bin"]);
    }
    // Strides of zero repeat one element for ever.
    refuse(&archive(&tensor(0, &[1 << 40], &[0]), &storage), Kind::Unsupported, &["claim 4398046511104 bytes"]);
}

#[test]
fn a_storage_that_is_missing_or_short_is_named() {
    refuse(&archive(&tensor(0, &[4], &[1]), &[0; 15]), Kind::Damaged, &["\"w\" needs 16 bytes", "which has 15"]);
    let without = entries(&[("archive/data.pkl", &tensor(0, &[4], &[1]))]);
    refuse(&without, Kind::Damaged, &["the elements of \"w\" are not in it"]);
}

#[test]
fn an_entry_that_claims_more_than_the_file_has() {
    let whole = archive(&tensor(0, &[4], &[1]), &[0; 16]);
    let mut tried = 0;
    // The sizes in the local and central headers of the pickle's and the storage's entry.
    for at in 0..whole.len() - 30 {
        let sizes = match &whole[at..at + 4] {
            b"PK\x03\x04" => at + 18,
            b"PK\x01\x02" => at + 20,
            _ => continue,
        };
        for claim in [u32::MAX - 1, 1 << 30, u32::MAX] {
            let mut changed = whole.clone();
            changed[sizes..sizes + 4].copy_from_slice(&claim.to_le_bytes());
            changed[sizes + 4..sizes + 8].copy_from_slice(&claim.to_le_bytes());
            let (_folder, path) = file(&changed);
            if let Err(error) = read(&path) {
                assert_eq!(error.kind, Kind::Damaged, "{error}");
            }
            let _ = inspect(&path);
            tried += 1;
        }
    }
    assert_eq!(tried, 12);
}

#[test]
fn a_pickle_too_large_is_not_read() {
    let large = vec![b'N'; (16 << 20) + 1];
    refuse(&archive(&large, b""), Kind::Damaged, &["data.pkl", "16777216 are allowed"]);
}

#[test]
fn a_safetensors_header_that_lies() {
    let header = |length: u64, text: &str| [length.to_le_bytes().to_vec(), text.as_bytes().to_vec()].concat();
    for content in [
        header(1 << 60, "{}"),
        header(u64::MAX, "{}"),
        header(99_999_999, "{}"),
        header(2, "{"),
        header(7, "{\"a\":1}"),
        header(60, "{\"w\":{\"dtype\":\"F32\",\"shape\":[1152921504606846976],\"data_offsets\":[0,4]}}"),
        header(66, "{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,0]}}"),
        header(51, "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"),
        header(54, "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}123"),
    ] {
        refuse(&content, Kind::Damaged, &["is not a whole safetensors file", "fetch or copy it again"]);
    }
}

#[test]
fn what_is_something_else_is_called_by_its_name() {
    for (content, parts) in [
        (b"".as_slice(), ["is empty", "again"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["Git LFS's pointer", "git lfs pull"]),
        (b"<!DOCTYPE html><html>", ["a web page", "download"]),
        (b"\x89HDF\r\n\x1a\n", ["HDF5", "safetensors"]),
        (b"\x1f\x8b\x08", ["gzip", "gunzip"]),
        (b"\x80\x04K\x01.", ["is a pickle", "torch.save"]),
        (b"GGUF\x03\0\0\0", ["no weight file that is read here", "safetensors"]),
        (b"what is this", ["neither a safetensors file nor a PyTorch", "again"]),
    ] {
        refuse(content, Kind::Format, &parts);
    }
    refuse(&entries(&[("a.npy", b"")]), Kind::Format, &["NumPy arrays"]);
    refuse(&entries(&[("a.txt", b"")]), Kind::Format, &["no data.pkl"]);
    refuse(&entries(&[("a/data.pkl", b""), ("b/data.pkl", b"")]), Kind::Format, &["several data.pkl"]);
    refuse(&entries(&[("a/data.pkl", b""), ("a/byteorder", b"big")]), Kind::Format, &["other byte order"]);
    let error = read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
    assert!(told(&error).contains("is a folder"), "{error}");
}
