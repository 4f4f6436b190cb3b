//! The zip archive: its files are stored as they are, so that no entry can be larger than the archive.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use fer_engine::Tensor;
use zip::{CompressionMethod, ZipArchive};

use super::{View, entries, pickle};
use crate::error::{Result, WeightError, WeightErrorKind};

/// A larger pickle describes no tensors: it holds them, or something else.
const PICKLE: u64 = 16 << 20;

/// Views of one storage may overlap (tied weights do); tensors of more bytes than this many files are not theirs.
const OVERLAP: u64 = 4;

pub struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// What stands before `data.pkl` and `data/KEY`.
    prefix: String,
    bytes: u64,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Archive> {
        let file = File::open(path).map_err(WeightError::io("read", path))?;
        let bytes = file.metadata().map_err(WeightError::io("read", path))?.len();
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|e| broken(path, &e.to_string()))?;
        let names: Vec<String> = zip.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let format = |what: &str| WeightError::new(WeightErrorKind::Format, format!("{} {what}", path.display()));
        let pickles: Vec<&String> = names.iter().filter(|n| n.rsplit('/').next() == Some("data.pkl")).collect();
        let prefix = match pickles.as_slice() {
            [one] => one[..one.len() - "data.pkl".len()].to_owned(),
            [] if names.iter().any(|name| name.ends_with(".npy")) => {
                return Err(format("is an archive of NumPy arrays")
                    .help("save them as safetensors: safetensors.numpy.save_file"));
            }
            [] => return Err(format("is a zip archive, but not one of PyTorch's: it holds no data.pkl")),
            _ => return Err(format("is a zip archive, but not one of PyTorch's: it holds several data.pkl")),
        };
        if names.iter().any(|name| *name == format!("{prefix}constants.pkl")) {
            return Err(format("is a TorchScript program, not a state dict")
                .help("save its weights alone: torch.save(torch.jit.load(\"FILE\").state_dict(), \"NEW.pth\")"));
        }
        let mut archive = Archive { path: path.to_owned(), zip, prefix, bytes };
        if names.iter().any(|name| *name == format!("{}byteorder", archive.prefix)) {
            let order = archive.entry("byteorder", 64)?;
            if order.trim_ascii() != b"little" {
                return Err(format("was written on a machine of the other byte order")
                    .help("save it as safetensors, which is alike everywhere"));
            }
        }
        Ok(archive)
    }

    /// What the pickle says of the state dict's tensors, and what was done to find it.
    pub fn views(&mut self) -> Result<(BTreeMap<String, View>, Vec<String>)> {
        let bytes = self.entry("data.pkl", PICKLE)?;
        let found = pickle::interpret(&bytes).and_then(|(pickle, root)| entries::tensors(&pickle, root));
        found.map_err(|refusal| {
            let sentence = format!("{}'s pickle {}", self.path.display(), refusal.why);
            let error = WeightError::new(refusal.kind, sentence);
            match refusal.kind {
                WeightErrorKind::Unsafe => error.note("nothing of it was executed, and nothing was read").help(
                    "do not open it with torch.load either unless you trust who made it; where it is a whole model, save its \
                     weights alone where its code is: torch.save(model.state_dict(), \"NEW.pth\")",
                ),
                WeightErrorKind::Damaged => error.help("fetch or copy it again"),
                _ => error.help("save the state dict alone, as safetensors or with torch.save(model.state_dict(), \"NEW.pth\")"),
            }
        })
    }

    /// Refuses views beyond their storage, and more of them than the file can hold.
    pub fn check(&self, views: &BTreeMap<String, View>) -> Result<()> {
        let mut sum = 0u64;
        for (name, view) in views {
            let elements = view.elements().map_or(u64::MAX, |n| n as u64);
            sum = sum.saturating_add(elements.saturating_mul(view.dtype.width().max(1) as u64));
            if elements == 0 {
                continue;
            }
            let entry = self.zip.index_for_name(&format!("{}data/{}", self.prefix, view.key));
            let Some(entry) = entry else {
                return Err(broken(&self.path, &format!("the elements of {name:?} are not in it")));
            };
            let size = self.zip.by_index_data(entry).map_err(|e| broken(&self.path, &e.to_string()))?.size();
            let reach = view.reach().map_or(u64::MAX, |n| n as u64).saturating_mul(view.dtype.width() as u64);
            if reach > size {
                return Err(broken(
                    &self.path,
                    &format!("{name:?} needs {reach} bytes of its storage, which has {size}"),
                ));
            }
        }
        if sum > self.bytes.saturating_mul(OVERLAP) {
            let what = format!("its tensors claim {sum} bytes, the file has {}", self.bytes);
            return Err(WeightError::new(WeightErrorKind::Unsupported, format!("{}: {what}", self.path.display())).help(
                "tensors that repeat their elements (expand) are not read: save a copy of them, tensor.contiguous()",
            ));
        }
        Ok(())
    }

    /// The elements of all views. Each storage is read once.
    pub fn tensors(&mut self, views: &BTreeMap<String, View>) -> Result<BTreeMap<String, Tensor>> {
        self.check(views)?;
        let mut by_storage: BTreeMap<&str, Vec<(&String, &View)>> = BTreeMap::new();
        for (name, view) in views {
            by_storage.entry(&view.key).or_default().push((name, view));
        }
        let mut tensors = BTreeMap::new();
        for (key, views) in by_storage {
            let empty = views.iter().all(|(_, view)| view.elements() == Some(0));
            let storage = if empty { vec![] } else { self.entry(&format!("data/{key}"), self.bytes)? };
            for (name, view) in views {
                let gathered = gather(view, &storage).ok_or_else(|| {
                    broken(&self.path, &format!("{name:?} reaches beyond its storage of {} bytes", storage.len()))
                })?;
                let data = view.dtype.decode(&gathered).map_err(|what| {
                    let sentence = format!("{}: tensor {name:?} {what}", self.path.display());
                    WeightError::new(WeightErrorKind::Unsupported, sentence)
                })?;
                tensors.insert(name.clone(), Tensor::new(view.shape.clone(), data));
            }
        }
        Ok(tensors)
    }

    /// All of an entry, which may not be larger than `limit`.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let full = format!("{}{name}", self.prefix);
        let path = &self.path;
        let failed = |e: &dyn std::fmt::Display| broken(path, &format!("{name}: {e}"));
        let entry = self.zip.by_name(&full).map_err(|e| failed(&e))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            let sentence = format!("{} is compressed or encrypted, as PyTorch never writes it", path.display());
            return Err(WeightError::new(WeightErrorKind::Unsupported, sentence).help("save it again with torch.save"));
        }
        let size = entry.size();
        if size > limit.min(self.bytes) {
            return Err(failed(&format!(
                "it claims {size} bytes; the file has {}, and {limit} are allowed",
                self.bytes
            )));
        }
        let mut content = Vec::with_capacity(size as usize);
        // The archive's own checksum is compared at the end.
        entry.take(size + 1).read_to_end(&mut content).map_err(|e| failed(&e))?;
        if content.len() as u64 != size {
            return Err(failed(&format!("it has {} bytes and claims {size}", content.len())));
        }
        Ok(content)
    }
}

fn broken(path: &Path, what: &str) -> WeightError {
    let sentence = format!("{} is not a whole PyTorch archive: {what}", path.display());
    WeightError::new(WeightErrorKind::Damaged, sentence).help("fetch or copy it again")
}

/// The bytes of a view's elements in a row; `None` where they reach beyond the storage.
fn gather(view: &View, storage: &[u8]) -> Option<Vec<u8>> {
    let (elements, width) = (view.elements()?, view.dtype.width());
    if elements == 0 {
        return Some(vec![]);
    }
    let storage = storage.get(view.offset.checked_mul(width)?..view.reach()?.checked_mul(width)?)?;
    if view.is_contiguous() {
        return Some(storage.to_vec());
    }
    let mut bytes = Vec::with_capacity(elements.checked_mul(width)?);
    let mut index = vec![0; view.shape.len()];
    for _ in 0..elements {
        let at: usize = index.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum();
        bytes.extend_from_slice(storage.get(at * width..(at + 1) * width)?);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < view.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(bytes)
}
