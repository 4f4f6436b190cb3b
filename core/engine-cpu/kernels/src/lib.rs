//! Kernels over slices, for the fast CPU engine. They know no graph: shapes are numbers, tensors are slices.
//!
//! Every kernel is written once over [`simd::Simd`] and runs with AVX-512, AVX2 or what every processor of the architecture has.
//! Its result depends on the instruction set and on nothing else: work is cut by shape alone, never by the number of threads.

pub mod attention;
pub mod batch_norm;
pub mod bf16;
pub mod convolution;
pub mod copy;
pub mod elementwise;
pub mod factors;
pub mod grid_sample;
pub mod index;
pub mod l2_normalize;
pub mod layer_norm;
pub mod numbers;
pub mod optimiser;
pub mod peak;
pub mod pool;
pub mod product;
pub mod random;
pub mod reduce;
pub mod resize;
pub mod shared;
pub mod simd;
pub mod softmax;
pub mod square;
#[cfg(test)]
mod testing;
pub mod tile;
mod vectors;
