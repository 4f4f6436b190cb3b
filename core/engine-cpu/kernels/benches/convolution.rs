//! FLOP/s of the models' convolutions: `cargo bench -p fer-cpu-kernels --bench convolution -- "forward.*resizer.*bf16, avx2"`.
//!
//! An item is an operation, a multiply-add two; those with padding are counted.

mod support;

use std::fmt;

use divan::{Bencher, counter::ItemsCount};
use fer_cpu_kernels::{
    bf16,
    convolution::{self, After, Convolution},
    numbers,
    product::Factors,
    simd::Isa,
};

use support::{Numbers, On, on_every};

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    sizes: Convolution,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Convolution { batch, channels, out_channels, height, kernel: [side, _], stride: [stride, _], .. } =
            self.sizes;
        write!(f, "{} [{batch}] {channels} -> {out_channels}, {side} x {side} by {stride} at {height}", self.name)
    }
}

/// Square images, with the same window along both axes.
const fn square(name: &'static str, sizes: [usize; 4], kernel: usize, stride: usize, groups: usize) -> Case {
    let [batch, channels, side, out_channels] = sizes;
    let padding = [if kernel == stride || kernel == side { 0 } else { kernel / 2 }; 2];
    let (kernel, stride) = ([kernel; 2], [stride; 2]);
    let (height, width, dilation) = (side, side, [1; 2]);
    let sizes = Convolution { batch, channels, height, width, out_channels, kernel, stride, padding, dilation, groups };
    Case { name, sizes }
}

const CASES: [Case; 29] = [
    square("resizer conv1", [8, 3, 384, 16], 7, 1, 1),
    square("resizer conv2", [8, 16, 384, 16], 1, 1, 1),
    square("resizer conv3", [8, 16, 224, 16], 3, 1, 1),
    square("resizer conv4", [8, 16, 224, 3], 7, 1, 1),
    square("sr head", [8, 3, 112, 32], 3, 1, 1),
    square("sr body", [8, 32, 112, 32], 3, 1, 1),
    square("sr tail", [8, 32, 112, 12], 3, 1, 1),
    square("sr body", [8, 32, 48, 32], 3, 1, 1),
    square("stn", [8, 3, 384, 8], 7, 1, 1),
    square("resnet stem", [8, 3, 224, 64], 7, 2, 1),
    square("resnet", [8, 64, 56, 64], 3, 1, 1),
    square("resnet", [8, 128, 28, 128], 3, 1, 1),
    square("resnet", [8, 256, 14, 256], 3, 1, 1),
    square("resnet", [8, 512, 7, 512], 3, 1, 1),
    square("resnet", [8, 128, 56, 128], 3, 2, 1),
    square("resnet", [8, 64, 56, 256], 1, 1, 1),
    square("resnet", [8, 1024, 14, 256], 1, 1, 1),
    square("resnet", [8, 256, 56, 512], 1, 2, 1),
    square("vgg", [8, 3, 224, 64], 3, 1, 1),
    square("vgg", [8, 64, 224, 64], 3, 1, 1),
    square("vgg", [8, 256, 56, 256], 3, 1, 1),
    square("vgg", [8, 512, 14, 512], 3, 1, 1),
    square("vgg fc1", [8, 512, 7, 4096], 7, 1, 1),
    square("xcit embed", [8, 3, 224, 96], 3, 2, 1),
    square("xcit embed", [8, 96, 112, 192], 3, 2, 1),
    square("xcit depthwise", [8, 384, 14, 384], 3, 1, 384),
    square("xcit depthwise", [8, 384, 28, 384], 3, 1, 384),
    square("patches", [8, 3, 224, 96], 4, 4, 1),
    square("patches", [8, 3, 224, 768], 16, 16, 1),
];

/// A convolution whose factors are of one kind, and its images in memory.
#[derive(Clone, Copy)]
struct With {
    case: Case,
    factors: Factors,
    halves: bool,
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors = match (self.factors, self.halves) {
            (Factors::F32, _) => "f32",
            (Factors::Bf16, false) => "bf16",
            (Factors::Bf16, true) => "bf16 in memory",
        };
        write!(f, "{}, {factors}", self.case)
    }
}

fn cases() -> Vec<On<With>> {
    let mut all = on_every(CASES.map(|case| With { case, factors: Factors::F32, halves: false }));
    for halves in [false, true] {
        for case in CASES.map(|case| With { case, factors: Factors::Bf16, halves }) {
            all.extend(Isa::available().map(|isa| On { case, isa }));
        }
    }
    all
}

fn main() {
    support::run();
}

/// Images as they stand in memory.
enum Images {
    F32(Numbers),
    Bf16(Vec<u16>),
}

impl Images {
    fn new(with: &With, count: usize) -> Images {
        let numbers = Numbers::new(count);
        match with.halves {
            false => Images::F32(numbers),
            true => Images::Bf16(numbers.iter().map(|&x| bf16::round(x)).collect()),
        }
    }

    fn of_x(with: &With) -> Images {
        let c = &with.case.sizes;
        Images::new(with, c.batch * c.channels * c.height * c.width)
    }

    fn of_result(with: &With) -> Images {
        let c = &with.case.sizes;
        Images::new(with, c.batch * c.out_channels * c.out_height() * c.out_width())
    }

    fn get(&self) -> numbers::Numbers<'_> {
        match self {
            Images::F32(images) => (&images[..]).into(),
            Images::Bf16(images) => (&images[..]).into(),
        }
    }

    fn get_mut(&mut self) -> numbers::NumbersMut<'_> {
        match self {
            Images::F32(images) => (&mut images[..]).into(),
            Images::Bf16(images) => (&mut images[..]).into(),
        }
    }
}

fn kernel(c: &Convolution) -> Numbers {
    Numbers::new(c.out_channels * c.channels / c.groups * c.kernel[0] * c.kernel[1])
}

#[divan::bench(args = cases())]
fn forward(bencher: Bencher<'_, '_>, on: &On<With>) {
    let (with, c) = (&on.case, &on.case.case.sizes);
    let (x, kernel, mut out) = (Images::of_x(with), kernel(c), Images::of_result(with));
    bencher.counter(ItemsCount::new(c.flops())).bench_local(|| {
        convolution::forward(on.isa, with.factors, c, x.get(), &kernel, After::NOTHING, out.get_mut());
    });
}

#[divan::bench(args = cases())]
fn input_gradient(bencher: Bencher<'_, '_>, on: &On<With>) {
    let (with, c) = (&on.case, &on.case.case.sizes);
    let (mut grad_x, kernel, grad) = (Images::of_x(with), kernel(c), Images::of_result(with));
    bencher.counter(ItemsCount::new(c.flops())).bench_local(|| {
        convolution::input_grad(on.isa, with.factors, c, &kernel, grad.get(), grad_x.get_mut());
    });
}

#[divan::bench(args = cases())]
fn kernel_gradient(bencher: Bencher<'_, '_>, on: &On<With>) {
    let (with, c) = (&on.case, &on.case.case.sizes);
    let (x, mut grad_kernel, grad) = (Images::of_x(with), kernel(c), Images::of_result(with));
    bencher.counter(ItemsCount::new(c.flops())).bench_local(|| {
        convolution::kernel_grad(on.isa, with.factors, c, x.get(), grad.get(), &mut grad_kernel);
    });
}
