//! A run's whole state in one file, from which it goes on as if it had never stopped.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use fer_engine::Store;
use fer_graph::Graph;
use serde::{Deserialize, Serialize};

use crate::{
    atomic::FileError,
    names::{averaged_name, is_training_state},
    stopping::Selection,
    weights::{
        Metadata, Mismatch, Tensors, WeightsError, place, read_safetensors_with_metadata, write_data, write_safetensors,
    },
};

/// Where a run stands. Counters say how much is done, so they are also the position of what comes next.
///
/// The random state is not listed apart: every random number is a pure function of `seed` and the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs finished.
    pub epoch: usize,
    /// Optimiser steps finished in the epoch under way.
    pub step_in_epoch: usize,
    /// Optimiser steps finished in the run.
    pub global_step: u64,
    pub seed: u64,
    pub selection: Selection,
    /// Whatever the loader needs to go on with the same batches.
    #[serde(default)]
    pub data_order: serde_json::Value,
}

/// A checkpoint that cannot be saved, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A safetensors file that is no checkpoint, or one whose content has changed since it was written.
    #[error("{} is not a checkpoint: {message}", path.display())]
    NotACheckpoint { path: PathBuf, message: String },
    /// The engine does not give what its store names: the device that held it is gone.
    #[error("nothing was saved: {name} cannot be read from the engine's store any more; the device is lost")]
    Unreadable { name: String },
    /// A score that JSON cannot hold.
    #[error("progress cannot be saved: {0}")]
    Progress(String),
}

/// The layout of [`Record`]; raised when an older reader would misread a newer file.
const VERSION: u32 = 1;
/// The metadata keys.
const RECORD: &str = "fer_checkpoint";
const CHECKSUM: &str = "crc32";

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    progress: Progress,
    metadata: Metadata,
}

/// A checkpoint in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub progress: Progress,
    /// What the caller added: a config's hash, the program's version.
    pub metadata: Metadata,
    /// Everything the store held: weights, states, optimiser, averages, accumulated gradients.
    pub tensors: Tensors,
}

impl Checkpoint {
    /// Copies a store.
    ///
    /// # Errors
    /// [`CheckpointError::Unreadable`]: a checkpoint has everything that its store names.
    pub fn of(store: &dyn Store, progress: Progress, metadata: Metadata) -> Result<Checkpoint, CheckpointError> {
        let read = |name: String| match store.read(&name) {
            Some(tensor) => Ok((name, tensor)),
            None => Err(CheckpointError::Unreadable { name }),
        };
        let tensors = store.names().into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Checkpoint { progress, metadata, tensors })
    }

    /// Writes the checkpoint atomically. The same state gives the same bytes.
    ///
    /// # Errors
    /// [`CheckpointError::File`] names the path; the old file is then untouched. [`CheckpointError::Progress`].
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let selection = &self.progress.selection;
        let scores = selection.best.map(|b| b.score).into_iter().chain(selection.reference);
        if let Some(odd) = scores.into_iter().find(|s| !s.is_finite()) {
            return Err(CheckpointError::Progress(format!("a score is {odd}")));
        }
        let record = Record { version: VERSION, progress: self.progress.clone(), metadata: self.metadata.clone() };
        let record = serde_json::to_string(&record).map_err(|e| CheckpointError::Progress(e.to_string()))?;
        let sum = checksum(&record, &self.tensors);
        let header = BTreeMap::from([(RECORD.to_owned(), record), (CHECKSUM.to_owned(), sum)]);
        Ok(write_safetensors(path, &self.tensors, &header)?)
    }

    /// Reads and checks a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`]: missing, truncated, damaged (a checksum covers all), of another kind or of a newer version.
    pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let (tensors, header) = read_safetensors_with_metadata(path)?;
        let fail = |message: String| CheckpointError::NotACheckpoint { path: path.to_owned(), message };
        let (Some(record), Some(sum)) = (header.get(RECORD), header.get(CHECKSUM)) else {
            return Err(fail("it holds weights alone, without the progress of a run".to_owned()));
        };
        if *sum != checksum(record, &tensors) {
            return Err(fail("its checksum differs: the file is damaged".to_owned()));
        }
        let value: serde_json::Value = serde_json::from_str(record).map_err(|e| fail(e.to_string()))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = version.map_or("no version".to_owned(), |v| format!("version {v}"));
            return Err(fail(format!("it is of {found}, this program reads version {VERSION}")));
        }
        let Record { progress, metadata, .. } = serde_json::from_value(value).map_err(|e| fail(e.to_string()))?;
        Ok(Checkpoint { progress, metadata, tensors })
    }

    /// Writes everything into the store, if it is exactly what the graphs of the run hold together.
    ///
    /// # Errors
    /// [`Mismatch`] lists what is missing, unexpected or of another shape; the store is then unchanged.
    pub fn restore(&self, store: &mut dyn Store, graphs: &[&Graph]) -> Result<(), Mismatch> {
        place(&self.tensors, store, graphs)
    }

    /// The model's own parameters and states, without the trainer's. With `averaged`, averages take their places where
    /// there are any.
    pub fn weights(&self, averaged: bool) -> Tensors {
        let own = self.tensors.iter().filter(|(name, _)| !is_training_state(name));
        let mut weights: Tensors = own.map(|(name, t)| (name.clone(), t.clone())).collect();
        if averaged {
            let averages = self.tensors.iter().filter_map(|(name, t)| averaged_name(name).map(|of| (of, t)));
            weights.extend(averages.map(|(of, t)| (of.to_owned(), t.clone())));
        }
        weights
    }
}

