//! The optimiser's updates, many parameters in a launch.

use fer_graph::{Definition, Role, Value};
use fer_plan::sources;

use super::{Lowering, Place};
use crate::{
    Element,
    device::Command,
    kernels::Family,
    plan::{BufferId, Home},
};

/// Parameters in a launch: their pointers are parameters of the kernel, of which there is room for 4 KiB.
const MOST: usize = 64;
/// Numbers that a block updates.
const CHUNK: usize = 4096;

/// An update: where its numbers are.
struct Update {
    parameter: BufferId,
    gradient: BufferId,
    first: BufferId,
    second: BufferId,
}

impl Lowering<'_> {
    /// Puts all updates behind everything that needs none of them, and what needs them behind those: then they can run at once.
    pub(super) fn postpone_updates(&mut self) {
        let graph = self.graph;
        let count = graph.nodes.len();
        let mut late = vec![false; count];
        for (i, node) in graph.nodes.iter().enumerate() {
            let made_of = |value: &Value| {
                sources(graph, *value).iter().any(|&s| match graph.definition(s) {
                    Definition::Node(n, _) => late[n] || graph.nodes[n].op.is("adamw_update"),
                    Definition::Argument(_) => false,
                })
            };
            late[i] = node.operands.iter().any(made_of);
        }
        // A cluster goes as a whole, and with it what reads any of it: until nothing more does.
        loop {
            let before = late.clone();
            for cluster in &self.clusters.clusters {
                if cluster.nodes.iter().any(|&n| late[n]) {
                    cluster.nodes.iter().for_each(|&n| late[n] = true);
                }
            }
            for (i, node) in graph.nodes.iter().enumerate() {
                late[i] |= node.operands.iter().any(|&o| {
                    sources(graph, o).iter().any(|&s| matches!(graph.definition(s), Definition::Node(n, _) if late[n]))
                });
            }
            if late == before {
                break;
            }
        }
        // Slots of nodes lie below their number; updates at it come before what is late.
        for (i, node) in graph.nodes.iter().enumerate() {
            if late[i] {
                self.clusters.slots[i] += 2.0 * count as f64;
            } else if node.op.is("adamw_update") {
                self.clusters.slots[i] = count as f64;
            }
        }
    }

    /// The updates of all these nodes, none of which needs another's.
    pub(super) fn adamw(&mut self, nodes: &[usize]) {
        let graph = self.graph;
        let mut left: Vec<usize> = nodes.to_vec();
        while let Some(&first) = left.first() {
            let alike = |n: &usize| {
                let (a, b) = (&graph.nodes[first], &graph.nodes[*n]);
                let floats =
                    ["beta1", "beta2", "epsilon"].iter().all(|k| a.attributes.float(k) == b.attributes.float(k));
                floats
                    && a.attributes.flag("decoupled") == b.attributes.flag("decoupled")
                    && a.operands[4..] == b.operands[4..]
                    && self.stored[a.operands[1].index()] == self.stored[b.operands[1].index()]
            };
            let (group, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|n| alike(n));
            left = rest;
            for part in group.chunks(MOST) {
                self.adamw_group(part);
            }
        }
    }

    fn adamw_group(&mut self, nodes: &[usize]) {
        let graph = self.graph;
        let node = &graph.nodes[nodes[0]];
        self.label = fer_engine::Call {
            op: "adamw_update".into(),
            scope: "".into(),
            flops: nodes.iter().map(|&n| graph.flops(&graph.nodes[n])).sum(),
            bytes: 0,
        };
        let element = self.stored[node.operands[1].index()];
        let updates: Vec<Update> = nodes.iter().map(|&n| self.update_of(n, element)).collect();
        // Blocks before each parameter's own, its size, and its decay.
        let (mut before, mut sizes, mut decays, mut blocks) = (vec![], vec![], vec![], 0);
        for (update, &n) in updates.iter().zip(nodes) {
            let count = self.buffers[update.parameter].elements;
            before.push(blocks as u32);
            sizes.push(count as u32);
            decays.push((graph.nodes[n].attributes.float("weight_decay") as f32).to_bits());
            blocks += count.div_ceil(CHUNK);
        }
        for list in [&mut before, &mut sizes, &mut decays] {
            list.resize(MOST, 0);
        }
        let fill = |pick: fn(&Update) -> BufferId| {
            let mut list: Vec<BufferId> = updates.iter().map(pick).collect();
            list.resize(MOST, list[0]);
            list
        };
        let [rate, step] = [4, 5].map(|i| self.dense_as(node.operands[i], Element::F32));
        let stopped = self.stopped();
        let attributes = &node.attributes;
        let kernel = self.kernel(Family::Optimiser, "ADAMW", &[element.c()]).grid([blocks, 1, 1], 256);
        let kernel = kernel
            .pointers(fill(|u| u.gradient), false)
            .pointers(fill(|u| u.parameter), true)
            .pointers(fill(|u| u.first), true)
            .pointers(fill(|u| u.second), true)
            .words([before, sizes, decays].concat())
            .int(nodes.len())
            .read(rate)
            .read(step)
            .double(attributes.float("beta1"))
            .double(attributes.float("beta2"))
            .float(attributes.float("epsilon") as f32)
            .int(usize::from(attributes.flag("decoupled")))
            .read(stopped);
        self.launch(kernel);
    }

    fn update_of(&mut self, index: usize, element: Element) -> Update {
        let node = &self.graph.nodes[index];
        let gradient = self.dense_as(node.operands[1], element);
        // The store's own memory, or a copy of it where the old value is still needed.
        let [parameter, first, second] = [(0, 0), (2, 1), (3, 2)].map(|(old, result)| {
            let buffer = self.replaced(index, node.operands[old], node.results[result]);
            self.set(node.results[result], buffer);
            buffer
        });
        Update { parameter, gradient, first, second }
    }

    /// Memory that holds the old value and will hold the new one: the store's, if the new value is its update and nobody reads the
    /// old one afterwards.
    fn replaced(&mut self, index: usize, old: Value, new: Value) -> BufferId {
        let argument = self.graph.arguments.iter().find(|a| a.value == old && a.role != Role::Input);
        let becomes = |name: &str| self.graph.updates.iter().any(|(n, v)| n == name && *v == new);
        let slot = self.clusters.slots[index];
        let readers = &self.uses.readers[old.index()];
        let last =
            !self.uses.leaves[old.index()] && readers.iter().all(|&r| r == index || self.clusters.slots[r] < slot);
        if argument.is_some_and(|a| becomes(&a.name))
            && last
            && let Place::At { buffer, .. } = self.place(old)
        {
            return buffer;
        }
        let from = self.dense_as(old, Element::F32);
        let count = self.buffers[from].elements;
        let to = self.buffer(count, Element::F32, Home::Arena);
        self.emit(Command::Copy { from, to, bytes: 4 * count }, vec![from], vec![to], vec![]);
        to
    }
}
