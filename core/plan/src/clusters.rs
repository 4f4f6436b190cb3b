//! Which elementwise operations run together, and when everything runs.
//!
//! Each node has a slot in time. A cluster takes one slot for all its nodes: after everything that it reads, before everything that
//! reads it. Slots start as the nodes' own order; a node joins the clusters of its operands where such a slot is left.

use fer_graph::{DType, Definition, Graph, Node, Value};

use crate::uses::{Uses, is_view, root, sources};

/// Elementwise nodes of one number of elements, in the graph's order.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub nodes: Vec<usize>,
}

/// The clusters of a graph, and the slot of each node.
#[derive(Debug)]
pub struct Clusters {
    pub clusters: Vec<Cluster>,
    /// The cluster of a node.
    pub of: Vec<Option<usize>>,
    pub slots: Vec<f64>,
}

/// Operations in a cluster, at most: registers of long programs leave the first cache.
const LONGEST: usize = 64;

/// Whether a node is an operation on floats, element by element.
pub fn is_elementwise(graph: &Graph, node: &Node) -> bool {
    let held = |v: &Value| graph.ty(*v).dtype != DType::I32;
    let name = node.op.def.name;
    if node.op.adjoint {
        return matches!(name, "gelu" | "leaky_relu");
    }
    match name {
        "negate" | "exponential" | "log" | "sqrt" | "tanh" | "erf" | "floor" | "gelu" | "leaky_relu" => true,
        "add" | "subtract" | "multiply" | "divide" | "maximum" | "power" | "compare" | "select" => {
            node.operands.iter().all(held) && node.results.iter().all(held)
        }
        "convert" => matches!(graph.ty(node.results[0]).dtype, DType::Float | DType::Bf16 | DType::Bool),
        _ => false,
    }
}

impl Clusters {
    /// With `together` false each elementwise node is a cluster of its own.
    pub fn of(graph: &Graph, uses: &Uses, together: bool) -> Clusters {
        let slots = (0..graph.nodes.len()).map(|i| i as f64).collect();
        let mut all = Clusters { clusters: vec![], of: vec![None; graph.nodes.len()], slots };
        for (i, node) in graph.nodes.iter().enumerate() {
            if is_elementwise(graph, node) {
                let near = if together { all.near(graph, i) } else { vec![] };
                all.place(graph, uses, i, &near);
            }
        }
        all
    }

    /// Clusters of the node's operands that are as large as its result.
    fn near(&self, graph: &Graph, node: usize) -> Vec<usize> {
        let elements = |v: Value| graph.ty(v).elements();
        let size = elements(graph.nodes[node].results[0]);
        let mut near = vec![];
        for &operand in &graph.nodes[node].operands {
            if let Definition::Node(producer, _) = graph.definition(root(graph, operand))
                && let Some(cluster) = self.of[producer]
                && elements(operand) == size
                && !near.contains(&cluster)
            {
                near.push(cluster);
            }
        }
        near
    }

    /// Puts a node into all these clusters, or the latest of them that takes it, or a new one.
    fn place(&mut self, graph: &Graph, uses: &Uses, node: usize, near: &[usize]) {
        let alone = [node];
        let mut choices: Vec<Vec<usize>> = vec![near.to_vec()];
        if near.len() > 1 {
            let mut single = near.to_vec();
            single.sort_by(|a, b| self.slot(*b).total_cmp(&self.slot(*a)));
            choices.extend(single.into_iter().map(|c| vec![c]));
        }
        for joined in choices.iter().filter(|c| !c.is_empty()) {
            let mut nodes: Vec<usize> = joined.iter().flat_map(|&c| self.clusters[c].nodes.clone()).collect();
            nodes.extend(alone);
            nodes.sort_unstable();
            if nodes.len() > LONGEST {
                continue;
            }
            let Some(slot) = self.window(graph, uses, &nodes) else { continue };
            for &c in &joined[1..] {
                self.clusters[c].nodes.clear();
            }
            for &n in &nodes {
                self.of[n] = Some(joined[0]);
                self.slots[n] = slot;
            }
            self.clusters[joined[0]].nodes = nodes;
            return;
        }
        self.of[node] = Some(self.clusters.len());
        self.clusters.push(Cluster { nodes: vec![node] });
    }

