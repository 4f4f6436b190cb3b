//! A library that stands for NVIDIA's driver, NVRTC and cublasLt where there is none of them: what a program asks of these by their C
//! interfaces, it does on the emulator's device. So all of the engine's own code for a card runs where there is no card, from the look
//! for libraries to the replay of a step.
//!
//! It is laid under the names `libcuda.so.1`, `libnvrtc.so.13` and `libcublasLt.so.13` into a folder of `LD_LIBRARY_PATH`. As one file
//! under three names it is one library to the loader, with one `state`.
//!
//! It is as lazy as a driver may be, and as eager: what is asked of a stream is done at any time until somebody waits for it, in an order
//! of chance that streams and events allow. It refuses what NVIDIA's documentation says is refused, and says on the standard error what was
//! wrong.
//!
//! Read in this order: `settings` (what a test may ask of it), `state` (what there is), `work` (what streams do), `driver`, `memory`,
//! `nvrtc` and `lt` (the functions). All functions take what C gives them: their callers hold to NVIDIA's documentation, and each
//! handle is looked up before it is used.

mod driver;
mod lt;
mod memory;
mod nvrtc;
mod product;
mod settings;
mod state;
mod work;
