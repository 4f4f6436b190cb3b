//! GB/s of the models' normalizations: `cargo run --release -p fer-cpu-kernels --example norms [part of a name] [isa]`.
//!
//! What is counted is what must go through memory at least: each operand once, each result once.

use std::time::Instant;

use fer_cpu_kernels::{
    batch_norm::{self, Shape},
    layer_norm,
    product::Rows,
    reduce,
    simd::Isa,
    softmax,
};

/// Seconds of the fastest run.
fn seconds(bytes: usize, mut run: impl FnMut()) -> f64 {
    run();
    let repeats = (2e10 / bytes as f64).ceil().clamp(5.0, 200.0) as usize;
    let times = (0..repeats).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// Numbers in -1..1 without a pattern.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let isas: Vec<Isa> = match std::env::args().nth(2) {
        Some(name) => vec![name.parse().expect("an instruction set")],
        None => Isa::available().collect(),
    };
    println!("{:>38} {:>9} {:>10} {:>6}", "", "", "ms", "GB/s");
    // Tensors that go through memory, of `len` numbers each.
    let report = |name: &str, isa: Isa, tensors: usize, len: usize, run: &mut dyn FnMut()| {
        if name.contains(&wanted) {
            let bytes = tensors * len * 4;
            let time = seconds(bytes, run);
            println!("{name:>38} {:>9} {:10.3} {:6.1}", isa.name(), time * 1e3, bytes as f64 / time / 1e9);
        }
    };
    for &isa in &isas {
        for (rows, width) in [(25088, 96), (6272, 384), (1568, 1024)] {
            let (size, every) = ((rows, width), Rows::Every(width));
            let (x, grad) = (numbers(rows * width), numbers(rows * width));
            let (mut y, weight, bias) = (numbers(rows * width), numbers(width), numbers(width));
            let (mut dw, mut db) = (numbers(width), numbers(width));
            report(&format!("layer norm {rows} x {width}"), isa, 2, x.len(), &mut || {
                layer_norm::forward(isa, size, 1e-5, &x, every, &weight, &bias, &mut y);
            });
            report(&format!("layer norm {rows} x {width} backward"), isa, 3, x.len(), &mut || {
                let (dw, db) = (Some(&mut dw[..]), Some(&mut db[..]));
                layer_norm::backward(isa, size, 1e-5, &x, every, &weight, &grad, every, None, Some(&mut y), dw, db);
            });
            report(&format!("softmax {rows} x {width}"), isa, 2, x.len(), &mut || {
                softmax::softmax(isa, size, &x, &mut y);
            });
            report(&format!("column sums {rows} x {width}"), isa, 1, x.len(), &mut || {
                reduce::column_sums(isa, size, &x, every, &mut db);
            });
            report(&format!("row sums {rows} x {width}"), isa, 1, x.len(), &mut || {
                reduce::sum(isa, [rows, width, 1], &x, &mut y[..rows]);
            });
        }
        for (count, channels, plane) in [(8, 16, 384 * 384), (64, 256, 14 * 14), (64, 512, 49), (64, 512, 1)] {
            let shape = Shape { count, channels, plane };
            let (x, grad) = (numbers(shape.len()), numbers(shape.len()));
            let (mut y, weight, bias) = (numbers(shape.len()), numbers(channels), numbers(channels));
            let (mut mean, mut variance) = (numbers(channels), numbers(channels));
            let slope = Some(0.01);
            // The statistics of all must be there before the first result: each operand goes by once more.
            report(&format!("batch norm {count} x {channels} x {plane}"), isa, 3, x.len(), &mut || {
                batch_norm::training(isa, shape, 1e-5, &x, &weight, &bias, slope, &mut y, &mut mean, &mut variance);
            });
            report(&format!("batch norm {count} x {channels} x {plane} backward"), isa, 6, x.len(), &mut || {
                let (dw, db) = (Some(&mut mean[..]), Some(&mut variance[..]));
                batch_norm::backward(isa, shape, 1e-5, &x, &weight, &bias, &grad, slope, Some(&mut y), dw, db);
            });
        }
    }
}
