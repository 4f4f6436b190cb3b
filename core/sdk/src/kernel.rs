//! Kernels for ops of the plugin's own: how they are written and listed.
//!
//! An op that [`GraphBuilder::composite`](crate::GraphBuilder::composite) defines means its body, and runs by it everywhere. A
//! library may also bring code that computes it faster. A kernel for the CPU is a type that implements [`CpuKernel`]; one for CUDA
//! is CUDA C source text. They are listed behind the components:
//!
//! ```text
//! export_plugin!(SoftFocal; kernels: [
//!     kernel::cpu::<Terms>("focal.terms"),
//!     kernel::cpu_vjp::<TermsVjp>("focal.terms"),
//!     kernel::cuda("focal.terms", include_str!("terms.cu"), "focal_terms", Launch::element(256)),
//! ]);
//! ```
//!
//! Before its first use in a run a kernel is compared with the body, on random numbers of the node's own shapes.
//!
//! A function of CUDA C is `extern "C" __global__ void` and takes a `const float *` for each input, then a `float *` for each output, in
//! the order that [`CpuKernel::run`] says; all are f32, dense and row-major, and no output shares memory. Shapes, and what is wanted of an
//! adjoint, are macros: see [`Kernel`]. Grid and blocks are one-dimensional, as [`Launch`] says, without dynamic shared memory. The
//! language is NVRTC's C++17 without headers.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub use fer_abi::Kernel;
use fer_abi::{
    KernelCall, KernelFunction, KernelInput, KernelOutput,
    abi_stable::std_types::{RNone, ROption, RSome},
    device,
};

use crate::OpName;

/// Code that computes an op, or its adjoint, on the CPU.
pub trait CpuKernel {
    /// Writes every element of every output. The same inputs give the same bits, on any thread.
    ///
    /// Of an op, the inputs are its operands and the outputs its results. Of an adjoint, the inputs are the operands, then the
    /// cotangents of the results in [`Call::cotangents`]; the outputs are the cotangents of the operands in [`Call::wrt`].
    ///
    /// # Errors
    /// [`Refusal`]; it ends the run, so refuse nothing that the op's body can compute.
    fn run(call: &mut Call<'_>) -> Result<(), Refusal>;
}

/// A kernel could not compute what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal;

/// A tensor that a kernel reads. All are f32.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    view: View<'a>,
    data: *const f32,
    life: PhantomData<&'a f32>,
}

/// A tensor that a kernel writes.
#[derive(Debug)]
pub struct Output<'a> {
    view: View<'a>,
    data: *mut f32,
    life: PhantomData<&'a mut f32>,
}

/// Sizes and steps of a tensor.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    shape: &'a [usize],
    strides: &'a [isize],
}

impl View<'_> {
    /// How far from the first element the one at these indices is.
    fn offset(&self, index: &[usize]) -> isize {
        assert_eq!(index.len(), self.shape.len(), "an element of {:?} has one index an axis", self.shape);
        index.iter().zip(self.shape).zip(self.strides).fold(0, |at, ((&i, &size), &stride)| {
            assert!(i < size, "element {index:?} of {:?}", self.shape);
            at + i as isize * stride
        })
    }

    /// How many elements a dense row-major tensor has; `None` for another layout.
    fn dense(&self) -> Option<usize> {
        let mut axes = self.shape.iter().zip(self.strides).rev();
        axes.try_fold(1usize, |expected, (&size, &stride)| {
            (size == 1 || stride == expected as isize).then_some(expected * size)
        })
    }
}

impl<'a> Input<'a> {
    pub fn shape(&self) -> &'a [usize] {
        self.view.shape
    }

    /// Steps in elements along each axis: 0 where one element stands for a whole axis.
    pub fn strides(&self) -> &'a [isize] {
        self.view.strides
    }

    /// One element.
    ///
    /// # Panics
    /// Outside the shape.
    pub fn at(&self, index: &[usize]) -> f32 {
        // SAFETY: the caller of the kernel gave a pointer for every index within the shape, which `offset` checks.
        unsafe { *self.data.offset(self.view.offset(index)) }
    }

    /// All elements in order, where they lie so.
    pub fn as_slice(&self) -> Option<&'a [f32]> {
        let elements = self.view.dense()?;
        // SAFETY: the view is dense, so its elements are these; the caller lets nobody write to them during the call.
        Some(unsafe { std::slice::from_raw_parts(self.data, elements) })
    }
}

impl<'a> Output<'a> {
    pub fn shape(&self) -> &'a [usize] {
        self.view.shape
    }

    pub fn strides(&self) -> &'a [isize] {
        self.view.strides
    }

    /// Writes one element.
    ///
    /// # Panics
    /// Outside the shape.
    pub fn set(&mut self, index: &[usize], value: f32) {
        // SAFETY: as in `Input::at`; outputs overlap nothing.
        unsafe { self.data.offset(self.view.offset(index)).write(value) };
    }

    /// All elements in order, where they lie so. What stands in them before means nothing.
    pub fn as_mut_slice(&mut self) -> Option<&mut [f32]> {
        let elements = self.view.dense()?;
        // SAFETY: as in `Input::as_slice`; outputs overlap nothing, and the borrow of `self` keeps it so.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data, elements) })
    }
}

