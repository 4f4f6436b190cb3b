//! Every path against plain sums in f64.

use super::*;
use crate::{
    bf16::{round, widen},
    convolution::grid::Pass,
};

/// Numbers in -1..1 that do not repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 20
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() & 0xff_ffff) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}

fn numbers(seed: u64) -> Random {
    Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// Calls back with the places of x, kernel and result in every product of the convolution.
fn every_product(c: &Convolution, mut f: impl FnMut(usize, usize, usize)) {
    let (height, width) = (c.out_height(), c.out_width());
    let (ins, outs) = (c.channels / c.groups, c.out_channels / c.groups);
    for n in 0..c.batch {
        for o in 0..c.out_channels {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let at = ((n * c.out_channels + o) * height + y) * width + x;
                for i in 0..ins {
                    for (a, b) in (0..c.kernel[0]).flat_map(|a| (0..c.kernel[1]).map(move |b| (a, b))) {
                        let row = (y * c.stride[0] + a * c.dilation[0]).wrapping_sub(c.padding[0]);
                        let column = (x * c.stride[1] + b * c.dilation[1]).wrapping_sub(c.padding[1]);
                        if row < c.height && column < c.width {
                            let image = (n * c.channels + o / outs * ins + i) * c.height;
                            let kernel = ((o * ins + i) * c.kernel[0] + a) * c.kernel[1] + b;
                            f((image + row) * c.width + column, kernel, at);
                        }
                    }
                }
            }
        }
    }
}

/// Sums of `terms` products of numbers below 1 in f32: rounding grows with the root of how many there are, and 2e-7 of it, relative
/// to the typical result, leaves a factor of ten. The sums themselves grow with the same root, so the largest of them is the measure.
fn assert_near(found: &[f32], expected: &[f64], what: &str) {
    let largest = expected.iter().fold(1.0, |m: f64, e| m.max(e.abs()));
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(f) - e).abs() <= 3e-6 * largest, "{what}: {f} for {e} at {i}");
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// All three passes, with all instruction sets and factors, against f64; and that they are each other's adjoints.
fn check(c: &Convolution) {
    for factors in [Factors::F32, Factors::Bf16] {
        check_with(c, factors);
    }
}

/// What a factor is rounded to where it is: a product of such numbers is exact in f32, so the sums are as near as any.
fn rounded_to(rounded: bool, x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(if rounded { widen(round(x)) } else { x })).collect()
}

fn check_with(c: &Convolution, factors: Factors) {
    let mut numbers = numbers(c.height as u64 * 31 + c.width as u64 * 7 + c.channels as u64);
    let (x, kernel) = (numbers.floats(c.image_len()), numbers.floats(c.kernel_len()));
    let (g, bias) = (numbers.floats(c.out_len()), numbers.floats(c.out_channels));
    let (mut y, mut dx, mut dk) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; kernel.len()]);
    // Which passes round: all that are matrix products, and correlations of more than one channel.
    let bf16 = factors == Factors::Bf16;
    let [forward_path, input_path, kernel_path] = paths(c);
    let [ry, rdx] = [(forward_path, Grid::forward(c)), (input_path, Grid::adjoint(c))]
        .map(|(path, grid)| bf16 && (path == Path::Whole || grid.sources > 1));
    let rdk = bf16 && matches!(kernel_path, Path::Whole | Path::Lanes);
    let [xs, ks, gs] = [&x, &kernel, &g].map(|v| [rounded_to(false, v), rounded_to(true, v)]);
    every_product(c, |i, k, o| {
        y[o] += xs[usize::from(ry)][i] * ks[usize::from(ry)][k];
        dx[i] += gs[usize::from(rdx)][o] * ks[usize::from(rdx)][k];
        dk[k] += gs[usize::from(rdk)][o] * xs[usize::from(rdk)][i];
    });
    let area = c.out_height() * c.out_width();
    let biased: Vec<f64> =
        y.iter().enumerate().map(|(i, y)| y + f64::from(bias[i / area.max(1) % c.out_channels])).collect();
    let rectified: Vec<f64> = biased.iter().map(|&y| if y > 0.0 { y } else { 0.25 * y }).collect();
    for isa in Isa::available() {
        let what = format!("{isa} {factors:?} {c:?}");
        let (mut out, mut grad_x, mut grad_k) =
            (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()], vec![f32::NAN; kernel.len()]);
        forward(isa, factors, c, &x[..], &kernel, After { bias: Some(&bias), slope: 1.0 }, &mut out[..]);
        assert_near(&out, &biased, &format!("forward with bias {what}"));
        out.fill(f32::NAN);
        forward(isa, factors, c, &x[..], &kernel, After { bias: Some(&bias), slope: 0.25 }, &mut out[..]);
        assert_near(&out, &rectified, &format!("forward with bias and slope {what}"));
        out.fill(f32::NAN);
        forward(isa, factors, c, &x[..], &kernel, After::NOTHING, &mut out[..]);
        assert_near(&out, &y, &format!("forward {what}"));
        input_grad(isa, factors, c, &kernel, &g[..], &mut grad_x[..]);
        assert_near(&grad_x, &dx, &format!("input grad {what}"));
        kernel_grad(isa, factors, c, &x[..], &g[..], &mut grad_k);
        assert_near(&grad_k, &dk, &format!("kernel grad {what}"));
        if factors == Factors::Bf16 {
            continue;
        }

        let products = [dot(&out, &g), dot(&x, &grad_x), dot(&kernel, &grad_k)];
        let scale = dot(&out, &out).sqrt() * dot(&g, &g).sqrt();
        for product in products {
            assert!((product - products[0]).abs() <= 1e-5 * scale, "adjoints {products:?} {what}");
        }
    }
}

