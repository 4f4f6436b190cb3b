//! Bytes a second of what moves and samples images: `cargo bench -p fer-cpu-kernels --bench images -- "resize.*384"`.
//!
//! Each operand and each result is counted once.

mod support;

use std::fmt;

use divan::{Bencher, counter::BytesCount};

use support::{Numbers, On, on_every};

fn main() {
    support::run();
}

/// Floats that are read and written.
fn bytes(counts: &[usize]) -> BytesCount {
    BytesCount::of_many::<f32>(counts.iter().sum::<usize>())
}

mod resize {
    use fer_cpu_kernels::resize::{self, Taps};

    use super::*;

    /// Square planes.
    #[derive(Clone, Copy)]
    struct Resize {
        planes: usize,
        from: usize,
        to: usize,
    }

    const CASES: [Resize; 3] = [
        Resize { planes: 128, from: 384, to: 224 },
        Resize { planes: 24, from: 48, to: 224 },
        Resize { planes: 128, from: 28, to: 224 },
    ];

    impl fmt::Display for Resize {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "[{}] {} -> {}", self.planes, self.from, self.to)
        }
    }

    impl Resize {
        fn sizes(self) -> [usize; 2] {
            [self.from, self.to].map(|side| self.planes * side * side)
        }

        /// Weights of half-pixel centres.
        fn taps(self) -> Taps {
            let Resize { from, to, .. } = self;
            let mut matrix = vec![0.0; to * from];
            for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
                let source = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
                let low = source as usize;
                row[low] += 1.0 - source.fract();
                row[(low + 1).min(from - 1)] += source.fract();
            }
            Taps::from_matrix(to, from, &matrix).expect("two weights a row")
        }
    }

    #[divan::bench(args = on_every(CASES))]
    fn forward(bencher: Bencher<'_, '_>, on: &On<Resize>) {
        let (Resize { planes, from, .. }, taps) = (on.case, on.case.taps());
        let [x, mut y] = on.case.sizes().map(Numbers::new);
        bencher.counter(bytes(&on.case.sizes())).bench_local(|| {
            resize::forward(on.isa, planes, (from, from), &taps, &taps, &x[..], &mut y[..]);
        });
    }

    #[divan::bench(args = on_every(CASES))]
    fn backward(bencher: Bencher<'_, '_>, on: &On<Resize>) {
        let (Resize { planes, from, .. }, taps) = (on.case, on.case.taps());
        let [mut grad_x, grad] = on.case.sizes().map(Numbers::new);
        bencher.counter(bytes(&on.case.sizes())).bench_local(|| {
            resize::backward(on.isa, planes, (from, from), &taps, &taps, &grad[..], &mut grad_x[..]);
        });
    }
}

mod grid_sample {
    use fer_cpu_kernels::grid_sample::{self, GridSample};

    use super::*;

    /// Images of three channels, sampled at their own size.
    #[derive(Clone, Copy)]
    struct Images {
        batch: usize,
        size: usize,
    }

    const CASES: [Images; 1] = [Images { batch: 8, size: 384 }];
    const CHANNELS: usize = 3;

    impl fmt::Display for Images {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "[{}, {CHANNELS}] at {}", self.batch, self.size)
        }
    }

    impl Images {
        fn shape(self) -> GridSample {
            let Images { batch, size } = self;
            let [height, width, out_height, out_width] = [size; 4];
            GridSample { batch, channels: CHANNELS, height, width, out_height, out_width, align_corners: false }
        }

        fn numbers(self) -> Numbers {
            Numbers::new(self.batch * CHANNELS * self.size * self.size)
        }

        /// The regular grid, turned a little.
        fn grid(self) -> Vec<f32> {
            let size = self.size;
            let at = |i: usize| (2 * i + 1) as f32 / size as f32 - 1.0;
            let points = (0..self.batch * size * size).map(|p| (at(p % size), at(p / size % size)));
            points.flat_map(|(x, y)| [0.95 * x - 0.2 * y, 0.2 * x + 0.95 * y]).collect()
        }
    }

    #[divan::bench(args = on_every(CASES))]
    fn forward(bencher: Bencher<'_, '_>, on: &On<Images>) {
        let (shape, grid) = (on.case.shape(), on.case.grid());
        let (x, mut y) = (on.case.numbers(), on.case.numbers());
        bencher.counter(bytes(&[x.len(), grid.len(), y.len()])).bench_local(|| {
            grid_sample::forward(on.isa, &shape, &x, &grid, &mut y);
        });
    }

    #[divan::bench(args = on_every(CASES))]
    fn image_gradient(bencher: Bencher<'_, '_>, on: &On<Images>) {
        let (shape, grid) = (on.case.shape(), on.case.grid());
        let (x, grad, mut grad_x) = (on.case.numbers(), on.case.numbers(), on.case.numbers());
        bencher.counter(bytes(&[grad.len(), grid.len(), grad_x.len()])).bench_local(|| {
            grid_sample::backward(on.isa, &shape, &x, &grid, &grad, Some(&mut grad_x), None);
        });
    }

    #[divan::bench(args = on_every(CASES))]
    fn grid_gradient(bencher: Bencher<'_, '_>, on: &On<Images>) {
        let (shape, grid) = (on.case.shape(), on.case.grid());
        let (x, grad, mut grad_grid) = (on.case.numbers(), on.case.numbers(), Numbers::new(grid.len()));
        bencher.counter(bytes(&[x.len(), grad.len(), grid.len(), grid.len()])).bench_local(|| {
            grid_sample::backward(on.isa, &shape, &x, &grid, &grad, None, Some(&mut grad_grid));
        });
    }
}

