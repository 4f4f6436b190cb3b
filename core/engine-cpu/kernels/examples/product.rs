//! GFLOP/s of the products of a training step, with factors in f32 (beside the `gemm` crate's) and in bfloat16:
//! `RAYON_NUM_THREADS=1 cargo run --release -p fer-cpu-kernels --example product [instruction set] [part of a shape]`.
//!
//! For a layer of m tokens, k inputs and n outputs: its output, the gradient of its input, and that of its weight, whose contraction
//! is the tokens. The fastest of many runs counts, for other work on the machine only ever makes one slower.

use std::time::{Duration, Instant};

use fer_cpu_kernels::{
    product::{Along, Factors, Rows, Side, Size, multiply},
    simd::Isa,
};

/// Tokens, outputs, inputs.
const SHAPES: [(usize, usize, usize); 17] = [
    (25088, 96, 96),
    (25088, 288, 96),
    (25088, 384, 96),
    (25088, 96, 384),
    (6272, 192, 192),
    (6272, 576, 192),
    (6272, 768, 192),
    (6272, 192, 768),
    (1568, 1152, 384),
    (1568, 1536, 384),
    (1568, 384, 1536),
    (1576, 1152, 384),
    (392, 2304, 768),
    (392, 3072, 768),
    (392, 768, 3072),
    (384, 768, 1568),
    (2048, 2048, 2048),
];

/// How long a product is timed.
const BUDGET: Duration = Duration::from_millis(600);

/// Rate of the fastest run, in GFLOP/s.
fn rate(flops: u64, mut run: impl FnMut()) -> f64 {
    run();
    let (began, mut best) = (Instant::now(), f64::INFINITY);
    while began.elapsed() < BUDGET {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    flops as f64 / best / 1e9
}

fn side(data: &[f32], stride: usize, along: Along) -> Side<'_> {
    Side { data, rows: Rows::Every(stride), along }
}

fn main() {
    let isa =
        std::env::args().nth(1).map_or(Isa::best(), |name| name.parse().unwrap_or_else(|error| panic!("{error}")));
    let part = std::env::args().nth(2).unwrap_or_default();
    println!("{isa}, {} threads", rayon::current_num_threads());
    println!("{:>20} {:>26} {:>26} {:>8}", "", "f32", "bf16", "");
    let columns = format!("{:>8} {:>8} {:>8}", "output", "input", "weight");
    println!("{:>20} {columns} {columns} {:>8}", "m x n x k", "gemm");
    for (m, n, k) in SHAPES {
        let name = format!("{m} x {n} x {k}");
        if !name.contains(&part) {
            continue;
        }
        let numbers = |count: usize| -> Vec<f32> { (0..count).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect() };
        let (x, w, g) = (numbers(m * k), numbers(n * k), numbers(m * n));
        let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
        let flops = Size { m, n, k }.flops();
        let mut rates = vec![];
        for factors in [Factors::F32, Factors::Bf16] {
            rates.push(rate(flops, || {
                let (x, w) = (side(&x, k, Along::Kept), side(&w, k, Along::Kept));
                multiply(isa, factors, Size { m, n, k }, x, w, None, false, &mut y);
            }));
            rates.push(rate(flops, || {
                let (g, w) = (side(&g, n, Along::Kept), side(&w, k, Along::Contracted));
                multiply(isa, factors, Size { m, n: k, k: n }, g, w, None, false, &mut dx);
            }));
            rates.push(rate(flops, || {
                let (g, x) = (side(&g, n, Along::Contracted), side(&x, k, Along::Contracted));
                multiply(isa, factors, Size { m: n, n: k, k: m }, g, x, None, false, &mut dw);
            }));
        }
        rates.push(rate(flops, || {
            let threads = match rayon::current_num_threads() {
                1 => gemm::Parallelism::None,
                count => gemm::Parallelism::Rayon(count),
            };
            let (to, left, right) = (y.as_mut_ptr(), x.as_ptr(), w.as_ptr());
            // SAFETY: the strides are those of the three dense matrices.
            unsafe {
                gemm::gemm(
                    m, n, k, to, 1, n as isize, false, left, 1, k as isize, right, k as isize, 1, 0.0, 1.0, false,
                    false, false, threads,
                );
            }
        }));
        let rates: Vec<String> = rates.into_iter().map(|rate| format!("{rate:8.0}")).collect();
        println!("{name:>20} {}", rates.join(" "));
    }
}