/// Square, with the same window along both axes.
fn square(sizes: [usize; 4], kernel: usize, stride: usize, padding: usize) -> Convolution {
    let [batch, channels, side, out_channels] = sizes;
    Convolution {
        batch,
        channels,
        height: side,
        width: side,
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1; 2],
        groups: 1,
    }
}

fn paths(c: &Convolution) -> [Path; 3] {
    [Pass::Forward, Pass::InputGrad, Pass::KernelGrad].map(|pass| plan(c, pass))
}

#[test]
fn shapes_of_the_models_take_their_paths() {
    use Path::{Columns, InPlace, Lanes, Staged, Whole};
    let depthwise = Convolution { groups: 40, ..square([2, 40, 14, 40], 3, 1, 1) };
    let grouped = Convolution { groups: 2, ..square([1, 32, 9, 64], 3, 1, 1) };
    for (c, expected) in [
        // The learned resizer.
        (square([2, 3, 50, 16], 7, 1, 3), [Staged, Staged, Lanes]),
        (square([2, 16, 48, 16], 1, 1, 0), [InPlace, InPlace, Lanes]),
        (square([2, 16, 33, 16], 3, 1, 1), [Staged, Staged, Lanes]),
        (square([1, 16, 31, 3], 7, 1, 3), [Staged, Staged, Lanes]),
        // Super-resolution, and the localisation of the spatial transformer.
        (square([1, 3, 20, 32], 3, 1, 1), [Staged, Staged, Lanes]),
        (square([1, 32, 20, 12], 3, 1, 1), [Staged, Staged, Lanes]),
        (square([1, 8, 30, 10], 5, 1, 0), [InPlace, Staged, Lanes]),
        // ResNet and VGG.
        (square([2, 3, 37, 64], 7, 2, 3), [Staged, Staged, Lanes]),
        (square([2, 64, 14, 64], 3, 1, 1), [Staged, Staged, Columns]),
        (square([2, 40, 16, 33], 3, 2, 1), [Staged, Staged, Columns]),
        (square([2, 64, 14, 40], 1, 1, 0), [InPlace, InPlace, Columns]),
        (square([2, 24, 15, 40], 1, 2, 0), [Staged, Staged, Columns]),
        (square([3, 70, 7, 90], 3, 1, 1), [Staged, Staged, Columns]),
        (square([3, 30, 7, 50], 7, 1, 0), [Whole, Whole, Whole]),
        (grouped, [Staged, Staged, Columns]),
        // XCiT, Swin, ViT.
        (depthwise, [Staged, Staged, Lanes]),
        (square([2, 48, 17, 96], 3, 2, 1), [Staged, Staged, Columns]),
        (square([2, 3, 28, 48], 4, 4, 0), [Staged, Staged, Columns]),
        (square([1, 3, 49, 60], 16, 16, 0), [Staged, Staged, Columns]),
    ] {
        assert_eq!(paths(&c), expected, "{c:?}");
        check(&c);
    }
}