mod max_pool {
    use fer_cpu_kernels::pool::{self, Pool};

    use super::*;

    /// Windows of a side, by two, with a padding.
    #[derive(Clone, Copy)]
    struct Windows {
        side: usize,
        padding: usize,
    }

    const CASES: [Windows; 2] = [Windows { side: 2, padding: 0 }, Windows { side: 3, padding: 1 }];
    const PLANES: usize = 8 * 64;
    const SIZE: usize = 112;

    impl fmt::Display for Windows {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{0} x {0} by 2 at {SIZE}", self.side)
        }
    }

    impl Windows {
        fn pool(self) -> Pool {
            let Windows { side, padding } = self;
            Pool { height: SIZE, width: SIZE, kernel: [side; 2], stride: [2; 2], padding: [padding; 2] }
        }
    }

    fn planes(size: usize) -> Numbers {
        Numbers::new(PLANES * size * size)
    }

    #[divan::bench(args = on_every(CASES))]
    fn forward(bencher: Bencher<'_, '_>, on: &On<Windows>) {
        let (pool, x, mut y) = (on.case.pool(), planes(SIZE), planes(SIZE / 2));
        bencher.counter(bytes(&[x.len(), y.len()])).bench_local(|| {
            pool::max_pool(on.isa, PLANES, &pool, &x[..], &mut y[..]);
        });
    }

    #[divan::bench(args = on_every(CASES))]
    fn backward(bencher: Bencher<'_, '_>, on: &On<Windows>) {
        let (pool, x, grad, mut grad_x) = (on.case.pool(), planes(SIZE), planes(SIZE / 2), planes(SIZE));
        bencher.counter(bytes(&[x.len(), grad.len(), grad_x.len()])).bench_local(|| {
            pool::max_pool_grad(on.isa, PLANES, &pool, &x[..], &grad[..], &mut grad_x[..]);
        });
    }
}

/// Moves know no instruction set.
mod copy {
    use fer_cpu_kernels::copy;

    use super::*;

    /// What a view is of: the sizes of the result, and their steps in the source.
    struct View {
        name: &'static str,
        sizes: [usize; 4],
        strides: [usize; 4],
    }

    const VIEWS: [View; 5] = [
        View { name: "heads [8, 6, 197, 64]", sizes: [8, 6, 197, 64], strides: [197 * 384, 64, 384, 1] },
        View { name: "keys [8, 6, 64, 197]", sizes: [8, 6, 64, 197], strides: [197 * 384, 64, 1, 384] },
        View { name: "channels last [8, 56, 56, 96]", sizes: [8, 56, 56, 96], strides: [96 * 3136, 56, 1, 3136] },
        View { name: "channels first [8, 1, 384, 196]", sizes: [8, 1, 384, 196], strides: [75264, 0, 1, 384] },
        View { name: "tokens first [8, 1, 196, 384]", sizes: [8, 1, 196, 384], strides: [75264, 0, 1, 196] },
    ];

    impl fmt::Display for View {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.name)
        }
    }

    #[divan::bench(args = VIEWS)]
    fn permute(bencher: Bencher<'_, '_>, view: &View) {
        let count = view.sizes.iter().product();
        let (x, mut y) = (Numbers::new(count), Numbers::new(count));
        bencher.counter(bytes(&[count, count])).bench_local(|| {
            copy::permute(&x, &mut y, &view.sizes, &view.strides, 0);
        });
    }

    /// Tokens of 64 x 64, filled up to whole windows of 7 x 7.
    #[divan::bench]
    fn pad(bencher: Bencher<'_, '_>) {
        let (from, to) = ([8, 64, 64, 96], [8, 70, 70, 96]);
        let (x, mut y) = (Numbers::new(from.iter().product()), Numbers::new(to.iter().product()));
        bencher.counter(bytes(&[x.len(), y.len()])).bench_local(|| {
            copy::pad(&x, &from, &[0; 4], &[0; 4], 0.0, &mut y, &to);
        });
    }
}
