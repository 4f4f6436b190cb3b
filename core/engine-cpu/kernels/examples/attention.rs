//! GFLOP/s of the models' attentions: `RAYON_NUM_THREADS=1 cargo run --release -p fer-cpu-kernels --example attention [part of a name] [isa]`.

use std::{
    ops::{Deref, DerefMut},
    time::Instant,
};

use fer_cpu_kernels::{
    attention::{BiasGradient, Gradients, Heads, HeadsMut, Shape, backward, forward},
    simd::Isa,
};

/// Seconds of the fastest run.
fn seconds(flops: u64, mut run: impl FnMut()) -> f64 {
    run();
    let repeats = (1e11 / flops as f64).ceil().clamp(5.0, 200.0) as usize;
    let times = (0..repeats).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// Numbers in -1..1 without a pattern, from the beginning of a cache line on, as an engine allocates them.
struct Numbers {
    data: Vec<f32>,
    skip: usize,
}

impl Numbers {
    fn new(count: usize) -> Numbers {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let data: Vec<f32> = (0..count + 16).map(|_| next()).collect();
        Numbers { skip: data.as_ptr().align_offset(64).min(16), data }
    }
}

impl Deref for Numbers {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data[self.skip..self.data.len() - 16 + self.skip]
    }
}

impl DerefMut for Numbers {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.data.len() - 16 + self.skip;
        &mut self.data[self.skip..end]
    }
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let isas: Vec<Isa> = match std::env::args().nth(2) {
        Some(name) => vec![name.parse().expect("an instruction set")],
        None => Isa::available().collect(),
    };
    println!("{:>34} {:>9} {:>18} {:>18}", "ms, GFLOP/s", "", "forward", "backward");
    // Batches or windows, heads, tokens of a query and of a key, their width; the number of biases.
    for (name, groups, heads, queries, keys, width, biases) in [
        ("swin 7, stage 1, batch 64", 4096, 3, 49, 49, 32, 192),
        ("swin 7, stage 1, batch 8", 512, 3, 49, 49, 32, 192),
        ("swin 7, unshifted, batch 8", 512, 3, 49, 49, 32, 3),
        ("swin 7, stage 4, batch 64", 64, 24, 49, 49, 32, 24),
        ("swin 12, stage 1, batch 8", 128, 4, 144, 144, 32, 4),
        ("vit s, batch 8", 8, 6, 197, 197, 64, 0),
        ("vit b, batch 64", 64, 12, 197, 197, 64, 0),
        ("vit s at 384, batch 1", 1, 6, 577, 577, 64, 0),
        ("xcit, batch 8", 8, 8, 48, 48, 784, 0),
        ("xcit, batch 8", 8, 4, 48, 48, 3136, 0),
        ("class token, batch 64", 64, 8, 1, 197, 48, 0),
    ] {
        if !name.contains(&wanted) {
            continue;
        }
        // q, k and v side by side in rows of all heads; of a transposed attention, heads are on their own.
        let count = groups * heads;
        let apart = width > 256;
        let stride = if apart { width } else { 3 * heads * width };
        let starts = |rows: usize, part: usize, parts: usize| -> Vec<u32> {
            let start = |i: usize| match apart {
                true => i * rows * width,
                false => (i / heads * rows * parts + part) * heads * width + i % heads * width,
            };
            (0..count).map(|i| start(i) as u32).collect()
        };
        let (q_starts, k_starts, v_starts) = (starts(queries, 0, 3), starts(keys, 1, 3), starts(keys, 2, 3));
        let out_starts = starts(queries, 0, 1);
        let out_stride = if apart { width } else { heads * width };
        let size = |rows: usize| (count * rows * width) * if apart { 1 } else { 3 };
        let (q, k) = (Numbers::new(size(queries)), Numbers::new(size(keys)));
        let (v, bias) = (Numbers::new(size(keys)), Numbers::new(biases * queries * keys));
        let bias_starts: Vec<u32> = (0..count).map(|i| (i % biases.max(1) * queries * keys) as u32).collect();
        let (mut dq, mut dk) = (Numbers::new(q.len()), Numbers::new(k.len()));
        let (mut dv, mut db) = (Numbers::new(v.len()), Numbers::new(bias.len()));
        let grad = Numbers::new(count * queries * width);
        let mut out = Numbers::new(grad.len());
        let shape = Shape { count, queries, keys, width, value_width: width };
        let scale = 1.0 / (width as f32).sqrt();
        let operand = |data, starts| Heads { data, starts, stride };
        for &isa in &isas {
            let (q, k, v) = (operand(&q[..], &q_starts[..]), operand(&k, &k_starts), operand(&v, &v_starts));
            let bias = (biases > 0).then_some(Heads { data: &bias, starts: &bias_starts, stride: keys });
            let there = shape.flops();
            let back = there / 4 * 10;
            let times = [
                seconds(there, || {
                    let out = HeadsMut::new(&mut out, &out_starts, out_stride);
                    forward(isa, shape, scale, q, k, v, bias, out);
                }),
                seconds(back, || {
                    let bias_gradient = BiasGradient { data: &mut db, starts: &bias_starts, stride: keys };
                    let gradients = Gradients {
                        q: Some(HeadsMut::new(&mut dq, &q_starts, stride)),
                        k: Some(HeadsMut::new(&mut dk, &k_starts, stride)),
                        v: Some(HeadsMut::new(&mut dv, &v_starts, stride)),
                        bias: bias.map(|_| bias_gradient),
                    };
                    let grad_out = Heads { data: &grad, starts: &out_starts, stride: out_stride };
                    backward(isa, shape, scale, q, k, v, bias, grad_out, gradients);
                }),
            ];
            let rate = |i: usize, flops: u64| format!("{:10.3} {:7.0}", times[i] * 1e3, flops as f64 / times[i] / 1e9);
            println!("{name:>34} {:>9} {} {}", isa.name(), rate(0, there), rate(1, back));
        }
    }
}
