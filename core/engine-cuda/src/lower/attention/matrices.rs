//! Where the matrices that attention reads and writes stand.

use fer_graph::{Node, Value};
use fer_plan::{MatrixMap, View};

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
    /// Those of a view of a buffer, if the kernels can count from the foremost one to where each begins.
    fn at(buffer: BufferId, MatrixMap { starts, stride }: MatrixMap) -> Option<Matrices> {
        let offset = starts.iter().copied().min().unwrap_or(0);
        let starts: Option<Vec<u32>> = starts.into_iter().map(|s| u32::try_from(s - offset).ok()).collect();
        Some(Matrices { buffer, offset, starts: starts?, stride })
    }

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
        Matrices::at(buffer, MatrixMap::of_bias(self.graph, node, view)?)
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
        let buffer = self.scratch(shape.iter().product(), self.stored[value.index()]);
        let view = View::heads_within_rows(&shape);
        let matrices = seen(buffer, &view, count).expect("rows of one matrix are equally far apart");
        self.places[value.index()] = Some(Place::At { buffer, view });
        matrices
    }
}

/// The matrices of a view, if the kernels can walk through them.
fn seen(buffer: BufferId, view: &View, count: usize) -> Option<Matrices> {
    Matrices::at(buffer, view.matrices(count)?)
}
