//! Both passes against one window at a time.

use super::*;
use crate::{
    bf16::round,
    testing::{Numbers as Random, assert_near, same_for_any_threads},
    vectors::testing::halves,
};

/// The place of a window's winner in a plane.
fn winner(pool: &Pool, x: &[f32], i: usize, j: usize) -> usize {
    let mut best: Option<usize> = None;
    for (ky, kx) in (0..pool.kernel[0]).flat_map(|ky| (0..pool.kernel[1]).map(move |kx| (ky, kx))) {
        let row = (i * pool.stride[0] + ky).checked_sub(pool.padding[0]).filter(|&r| r < pool.height);
        let column = (j * pool.stride[1] + kx).checked_sub(pool.padding[1]).filter(|&c| c < pool.width);
        let (Some(row), Some(column)) = (row, column) else { continue };
        let at = row * pool.width + column;
        if best.is_none_or(|best| x[at] > x[best] || (x[at].is_nan() && !x[best].is_nan())) {
            best = Some(at);
        }
    }
    best.unwrap()
}

fn passes(isa: Isa, planes: usize, pool: &Pool, x: &[f32], grad: &[f32]) -> [Vec<f32>; 2] {
    let (mut y, mut grad_x) = (vec![f32::NAN; grad.len()], vec![f32::NAN; x.len()]);
    max_pool(isa, planes, pool, x, &mut y[..]);
    max_pool_grad(isa, planes, pool, x, grad, &mut grad_x[..]);
    [y, grad_x]
}

fn check(planes: usize, pool: &Pool, x: &[f32], grad: &[f32]) {
    let (oh, ow) = pool.out();
    let plane = pool.height * pool.width;
    let (mut y, mut grad_x) = (vec![], vec![0.0; x.len()]);
    for (p, x) in x.chunks(plane).enumerate() {
        for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
            let at = winner(pool, x, i, j);
            grad_x[p * plane + at] += f64::from(grad[y.len()]);
            y.push(f64::from(x[at]));
        }
    }
    for isa in Isa::available() {
        let found = passes(isa, planes, pool, x, grad);
        let what = format!("{isa} {pool:?}");
        assert_near(&found[0], &y, 0.0, &what);
        assert_near(&found[1], &grad_x, 1e-6, &what);
    }
}

#[test]
fn windows_of_any_kind() {
    let mut numbers = Random::new(1);
    for round in 0..400 {
        let mut pair = |end: usize| [1 + numbers.below(end), 1 + numbers.below(end)];
        let (kernel, stride, [height, width]) = (pair(4), pair(3), pair(40));
        let padding = [0, 1].map(|a| numbers.below(kernel[a] / 2 + 1));
        let mut pool = Pool { height: height + 3, width: width + 3, kernel, stride, padding };
        if round % 4 == 0 {
            pool = Pool { kernel: [2, 2], stride: [2, 2], padding: [0, 0], ..pool };
        }
        let (oh, ow) = pool.out();
        let planes = 1 + numbers.below(3);
        let mut x = numbers.floats(planes * pool.height * pool.width);
        // Ties, NaN and numbers that beat nothing.
        for x in &mut x {
            match numbers.below(if round % 3 == 0 { 4 } else { 40 }) {
                0 => *x = f32::NAN,
                1 => *x = f32::NEG_INFINITY,
                2 => *x = 0.5,
                _ => {}
            }
        }
        let grad = numbers.floats(planes * oh * ow);
        check(planes, &pool, &x, &grad);
    }
}

#[test]
fn images_without_any_finite_number_have_winners() {
    let pool = Pool { height: 7, width: 9, kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    let (oh, ow) = pool.out();
    for x in [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0] {
        check(2, &pool, &[x; 126], &Random::new(2).floats(2 * oh * ow));
        let pool = Pool { kernel: [2, 2], padding: [0, 0], ..pool };
        check(2, &pool, &[x; 126], &Random::new(2).floats(24));
    }
}

/// Images in bfloat16 have the winners that the same numbers have in f32; sums over windows are rounded once.
#[test]
fn images_in_bfloat16_are_rounded_once() {
    let mut numbers = Random::new(4);
    for (kernel, stride, padding) in [([2, 2], [2, 2], [0, 0]), ([3, 3], [2, 1], [1, 1]), ([1, 4], [3, 1], [0, 2])] {
        let pool = Pool { height: 13, width: 37, kernel, stride, padding };
        let (oh, ow) = pool.out();
        let ((x16, x), (g16, g)) = (halves(&numbers.floats(3 * 13 * 37)), halves(&numbers.floats(3 * oh * ow)));
        let rounded = |x: &[f32]| x.iter().map(|&x| round(x)).collect::<Vec<u16>>();
        for isa in Isa::available() {
            let [y, grad_x] = passes(isa, 3, &pool, &x, &g);
            for mixed in [false, true] {
                let (mut y16, mut grad_x16) = (vec![7; y.len()], vec![7; x.len()]);
                max_pool(isa, 3, &pool, &x16[..], &mut y16[..]);
                match mixed {
                    false => max_pool_grad(isa, 3, &pool, &x16[..], &g16[..], &mut grad_x16[..]),
                    true => max_pool_grad(isa, 3, &pool, &x[..], &g16[..], &mut grad_x16[..]),
                }
                assert!(y16 == rounded(&y) && grad_x16 == rounded(&grad_x), "{isa} {mixed} {pool:?}");
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let pool = Pool { height: 90, width: 101, kernel: [3, 3], stride: [2, 1], padding: [1, 1] };
    let (oh, ow) = pool.out();
    let mut numbers = Random::new(3);
    let (x, grad) = (numbers.floats(7 * 90 * 101), numbers.floats(7 * oh * ow));
    for isa in Isa::available() {
        same_for_any_threads("pool", || passes(isa, 7, &pool, &x, &grad).concat());
    }
}
