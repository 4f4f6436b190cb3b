//! What the engine asks of a device: memory, programs, and steps that are recorded once and replayed.
//!
//! The engine knows devices by this trait alone, so all that it decides (which kernels, where buffers lie, in which order things
//! run) can be tested where there is no card.

use std::{fmt, sync::Arc, time::Duration};

use crate::Element;

/// A place in a device's memory.
pub type Address = u64;

/// What a card is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As its maker calls it.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    pub total_memory: usize,
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block can have when it asks for them.
    pub shared_memory: u32,
}

/// Memory at this moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    pub free: usize,
    pub total: usize,
}

/// Why a device does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("{wanted} bytes do not fit: {free} of {total} are free")]
    OutOfMemory { wanted: usize, free: usize, total: usize },
    /// The compiler refused a program.
    #[error("the kernels of {unit} do not compile:\n{log}")]
    Compile { unit: String, log: String },
    /// A library or symbol that is needed is not there.
    #[error("{0}")]
    Missing(String),
    /// The device cannot be used any more; everything in its memory is gone.
    #[error("{what}: {why}; the device is lost")]
    Lost { what: String, why: String },
    #[error("{what}: {why}")]
    Failed { what: String, why: String },
}

pub type Result<T, E = DeviceError> = std::result::Result<T, E>;

/// A translation unit of CUDA C++ that includes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unit {
    pub name: Arc<str>,
    pub source: Arc<str>,
}

/// A card, or what stands for one.
///
/// What is asked is done in the order in which it is asked, unless said otherwise; only [`Device::download`] and
/// [`Device::synchronise`] wait.
pub trait Device: Send + Sync + fmt::Debug {
    fn info(&self) -> &DeviceInfo;

    /// # Errors
    /// [`DeviceError::Lost`], [`DeviceError::Failed`]; so for all that follows.
    fn memory(&self) -> Result<MemoryInfo>;

    /// Memory that begins at a multiple of 256 and holds whatever it holds.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    fn allocate(&self, bytes: usize) -> Result<Address>;

    /// Gives back what [`Device::allocate`] gave, once everything asked before is done.
    fn release(&self, address: Address);

    /// The bytes may be changed as soon as this returns.
    ///
    /// # Errors
    /// See [`Device::memory`].
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()>;

    /// As [`Device::upload`], beside what is running: it begins when every [`Device::fetch`] that was asked before is done, and the
    /// next `fetch` waits for it.
    ///
    /// # Errors
    /// See [`Device::memory`].
    fn stage(&self, to: Address, bytes: &[u8]) -> Result<()>;

    /// Copies what was staged to where a step reads it.
    ///
    /// # Errors
    /// See [`Device::memory`].
    fn fetch(&self, from: Address, to: Address, bytes: usize) -> Result<()>;

    /// Waits for all that was asked before.
    ///
    /// # Errors
    /// See [`Device::memory`].
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Waits for all that was asked before.
    ///
    /// # Errors
    /// See [`Device::memory`].
    fn synchronise(&self) -> Result<()>;

    /// Compiles and loads units, or finds them compiled.
    ///
    /// # Errors
    /// [`DeviceError::Compile`], [`DeviceError::Missing`].
    fn prepare(&self, units: &[Unit]) -> Result<()>;

    /// Records commands; those that launch name kernels of the units. Runs nothing.
    ///
    /// # Errors
    /// Those of [`Device::prepare`], and [`DeviceError::Missing`] for a kernel that no unit has.
    fn record(&self, units: &[Unit], commands: &[Command<Address>]) -> Result<Box<dyn Recording>>;
}

/// Commands that were recorded on a device.
pub trait Recording: Send {
    /// Runs all of them, one after the other, and returns before they are done.
    ///
    /// # Errors
    /// [`DeviceError::Lost`], [`DeviceError::Failed`].
    fn replay(&self) -> Result<()>;

    /// Runs them one at a time; shows how long each takes, by its place in the list.
    ///
    /// # Errors
    /// [`DeviceError::Lost`], [`DeviceError::Failed`].
    fn replay_timed(&self, see: &mut dyn FnMut(usize, Duration)) -> Result<()>;
}

