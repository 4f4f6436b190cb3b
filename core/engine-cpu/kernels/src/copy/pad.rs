//! Padding: around elements and between them.

use rayon::prelude::*;

use super::TASK;
use crate::shared::SharedMut;

const AXES: usize = 8;

/// One axis: `size` elements, the first at `low`, `step` apart, among `whole`.
#[derive(Clone, Copy, Debug, Default)]
struct Axis {
    size: usize,
    low: usize,
    step: usize,
    whole: usize,
}

impl Axis {
    /// The element that stands at a place, if one does.
    fn source(self, at: usize) -> Option<usize> {
        let far = at.checked_sub(self.low)?;
        (far % self.step == 0 && far / self.step < self.size).then_some(far / self.step)
    }

    fn is_whole(self) -> bool {
        self.low == 0 && self.step == 1 && self.size == self.whole
    }
}

/// `to[low_a + i_a (interior_a + 1)] = from[i]`, `value` elsewhere; both dense row-major, of up to 8 axes.
///
/// # Panics
/// When a slice has another size than its shape says, or an element would stand outside `to_shape`.
pub fn pad<T: Copy + Send + Sync>(
    from: &[T],
    from_shape: &[usize],
    low: &[usize],
    interior: &[usize],
    value: T,
    to: &mut [T],
    to_shape: &[usize],
) {
    let rank = from_shape.len();
    assert!(rank <= AXES, "more than {AXES} axes: {from_shape:?}");
    assert!([low.len(), interior.len(), to_shape.len()] == [rank; 3], "an axis without its padding");
    assert_eq!(from.len(), from_shape.iter().product::<usize>(), "the operand has another size");
    assert_eq!(to.len(), to_shape.iter().product::<usize>(), "the result has another size");
    if to.is_empty() {
        return;
    }
    if from.is_empty() {
        to.fill(value);
        return;
    }
    // The innermost first; an axis that is kept whole is one with that around it.
    let mut axes = [Axis::default(); AXES];
    let mut count = 0;
    for a in (0..rank).rev() {
        let axis = Axis { size: from_shape[a], low: low[a], step: interior[a] + 1, whole: to_shape[a] };
        let end = axis.low + (axis.size - 1) * axis.step;
        assert!(end < axis.whole, "axis {a}: an element at {end} of {}", axis.whole);
        match axes[..count].last_mut() {
            Some(inner) if inner.is_whole() && axis.step == 1 => {
                let [size, low, whole] = [axis.size, axis.low, axis.whole].map(|n| n * inner.size);
                *inner = Axis { size, low, step: 1, whole };
            }
            _ => {
                axes[count] = axis;
                count += 1;
            }
        }
    }
    if count == 0 {
        to[0] = from[0];
        return;
    }
    let (inner, outer) = (axes[0], &axes[1..count]);
    let rows = to.len() / inner.whole;
    let share = (TASK / inner.whole).clamp(1, rows);
    let to = SharedMut::new(to);
    (0..rows.div_ceil(share)).into_par_iter().for_each(|task| {
        for row in task * share..rows.min((task + 1) * share) {
            // SAFETY: each row belongs to one task.
            let to = unsafe { to.part(row * inner.whole, inner.whole) };
            match source_row(outer, row) {
                None => to.fill(value),
                Some(source) => fill_row(inner, &from[source * inner.size..][..inner.size], value, to),
            }
        }
    });
}

/// The row of the source that stands in a row of the result.
fn source_row(outer: &[Axis], row: usize) -> Option<usize> {
    let (mut rest, mut source, mut size) = (row, 0, 1);
    for axis in outer {
        source += axis.source(rest % axis.whole)? * size;
        size *= axis.size;
        rest /= axis.whole;
    }
    Some(source)
}

fn fill_row<T: Copy>(axis: Axis, from: &[T], value: T, to: &mut [T]) {
    if axis.step == 1 {
        let (before, rest) = to.split_at_mut(axis.low);
        let (there, after) = rest.split_at_mut(axis.size);
        before.fill(value);
        there.copy_from_slice(from);
        after.fill(value);
    } else {
        to.fill(value);
        to[axis.low..].iter_mut().step_by(axis.step).zip(from).for_each(|(to, &x)| *to = x);
    }
}
