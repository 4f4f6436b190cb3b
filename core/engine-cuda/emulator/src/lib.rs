//! Runs the kernels of the CUDA engine where there is no card: a device that compiles units with a C++ compiler and runs each CUDA
//! thread as a fiber, in an order that a seed decides, on memory that notices who leaves it.
//!
//! For tests alone. Read in this order: `device` (what a test makes), `compile` and `unit` (from source to functions), `block` and
//! `warp` (how threads meet), `memory`, `watch` (who must not touch it at once), `traffic`, `product`.

mod block;
mod compile;
mod device;
mod fault;
mod fiber;
mod launch;
mod memory;
mod product;
mod recording;
mod scan;
mod traffic;
mod unit;
mod warp;
mod watch;

pub use device::EmulatedDevice;
pub use product::tf32;
pub use traffic::Traffic;
pub use unit::Declared;
