//! The program's numbers against PyTorch's and timm's, through `fer-host trace`.
//!
//! `data/` holds what `make.py` computed there: weights under their names, inputs, results, gradients.
//!
//! How near is near enough, relative to the largest entry:
//!
//! * The f64 engine has hardly any rounding of its own, so what is left is PyTorch's float32: logits move by up to 7e-7 and
//!   input gradients by 1e-6 between its own float32 and float64, a few times more where a batch norm divides by a small
//!   deviation. [`VALUES`] holds values and input gradients to that, [`PARAMETERS`] is wider because a parameter's gradient sums
//!   thousands of rounded products (PyTorch's own float32 is up to 2.5e-5 from its float64 there).
//! * The f32 engines add rounding of the same size in other orders: [`SINGLE`].
//! * Where PyTorch was run in float64 there is no rounding to allow for: [`DOUBLE`].
//!
//! `GOLDEN_PRINT=1 cargo test -p fer-host --test golden -- --nocapture` prints every distance.

mod backbones;
#[path = "../cli/host.rs"]
#[allow(dead_code, reason = "the command line's tests use all of it")]
mod host;
mod losses;
mod ltr;
mod stn;
mod traced;

/// f64 engine against float32: values and input gradients.
const VALUES: f64 = 5e-6;
/// f64 engine against float32: parameter gradients.
const PARAMETERS: f64 = 5e-5;
/// f32 engine against float32.
const SINGLE: f64 = 1e-4;
/// The ways to compute in f32: the reference; the fast engine, whole; and by its decompositions.
const IN_F32: [&str; 3] = ["--engine dfdx", "--engine cpu", "--engine cpu --no-fuse all"];
/// Factors in bfloat16 against float32: each is off by up to 2^-9 of itself, and of the errors of a sum of products most cancel.
const HALF: f64 = 1e-2;
/// The same for gradients, which pass through twice as many products; where a sum over all tokens mostly cancels, as for XCiT's
/// temperature, what is left is off by up to 4e-2. A wrong gradient is off by about one.
const HALF_GRADIENTS: f64 = 1e-1;
/// f64 engine against float64.
const DOUBLE: f64 = 1e-9;
