//! Sums of squares: the norms of gradients, many in a launch.

use fer_graph::{Definition, Node, Value};
use fer_plan::{View, root};

use super::Fold;
use crate::{
    Element,
    kernels::Family,
    lower::{Lowering, Place},
    plan::BufferId,
};

/// Arrays in a launch: `MOST_ARRAYS` in the kernels' source.
const MOST: usize = 128;
/// Numbers that a block sums.
const PIECE: usize = 1 << 14;

impl Lowering<'_> {
    /// The sum of squares, if that is what a node is. Those that one cluster reads are computed together when the last of them is due.
    pub(super) fn sum_of_squares(&mut self, node: &Node) -> bool {
        let graph = self.graph;
        let Some(&x) = self.squares.get(&node.operands[0]) else { return false };
        let group = self.read_together(node);
        let [_, .., last] = group[..] else {
            let from = self.dense(x);
            let to = self.output(node.results[0]);
            self.fold(Fold::Squares, [1, graph.ty(x).elements(), 1], from, to);
            return true;
        };
        if std::ptr::eq(node, &graph.nodes[last]) {
            let mut arrays = vec![];
            for node in group.iter().map(|&n| &graph.nodes[n]) {
                if let Some(&x) = self.squares.get(&node.operands[0]) {
                    arrays.push((node.results[0], self.dense(x)));
                }
            }
            for element in [Element::F32, Element::Bf16] {
                let alike: Vec<_> = arrays.iter().copied().filter(|&(_, x)| self.element(x) == element).collect();
                alike.chunks(MOST).for_each(|part| self.squares_of_many(element, part));
            }
        }
        true
    }

    /// The sums of squares that are read by the same cluster as this one and by nothing else, in the order in which they are due, if it
    /// is one of them; of arrays that are computed in this step: what stands in the store may have been overwritten when the last is due.
    fn read_together(&self, node: &Node) -> Vec<usize> {
        let graph = self.graph;
        let cluster = |node: &Node| {
            let result = node.results[0].index();
            let [first, rest @ ..] = &self.uses.readers[result][..] else { return None };
            let cluster = self.clusters.of[*first]?;
            let computed =
                matches!(graph.definition(root(graph, *self.squares.get(&node.operands[0])?)), Definition::Node(..));
            let alone = !self.uses.leaves[result] && rest.iter().all(|&r| self.clusters.of[r] == Some(cluster));
            (computed && alone).then_some(cluster)
        };
        let Some(own) = cluster(node) else { return vec![] };
        let mut group: Vec<usize> = (0..graph.nodes.len())
            .filter(|&n| graph.nodes[n].op.is("reduce_sum") && cluster(&graph.nodes[n]) == Some(own))
            .collect();
        group.sort_by(|&a, &b| self.clusters.slots[a].total_cmp(&self.clusters.slots[b]).then(a.cmp(&b)));
        group
    }

    fn squares_of_many(&mut self, element: Element, arrays: &[(Value, BufferId)]) {
        // Of each piece its array, where it begins, and its length; and of each array its first piece.
        let (mut pieces, mut firsts) = (vec![], vec![0]);
        for (i, &(_, x)) in arrays.iter().enumerate() {
            let count = self.buffers[x].elements;
            pieces.extend((0..count).step_by(PIECE).map(|at| [i, at, PIECE.min(count - at)].map(|n| n as u32)));
            firsts.push(pieces.len() as u32);
        }
        let partial = self.scratch(pieces.len(), Element::F32);
        let sums = self.scratch(arrays.len(), Element::F32);
        let blocks = [pieces.len(), 1, 1];
        let (pieces, firsts) = (self.table(&pieces.concat()), self.table(&firsts));
        let mut pointers: Vec<BufferId> = arrays.iter().map(|&(_, x)| x).collect();
        pointers.resize(MOST, pointers[0]);
        let kernel = self
            .kernel(Family::Reduce, "SQUARES_OF_MANY", &[element.c()])
            .grid(blocks, 256)
            .pointers(pointers, false)
            .read(pieces)
            .write(partial);
        self.launch(kernel);
        let kernel = self
            .kernel(Family::Reduce, "JOIN_SQUARES_OF_MANY", &[])
            .grid([arrays.len(), 1, 1], 256)
            .read(partial)
            .read(firsts)
            .write(sums);
        self.launch(kernel);
        let all = View::dense(&[arrays.len()]);
        for (i, &(result, _)) in arrays.iter().enumerate() {
            let one = all.slice(&[i], &[i + 1], &[1]).map(|view| view.reshape(&[]));
            let view = one.expect("a dense view can be cut anywhere");
            self.places[result.index()] = Some(Place::At { buffer: sums, view });
        }
    }
}
