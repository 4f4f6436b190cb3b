//! GFLOP/s of the products of a training step, beside the `gemm` crate's: `cargo run --release -p fer-cpu-kernels --example product`.

use std::time::Instant;

use fer_cpu_kernels::{
    product::{Along, Rows, Side, Size, multiply},
    simd::Isa,
};

/// Median seconds of a run.
fn seconds(flops: u64, mut run: impl FnMut()) -> f64 {
    run();
    let repeats = (5e9 / flops as f64).ceil().clamp(5.0, 2000.0) as usize;
    let mut times: Vec<f64> = (0..repeats)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    println!("{:>28} {:>9} {:>9} {:>9} {:>9}", "m x n x k", "forward", "input", "weight", "gemm");
    for (m, n, k) in [
        (25088, 96, 96),
        (25088, 288, 96),
        (25088, 384, 96),
        (25088, 96, 384),
        (6272, 576, 192),
        (6272, 768, 192),
        (1568, 1152, 384),
        (1568, 1536, 384),
        (1568, 384, 1536),
        (1576, 1152, 384),
        (392, 3072, 768),
        (392, 768, 3072),
        (2048, 2048, 2048),
    ] {
        let numbers = |count: usize| -> Vec<f32> { (0..count).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect() };
        let (x, w, g) = (numbers(m * k), numbers(n * k), numbers(m * n));
        let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
        let size = Size { m, n, k };
        let flops = size.flops();
        let side = |data, stride, along| Side { data, rows: Rows::Every(stride), along };
        let isa = Isa::best();
        let times = [
            seconds(flops, || {
                multiply(isa, size, side(&x, k, Along::Kept), side(&w, k, Along::Kept), None, false, &mut y)
            }),
            seconds(flops, || {
                let size = Size { m, n: k, k: n };
                multiply(isa, size, side(&g, n, Along::Kept), side(&w, k, Along::Contracted), None, false, &mut dx);
            }),
            seconds(flops, || {
                let size = Size { m: n, n: k, k: m };
                multiply(
                    isa,
                    size,
                    side(&g, n, Along::Contracted),
                    side(&x, k, Along::Contracted),
                    None,
                    false,
                    &mut dw,
                );
            }),
            seconds(flops, || {
                let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
                let (to, left, right) = (y.as_mut_ptr(), x.as_ptr(), w.as_ptr());
                // SAFETY: the strides are those of the three dense matrices.
                unsafe {
                    gemm::gemm(
                        m, n, k, to, 1, n as isize, false, left, 1, k as isize, right, k as isize, 1, 0.0, 1.0, false,
                        false, false, threads,
                    );
                }
            }),
        ];
        let rates = times.map(|t| format!("{:9.0}", flops as f64 / t / 1e9));
        println!("{:>28} {}", format!("{m} x {n} x {k}"), rates.join(" "));
    }
}
