//! The emulator itself, on kernels that are written here.

mod common;
mod device;
mod kernels;
mod misuse;
mod products;
mod races;
mod traffic;
