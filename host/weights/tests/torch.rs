//! State dicts as PyTorch writes them: the values, what is unwrapped, what is refused.

mod common;

use std::path::Path;

use common::{data, refused};
use fer_engine::{Data, Tensor};
use fer_weights::{Format, StoredType, WeightErrorKind, WeightFile, inspect, read};

fn load(name: &str) -> WeightFile {
    read(&data(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_type_and_layout_has_the_values_of_pytorch() {
    let wanted = load("mixed.safetensors");
    assert_eq!((wanted.format, wanted.metadata["format"].as_str()), (Format::Safetensors, "pt"));
    for name in ["mixed.pth", "protocol4.pth"] {
        let found = load(name);
        assert_eq!(found.format, Format::PyTorch);
        assert_eq!(found.notes, Vec::<String>::new());
        assert_eq!(found.tensors.keys().collect::<Vec<_>>(), wanted.tensors.keys().collect::<Vec<_>>());
        for (tensor, value) in &wanted.tensors {
            assert_eq!(found.tensors[tensor], *value, "{name}: {tensor}");
        }
    }
    // Not only equal to each other.
    assert_eq!(
        wanted.tensors["slice"],
        Tensor::f32([2, 2, 2], [4., 6., 8., 10., 16., 18., 20., 22.].map(|x| x / 8.0).to_vec())
    );
    assert_eq!(wanted.tensors["bf16"], Tensor::f32([2], vec![3.0, -0.125]));
    assert_eq!(wanted.tensors["i64"], Tensor::i32([], vec![70_000]));
    assert_eq!(wanted.tensors["bool"].data, Data::Bool(vec![true, false, true]));
    assert_eq!(wanted.tensors["empty"], Tensor::f32([0, 3], vec![]));
}

#[test]
fn an_inspection_tells_stored_types_without_converting() {
    let (pickled, plain) = (inspect(&data("mixed.pth")).unwrap(), inspect(&data("mixed.safetensors")).unwrap());
    assert_eq!(pickled.tensors, plain.tensors);
    let row = |name: &str| pickled.tensors.iter().find(|t| t.name == name).unwrap();
    assert_eq!((row("bf16").dtype, row("bf16").bytes), (StoredType::BF16, 4));
    assert_eq!((row("i64").dtype, row("i64").shape.len(), row("i64").elements), (StoredType::I64, 0, 1));
    assert_eq!(row("permuted").shape, [4, 2, 3]);
    assert_eq!(pickled.elements(), plain.elements());
    assert_eq!(pickled.bytes, data("mixed.pth").metadata().unwrap().len());
    assert_eq!(plain.metadata["format"], "pt");
}

#[test]
fn a_checkpoint_is_unwrapped_and_says_so() {
    let file = load("checkpoint.pth");
    assert_eq!(file.tensors.len(), 7);
    assert_eq!(file.tensors["0.weight"].shape, [3, 2]);
    assert_eq!(file.tensors["1.num_batches_tracked"], Tensor::i32([], vec![1]));
    assert_eq!(file.notes, ["the tensors are those of \"model\" in the checkpoint"]);
    let averaged = load("averaged.pth");
    assert_eq!(averaged.notes[0], "the tensors are those of \"state_dict\" in the checkpoint");
    assert_eq!(averaged.notes[1], "other tensors in the checkpoint were not read: state_dict_ema");
    assert_eq!(inspect(&data("averaged.pth")).unwrap().notes, averaged.notes);
}

#[test]
fn what_data_parallel_puts_before_names_is_stripped() {
    let file = load("parallel.pth");
    assert!(file.tensors.contains_key("0.weight") && file.tensors.len() == 7, "{:?}", file.tensors.keys());
    assert!(file.notes[0].contains("\"module.\""), "{:?}", file.notes);
    assert_eq!(inspect(&data("parallel.pth")).unwrap().tensors[0].name, "0.bias");
}

#[test]
fn what_is_not_sure_is_not_guessed() {
    refused("two.pth", WeightErrorKind::Unsupported, &["several dictionaries of tensors", "teacher, student"]);
    refused("nothing.pth", WeightErrorKind::Unsupported, &["holds no tensors, but epoch"]);
}

#[test]
fn what_is_not_read_says_how_to_save_it() {
    refused("legacy.pth", WeightErrorKind::Format, &["old format of before version 1.6", "torch.save(torch.load("]);
    refused("script.pt", WeightErrorKind::Format, &["TorchScript program", "state_dict()"]);
    refused("whole.pth", WeightErrorKind::Unsafe, &["torch.nn.modules.container.Sequential", "model.state_dict()"]);
    refused("expanded.pth", WeightErrorKind::Unsupported, &["claim 4000000 bytes", "contiguous()"]);
    refused("quantised.pth", WeightErrorKind::Unsupported, &["a quantised tensor"]);
}

/// Every beginning of a file and, of one in seven, every place changed: an answer, never a panic, and never half a file.
#[test]
fn damage_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pth");
    let whole = std::fs::read(data("mixed.pth")).unwrap();
    let wanted = load("mixed.pth").tensors;
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let error = read(&path).expect_err("a beginning is no file");
        assert!(error.message.contains("damaged.pth"), "{error}");
    }
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        std::fs::write(&path, &changed).unwrap();
        // A change of what is not used, such as a time, is harmless. Elements have a checksum.
        if let Ok(file) = read(&path) {
            let same = file.tensors.iter().filter(|(name, value)| wanted.get(*name) == Some(value)).count();
            assert_eq!(same, file.tensors.len(), "byte {at} changed a tensor unnoticed");
        }
        let _ = inspect(&path);
    }
}

#[test]
fn the_name_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    std::fs::copy(data("mixed.pth"), &path).unwrap();
    assert_eq!(read(&path).unwrap().format, Format::PyTorch);
    assert!(read(Path::new("/nowhere/w.pth")).unwrap_err().message.starts_with("cannot read /nowhere/w.pth"));
}