/// One call of a kernel.
pub struct Call<'a> {
    pub inputs: Vec<Input<'a>>,
    pub outputs: Vec<Output<'a>>,
    /// Of an adjoint: the operands whose cotangents are the outputs.
    pub wrt: &'a [usize],
    /// Of an adjoint: the results whose cotangents are the last inputs.
    pub cotangents: &'a [usize],
}

impl<'a> Call<'a> {
    /// # Safety
    /// Everything in the call is valid as [`KernelCall`] says, for `'a`.
    unsafe fn read(call: &'a KernelCall) -> Call<'a> {
        // SAFETY: the caller's promise, for every list and the lists within.
        unsafe {
            let input = |given: &KernelInput| Input {
                view: View { shape: list(given.shape, given.rank), strides: list(given.strides, given.rank) },
                data: given.data,
                life: PhantomData,
            };
            let output = |given: &KernelOutput| Output {
                view: View { shape: list(given.shape, given.rank), strides: list(given.strides, given.rank) },
                data: given.data,
                life: PhantomData,
            };
            Call {
                inputs: list(call.inputs, call.input_count).iter().map(input).collect(),
                outputs: list(call.outputs, call.output_count).iter().map(output).collect(),
                wrt: list(call.wrt, call.wrt_count),
                cotangents: list(call.cotangents, call.cotangent_count),
            }
        }
    }

    /// Of an adjoint: the place among the outputs of the cotangent of an operand, where it is wanted.
    pub fn wanted(&self, operand: usize) -> Option<usize> {
        self.wrt.iter().position(|&w| w == operand)
    }
}

/// # Safety
/// The pointer is valid for as many elements, which nobody writes during `'a`; it may be anything where there are none.
unsafe fn list<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// What a kernel answers when it refuses, and when it panics.
const REFUSED: i32 = 1;
const PANICKED: i32 = 2;

/// What is called from outside: no panic leaves the library.
unsafe extern "C" fn enter<K: CpuKernel>(call: *const KernelCall) -> i32 {
    let run = || {
        // SAFETY: the host calls with a valid call, which lives until this returns.
        let mut call = unsafe { Call::read(&*call) };
        K::run(&mut call)
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => 0,
        Ok(Err(Refusal)) => REFUSED,
        Err(_) => PANICKED,
    }
}

fn on_cpu<K: CpuKernel>(op: OpName<'_>, adjoint: bool) -> Kernel {
    Kernel {
        op: op.name.into(),
        version: op.version,
        adjoint,
        device: device::CPU.into(),
        function: RSome(KernelFunction { run: enter::<K> }),
        source: "".into(),
        entry: "".into(),
        launch: RNone,
    }
}

/// A kernel of an op for the CPU.
pub fn cpu<'n, K: CpuKernel>(op: impl Into<OpName<'n>>) -> Kernel {
    on_cpu::<K>(op.into(), false)
}

/// A kernel of an op's adjoint for the CPU.
pub fn cpu_vjp<'n, K: CpuKernel>(op: impl Into<OpName<'n>>) -> Kernel {
    on_cpu::<K>(op.into(), true)
}

/// How a CUDA kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    each: &'static str,
    threads: u32,
}

impl Launch {
    /// One thread for each element of the first result, in blocks of so many threads; one past the end does nothing.
    pub const fn element(threads: u32) -> Launch {
        Launch { each: fer_abi::launch::ELEMENT, threads }
    }

    /// One block of so many threads for each row of the first result, where a row is its last axis; a scalar is one row.
    pub const fn row(threads: u32) -> Launch {
        Launch { each: fer_abi::launch::ROW, threads }
    }
}

/// A kernel of an op for CUDA: source text, and the name of its `extern "C" __global__` function. See [`Kernel`] for what the
/// function is given. The engine `cuda` compiles it for the card at hand, once for each list of shapes.
pub fn cuda<'n>(op: impl Into<OpName<'n>>, source: &str, entry: &str, launch: Launch) -> Kernel {
    on_cuda(op.into(), false, source, entry, launch)
}

/// A kernel of an op's adjoint for CUDA, see [`cuda`].
pub fn cuda_vjp<'n>(op: impl Into<OpName<'n>>, source: &str, entry: &str, launch: Launch) -> Kernel {
    on_cuda(op.into(), true, source, entry, launch)
}

fn on_cuda(op: OpName<'_>, adjoint: bool, source: &str, entry: &str, launch: Launch) -> Kernel {
    Kernel {
        op: op.name.into(),
        version: op.version,
        adjoint,
        device: device::CUDA.into(),
        function: ROption::RNone,
        source: source.into(),
        entry: entry.into(),
        launch: RSome(fer_abi::Launch { each: launch.each.into(), threads: launch.threads }),
    }
}
