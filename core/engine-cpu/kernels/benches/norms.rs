//! Bytes a second of the models' normalizations and sums: `cargo bench -p fer-cpu-kernels --bench norms -- "layer_norm.*25088"`.
//!
//! What is counted is what must go through memory at least: each operand once, each result once.

mod support;

use std::fmt;

use divan::{Bencher, counter::BytesCount};
use fer_cpu_kernels::{product::Rows, reduce, softmax};

use support::{Numbers, On, on_every};

const EPSILON: f32 = 1e-5;

fn main() {
    support::run();
}

/// Tensors that go through memory, of `len` floats each.
fn bytes(tensors: usize, len: usize) -> BytesCount {
    BytesCount::of_many::<f32>(tensors * len)
}

/// Rows of a width.
#[derive(Clone, Copy)]
struct Matrix(usize, usize);

/// Tokens of transformers.
const TOKENS: [Matrix; 3] = [Matrix(25088, 96), Matrix(6272, 384), Matrix(1568, 1024)];

impl Matrix {
    fn len(self) -> usize {
        self.0 * self.1
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.0, self.1)
    }
}

mod layer_norm {
    use fer_cpu_kernels::layer_norm;

    use super::*;

    #[divan::bench(args = on_every(TOKENS))]
    fn forward(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
        let Matrix(rows, width) = on.case;
        let (x, mut y) = (Numbers::new(on.case.len()), Numbers::new(on.case.len()));
        let (weight, bias) = (Numbers::new(width), Numbers::new(width));
        bencher.counter(bytes(2, x.len())).bench_local(|| {
            layer_norm::forward(on.isa, (rows, width), EPSILON, &x, Rows::Every(width), &weight, &bias, &mut y[..]);
        });
    }

    #[divan::bench(args = on_every(TOKENS))]
    fn backward(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
        let (Matrix(rows, width), len) = (on.case, on.case.len());
        let every = Rows::Every(width);
        let (x, grad, mut grad_x) = (Numbers::new(len), Numbers::new(len), Numbers::new(len));
        let (weight, mut dw, mut db) = (Numbers::new(width), Numbers::new(width), Numbers::new(width));
        bencher.counter(bytes(3, len)).bench_local(|| {
            let (dx, dw, db) = (Some(&mut grad_x[..]), Some(&mut dw[..]), Some(&mut db[..]));
            layer_norm::backward(
                on.isa,
                (rows, width),
                EPSILON,
                &x,
                every,
                &weight,
                &grad[..],
                every,
                None,
                dx,
                dw,
                db,
            );
        });
    }
}

#[divan::bench(args = on_every(TOKENS))]
fn softmax(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
    let Matrix(rows, width) = on.case;
    let (x, mut y) = (Numbers::new(on.case.len()), Numbers::new(on.case.len()));
    bencher.counter(bytes(2, x.len())).bench_local(|| softmax::softmax(on.isa, (rows, width), &x, &mut y));
}

#[divan::bench(args = on_every(TOKENS))]
fn softmax_gradient(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
    let (Matrix(rows, width), len) = (on.case, on.case.len());
    let (x, grad, mut grad_x) = (Numbers::new(len), Numbers::new(len), Numbers::new(len));
    bencher.counter(bytes(3, len)).bench_local(|| {
        softmax::softmax_grad(on.isa, (rows, width), &x, &grad, &mut grad_x);
    });
}

#[divan::bench(args = on_every(TOKENS))]
fn column_sums(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
    let Matrix(rows, width) = on.case;
    let (x, mut y) = (Numbers::new(on.case.len()), Numbers::new(width));
    bencher.counter(bytes(1, x.len())).bench_local(|| {
        reduce::column_sums(on.isa, (rows, width), &x[..], Rows::Every(width), &mut y);
    });
}

#[divan::bench(args = on_every(TOKENS))]
fn row_sums(bencher: Bencher<'_, '_>, on: &On<Matrix>) {
    let Matrix(rows, width) = on.case;
    let (x, mut y) = (Numbers::new(on.case.len()), Numbers::new(rows));
    bencher.counter(bytes(1, x.len())).bench_local(|| reduce::sum(on.isa, [rows, width, 1], &x[..], &mut y));
}