/// Something that a device does in a step. `B` says where memory is: a buffer of a plan, or an address.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<B> {
    Launch(Launch<B>),
    MatMul(MatMul<B>),
    /// Copies bytes; source and destination lie apart.
    Copy {
        from: B,
        to: B,
        bytes: usize,
    },
}

/// A kernel and what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch<B> {
    pub kernel: Arc<str>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub parameters: Vec<Parameter<B>>,
}

/// A parameter of a kernel, in the order of its declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter<B> {
    /// A pointer, this many bytes behind where the buffer begins.
    Pointer(B, usize),
    Null,
    I32(i32),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    /// A structure of pointers: an array by value.
    Pointers(Vec<B>),
    /// A structure of 32-bit words: an array by value.
    Words(Vec<u32>),
}

/// How factors of a product are multiplied. Sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Math {
    /// As they are.
    Exact,
    /// f32 factors rounded to ten bits of mantissa.
    Tf32,
}

/// A matrix in memory, row-major; or several, `batch_stride` elements apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<B> {
    pub place: B,
    /// Bytes before the first element.
    pub offset: usize,
    pub element: Element,
    /// Whether it stands transposed.
    pub transposed: bool,
    /// Elements from one row as it stands in memory to the next.
    pub stride: usize,
    pub batch_stride: usize,
}

/// `c = a b`, of `batch` matrices each; `a` has m rows and k columns, `b` k rows and n columns. `a` and `b` have one element type; `c`
/// has theirs or f32. `c` is not transposed.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul<B> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub a: Matrix<B>,
    pub b: Matrix<B>,
    pub c: Matrix<B>,
    /// n numbers of c's element that are added to each row of `c`; with a batch of one.
    pub bias: Option<B>,
    /// Where the sum of each of a's m rows goes, in c's element; with a batch of one, and a transposed `a`: the gradient of a bias.
    pub row_sums: Option<B>,
    pub math: Math,
}

impl<B> Command<B> {
    /// The same command, its memory said otherwise.
    pub fn map<C>(&self, mut place: impl FnMut(&B) -> C) -> Command<C> {
        match self {
            Command::Launch(launch) => Command::Launch(Launch {
                kernel: launch.kernel.clone(),
                grid: launch.grid,
                block: launch.block,
                shared: launch.shared,
                parameters: launch.parameters.iter().map(|p| p.map(&mut place)).collect(),
            }),
            Command::MatMul(product) => Command::MatMul(MatMul {
                m: product.m,
                n: product.n,
                k: product.k,
                batch: product.batch,
                a: product.a.map(&mut place),
                b: product.b.map(&mut place),
                c: product.c.map(&mut place),
                bias: product.bias.as_ref().map(&mut place),
                row_sums: product.row_sums.as_ref().map(&mut place),
                math: product.math,
            }),
            Command::Copy { from, to, bytes } => Command::Copy { from: place(from), to: place(to), bytes: *bytes },
        }
    }
}

impl<B> Parameter<B> {
    fn map<C>(&self, place: &mut impl FnMut(&B) -> C) -> Parameter<C> {
        match self {
            Parameter::Pointer(buffer, offset) => Parameter::Pointer(place(buffer), *offset),
            Parameter::Null => Parameter::Null,
            Parameter::I32(number) => Parameter::I32(*number),
            Parameter::U32(number) => Parameter::U32(*number),
            Parameter::U64(number) => Parameter::U64(*number),
            Parameter::F32(number) => Parameter::F32(*number),
            Parameter::F64(number) => Parameter::F64(*number),
            Parameter::Pointers(buffers) => Parameter::Pointers(buffers.iter().map(place).collect()),
            Parameter::Words(words) => Parameter::Words(words.clone()),
        }
    }
}

impl<B> Matrix<B> {
    fn map<C>(&self, place: &mut impl FnMut(&B) -> C) -> Matrix<C> {
        Matrix {
            place: place(&self.place),
            offset: self.offset,
            element: self.element,
            transposed: self.transposed,
            stride: self.stride,
            batch_stride: self.batch_stride,
        }
    }
}
