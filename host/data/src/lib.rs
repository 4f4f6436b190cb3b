//! Facial-expression data sets, built-in faces, augmentation and loading.
//!
//! The way of an image: [`open`] turns a [`spec::DataSpec`] into a [`Dataset`] (labels and places, no pixels);
//! [`Dataset::prepare`] fixes the shape of the pixels; an [`ImageSet`] decodes one split and keeps what fits in memory;
//! [`sampler`] orders an epoch; a [`Loader`] augments and hands out batches. All of it is a pure function of the files
//! and the seed: threads, caches and resumes change nothing.

mod affectnet;
mod builtin;
mod ckplus;
mod fer2013;
mod ferplus;
mod folder;
mod holdout;
mod image_folder;
mod image_set;
mod open;
mod rafdb;
mod table;

pub mod audit;
pub mod augment;
pub mod classes;
pub mod dataset;
pub mod decode;
pub mod error;
pub mod faces;
pub mod loader;
pub mod prior;
pub mod rng;
pub mod sampler;
pub mod spec;
pub mod votes;

pub use audit::{Audit, audit};
pub use dataset::{Dataset, ImageSource, Sample, Split};
pub use decode::Pixels;
pub use error::{DataError, Result};
pub use faces::contact_sheet;
pub use image_set::ImageSet;
pub use loader::{Batch, Loader, LoaderOptions};
pub use open::open;
