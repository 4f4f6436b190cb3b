//! Where the matrices that attention reads and writes stand.

use fer_graph::{Node, Value};
use fer_plan::{Starts, View};

use super::super::{Lowering, Place};
use crate::plan::BufferId;

/// Matrices of one size in a buffer.
#[derive(Clone)]
pub(super) struct Matrices {
    pub(super) buffer: BufferId,
    /// Elements before the foremost one.
    pub(super) offset: usize,
    /// Where each begins behind that.
    pub(super) starts: Vec<u32>,
    pub(super) stride: usize,
}

impl Matrices {
    /// Whether every row begins at a multiple of so many elements.
    pub(super) fn aligned(&self, to: usize) -> bool {
        self.offset.is_multiple_of(to)
            && self.stride.is_multiple_of(to)
            && self.starts.iter().all(|s| (*s as usize).is_multiple_of(to))
    }
}

impl Lowering<'_> {
    /// Where the matrices of a value stand, copied if they are not such.
    pub(super) fn matrices(&mut self, value: Value, count: usize) -> Matrices {
        if let Place::At { buffer, view } = self.place(value)
            && let Some(matrices) = seen(buffer, &view, count)
        {
            return matrices;
        }
        let view = View::dense(self.graph.shape(value));
        seen(self.dense(value), &view, count).expect("dense matrices stand one behind the other")
    }

    /// A bias broadcast to the scores.
    pub(super) fn bias_matrices(&self, buffer: BufferId, view: &View, node: &Node) -> Option<Matrices> {
        let mut scores = self.graph.shape(node.operands[0]).to_vec();
        let (rank, keys) = (scores.len(), self.graph.shape(node.operands[1]));
        scores[rank - 1] = keys[keys.len() - 2];
        let count = scores[..rank - 2].iter().product();
        let own = view.shape().len();
        let axes: Vec<usize> = (rank - own..rank).collect();
        seen(buffer, &view.broadcast(&scores, &axes)?, count)
    }

    /// Where a result is written: where it will be joined with others, or with the heads of each row side by side, since that is how
    /// the next layer wants them.
    pub(super) fn result_matrices(&mut self, value: Value, count: usize) -> Matrices {
        if let Some((buffer, view)) = self.targets.get(&value).cloned()
            && let Some(matrices) = seen(buffer, &view, count)
        {
            self.places[value.index()] = Some(Place::At { buffer, view });
            return matrices;
        }
        let shape = self.shape(value);
        let rank = shape.len();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank > 2 {
            order.swap(rank - 3, rank - 2);
        }
        let swapped: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        let buffer = self.scratch(shape.iter().product(), self.stored[value.index()]);
        let view = View::dense(&swapped).transpose(&order).expect("a dense value can be seen in any order");
        let matrices = seen(buffer, &view, count).expect("rows of one matrix are equally far apart");
        self.places[value.index()] = Some(Place::At { buffer, view });
        matrices
    }
}

/// The matrices of a view, if each has its rows at equal distances.
fn seen(buffer: BufferId, view: &View, count: usize) -> Option<Matrices> {
    let shape = view.shape();
    let (rows, width) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let map = view.rows(width)?;
    if map.step != 1 && width > 1 {
        return None;
    }
    let (starts, stride): (Vec<usize>, usize) = match map.starts {
        Starts::Every { offset, stride, .. } => ((0..count).map(|i| offset + i * rows * stride).collect(), stride),
        Starts::At(starts) => {
            let stride = if rows > 1 { starts[1].checked_sub(starts[0])? } else { width as u32 };
            let even = |m: &[u32]| m.windows(2).all(|w| w[1].checked_sub(w[0]) == Some(stride));
            if !starts.chunks_exact(rows).all(even) {
                return None;
            }
            (starts.iter().step_by(rows).map(|&s| s as usize).collect(), stride as usize)
        }
    };
    let offset = starts.iter().copied().min().unwrap_or(0);
    let starts: Option<Vec<u32>> = starts.into_iter().map(|s| u32::try_from(s - offset).ok()).collect();
    Some(Matrices { buffer, offset, starts: starts?, stride })
}
