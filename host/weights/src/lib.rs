//! Weight files, wherever they are: safetensors and PyTorch state dicts on this machine, and files of the hub.
//!
//! Reading never executes anything: a pickle is interpreted by a machine that knows what tensors are made of and refuses the
//! rest. Names stay as the file has them, but for the `module.` that DataParallel puts before every one.
//!
//! ```no_run
//! use fer_weights::{HubName, fetch, read};
//!
//! # fn main() -> Result<(), fer_weights::WeightError> {
//! let name: HubName = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k".parse()?;
//! let fetched = fetch(&name, &|bytes, total| eprintln!("{bytes} of {total}"))?;
//! let weights = read(&fetched.path)?;
//! println!("{} tensors, {:?}", weights.tensors.len(), fetched.card);
//! # Ok(()) }
//! ```

mod error;
mod file;
pub mod hub;
mod stored;
mod torch;

pub use error::{WeightError, WeightErrorKind};
pub use file::{Format, Inspection, WeightFile, inspect, read};
pub use hub::{Fetched, Hub, HubConfig, HubName, ModelCard, cached, fetch};
pub use stored::{StoredTensor, StoredType};