mod batch_norm {
    use fer_cpu_kernels::batch_norm::{self, Shape};

    use super::*;

    #[derive(Clone, Copy)]
    struct Planes(Shape);

    const fn planes(count: usize, channels: usize, plane: usize) -> Planes {
        Planes(Shape { count, channels, plane })
    }

    const PLANES: [Planes; 4] =
        [planes(8, 16, 384 * 384), planes(64, 256, 14 * 14), planes(64, 512, 49), planes(64, 512, 1)];

    impl fmt::Display for Planes {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} x {} x {}", self.0.count, self.0.channels, self.0.plane)
        }
    }

    /// Of the leaky rectifier behind the norm.
    const SLOPE: Option<f32> = Some(0.01);

    /// The statistics of all must be there before the first result: each operand goes by once more.
    #[divan::bench(args = on_every(PLANES))]
    fn training(bencher: Bencher<'_, '_>, on: &On<Planes>) {
        let Planes(shape) = on.case;
        let (x, mut y) = (Numbers::new(shape.len()), Numbers::new(shape.len()));
        let channels = || Numbers::new(shape.channels);
        let (weight, bias, mut mean, mut variance) = (channels(), channels(), channels(), channels());
        bencher.counter(bytes(3, x.len())).bench_local(|| {
            let (isa, y, mean, variance) = (on.isa, &mut y[..], &mut mean[..], &mut variance[..]);
            batch_norm::training(isa, shape, EPSILON, &x[..], &weight, &bias, SLOPE, y, mean, variance);
        });
    }

    /// Statistics and sums are taken first, of two operands.
    #[divan::bench(args = on_every(PLANES))]
    fn backward(bencher: Bencher<'_, '_>, on: &On<Planes>) {
        let Planes(shape) = on.case;
        let all = || Numbers::new(shape.len());
        let channels = || Numbers::new(shape.channels);
        let (x, grad, mut grad_x) = (all(), all(), all());
        let (weight, bias, mut dw, mut db) = (channels(), channels(), channels(), channels());
        bencher.counter(bytes(6, x.len())).bench_local(|| {
            let (isa, x, grad) = (on.isa, &x[..], &grad[..]);
            let (dx, dw, db) = (Some((&mut grad_x[..]).into()), Some(&mut dw[..]), Some(&mut db[..]));
            batch_norm::backward(isa, shape, EPSILON, x, &weight, &bias, grad, SLOPE, None, dx, dw, db);
        });
    }
}

mod l2_normalize {
    use fer_cpu_kernels::l2_normalize;

    use super::*;

    /// Vectors along the middle of three axes.
    #[derive(Clone, Copy)]
    struct Vectors([usize; 3]);

    /// Channels of XCiT along its tokens: heads on their own, or side by side as they come.
    const VECTORS: [Vectors; 2] = [Vectors([8 * 384, 784, 1]), Vectors([8, 784, 384])];

    impl fmt::Display for Vectors {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let [outer, axis, inner] = self.0;
            write!(f, "{outer} x {axis} x {inner}")
        }
    }

    #[divan::bench(args = on_every(VECTORS))]
    fn forward(bencher: Bencher<'_, '_>, on: &On<Vectors>) {
        let Vectors(shape) = on.case;
        let (x, mut y) = (Numbers::new(shape.iter().product()), Numbers::new(shape.iter().product()));
        bencher.counter(bytes(2, x.len())).bench_local(|| {
            l2_normalize::l2_normalize(on.isa, shape, EPSILON, &x, &mut y);
        });
    }

    #[divan::bench(args = on_every(VECTORS))]
    fn backward(bencher: Bencher<'_, '_>, on: &On<Vectors>) {
        let Vectors(shape) = on.case;
        let all = || Numbers::new(shape.iter().product());
        let (x, grad, mut grad_x) = (all(), all(), all());
        bencher.counter(bytes(3, x.len())).bench_local(|| {
            l2_normalize::l2_normalize_grad(on.isa, shape, EPSILON, &x, &grad, &mut grad_x);
        });
    }
}
