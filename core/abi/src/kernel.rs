//! A plugin's own code for its own ops: functions over strided views for the CPU, source text for CUDA.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RString},
};

/// The words allowed in [`Kernel::device`].
pub mod device {
    pub const CPU: &str = "cpu";
    pub const CUDA: &str = "cuda";
}

/// The words allowed in [`Launch::each`].
pub mod launch {
    /// One thread for each element of the first result: `blocks = ceil(elements / threads)`. A thread past the end does nothing.
    pub const ELEMENT: &str = "element";
    /// One block for each row of the first result, where a row is its last axis; a scalar is one row.
    pub const ROW: &str = "row";
}

/// A float tensor that a kernel reads.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct KernelInput {
    /// The element with all indices 0, aligned for `f32`.
    pub data: *const f32,
    /// The number of axes; 0 is a scalar.
    pub rank: usize,
    /// `rank` sizes, each 1 or more.
    pub shape: *const usize,
    /// `rank` steps in elements; 0 where one element stands for a whole axis, negative where an axis runs backwards.
    pub strides: *const isize,
}

/// A float tensor that a kernel writes, every element once. It overlaps no other.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct KernelOutput {
    /// As of [`KernelInput`]. What stands there before the call means nothing.
    pub data: *mut f32,
    pub rank: usize,
    pub shape: *const usize,
    pub strides: *const isize,
}

/// One call of a kernel. Everything in it is valid until the kernel returns.
///
/// *Forward*: `inputs` are the op's operands, `outputs` its results. *Adjoint*: `inputs` are the operands, then the cotangents of
/// the results listed in `cotangents`; `outputs` are the cotangents of the operands listed in `wrt`, in that order.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct KernelCall {
    /// The size of this struct in bytes; later versions append to it.
    pub size: usize,
    pub input_count: usize,
    pub inputs: *const KernelInput,
    pub output_count: usize,
    pub outputs: *const KernelOutput,
    pub wrt_count: usize,
    pub wrt: *const usize,
    pub cotangent_count: usize,
    pub cotangents: *const usize,
}

/// Code in the library.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct KernelFunction {
    /// Computes the outputs from the inputs; 0 when that went well, any other number is an error of the kernel's own.
    ///
    /// It may be called from any thread, also at the same time, and must not unwind. The same inputs give the same bits.
    pub run: unsafe extern "C" fn(*const KernelCall) -> i32,
}

/// How a CUDA kernel is started.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Launch {
    /// One of [`launch`].
    pub each: RString,
    /// Threads of a block, 1 to 1024.
    pub threads: u32,
}

/// Code for an op that the library's fragments define, or for its adjoint.
///
/// A kernel for the CPU has a `function`. One for CUDA has CUDA C in `source` and how to start it: the function `entry` is
/// `extern "C" __global__` and takes a `const float *` for each input and a `float *` for each output, all dense and row-major, in
/// the order of [`KernelCall`]. What a call says besides are macros of the compilation: `INPUTS`, `OUTPUTS` (how many), `IN0_RANK`,
/// `IN0_D0`, `IN0_D1` ..., `IN0_N` (elements), and the same for `OUT0`; `COTANGENTS` (0 for the op itself), and of an adjoint
/// `WRT0` ... and `COTANGENT0` ..., the operands whose cotangents are wanted and the results whose cotangents are given.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Kernel {
    /// The name of the op's definition.
    pub op: RString,
    /// Its version.
    pub version: u32,
    /// Whether it computes the op's adjoint.
    pub adjoint: bool,
    /// One of [`device`].
    pub device: RString,
    pub function: ROption<KernelFunction>,
    /// Empty but for CUDA.
    pub source: RString,
    pub entry: RString,
    pub launch: ROption<Launch>,
}
