//! Facial-expression data sets, built-in faces, augmentation and loading.
pub mod spec;
