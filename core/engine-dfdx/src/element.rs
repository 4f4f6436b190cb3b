//! The element types the engine computes in, and all that it asks of dfdx.
//!
//! dfdx's shapes are types; the graph's are numbers. So tensors are flat here, `(usize,)`, and take the two or three
//! axes an operation needs by a free reshape. dfdx does not lend out a tensor's memory, so values live in our buffers and pass
//! through dfdx piece by piece: a piece stays in the processor's cache, pieces run in parallel, and copying it costs little.
//! Everything that computes with dfdx goes through [`Element`].

use std::sync::LazyLock;

use dfdx::prelude::*;
use fer_engine::{Data, Precision};

use crate::buffer::Pool;

/// A contiguous tensor of one axis.
pub type Flat<E> = Tensor<(usize,), E, Cpu>;

/// dfdx's handle to host memory, for small pieces.
static DEVICE: LazyLock<Cpu> = LazyLock::new(Cpu::default);

/// A handle for matrices, which keeps their memory for the next. All its tensors are made by it: one made of a foreign `Vec`
/// would let the cache grow at every use.
struct Matrices(Cpu);

impl Matrices {
    fn new() -> Matrices {
        let device = Cpu::default();
        device.enable_cache();
        Matrices(device)
    }
}

impl Drop for Matrices {
    fn drop(&mut self) {
        self.0.empty_cache();
    }
}

thread_local! {
    // One a thread: dfdx 0.13 looks into its cache under one lock and takes out under another, and panics when a second thread
    // comes in between.
    static MATRICES: Matrices = Matrices::new();
}

/// The sizes of `[batch, m, k] x [batch, k, n]`, and which operands are stored with their last two axes exchanged.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub batch: usize,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub lhs_transposed: bool,
    pub rhs_transposed: bool,
}

/// What any element is, integers and booleans included: lets code that only moves or compares elements be written once.
pub trait Item: Copy + Default + PartialOrd + std::fmt::Debug + Send + Sync + 'static {
    fn of(value: f64) -> Self;
    fn get(self) -> f64;
    /// IEEE's NaN; integers have none.
    fn is_nan(self) -> bool;
    /// Idle memory of this type.
    fn pool() -> &'static Pool<Self>;
}

macro_rules! item {
    ($type:ident, |$value:ident| $of:expr, |$own:ident| $get:expr, |$other:ident| $nan:expr) => {
        impl Item for $type {
            fn of($value: f64) -> $type {
                $of
            }
            fn get(self) -> f64 {
                let $own = self;
                $get
            }
            fn is_nan(self) -> bool {
                let $other = self;
                $nan
            }
            fn pool() -> &'static Pool<$type> {
                static POOL: Pool<$type> = Pool::new();
                &POOL
            }
        }
    };
}

// Rust's `as` is the graph's conversion: truncating, saturating, NaN to 0.
item!(i32, |v| v as i32, |v| f64::from(v), |_v| false);
item!(u8, |v| v as u8, |v| f64::from(v), |_v| false);
item!(bool, |v| v != 0.0, |v| f64::from(u8::from(v)), |_v| false);
item!(f32, |v| v as f32, |v| f64::from(v), |v| v.is_nan());
item!(f64, |v| v, |v| v, |v| v.is_nan());

/// f32 or f64.
pub trait Element: Dtype + Item {
    const PRECISION: Precision;

    fn to_bfloat16(self) -> Self;
    fn floor(self) -> Self;
    fn erf(self) -> Self;
    fn powf(self, exponent: Self) -> Self;

    fn into_data(values: Vec<Self>) -> Data;

    // What dfdx does.

