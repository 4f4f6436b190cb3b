//! Samples and gradients against the formulas in f64, positions rounded as the operation rounds them.

use super::*;
use crate::testing::{Numbers, assert_near, same_for_any_threads};

/// Clamped index, weight and its slope of the two pixels beside a point.
fn taps(g: f32, size: usize, align_corners: bool) -> [(usize, f64, f64); 2] {
    let position =
        if align_corners { (g + 1.0) * (0.5 * (size - 1) as f32) } else { (g + 1.0) * (0.5 * size as f32) - 0.5 };
    let (position, low) = (f64::from(position), f64::from(position.floor()));
    [(low, 1.0 - (position - low), -1.0), (low + 1.0, position - low, 1.0)].map(|(index, weight, slope)| {
        let inside = index >= 0.0 && index <= (size - 1) as f64;
        let clamped = if index.is_nan() { 0.0 } else { index.clamp(0.0, (size - 1) as f64) };
        if inside { (clamped as usize, weight, slope) } else { (clamped as usize, 0.0, 0.0) }
    })
}

/// The result and both gradients.
fn truth(shape: &GridSample, x: &[f32], grid: &[f32], grad_y: &[f32]) -> [Vec<f64>; 3] {
    let (plane, points) = (shape.plane(), shape.points());
    let [mut y, mut grad_x, mut grad_grid] = [grad_y.len(), x.len(), grid.len()].map(|len| vec![0.0; len]);
    for (n, p) in (0..shape.batch).flat_map(|n| (0..points).map(move |p| (n, p))) {
        let at = 2 * (n * points + p);
        let columns = taps(grid[at], shape.width, shape.align_corners);
        let rows = taps(grid[at + 1], shape.height, shape.align_corners);
        let mut moved = [0.0; 2];
        for (row, column) in (0..2).flat_map(|r| (0..2).map(move |c| (r, c))) {
            let ((row, wy, sy), (column, wx, sx)) = (rows[row], columns[column]);
            let mut sum = 0.0;
            for c in n * shape.channels..(n + 1) * shape.channels {
                let place = c * plane + row * shape.width + column;
                let (pixel, grad) = (f64::from(x[place]), f64::from(grad_y[c * points + p]));
                y[c * points + p] += wy * wx * pixel;
                grad_x[place] += wy * wx * grad;
                sum += pixel * grad;
            }
            moved[0] += if sx == 0.0 { 0.0 } else { sx * wy * sum };
            moved[1] += if sy == 0.0 { 0.0 } else { sy * wx * sum };
        }
        let less = if shape.align_corners { 1 } else { 0 };
        grad_grid[at] = moved[0] * 0.5 * (shape.width - less) as f64;
        grad_grid[at + 1] = moved[1] * 0.5 * (shape.height - less) as f64;
    }
    [y, grad_x, grad_grid]
}

fn passes(isa: Isa, shape: &GridSample, x: &[f32], grid: &[f32], grad_y: &[f32]) -> [Vec<f32>; 3] {
    let [mut y, mut grad_x, mut grad_grid] = [grad_y.len(), x.len(), grid.len()].map(|len| vec![f32::NAN; len]);
    forward(isa, shape, x, grid, &mut y);
    backward(isa, shape, x, grid, grad_y, Some(&mut grad_x), Some(&mut grad_grid));
    [y, grad_x, grad_grid]
}

/// Images, a grid that reaches beyond them, and a cotangent.
fn operands(shape: &GridSample, seed: u64) -> [Vec<f32>; 3] {
    let mut numbers = Numbers::new(seed);
    let planes = shape.batch * shape.channels;
    let x = numbers.floats(planes * shape.plane());
    let mut grid = numbers.floats(shape.batch * shape.points() * 2);
    for g in &mut grid {
        *g *= 1.5;
        match numbers.below(40) {
            0 => *g = 1.0,
            1 => *g = -1.0,
            2 => *g = 0.0,
            3 => *g *= 1e10,
            _ => {}
        }
    }
    [x, grid, numbers.floats(planes * shape.points())]
}

