//! FLOP/s of the products of a training step, with factors in f32 (beside the `gemm` crate's) and in bfloat16:
//! `RAYON_NUM_THREADS=1 cargo bench -p fer-cpu-kernels --bench product -- "25088.*bf16, avx2"`.
//!
//! For a layer of m tokens, k inputs and n outputs: its output, the gradient of its input, and that of its weight, whose contraction
//! is the tokens. An item is an operation, a multiply-add two.

mod support;

use std::fmt;

use divan::{Bencher, counter::ItemsCount};
use fer_cpu_kernels::{
    product::{Along, Factors, Rows, Side, Size, multiply},
    simd::Isa,
};

use support::{Numbers, On, on_every};

/// Tokens, outputs and inputs of a layer.
#[derive(Clone, Copy)]
struct Layer(usize, usize, usize);

const LAYERS: [Layer; 17] = [
    Layer(25088, 96, 96),
    Layer(25088, 288, 96),
    Layer(25088, 384, 96),
    Layer(25088, 96, 384),
    Layer(6272, 192, 192),
    Layer(6272, 576, 192),
    Layer(6272, 768, 192),
    Layer(6272, 192, 768),
    Layer(1568, 1152, 384),
    Layer(1568, 1536, 384),
    Layer(1568, 384, 1536),
    Layer(1576, 1152, 384),
    Layer(392, 2304, 768),
    Layer(392, 3072, 768),
    Layer(392, 768, 3072),
    Layer(384, 768, 1568),
    Layer(2048, 2048, 2048),
];

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.0, self.1, self.2)
    }
}

#[derive(Clone, Copy)]
struct Case {
    layer: Layer,
    factors: Factors,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors = match self.factors {
            Factors::F32 => "f32",
            Factors::Bf16 => "bf16",
        };
        write!(f, "{}, {factors}", self.layer)
    }
}

fn cases() -> Vec<On<Case>> {
    let mut all = on_every(LAYERS.map(|layer| Case { layer, factors: Factors::F32 }));
    for case in LAYERS.map(|layer| Case { layer, factors: Factors::Bf16 }) {
        all.extend(Isa::available().map(|isa| On { case, isa }));
    }
    all
}

fn main() {
    support::run();
}

fn side(data: &[f32], stride: usize, along: Along) -> Side<'_> {
    Side { data: data.into(), rows: Rows::Every(stride), along }
}

/// Times one product: sides with the axis that their rows run along.
fn time(bencher: Bencher<'_, '_>, on: &On<Case>, size: Size, [a_along, b_along]: [Along; 2]) {
    let Size { m, n, k } = size;
    let stride = |kept, along| if along == Along::Kept { k } else { kept };
    let (a, b, mut c) = (Numbers::new(m * k), Numbers::new(k * n), Numbers::new(m * n));
    bencher.counter(ItemsCount::new(size.flops())).bench_local(|| {
        let (a, b) = (side(&a, stride(m, a_along), a_along), side(&b, stride(n, b_along), b_along));
        multiply(on.isa, on.case.factors, size, a, b, None, false, &mut c);
    });
}

#[divan::bench(args = cases())]
fn output(bencher: Bencher<'_, '_>, on: &On<Case>) {
    let Layer(m, n, k) = on.case.layer;
    time(bencher, on, Size { m, n, k }, [Along::Kept, Along::Kept]);
}

#[divan::bench(args = cases())]
fn input_gradient(bencher: Bencher<'_, '_>, on: &On<Case>) {
    let Layer(m, n, k) = on.case.layer;
    time(bencher, on, Size { m, n: k, k: n }, [Along::Kept, Along::Contracted]);
}

#[divan::bench(args = cases())]
fn weight_gradient(bencher: Bencher<'_, '_>, on: &On<Case>) {
    let Layer(m, n, k) = on.case.layer;
    time(bencher, on, Size { m: n, n: k, k: m }, [Along::Contracted, Along::Contracted]);
}

/// The yardstick: the output, by another crate, with what it takes for the best instructions.
#[divan::bench(args = LAYERS)]
fn gemm(bencher: Bencher<'_, '_>, layer: &Layer) {
    let Layer(m, n, k) = *layer;
    let (x, w, mut y) = (Numbers::new(m * k), Numbers::new(k * n), Numbers::new(m * n));
    let threads = match rayon::current_num_threads() {
        1 => gemm::Parallelism::None,
        count => gemm::Parallelism::Rayon(count),
    };
    bencher.counter(ItemsCount::new(Size { m, n, k }.flops())).bench_local(|| {
        let (to, left, right) = (y.as_mut_ptr(), x.as_ptr(), w.as_ptr());
        // SAFETY: the strides are those of the three dense matrices.
        unsafe {
            gemm::gemm(
                m, n, k, to, 1, n as isize, false, left, 1, k as isize, right, k as isize, 1, 0.0, 1.0, false, false,
                false, threads,
            );
        }
    });
}