    fn tensor(values: &[Self]) -> Flat<Self>;
    /// Writes the elements into `target`, which has as many.
    fn copy_into(x: &Flat<Self>, target: &mut [Self]);
    fn negate(x: Flat<Self>) -> Flat<Self>;
    fn exponential(x: Flat<Self>) -> Flat<Self>;
    fn log(x: Flat<Self>) -> Flat<Self>;
    fn sqrt(x: Flat<Self>) -> Flat<Self>;
    fn tanh(x: Flat<Self>) -> Flat<Self>;
    fn add(x: Flat<Self>, y: Flat<Self>) -> Flat<Self>;
    fn subtract(x: Flat<Self>, y: Flat<Self>) -> Flat<Self>;
    fn multiply(x: Flat<Self>, y: Flat<Self>) -> Flat<Self>;
    fn divide(x: Flat<Self>, y: Flat<Self>) -> Flat<Self>;
    fn add_scalar(x: Flat<Self>, y: Self) -> Flat<Self>;
    fn subtract_scalar(x: Flat<Self>, y: Self) -> Flat<Self>;
    fn multiply_scalar(x: Flat<Self>, y: Self) -> Flat<Self>;
    fn divide_scalar(x: Flat<Self>, y: Self) -> Flat<Self>;
    /// `[outer, r, inner]` to `[outer, inner]`, one add after the other.
    fn sum(x: &[Self], outer: usize, r: usize, inner: usize, sums: &mut [Self]);
    fn matmul(lhs: &[Self], rhs: &[Self], product: Product, result: &mut [Self]);
}

macro_rules! element {
    ($type:ident, $precision:ident, $data:ident, $erf:path, $bfloat:ident) => {
        impl Element for $type {
            const PRECISION: Precision = Precision::$precision;

            fn to_bfloat16(self) -> Self {
                $type::from(half::bf16::$bfloat(self))
            }
            fn floor(self) -> Self {
                $type::floor(self)
            }
            fn erf(self) -> Self {
                $erf(self)
            }
            fn powf(self, exponent: Self) -> Self {
                $type::powf(self, exponent)
            }
            fn into_data(values: Vec<Self>) -> Data {
                Data::$data(values)
            }

            fn tensor(values: &[Self]) -> Flat<Self> {
                DEVICE.tensor_from_vec(values.to_vec(), (values.len(),))
            }
            fn copy_into(x: &Flat<Self>, target: &mut [Self]) {
                x.copy_into(target);
            }
            fn negate(x: Flat<Self>) -> Flat<Self> {
                x.negate()
            }
            fn exponential(x: Flat<Self>) -> Flat<Self> {
                x.exp()
            }
            fn log(x: Flat<Self>) -> Flat<Self> {
                x.ln()
            }
            fn sqrt(x: Flat<Self>) -> Flat<Self> {
                x.sqrt()
            }
            fn tanh(x: Flat<Self>) -> Flat<Self> {
                x.tanh()
            }
            fn add(x: Flat<Self>, y: Flat<Self>) -> Flat<Self> {
                x + y
            }
            fn subtract(x: Flat<Self>, y: Flat<Self>) -> Flat<Self> {
                x - y
            }
            fn multiply(x: Flat<Self>, y: Flat<Self>) -> Flat<Self> {
                x * y
            }
            fn divide(x: Flat<Self>, y: Flat<Self>) -> Flat<Self> {
                x / y
            }
            fn add_scalar(x: Flat<Self>, y: Self) -> Flat<Self> {
                x + y
            }
            fn subtract_scalar(x: Flat<Self>, y: Self) -> Flat<Self> {
                x - y
            }
            fn multiply_scalar(x: Flat<Self>, y: Self) -> Flat<Self> {
                x * y
            }
            fn divide_scalar(x: Flat<Self>, y: Self) -> Flat<Self> {
                x / y
            }
            fn sum(x: &[Self], outer: usize, r: usize, inner: usize, sums: &mut [Self]) {
                let x = DEVICE.tensor_from_vec(x.to_vec(), (outer, r, inner));
                x.sum::<(usize, usize), Axis<1>>().copy_into(sums);
            }
            fn matmul(lhs: &[Self], rhs: &[Self], product: Product, result: &mut [Self]) {
                let Product { batch, m, k, n, lhs_transposed, rhs_transposed } = product;
                let device = MATRICES.with(|matrices| matrices.0.clone());
                let matrices = |x: &[Self], rows: usize, columns: usize, transposed: bool| {
                    let shape = if transposed { (batch, columns, rows) } else { (batch, rows, columns) };
                    let mut tensor: Tensor<(usize, usize, usize), $type, Cpu> = device.zeros_like(&shape);
                    tensor.copy_from(x);
                    if transposed { tensor.permute::<(usize, usize, usize), Axes3<0, 2, 1>>() } else { tensor }
                };
                matrices(lhs, m, k, lhs_transposed).matmul(matrices(rhs, k, n, rhs_transposed)).copy_into(result);
            }
        }
    };
}

element!(f32, F32, F32, libm::erff, from_f32);
element!(f64, F64, F64, libm::erf, from_f64);