fn check(shape: &GridSample, x: &[f32], grid: &[f32], grad_y: &[f32]) {
    let truth = truth(shape, x, grid, grad_y);
    for isa in Isa::available() {
        let found = passes(isa, shape, x, grid, grad_y);
        for (i, (found, truth)) in found.iter().zip(&truth).enumerate() {
            assert_near(found, truth, 2e-5, &format!("{isa} {shape:?} result {i}"));
        }
    }
}

fn shape(
    batch: usize,
    channels: usize,
    [height, width]: [usize; 2],
    [out_height, out_width]: [usize; 2],
) -> GridSample {
    GridSample { batch, channels, height, width, out_height, out_width, align_corners: false }
}

#[test]
fn samples_keep_to_the_formulas() {
    let mut numbers = Numbers::new(1);
    for seed in 0..150 {
        let mut pair = |end: usize| [1 + numbers.below(end), 1 + numbers.below(end)];
        let [batch, channels] = pair(4);
        let align_corners = seed % 2 == 0;
        let shape = GridSample { align_corners, ..shape(batch, channels, pair(30), pair(30)) };
        let [x, grid, grad] = operands(&shape, seed);
        check(&shape, &x, &grid, &grad);
    }
    // Several tasks of points, and groups of channels.
    for shape in [shape(1, 2, [20, 30], [90, 99]), shape(9, 9, [6, 7], [8, 9])] {
        let [x, grid, grad] = operands(&shape, 2);
        check(&shape, &x, &grid, &grad);
    }
}

/// Coordinates that are no numbers read the first pixel, or the last, with a weight of 0.
#[test]
fn odd_coordinates_weigh_nothing() {
    let shape = shape(1, 2, [5, 6], [3, 7]);
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let [x, mut grid, grad] = operands(&shape, 3);
        grid[5] = odd;
        grid[8] = odd;
        (grid[20], grid[21]) = (odd, odd);
        check(&shape, &x, &grid, &grad);
    }
}

#[test]
fn odd_pixels_go_where_they_are_read() {
    let shape = shape(2, 2, [5, 6], [9, 7]);
    for odd in [f32::NAN, f32::INFINITY] {
        let [mut x, grid, grad] = operands(&shape, 4);
        x[0] = odd;
        x[40] = odd;
        let truth = truth(&shape, &x, &grid, &grad);
        for isa in Isa::available() {
            for (found, truth) in passes(isa, &shape, &x, &grid, &grad).iter().zip(&truth) {
                assert!(found.iter().zip(truth).all(|(f, t)| f.is_nan() == t.is_nan()), "{isa} {odd}");
            }
        }
    }
}

#[test]
fn each_gradient_may_be_asked_for_alone() {
    let shape = shape(2, 3, [9, 8], [7, 10]);
    let [x, grid, grad] = operands(&shape, 5);
    for isa in Isa::available() {
        let [_, grad_x, grad_grid] = passes(isa, &shape, &x, &grid, &grad);
        let mut alone = vec![f32::NAN; x.len()];
        backward(isa, &shape, &x, &grid, &grad, Some(&mut alone), None);
        assert_eq!(alone, grad_x);
        let mut alone = vec![f32::NAN; grid.len()];
        backward(isa, &shape, &x, &grid, &grad, None, Some(&mut alone));
        assert_eq!(alone, grad_grid);
    }
}

#[test]
fn threads_change_no_bit() {
    for shape in [shape(2, 3, [20, 30], [70, 80]), shape(9, 9, [6, 7], [8, 9])] {
        let [x, grid, grad] = operands(&shape, 6);
        for isa in Isa::available() {
            same_for_any_threads("grid_sample", || passes(isa, &shape, &x, &grid, &grad).concat());
        }
    }
}
