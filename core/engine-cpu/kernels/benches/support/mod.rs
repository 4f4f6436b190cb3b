//! What the benchmarks share: cases over instruction sets, numbers to compute with, and how long each is timed.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use fer_cpu_kernels::{random::uniform, shared::LINE, simd::Isa};

/// A case with one instruction set. Filters see it as it is shown.
pub struct On<T> {
    pub case: T,
    pub isa: Isa,
}

impl<T: fmt::Display> fmt::Display for On<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.case, self.isa)
    }
}

/// Each case with every instruction set that this machine has. Instructions for bfloat16 are left out: only products, convolutions and attention
/// with such factors have them, to all others they are plain AVX-512.
pub fn on_every<T: Copy>(cases: impl IntoIterator<Item = T>) -> Vec<On<T>> {
    let isas = || Isa::available().filter(|&isa| isa != Isa::Avx512Bf16);
    cases.into_iter().flat_map(|case| isas().map(move |isa| On { case, isa })).collect()
}

/// Numbers in -1..1 without a pattern, from the beginning of a cache line on, as an engine allocates them.
pub struct Numbers {
    data: Vec<f32>,
    skip: usize,
}

impl Numbers {
    pub fn new(count: usize) -> Numbers {
        let mut data = vec![0.0; count + LINE];
        uniform([1, 2, 3], 0, &mut data);
        data.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0);
        Numbers { skip: data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE), data }
    }
}

impl Deref for Numbers {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data[self.skip..self.data.len() - LINE + self.skip]
    }
}

impl DerefMut for Numbers {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.data.len() - LINE + self.skip;
        &mut self.data[self.skip..end]
    }
}

/// Times what the arguments ask for, each case for a moment; `--max-time` gives it longer.
pub fn run() {
    divan::Divan::default().max_time(Duration::from_millis(100)).config_with_args().main();
}
