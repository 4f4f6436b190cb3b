//! The element types the engine computes in, and all that it asks of dfdx.
//!
//! dfdx's shapes are types; the graph's are numbers. So tensors are flat here, `(usize,)`, and take the two or three
//! axes an operation needs by a free reshape. Everything that computes with dfdx goes through [`Element`].

use std::sync::LazyLock;

use dfdx::prelude::*;
use fer_engine::{Data, Precision};

/// A contiguous tensor of one axis.
pub type Flat<E> = Tensor<(usize,), E, Cpu>;

/// dfdx's handle to host memory. Its random numbers and its allocation cache are not used.
static DEVICE: LazyLock<Cpu> = LazyLock::new(Cpu::default);

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
pub trait Item: Copy + Default + PartialOrd + Send + Sync + 'static {
    fn of(value: f64) -> Self;
    fn get(self) -> f64;
    /// IEEE's NaN; nothing else has one.
    fn is_nan(self) -> bool {
        false
    }
}

impl Item for i32 {
    fn of(value: f64) -> i32 {
        value as i32
    }
    fn get(self) -> f64 {
        f64::from(self)
    }
}

impl Item for u8 {
    fn of(value: f64) -> u8 {
        value as u8
    }
    fn get(self) -> f64 {
        f64::from(self)
    }
}

impl Item for bool {
    fn of(value: f64) -> bool {
        value != 0.0
    }
    fn get(self) -> f64 {
        f64::from(u8::from(self))
    }
}

macro_rules! float_item {
    ($type:ident) => {
        impl Item for $type {
            fn of(value: f64) -> $type {
                value as $type
            }
            fn get(self) -> f64 {
                f64::from(self)
            }
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
        }
    };
}
float_item!(f32);
float_item!(f64);

/// f32 or f64.
pub trait Element: Dtype + Item {
    const PRECISION: Precision;

    fn to_bfloat16(self) -> Self;
    fn floor(self) -> Self;
    fn erf(self) -> Self;
    fn powf(self, exponent: Self) -> Self;

    fn into_data(values: Vec<Self>) -> Data;

    // What dfdx does.

    fn tensor(values: Vec<Self>) -> Flat<Self>;
    /// A copy of the elements.
    fn copy(x: &Flat<Self>) -> Vec<Self>;
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
    /// `[outer, r, inner]` to `[outer, inner]`.
    fn sum(x: Flat<Self>, outer: usize, r: usize, inner: usize) -> Flat<Self>;
    fn matmul(lhs: Flat<Self>, rhs: Flat<Self>, product: Product) -> Flat<Self>;
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

            fn tensor(values: Vec<Self>) -> Flat<Self> {
                let shape = (values.len(),);
                DEVICE.tensor_from_vec(values, shape)
            }
            fn copy(x: &Flat<Self>) -> Vec<Self> {
                // `as_vec` walks element by element; this is one memcpy.
                let mut values = vec![0.0; x.shape().0];
                x.copy_into(&mut values);
                values
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
            fn sum(x: Flat<Self>, outer: usize, r: usize, inner: usize) -> Flat<Self> {
                let sums = match (outer, inner) {
                    (_, 1) => return x.reshape_like(&(outer, r)).sum::<(usize,), Axis<1>>(),
                    (1, _) => return x.reshape_like(&(r, inner)).sum::<(usize,), Axis<0>>(),
                    _ => x.reshape_like(&(outer, r, inner)).sum::<(usize, usize), Axis<1>>(),
                };
                sums.reshape_like(&(outer * inner,))
            }
            fn matmul(lhs: Flat<Self>, rhs: Flat<Self>, product: Product) -> Flat<Self> {
                let Product { batch, m, k, n, lhs_transposed, rhs_transposed } = product;
                if batch == 1 {
                    let matrix = |x: Flat<Self>, rows: usize, columns: usize, transposed: bool| {
                        if transposed {
                            x.reshape_like(&(columns, rows)).permute::<(usize, usize), Axes2<1, 0>>()
                        } else {
                            x.reshape_like(&(rows, columns))
                        }
                    };
                    let product = matrix(lhs, m, k, lhs_transposed).matmul(matrix(rhs, k, n, rhs_transposed));
                    return product.reshape_like(&(m * n,));
                }
                let matrices = |x: Flat<Self>, rows: usize, columns: usize, transposed: bool| {
                    if transposed {
                        x.reshape_like(&(batch, columns, rows)).permute::<(usize, usize, usize), Axes3<0, 2, 1>>()
                    } else {
                        x.reshape_like(&(batch, rows, columns))
                    }
                };
                let product = matrices(lhs, m, k, lhs_transposed).matmul(matrices(rhs, k, n, rhs_transposed));
                product.reshape_like(&(batch * m * n,))
            }
        }
    };
}

element!(f32, F32, F32, libm::erff, from_f32);
element!(f64, F64, F64, libm::erf, from_f64);
