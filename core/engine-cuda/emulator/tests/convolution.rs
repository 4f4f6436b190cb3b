//! Convolutions with their gradients at shapes that take several tiles, by every path: exact, on tensor cores, channel by channel, as
//! products, and without staging.

mod truth;

use fer_graph::ops::Window;
use truth::{BF16, Case, F32, TF32};

/// Images, channels in and out, cells of an image, and the window with its kernel.
#[derive(Clone, Copy, Debug)]
struct Part {
    images: usize,
    channels: [usize; 2],
    cells: [usize; 2],
    kernel: [usize; 2],
    window: Window,
}

const PLAIN: Window = Window { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };

const fn part(images: usize, channels: [usize; 2], cells: [usize; 2], kernel: [usize; 2], window: Window) -> Part {
    Part { images, channels, cells, kernel, window }
}

const fn padded(padding: usize) -> Window {
    Window { padding: [padding, padding], ..PLAIN }
}

const fn strided(stride: usize, padding: usize) -> Window {
    Window { stride: [stride, stride], ..padded(padding) }
}

/// Sums of some hundreds of products of order one in f32.
const SINGLE: f64 = 4e-6;
/// Factors and results are rounded to eight bits, 2^-9 each; what sums are made of has both signs. In tf32 they have three bits more.
const ROUNDED: f64 = 1e-2;

fn check(name: &str, parts: &[Part]) {
    let case = Case::of(parts, |b, inputs, part| {
        let Part { images, channels, cells, kernel, window } = *part;
        let x = inputs.input(b, "x", &[images, channels[0], cells[0], cells[1]])?;
        let shape = [channels[1], channels[0] / window.groups, kernel[0], kernel[1]];
        let kernel = inputs.input(b, "kernel", &shape)?;
        b.convolution(x, kernel, window)
    });
    case.check(name, F32, SINGLE);
    case.check(name, TF32, ROUNDED / 8.0);
    case.check(name, BF16, ROUNDED);
}

/// The layers of the learned resizer, at sizes that no tile divides.
#[test]
fn few_channels() {
    check(
        "few channels",
        &[
            part(2, [3, 16], [21, 37], [7, 7], padded(3)),
            part(1, [16, 16], [19, 40], [3, 3], padded(1)),
            part(2, [16, 3], [9, 34], [3, 3], padded(1)),
            part(1, [16, 3], [17, 18], [7, 7], padded(3)),
        ],
    );
}

/// Several tiles of channels, chunks that leave some empty, images that share a tile.
#[test]
fn many_channels() {
    check(
        "many channels",
        &[
            part(3, [80, 72], [7, 7], [3, 3], padded(1)),
            part(2, [24, 40], [15, 13], [3, 3], strided(2, 1)),
            part(1, [33, 130], [5, 6], [3, 2], PLAIN),
        ],
    );
}

#[test]
fn windows_of_all_kinds() {
    check(
        "windows",
        &[
            part(2, [20, 24], [11, 12], [3, 3], Window { groups: 4, dilation: [2, 1], padding: [2, 0], ..PLAIN }),
            part(1, [3, 8], [30, 29], [7, 7], strided(4, 3)),
            part(1, [2, 5], [9, 10], [2, 3], Window { stride: [3, 4], padding: [1, 2], ..PLAIN }),
            part(2, [6, 6], [8, 9], [5, 5], padded(5)),
        ],
    );
}

#[test]
fn channel_by_channel() {
    let groups = |window: Window, groups: usize| Window { groups, ..window };
    check(
        "channel by channel",
        &[
            part(2, [12, 12], [14, 14], [3, 3], groups(padded(1), 12)),
            part(1, [5, 5], [40, 33], [5, 5], groups(strided(2, 2), 5)),
            part(2, [4, 8], [12, 11], [3, 3], groups(padded(1), 4)),
        ],
    );
}

#[test]
fn products() {
    check(
        "products",
        &[
            part(3, [3, 40], [12, 8], [4, 4], strided(4, 0)),
            part(2, [20, 36], [7, 9], [1, 1], PLAIN),
            part(2, [20, 12], [9, 9], [1, 1], strided(2, 0)),
        ],
    );
}

/// What a point sees is more than a block can hold.
#[test]
fn taps_far_apart() {
    let far = Window { dilation: [105, 105], ..PLAIN };
    let cells = [107, 108];
    check(
        "taps far apart",
        &[part(1, [2, 2], cells, [2, 2], Window { groups: 2, ..far }), part(1, [1, 2], cells, [2, 2], far)],
    );
}

/// An infinite cell is seen by the points around it and by no other, whatever fills up the steps of a product.
#[test]
fn what_is_not_finite() {
    let case = Case::new(|b, inputs| {
        let numbers = (0..3 * 9 * 10).map(|i| if i == 137 { f32::INFINITY } else { (i % 7) as f32 * 0.25 - 0.75 });
        let x = inputs.given(b, "x", &[1, 3, 9, 10], numbers.collect())?;
        let kernel = inputs.held(b, "kernel", &[8, 3, 3, 3], 1.0, 0.0)?;
        b.convolution(x, kernel, padded(1))
    });
    case.check("not finite", F32, SINGLE);
    case.check("not finite", TF32, ROUNDED / 8.0);
    case.check("not finite", BF16, ROUNDED);
}