/// CRC-32 of the record and of every tensor's name, type and elements, in hexadecimal.
fn checksum(record: &str, tensors: &Tensors) -> String {
    struct Sum(crc32fast::Hasher);
    impl Write for Sum {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sum = io::BufWriter::with_capacity(1 << 16, Sum(crc32fast::Hasher::new()));
    let mut feed = || -> io::Result<()> {
        write!(sum, "{record}\0")?;
        for (name, tensor) in tensors {
            write!(sum, "{name}\0{:?}{}\0", tensor.shape, tensor.data.dtype())?;
            write_data(&tensor.data, &mut sum)?;
        }
        sum.flush()
    };
    // Writing to memory cannot fail; an unfinished sum would only make the file be refused.
    let _ = feed();
    format!("{:08x}", sum.get_ref().0.clone().finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fer_engine::{Data, Tensor};
    use fer_graph::{Builder, Init};
    use proptest::prelude::*;

    use super::*;
    use crate::{stopping::Best, testing::MemoryStore};

    fn progress() -> Progress {
        Progress {
            epoch: 3,
            step_in_epoch: 7,
            global_step: 97,
            seed: u64::MAX,
            selection: Selection {
                best: Some(Best { epoch: 2, score: 0.1 + 0.2 }),
                reference: Some(0.3),
                epochs_without_improvement: 1,
            },
            data_order: serde_json::json!({ "z": [1, 2], "a": 0.1 }),
        }
    }

    fn data() -> impl Strategy<Value = Tensor> {
        (prop::collection::vec(0usize..4, 0..4), 0u8..5, any::<u64>()).prop_map(|(shape, kind, seed)| {
            let n: usize = shape.iter().product();
            let bits = (0..n as u64).map(move |i| (i + 1).wrapping_mul(seed | 1));
            let data = match kind {
                // NaN has many bit patterns and no equality.
                0 => Data::F32(
                    bits.map(|b| f32::from_bits(b as u32)).map(|x| if x.is_nan() { 0.0 } else { x }).collect(),
                ),
                1 => Data::F64(bits.map(f64::from_bits).map(|x| if x.is_nan() { -0.0 } else { x }).collect()),
                2 => Data::I32(bits.map(|b| b as i32).collect()),
                3 => Data::U8(bits.map(|b| b as u8).collect()),
                _ => Data::Bool(bits.map(|b| b & 8 == 8).collect()),
            };
            Tensor::new(shape, data)
        })
    }

    fn checkpoint() -> Checkpoint {
        let mut store = MemoryStore::default();
        store.write("w", &Tensor::f32([2], vec![1.0, -0.0]));
        store.write("ema.w", &Tensor::f32([2], vec![3.0, 4.0]));
        store.write("optimiser.first_moment.w", &Tensor::f64([2], vec![0.1, 1e-300]));
        store.write("mean", &Tensor::f32([1], vec![5.0]));
        let metadata = [("config".to_owned(), "abc".to_owned()), ("version".to_owned(), "0.1".to_owned())];
        Checkpoint::of(&store, progress(), metadata.into()).expect("everything can be read")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn round_trip_with_the_same_bytes(tensors in prop::collection::btree_map(".{0,8}", data(), 0..6)) {
            // The format keeps this name for itself.
            prop_assume!(!tensors.contains_key("__metadata__"));
            let folder = tempfile::tempdir().unwrap();
            let (one, two) = (folder.path().join("1"), folder.path().join("2"));
            let saved = Checkpoint { tensors, ..checkpoint() };
            saved.save(&one).unwrap();
            saved.clone().save(&two).unwrap();
            prop_assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
            prop_assert_eq!(Checkpoint::load(&one).unwrap(), saved);
        }

        /// Any truncation is an error; any changed byte is one as well, or (white space of the header) changes nothing.
        #[test]
        fn damage_is_seen(at in 0.0..1.0f64, flip in 1u8..=255) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c");
            let saved = checkpoint();
            saved.save(&path).unwrap();
            let whole = fs::read(&path).unwrap();
            let at = (at * whole.len() as f64) as usize;
            fs::write(&path, &whole[..at]).unwrap();
            let error = Checkpoint::load(&path).unwrap_err().to_string();
            prop_assert!(error.contains(path.to_str().unwrap()), "{}", error);
            let mut bad = whole;
            bad[at] ^= flip;
            fs::write(&path, bad).unwrap();
            if let Ok(read) = Checkpoint::load(&path) {
                prop_assert_eq!(read, saved);
            }
        }
    }

    /// A store whose device is lost still knows names: without their values there is nothing to save, and nothing that was saved before is
    /// touched.
    #[test]
    fn what_cannot_be_read_is_not_left_out() {
        struct Lost(MemoryStore);
        impl Store for Lost {
            fn names(&self) -> Vec<String> {
                self.0.names()
            }
            fn read(&self, name: &str) -> Option<Tensor> {
                self.0.read(name).filter(|_| name != "mean")
            }
            fn write(&mut self, name: &str, value: &Tensor) {
                self.0.write(name, value);
            }
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }
            fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
                self
            }
        }
        let mut store = Lost(MemoryStore::default());
        checkpoint().tensors.iter().for_each(|(name, value)| store.write(name, value));
        let error = Checkpoint::of(&store, progress(), Metadata::new()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Unreadable { name } if name == "mean"), "{error}");
        assert!(error.to_string().starts_with("nothing was saved: mean cannot be read"), "{error}");
    }

    #[test]
    fn restoring_compares_first() {
        let saved = checkpoint();
        let b = Builder::new("t");
        b.parameter("w", &[2], Init::Zeros).unwrap();
        for name in ["ema.w", "optimiser.first_moment.w"] {
            b.state(name, &[2], Init::Zeros).unwrap();
        }
        let one = b.finish();
        let b = Builder::new("u");
        b.parameter("w", &[2], Init::Zeros).unwrap();
        b.state("mean", &[1], Init::Zeros).unwrap();
        let two = b.finish();
        let mut store = MemoryStore::default();
        saved.restore(&mut store, &[&one, &two]).unwrap();
        assert_eq!(store.0, saved.tensors);

        let b = Builder::new("v");
        b.parameter("w", &[3], Init::Zeros).unwrap();
        b.parameter("x", &[3], Init::Zeros).unwrap();
        let mut store = MemoryStore::default();
        let mismatch = saved.restore(&mut store, &[&b.finish()]).unwrap_err();
        assert!(store.0.is_empty());
        assert_eq!(
            mismatch.to_string(),
            "the tensors do not fit the model; 1 missing: x; 3 unexpected: ema.w, mean, optimiser.first_moment.w; \
             1 of another type: w is f[2], not f[3]"
        );
    }

    #[test]
    fn weights_are_the_models_own() {
        let weights = checkpoint().weights(false);
        assert_eq!(weights.keys().collect::<Vec<_>>(), ["mean", "w"]);
        assert_eq!(checkpoint().weights(true)["w"].to_f64(), [3.0, 4.0]);
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write_safetensors(&path, &checkpoint().tensors, &BTreeMap::new()).unwrap();
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("weights alone"));
        let mut odd = checkpoint();
        odd.progress.selection.reference = Some(f64::NAN);
        assert!(matches!(odd.save(&path), Err(CheckpointError::Progress(_))));
        let gone = folder.path().join("gone").join("c");
        assert!(checkpoint().save(&gone).unwrap_err().to_string().contains("gone"));
    }
}
