//! What follows a product, done on its rows while they are in the cache.

use fer_graph::{Definition, Value};
use fer_plan::{Starts, View, follow, is_view, root, sources};

use super::{
    Lowering,
    elementwise::{Draft, Rows},
};

/// A cluster that a product takes along.
pub(super) struct Epilogue {
    pub rows: Rows,
    /// Whether the product's own result is needed by others too.
    pub keeps: bool,
}

impl Lowering<'_> {
    /// The cluster that reads the result of node `index`, made to run on rows of `width` as they come; nothing if there is none, or it
    /// cannot.
    pub(super) fn epilogue(&mut self, index: usize, value: Value, width: usize) -> Option<Epilogue> {
        if self.options.is_off("epilogue") || self.targets.contains_key(&value) {
            return None;
        }
        let mut clusters: Vec<usize> =
            self.uses.readers[value.index()].iter().filter_map(|&r| self.clusters.of[r]).collect();
        clusters.sort_unstable();
        clusters.dedup();
        clusters.into_iter().find_map(|cluster| self.take_along(cluster, index, value, width))
    }

    /// For a product whose result is rounded on its way to memory: nothing else is done with its rows.
    pub(super) fn rounding(&mut self, value: Value, width: usize) -> Option<Epilogue> {
        if self.is_plain(value) {
            return None;
        }
        let mut rows = Rows::handed(self.graph.ty(value).elements() / width, width);
        rows.keep(0, self.output(value));
        Some(Epilogue { rows, keeps: false })
    }

    fn take_along(&mut self, cluster: usize, index: usize, value: Value, width: usize) -> Option<Epilogue> {
        let graph = self.graph;
        let readers = self.uses.readers[value.index()].clone();
        let nodes = self.clusters.clusters[cluster].nodes.clone();
        let mut seen: Vec<Value> = vec![];
        for operand in nodes.iter().flat_map(|&n| graph.nodes[n].operands.iter().copied()) {
            let from = root(graph, operand);
            let inside = matches!(graph.definition(from), Definition::Node(n, _) if nodes.contains(&n));
            if !inside && sources(graph, operand).contains(&value) {
                if !seen.contains(&from) {
                    seen.push(from);
                }
            } else if !inside {
                // Everything else must be there already.
                for source in sources(graph, operand) {
                    if let Definition::Node(producer, _) = graph.definition(source)
                        && self.clusters.slots[producer] >= self.clusters.slots[index]
                    {
                        return None;
                    }
                }
            }
        }
        let [known] = seen[..] else { return None };
        let elements = graph.ty(value).elements();
        if graph.ty(graph.nodes[*nodes.first()?].results[0]).elements() != elements
            || graph.ty(known).elements() != elements
        {
            return None;
        }
        let order = self.order_of(value, known, width)?;
        let draft: Draft = self.draft(&nodes, Some(known));
        if !draft.fits(self, width) {
            return None;
        }
        let others = readers.iter().any(|r| !nodes.contains(r));
        self.name(&nodes);
        // The cluster runs now: what is decided by time must know.
        for &n in &nodes {
            self.clusters.slots[n] = self.clusters.slots[index];
        }
        let rows = self.cut(draft, &nodes, Some(width), order.as_deref());
        self.clusters.clusters[cluster].nodes.clear();
        Some(Epilogue { rows, keeps: others || self.uses.leaves[value.index()] })
    }

    /// Which row of `known`, a view of the product's result, each of the product's rows is: `Some(None)` where they are the same,
    /// `None` where rows were torn apart.
    #[allow(clippy::option_option, reason = "no order and no answer are different things")]
    fn order_of(&self, value: Value, known: Value, width: usize) -> Option<Option<Vec<u32>>> {
        if root(self.graph, value) == known {
            return Some(None);
        }
        let view = self.view_through(known, value)?;
        let elements = view.elements();
        let map = view.reshape(&[elements]).rows(width)?;
        if map.step != 1 && width > 1 {
            return None;
        }
        match map.starts {
            Starts::Every { offset: 0, stride, .. } if stride == width => Some(None),
            Starts::Every { .. } => None,
            Starts::At(starts) => {
                let mut order = vec![u32::MAX; starts.len()];
                for (row, &start) in starts.iter().enumerate() {
                    let place = start as usize / width;
                    if !(start as usize).is_multiple_of(width) || order[place] != u32::MAX {
                        return None;
                    }
                    order[place] = row as u32;
                }
                Some(Some(order))
            }
        }
    }

    /// `known` as a view of a dense `value`.
    fn view_through(&self, known: Value, value: Value) -> Option<View> {
        if known == value {
            return Some(View::dense(self.graph.shape(value)));
        }
        let Definition::Node(index, _) = self.graph.definition(known) else { return None };
        let node = &self.graph.nodes[index];
        if node.op.is("concatenate") {
            let views: Option<Vec<View>> = node.operands.iter().map(|&o| self.view_through(o, value)).collect();
            return View::concatenate(&views?, node.attributes.int("axis") as usize);
        }
        is_view(node).then(|| follow(node, &self.view_through(node.operands[0], value)?, self.graph.shape(known)))?
    }
}
