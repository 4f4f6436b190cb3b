//! Milliseconds of what moves and samples images: `cargo run --release -p fer-cpu-kernels --example images [part of a name] [isa]`.

use std::time::Instant;

use fer_cpu_kernels::{
    copy::permute,
    grid_sample::{self, GridSample},
    pool::{Pool, max_pool, max_pool_grad},
    random::uniform,
    resize::{self, Taps},
    simd::Isa,
};

/// Prints the fastest run.
fn time(name: &str, isa: Isa, mut run: impl FnMut()) {
    run();
    let times = (0..10).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    println!("{name:>34} {:>9} {:9.3}", isa.name(), times.fold(f64::INFINITY, f64::min) * 1e3);
}

/// Numbers in 0..1 without a pattern.
fn numbers(count: usize) -> Vec<f32> {
    let mut all = vec![0.0; count];
    uniform([1, 2, 3], 0, &mut all);
    all
}

/// Weights `[to, from]` of half-pixel centres.
fn half_pixel(from: usize, to: usize) -> Taps {
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let source = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let low = source as usize;
        row[low] += 1.0 - source.fract();
        row[(low + 1).min(from - 1)] += source.fract();
    }
    Taps::from_matrix(to, from, &matrix).expect("two weights a row")
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let isas: Vec<Isa> = match std::env::args().nth(2) {
        Some(name) => vec![name.parse().expect("an instruction set")],
        None => Isa::available().collect(),
    };
    for (planes, from, to) in [(128, 384, 224), (24, 48, 224), (128, 28, 224)] {
        let name = format!("resize [{planes}] {from} -> {to}");
        if !name.contains(&wanted) {
            continue;
        }
        let taps = half_pixel(from, to);
        let (mut x, mut y) = (numbers(planes * from * from), numbers(planes * to * to));
        for &isa in &isas {
            time(&name, isa, || resize::forward(isa, planes, (from, from), &taps, &taps, &x, &mut y));
            time(&format!("{name}, back"), isa, || {
                resize::backward(isa, planes, (from, from), &taps, &taps, &y, &mut x);
            });
        }
    }
    if "grid_sample".contains(&wanted) {
        let (n, c, size) = (8, 3, 384);
        let shape = GridSample {
            batch: n,
            channels: c,
            height: size,
            width: size,
            out_height: size,
            out_width: size,
            align_corners: false,
        };
        // The regular grid, turned a little.
        let at = |i: usize| (2 * i + 1) as f32 / size as f32 - 1.0;
        let points = (0..n * size * size).map(|p| (at(p % size), at(p / size % size)));
        let grid: Vec<f32> = points.flat_map(|(x, y)| [0.95 * x - 0.2 * y, 0.2 * x + 0.95 * y]).collect();
        let (x, mut y) = (numbers(n * c * size * size), numbers(n * c * size * size));
        let (mut grad_x, mut grad_grid) = (numbers(x.len()), numbers(grid.len()));
        for &isa in &isas {
            time("grid_sample", isa, || grid_sample::forward(isa, &shape, &x, &grid, &mut y));
            time("grid_sample, back to x", isa, || {
                grid_sample::backward(isa, &shape, &x, &grid, &y, Some(&mut grad_x), None);
            });
            time("grid_sample, back to the grid", isa, || {
                grid_sample::backward(isa, &shape, &x, &grid, &y, None, Some(&mut grad_grid));
            });
        }
    }
    for (kernel, padding) in [(2, 0), (3, 1)] {
        let name = format!("max_pool {kernel} by 2");
        if !name.contains(&wanted) {
            continue;
        }
        let pool = Pool { height: 112, width: 112, kernel: [kernel; 2], stride: [2; 2], padding: [padding; 2] };
        let planes = 8 * 64;
        let (x, mut y) = (numbers(planes * 112 * 112), numbers(planes * 56 * 56));
        let mut grad_x = numbers(x.len());
        for &isa in &isas {
            time(&name, isa, || max_pool(isa, planes, &pool, &x, &mut y));
            time(&format!("{name}, back"), isa, || max_pool_grad(isa, planes, &pool, &x, &y, &mut grad_x));
        }
    }
    // Moves know no instruction set.
    for (name, sizes, strides) in [
        ("heads [8, 6, 197, 64]", [8, 6, 197, 64], [197 * 384, 64, 384, 1]),
        ("keys [8, 6, 64, 197]", [8, 6, 64, 197], [197 * 384, 64, 1, 384]),
        ("channels last [8, 56, 56, 96]", [8, 56, 56, 96], [96 * 3136, 56, 1, 3136]),
    ] {
        if name.contains(&wanted) {
            let x = numbers(sizes.iter().product());
            let mut y = x.clone();
            time(name, Isa::Portable, || permute(&x, &mut y, &sizes, &strides, 0));
        }
    }
}
