//! Milliseconds and GFLOP/s of the models' convolutions: `cargo run --release -p fer-cpu-kernels --example convolution [part of a name]`.

use std::time::Instant;

use fer_cpu_kernels::{
    convolution::{After, Convolution, forward, input_grad, kernel_grad},
    simd::Isa,
};

/// Median seconds of a run.
fn seconds(flops: u64, mut run: impl FnMut()) -> f64 {
    run();
    let repeats = (1e11 / flops as f64).ceil().clamp(5.0, 200.0) as usize;
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

/// Square images, with the same window along both axes.
fn square(sizes: [usize; 4], kernel: usize, stride: usize, groups: usize) -> Convolution {
    let [batch, channels, side, out_channels] = sizes;
    Convolution {
        batch,
        channels,
        height: side,
        width: side,
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [if kernel == stride || kernel == side { 0 } else { kernel / 2 }; 2],
        dilation: [1; 2],
        groups,
    }
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let isas: Vec<Isa> = match std::env::args().nth(2) {
        Some(name) => vec![name.parse().expect("an instruction set")],
        None => vec![Isa::best()],
    };
    println!("{:>42} {:>17} {:>17} {:>17}", "ms, GFLOP/s", "forward", "input", "kernel");
    for (name, c) in [
        ("resizer conv1", square([8, 3, 384, 16], 7, 1, 1)),
        ("resizer conv2", square([8, 16, 384, 16], 1, 1, 1)),
        ("resizer conv3", square([8, 16, 224, 16], 3, 1, 1)),
        ("resizer conv4", square([8, 16, 224, 3], 7, 1, 1)),
        ("sr head", square([8, 3, 112, 32], 3, 1, 1)),
        ("sr body", square([8, 32, 112, 32], 3, 1, 1)),
        ("sr tail", square([8, 32, 112, 12], 3, 1, 1)),
        ("sr body", square([8, 32, 48, 32], 3, 1, 1)),
        ("stn", square([8, 3, 384, 8], 7, 1, 1)),
        ("resnet stem", square([8, 3, 224, 64], 7, 2, 1)),
        ("resnet 3x3", square([8, 64, 56, 64], 3, 1, 1)),
        ("resnet 3x3", square([8, 128, 28, 128], 3, 1, 1)),
        ("resnet 3x3", square([8, 256, 14, 256], 3, 1, 1)),
        ("resnet 3x3", square([8, 512, 7, 512], 3, 1, 1)),
        ("resnet 3x3 / 2", square([8, 128, 56, 128], 3, 2, 1)),
        ("resnet 1x1", square([8, 64, 56, 256], 1, 1, 1)),
        ("resnet 1x1", square([8, 1024, 14, 256], 1, 1, 1)),
        ("resnet 1x1 / 2", square([8, 256, 56, 512], 1, 2, 1)),
        ("vgg", square([8, 3, 224, 64], 3, 1, 1)),
        ("vgg", square([8, 64, 224, 64], 3, 1, 1)),
        ("vgg", square([8, 256, 56, 256], 3, 1, 1)),
        ("vgg", square([8, 512, 14, 512], 3, 1, 1)),
        ("vgg fc1", square([8, 512, 7, 4096], 7, 1, 1)),
        ("xcit embed", square([8, 3, 224, 96], 3, 2, 1)),
        ("xcit embed", square([8, 96, 112, 192], 3, 2, 1)),
        ("xcit depthwise", square([8, 384, 14, 384], 3, 1, 384)),
        ("xcit depthwise", square([8, 384, 28, 384], 3, 1, 384)),
        ("patches", square([8, 3, 224, 96], 4, 4, 1)),
        ("patches", square([8, 3, 224, 768], 16, 16, 1)),
    ] {
        if !name.contains(&wanted) {
            continue;
        }
        let numbers = |count: usize| -> Vec<f32> { (0..count).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect() };
        let x = numbers(c.batch * c.channels * c.height * c.width);
        let kernel = numbers(c.out_channels * c.channels / c.groups * c.kernel[0] * c.kernel[1]);
        let mut out = numbers(c.batch * c.out_channels * c.out_height() * c.out_width());
        let (g, mut grad_x, mut grad_kernel) = (out.clone(), x.clone(), kernel.clone());
        let flops = c.flops();
        for &isa in &isas {
            let times = [
                seconds(flops, || forward(isa, &c, &x, &kernel, After::NOTHING, &mut out)),
                seconds(flops, || input_grad(isa, &c, &kernel, &g, &mut grad_x)),
                seconds(flops, || kernel_grad(isa, &c, &x, &g, &mut grad_kernel)),
            ];
            let columns = times.map(|t| format!("{:10.3} {:6.0}", t * 1e3, flops as f64 / t / 1e9));
            let Convolution { channels, out_channels, height, kernel: [side, _], .. } = c;
            let sizes = format!("{channels}->{out_channels} {side}x{side} at {height}");
            println!("{name:>16} {sizes:>25} {}", columns.join(" "));
        }
    }
}
