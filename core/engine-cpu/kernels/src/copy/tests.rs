//! Moves against one index at a time.

use super::*;
use crate::testing::Numbers;

/// Every index of a shape, row-major.
fn each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        visit(&index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

fn check_permute(sizes: &[usize], strides: &[usize], offset: usize) {
    let end = sizes.iter().zip(strides).map(|(n, s)| n.saturating_sub(1) * s).sum::<usize>() + offset + 1;
    let mut truth = vec![];
    each_index(sizes, |i| truth.push(offset + i.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>()));
    let words: Vec<u32> = (0..end as u32).collect();
    let mut to = vec![u32::MAX; truth.len()];
    permute(&words, &mut to, sizes, strides, offset);
    assert!(to.iter().zip(&truth).all(|(&x, &t)| x as usize == t), "{sizes:?} {strides:?} {offset}");
    let bytes: Vec<u8> = (0..end).map(|i| (i % 251) as u8).collect();
    let mut to = vec![255; truth.len()];
    permute(&bytes, &mut to, sizes, strides, offset);
    assert!(to.iter().zip(&truth).all(|(&x, &t)| x == (t % 251) as u8), "{sizes:?} {strides:?} {offset}");
}

#[test]
fn known_moves() {
    check_permute(&[], &[], 3);
    check_permute(&[5, 0, 2], &[2, 2, 1], 0);
    check_permute(&[100, 2000], &[2000, 1], 0);
    // A plain transpose with ragged edges, of long rows too.
    check_permute(&[37, 83], &[1, 37], 5);
    check_permute(&[3, 9001], &[1, 3], 0);
    check_permute(&[9001, 3], &[1, 9001], 0);
    // Heads of attention, there and back, and transposed.
    check_permute(&[2, 3, 49, 32], &[49 * 96, 32, 96, 1], 0);
    check_permute(&[2, 3, 32, 49], &[49 * 96, 32, 1, 96], 0);
    // Broadcasts: of one number, of columns, of rows, of a plane.
    check_permute(&[40, 1000], &[0, 0], 2);
    check_permute(&[40, 1000], &[1, 0], 2);
    check_permute(&[40, 1000], &[0, 1], 2);
    check_permute(&[4, 6, 5, 7], &[7, 0, 1, 0], 0);
    // Slices with steps.
    check_permute(&[9, 11], &[200, 3], 17);
}

#[test]
fn any_move() {
    let mut numbers = Numbers::new(1);
    for _ in 0..400 {
        let rank = 1 + numbers.below(5);
        let mut size = || [4, 9, 40][numbers.below(3)];
        let ends: Vec<usize> = (0..rank).map(|_| size()).collect();
        let sizes: Vec<usize> = ends.into_iter().map(|end| 1 + numbers.below(end)).collect();
        if sizes.iter().product::<usize>() > 200_000 {
            continue;
        }
        // A permutation of a dense tensor, with an axis repeated now and then.
        let mut order: Vec<usize> = (0..rank).collect();
        (0..rank).for_each(|a| order.swap(a, numbers.below(rank)));
        let mut strides = vec![0; rank];
        let mut size = 1;
        for &a in &order {
            if numbers.below(4) > 0 {
                strides[a] = size;
                size *= sizes[a];
            }
        }
        check_permute(&sizes, &strides, numbers.below(3));
    }
}

/// From one strided view to another: a permutation of either side's axes, with room between them.
#[test]
fn any_transfer() {
    let mut numbers = Numbers::new(3);
    for _ in 0..400 {
        let rank = 1 + numbers.below(4);
        let ends: Vec<usize> = (0..rank).map(|_| [3, 9, 40][numbers.below(3)]).collect();
        let sizes: Vec<usize> = ends.into_iter().map(|end| 1 + numbers.below(end)).collect();
        let mut strides = |spread: usize| {
            let mut order: Vec<usize> = (0..rank).collect();
            (0..rank).for_each(|a| order.swap(a, numbers.below(rank)));
            let (mut strides, mut step) = (vec![0; rank], 1);
            for &a in &order {
                strides[a] = step;
                step *= sizes[a];
                // The innermost axis is dense, whatever its size.
                step += if step > 1 { numbers.below(spread) } else { 0 };
            }
            (strides, step + 2)
        };
        let ((from, from_len), (to, to_len)) = (strides(3), strides(4));
        if from_len.max(to_len) > 400_000 {
            continue;
        }
        let words: Vec<u32> = (0..from_len as u32).collect();
        let (mut found, mut truth) = (vec![u32::MAX; to_len], vec![u32::MAX; to_len]);
        let at = |strides: &[usize], i: &[usize]| i.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
        each_index(&sizes, |i| truth[1 + at(&to, i)] = words[2 + at(&from, i)]);
        transfer(&words, &from, 2, &mut found, &to, 1, &sizes);
        assert!(found == truth, "{sizes:?} {from:?} {to:?}");
    }
}

#[test]
#[should_panic(expected = "does not name each place once")]
fn two_elements_for_one_place_are_refused() {
    transfer(&[0u8; 6], &[2, 1], 0, &mut [0u8; 6], &[1, 1], 0, &[3, 2]);
}

#[test]
#[should_panic(expected = "[3, 2] by [1, 4] from 1 on does not lie within 7 elements")]
fn a_view_beyond_the_end_is_refused() {
    permute(&[0u8; 7], &mut [0u8; 6], &[3, 2], &[1, 4], 1);
}

#[test]
fn any_padding() {
    let mut numbers = Numbers::new(2);
    for _ in 0..400 {
        let rank = numbers.below(5);
        let mut draw = |end: usize| -> Vec<usize> { (0..rank).map(|_| numbers.below(end)).collect() };
        let from_shape: Vec<usize> = draw(6).into_iter().map(|n| n + 1).collect();
        let some = |all: Vec<usize>| all.into_iter().map(|n| n.saturating_sub(2)).collect::<Vec<_>>();
        let (low, high, interior) = (some(draw(5)), some(draw(5)), some(draw(4)));
        let to_shape: Vec<usize> =
            (0..rank).map(|a| low[a] + high[a] + (from_shape[a] - 1) * (interior[a] + 1) + 1).collect();
        let from: Vec<f32> = (0..from_shape.iter().product::<usize>()).map(|i| i as f32).collect();
        let mut truth = vec![-1.0; to_shape.iter().product()];
        let mut next = 0;
        each_index(&from_shape, |i| {
            let at = (0..rank).fold(0, |at, a| at * to_shape[a] + low[a] + i[a] * (interior[a] + 1));
            truth[at] = from[next];
            next += 1;
        });
        let mut to = vec![f32::NAN; truth.len()];
        pad(&from, &from_shape, &low, &interior, -1.0, &mut to, &to_shape);
        assert_eq!(to, truth, "{from_shape:?} {low:?} {interior:?} {to_shape:?}");
    }
    let mut to = [0u8; 6];
    pad(&[], &[2, 0], &[0, 1], &[0, 0], 7, &mut to, &[2, 3]);
    assert_eq!(to, [7; 6]);
}