    /// Whether a node is still to run with its cluster.
    pub fn holds(&self, node: usize) -> bool {
        self.of[node].is_some_and(|cluster| self.clusters[cluster].nodes.contains(&node))
    }

    /// Takes a value's node out of its cluster: the kernel of another node computes it.
    pub fn absorb(&mut self, graph: &Graph, value: Value) {
        if let Definition::Node(node, _) = graph.definition(value)
            && let Some(cluster) = self.of[node].take()
        {
            self.clusters[cluster].nodes.retain(|&n| n != node);
        }
    }

    fn slot(&self, cluster: usize) -> f64 {
        self.clusters[cluster].nodes.first().map_or(0.0, |&n| self.slots[n])
    }

    /// Brings forward what an optimiser does with a gradient, and squares and whole sums as its norm is made of: each runs as soon as
    /// what it reads is there and, of an update, nobody needs the old parameter any more. So gradients do not wait for each other in
    /// memory.
    pub fn hurry(&mut self, graph: &Graph, uses: &Uses) {
        for (i, node) in graph.nodes.iter().enumerate() {
            let updates = node.op.is("adamw_update");
            let sums = node.op.is("reduce_sum") && graph.ty(node.results[0]).rank() == 0;
            let alone = self.of[i].is_some_and(|c| self.clusters[c].nodes.len() == 1);
            let squares = node.op.is("multiply") && node.operands[0] == node.operands[1] && alone;
            if !updates && !sums && !squares {
                continue;
            }
            let mut ready = -1.0f64;
            for source in node.operands.iter().flat_map(|&o| sources(graph, o)) {
                if let Definition::Node(producer, _) = graph.definition(source) {
                    ready = ready.max(self.slots[producer]);
                }
                if updates {
                    let others = uses.readers[source.index()].iter().filter(|&&r| r != i);
                    ready = others.map(|&r| self.slots[r]).filter(|&s| s < self.slots[i]).fold(ready, f64::max);
                }
            }
            // Between two slots there is always another; what lies in between does not concern this node.
            self.slots[i] = self.slots[i].min(ready + 1e-3);
        }
    }

    /// A slot in which all these nodes may run: the last one's own if nobody waits, else right after what they read.
    fn window(&self, graph: &Graph, uses: &Uses, nodes: &[usize]) -> Option<f64> {
        let inside = |node: usize| nodes.binary_search(&node).is_ok();
        let (mut low, mut high) = (-1.0f64, f64::INFINITY);
        for &n in nodes {
            let node = &graph.nodes[n];
            for source in node.operands.iter().flat_map(|&o| sources(graph, o)) {
                if let Definition::Node(producer, _) = graph.definition(source)
                    && !inside(producer)
                {
                    low = low.max(self.slots[producer]);
                }
            }
            for result in &node.results {
                for &reader in uses.readers[result.index()].iter().filter(|&&r| !inside(r)) {
                    high = high.min(self.slots[reader]);
                }
            }
            // A member may not see another one through a view that moves elements.
            let moved = node.operands.iter().any(|&o| {
                let from = root(graph, o);
                let through = matches!(graph.definition(from), Definition::Node(v, _) if is_view(&graph.nodes[v]));
                through
                    && sources(graph, from)
                        .iter()
                        .any(|&s| matches!(graph.definition(s), Definition::Node(p, _) if inside(p)))
            });
            if moved {
                return None;
            }
        }
        let last = *nodes.last()? as f64;
        if last > low && last < high {
            return Some(last);
        }
        let slot = low + (high.min(low + 1.0) - low) / 2.0;
        (slot > low && slot < high).then_some(slot)
    }
}