#[test]
fn any_window_gives_the_sums() {
    let mut numbers = numbers(1);
    for _ in 0..400 {
        let groups = [1, 1, 1, 2, 3][numbers.below(5)];
        let mut pair = |low: usize, end: usize| [0; 2].map(|_| low + numbers.below(end - low));
        let (kernel, stride, dilation, padding) = (pair(1, 6), pair(1, 5), pair(1, 4), pair(0, 8));
        let ([height, width], [ins, outs]) = (pair(1, 24), pair(1, 8));
        let c = Convolution {
            batch: 1 + numbers.below(3),
            channels: groups * ins,
            height,
            width,
            out_channels: groups * outs * (1 + numbers.below(4)),
            kernel,
            stride,
            padding,
            dilation,
            groups,
        };
        let fits = |axis: usize, size: usize| dilation[axis] * (kernel[axis] - 1) < size + 2 * padding[axis];
        if fits(0, height) && fits(1, width) {
            check(&c);
        }
    }
}

/// Bands of several strips, and bands that are not all alike.
#[test]
fn wide_images_are_cut() {
    for (channels, out_channels, kernel, stride, padding) in
        [(3, 9, 3, 1, 1), (2, 5, 1, 1, 0), (3, 4, 2, 1, 0), (2, 3, 5, 2, 2), (10, 26, 3, 3, 0)]
    {
        for width in [336, 701] {
            let c =
                Convolution { height: 13, width, ..square([7, channels, 1, out_channels], kernel, stride, padding) };
            check(&c);
        }
    }
}

#[test]
fn one_pixel_is_an_image() {
    for (kernel, padding) in [(1, 0), (3, 1), (2, 1), (1, 2)] {
        check(&square([2, 5, 1, 7], kernel, 1, padding));
        check(&square([1, 9, 1, 30], kernel, 2, padding));
    }
}

#[test]
fn nothing_comes_of_nothing() {
    let isa = Isa::best();
    let none = square([0, 3, 8, 4], 3, 1, 1);
    let (x, kernel) = ([0.0; 0], [1.0; 4 * 27]);
    let factors = Factors::Bf16;
    forward(isa, factors, &none, &x[..], &kernel, After::NOTHING, &mut [0.0f32; 0][..]);
    input_grad(isa, factors, &none, &kernel, &[0.0f32; 0][..], &mut [0.0f32; 0][..]);
    let mut grad = [1.0; 4 * 27];
    kernel_grad(isa, factors, &none, &x[..], &[0.0f32; 0][..], &mut grad);
    assert_eq!(grad, [0.0; 4 * 27]);
    // Without channels, the bias is all there is.
    let empty = square([1, 0, 5, 2], 3, 1, 1);
    let mut out = [f32::NAN; 50];
    forward(isa, factors, &empty, &[0.0f32; 0][..], &[], After { bias: Some(&[1.0, 2.0]), slope: 1.0 }, &mut out[..]);
    assert!(out[..25].iter().all(|&y| y == 1.0) && out[25..].iter().all(|&y| y == 2.0));
}

/// How many threads there are changes no bit.
#[test]
fn threads_change_no_bit() {
    for c in [
        square([3, 3, 61, 16], 7, 1, 3),
        square([3, 16, 48, 16], 1, 1, 0),
        square([1, 64, 20, 64], 3, 1, 1),
        square([2, 30, 17, 50], 3, 2, 1),
        square([5, 12, 7, 40], 7, 1, 0),
        Convolution { groups: 48, ..square([2, 48, 14, 48], 3, 1, 1) },
    ] {
        let mut numbers = numbers(3);
        let (x, kernel) = (numbers.floats(c.image_len()), numbers.floats(c.kernel_len()));
        let g = numbers.floats(c.out_len());
        for (isa, factors) in Isa::available().flat_map(|isa| [(isa, Factors::F32), (isa, Factors::Bf16)]) {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (mut out, mut grad_x, mut grad_k) =
                    (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; kernel.len()]);
                pool.install(|| {
                    forward(isa, factors, &c, &x[..], &kernel, After::NOTHING, &mut out[..]);
                    input_grad(isa, factors, &c, &kernel, &g[..], &mut grad_x[..]);
                    kernel_grad(isa, factors, &c, &x[..], &g[..], &mut grad_k);
                });
                (out, grad_x, grad_k)
            };
            let one = with(1);
            assert!(with(2) == one && with(3) == one, "{isa} {factors:?} {c:?}");
        }
    }
}

