//! The words in which an experiment names its data: which set, which votes, which labels, which augmentations.
//!
//! Plain data with `serde` derives; reading files happens elsewhere. Field names are the RON keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which file FERPlus votes are taken from; the two published sources differ in 1,602 rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoteSource {
    /// `data/FER2013{Train,Valid,Test}/label.csv`, as published beside the image folders.
    #[default]
    ImageLists,
    /// `fer2013new.csv`.
    NewCsv,
}

/// How ten annotator votes become a training label (Barsoum et al. 2016). Validation and test always use majority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelMode {
    /// The emotion with more than half of the votes; other rows are dropped.
    #[default]
    Majority,
    /// The top emotions until 75 % of the votes or three of them, as a distribution.
    Probability,
    /// Every emotion with at least 30 % of the votes, as a distribution of equal shares.
    MultiTarget,
}

/// The built-in procedural faces: sizes of the three splits and how hard they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuiltinSpec {
    pub train: usize,
    pub validation: usize,
    pub test: usize,
    /// Side of the square image in pixels.
    pub size: usize,
    /// Draw classes with FERPlus's frequencies instead of uniformly.
    pub imbalance: bool,
    /// 0 = clean drawings, 1 = the default pose, light, occlusion, blur and noise.
    pub difficulty: f64,
    pub seed: u64,
    /// Overrides the experiment's number of epochs where the built-in faces are used.
    pub epochs: Option<usize>,
    /// Overrides the experiment's batch where the built-in faces are used.
    pub batch: Option<usize>,
}

impl Default for BuiltinSpec {
    fn default() -> Self {
        Self {
            train: 2048,
            validation: 512,
            test: 512,
            size: 48,
            imbalance: false,
            difficulty: 1.0,
            seed: 1111,
            epochs: None,
            batch: None,
        }
    }
}

/// What stands in where a data set's root is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Otherwise {
    Builtin(BuiltinSpec),
}

/// A data set and where it lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum DataSpec {
    FerPlus {
        root: PathBuf,
        #[serde(default)]
        votes: VoteSource,
        #[serde(default)]
        labels: LabelMode,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Otherwise>,
    },
    Fer2013 {
        root: PathBuf,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Otherwise>,
    },
    RafDb {
        root: PathBuf,
        /// Share of the training images held out for validation (RAF-DB publishes none).
        #[serde(default = "tenth")]
        validation: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Otherwise>,
    },
    AffectNet {
        root: PathBuf,
        /// 8, or 7 (without contempt).
        #[serde(default = "eight")]
        classes: usize,
        /// Share of the training images held out for validation; the published validation set is used as test.
        #[serde(default = "tenth")]
        validation: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Otherwise>,
    },
    CkPlus {
        root: PathBuf,
        #[serde(default = "tenth")]
        validation: f64,
        #[serde(default = "fifth")]
        test: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Otherwise>,
    },
    /// `root/{train,validation|val|valid,test}/<class>/*`, or `root/<class>/*` split by share.
    ImageFolder {
        root: PathBuf,
        #[serde(default = "tenth")]
        validation: f64,
        #[serde(default = "fifth")]
        test: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Otherwise>,
    },
    Builtin(BuiltinSpec),
}

fn tenth() -> f64 {
    0.1
}
fn fifth() -> f64 {
    0.2
}
fn eight() -> usize {
    8
}

/// What to do with an image that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unreadable {
    #[default]
    Stop,
    Skip,
}

/// The pixels handed to the model: u8 `[n, channels, size, size]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSpec {
    /// Side in pixels after decoding; `None` keeps the data set's own side (all images must then share it).
    pub size: Option<usize>,
    /// 1 (grey) or 3 (colour).
    pub channels: usize,
    pub unreadable: Unreadable,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self { size: None, channels: 1, unreadable: Unreadable::Stop }
    }
}

/// One random change to a training image; a list is applied in order. Names follow torchvision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Augmentation {
    RandomHorizontalFlip {
        #[serde(default = "half")]
        p: f64,
    },
    /// Uniform angle in `-degrees..=degrees`.
    RandomRotation { degrees: f64 },
    /// Rotation, translation (share of the side), scale range and shear (degrees).
    RandomAffine {
        #[serde(default)]
        degrees: f64,
        #[serde(default)]
        translate: (f64, f64),
        #[serde(default = "unit_range")]
        scale: (f64, f64),
        #[serde(default)]
        shear: f64,
    },
    ColorJitter {
        #[serde(default)]
        brightness: f64,
        #[serde(default)]
        contrast: f64,
        #[serde(default)]
        saturation: f64,
        #[serde(default)]
        hue: f64,
    },
    RandomErasing {
        #[serde(default = "half")]
        p: f64,
        #[serde(default = "erase_scale")]
        scale: (f64, f64),
        #[serde(default = "erase_ratio")]
        ratio: (f64, f64),
    },
}

fn half() -> f64 {
    0.5
}
fn unit_range() -> (f64, f64) {
    (1.0, 1.0)
}
fn erase_scale() -> (f64, f64) {
    (0.02, 0.33)
}
fn erase_ratio() -> (f64, f64) {
    (0.3, 3.3)
}

/// In which order training samples are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// A seeded permutation of the training set each epoch.
    #[default]
    Shuffle,
    /// Classes equally likely; within a class without replacement until it is exhausted.
    Balanced,
}