/// Images in bfloat16 give what the same images in f32 give, rounded once where the result is bfloat16 too.
#[test]
fn images_in_bfloat16_are_rounded_once() {
    for c in [
        square([2, 3, 37, 16], 7, 1, 3),
        square([2, 16, 32, 16], 1, 1, 0),
        square([2, 16, 33, 16], 3, 1, 1),
        square([1, 8, 30, 10], 5, 1, 0),
        square([2, 40, 16, 33], 3, 2, 1),
        square([2, 64, 14, 40], 1, 1, 0),
        square([3, 30, 7, 50], 7, 1, 0),
        square([2, 5, 3, 7], 4, 3, 2),
        square([1, 0, 5, 2], 3, 1, 1),
        Convolution { groups: 40, ..square([2, 40, 14, 40], 3, 1, 1) },
    ] {
        let mut numbers = numbers(5);
        let kernel = numbers.floats(c.kernel_len());
        let halves = |x: &[f32]| -> Vec<u16> { x.iter().map(|&x| round(x)).collect() };
        let [x16, g16] = [c.image_len(), c.out_len()].map(|len| halves(&numbers.floats(len)));
        let [x, g] = [&x16, &g16].map(|v| v.iter().map(|&h| widen(h)).collect::<Vec<f32>>());
        for (isa, factors) in Isa::available().flat_map(|isa| [(isa, Factors::F32), (isa, Factors::Bf16)]) {
            let what = format!("{isa} {factors:?} {c:?}");
            let run = |halves_in: bool, out: NumbersMut<'_>, grad_x: NumbersMut<'_>| {
                let after = After { bias: None, slope: 0.25 };
                match halves_in {
                    true => forward(isa, factors, &c, &x16[..], &kernel, after, out),
                    false => forward(isa, factors, &c, &x[..], &kernel, after, out),
                }
                match halves_in {
                    true => input_grad(isa, factors, &c, &kernel, &g16[..], grad_x),
                    false => input_grad(isa, factors, &c, &kernel, &g[..], grad_x),
                }
            };
            let (mut out, mut grad_x) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
            run(false, NumbersMut::from(&mut out[..]), NumbersMut::from(&mut grad_x[..]));
            for halves_in in [false, true] {
                let (mut out16, mut grad_x16) = (vec![7; g.len()], vec![7; x.len()]);
                run(halves_in, NumbersMut::from(&mut out16[..]), NumbersMut::from(&mut grad_x16[..]));
                assert!(out16 == halves(&out), "forward from halves {halves_in} {what}");
                assert!(grad_x16 == halves(&grad_x), "input grad from halves {halves_in} {what}");
            }
            let (mut again, mut grad_x_again) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
            run(true, NumbersMut::from(&mut again[..]), NumbersMut::from(&mut grad_x_again[..]));
            assert!(again == out && grad_x_again == grad_x, "floats from halves {what}");

            let mut grad_k = vec![f32::NAN; kernel.len()];
            kernel_grad(isa, factors, &c, &x[..], &g[..], &mut grad_k);
            for (x_halves, g_halves) in [(true, true), (true, false), (false, true)] {
                let mut again = vec![f32::NAN; kernel.len()];
                match (x_halves, g_halves) {
                    (true, true) => kernel_grad(isa, factors, &c, &x16[..], &g16[..], &mut again),
                    (true, false) => kernel_grad(isa, factors, &c, &x16[..], &g[..], &mut again),
                    _ => kernel_grad(isa, factors, &c, &x[..], &g16[..], &mut again),
                }
                assert!(again == grad_k, "kernel grad from halves {x_halves} {g_halves} {what}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "a kernel over 5 positions does not fit into 4")]
fn a_kernel_that_does_not_fit_is_refused() {
    square([1, 1, 4, 1], 5, 1, 0).out_height();
}

#[test]
#[should_panic(expected = "the kernel has another size")]
fn a_kernel_of_another_size_is_refused() {
    let c = square([1, 2, 4, 1], 3, 1, 1);
    forward(Isa::Portable, Factors::F32, &c, &[0.0; 32][..], &[0.0; 9], After::NOTHING, &mut [0.0; 16][..]);
}
