//! What values stand in memory as: `f32`, or in precision `bf16` also bfloat16.
//!
//! Arithmetic is `f32` wherever it is not a product of factors, so this decides about memory alone. Products, attention and convolutions
//! round their factors to bfloat16: what they alone read loses nothing by being rounded when it is written. (A convolution of single
//! channels takes them as they are, and is not asked.) What they give, and what is made of such values element by element, by a batch
//! norm, a pool or by resizing, is rounded too, if everyone who reads it can. So the values within a block (norms' results, q, k and v, the
//! hidden layer), the images of a resizer and the cotangents of all these are bfloat16; the stream that blocks add to, parameters, their
//! gradients, statistics and losses are `f32`. It is the division of PyTorch's autocast, but that norms' results are stored in bfloat16
//! too.

use fer_cpu_kernels::{elementwise::Element, product::Factors};
use fer_graph::{DType, Definition, Node, Value};
use fer_plan::is_view;

use super::Lowering;
use crate::store::element_of;

impl Lowering<'_> {
    /// The element of each value.
    pub(super) fn storage(&self) -> Vec<Element> {
        let graph = self.graph;
        let mut elements: Vec<Element> = graph.values.iter().map(|v| element_of(v.0.dtype)).collect();
        if self.options.factors != Factors::Bf16 || self.options.is_off("bf16_storage") {
            return elements;
        }
        let groups = self.groups();
        let mut rounded: Vec<bool> = vec![true; graph.values.len()];
        for (i, &group) in groups.iter().enumerate() {
            rounded[group] &= self.can_be_rounded(Value(i as u32));
        }
        // Whether a value is rounded may depend on its operands, so the last word is spoken when nothing changes any more.
        loop {
            let before = rounded.clone();
            for (i, node) in graph.nodes.iter().enumerate().filter(|(_, node)| !is_view(node)) {
                for (at, &result) in node.results.iter().enumerate() {
                    let group = groups[result.index()];
                    rounded[group] = rounded[group] && self.is_worth_it(i, at, &|v| rounded[groups[v.index()]]);
                }
            }
            if rounded == before {
                break;
            }
        }
        for (element, group) in elements.iter_mut().zip(groups) {
            if rounded[group] {
                *element = Element::Bf16;
            }
        }
        elements
    }

    /// Whether a value stands in memory as it is computed.
    pub(super) fn is_plain(&self, value: Value) -> bool {
        self.elements[value.index()] != Element::Bf16
    }

    /// The first of all values that share their memory with each, since they are views of each other or joined.
    fn groups(&self) -> Vec<usize> {
        let mut first: Vec<usize> = (0..self.graph.values.len()).collect();
        fn find(first: &mut [usize], mut i: usize) -> usize {
            while first[i] != i {
                first[i] = first[first[i]];
                i = first[i];
            }
            i
        }
        for node in self.graph.nodes.iter().filter(|node| is_view(node)) {
            for &operand in &node.operands {
                let [a, b] = [operand, node.results[0]].map(|v| find(&mut first, v.index()));
                first[a.max(b)] = a.min(b);
            }
        }
        (0..first.len()).map(|i| find(&mut first, i)).collect()
    }

    /// Whether whoever writes a value, and everyone who reads it, can have it in bfloat16.
    fn can_be_rounded(&self, value: Value) -> bool {
        let Definition::Node(writer, result) = self.graph.definition(value) else { return false };
        let writes = is_view(&self.graph.nodes[writer]) || self.can_write(writer, result);
        self.graph.ty(value).dtype == DType::Float
            && !self.uses.leaves[value.index()]
            && writes
            && self.reads(value).all(|(reader, operand)| self.can_read(reader, operand))
    }

    /// Nodes that compute with a value itself, and as which operand.
    fn reads(&self, value: Value) -> impl Iterator<Item = (usize, usize)> {
        let nodes = self.uses.readers[value.index()].iter();
        nodes.flat_map(move |&n| {
            let operands = self.graph.nodes[n].operands.iter().enumerate();
            operands.filter(move |(_, o)| **o == value).map(move |(i, _)| (n, i))
        })
    }

    fn can_write(&self, index: usize, result: usize) -> bool {
        let node = &self.graph.nodes[index];
        self.is_elementwise(index)
            || self.is_of_factors(index, result)
            || self.is_of_image(node, result)
            || node.op.is("layer_norm") && result == 0
    }

    fn can_read(&self, index: usize, operand: usize) -> bool {
        let node = &self.graph.nodes[index];
        let is_norms = node.op.adjoint && node.op.def.name == "layer_norm" && operand == 3;
        let is_summed =
            (node.op.is("reduce_sum") || node.op.is("reduce_max")) && !self.squares.contains_key(&node.operands[0]);
        let is_image = image_operands(node).contains(&operand);
        // The adjoint asks for no more than its size.
        let is_resized = node.op.adjoint && node.op.def.name == "resize" && operand == 0;
        self.is_elementwise(index) || self.rounds(index, operand) || is_image || is_norms || is_summed || is_resized
    }

    /// Whether the result of a node is the image that it makes of another, number by number or of few.
    fn is_of_image(&self, node: &Node, result: usize) -> bool {
        let of_first = !node.op.adjoint && result == 0 || node.op.adjoint && node.attributes.sizes("wrt")[result] == 0;
        !image_operands(node).is_empty() && of_first
    }

    /// Whether the result of a node is made of factors that were rounded.
    fn is_of_factors(&self, index: usize, result: usize) -> bool {
        let node = &self.graph.nodes[index];
        let of = |operands: &[usize]| operands.contains(&node.attributes.sizes("wrt")[result]);
        match (node.op.def.name, node.op.adjoint) {
            ("linear" | "scaled_dot_product_attention", false) => true,
            ("convolution" | "convolution_input_grad", false) => !self.is_of_patches(&self.convolved(node)),
            ("linear", true) => of(&[0]),
            ("scaled_dot_product_attention", true) => of(&[0, 1, 2]),
            _ => false,
        }
    }

    /// Whether a node rounds this operand before it computes with it. (The sums that are a bias' gradient do not; they are sums of the
    /// cotangent that the products see, then.)
    fn rounds(&self, index: usize, operand: usize) -> bool {
        let node = &self.graph.nodes[index];
        let last = operand + 1 == node.operands.len();
        match (node.op.def.name, node.op.adjoint) {
            ("linear", false) => operand == 0,
            ("linear", true) => operand == 0 || last,
            ("scaled_dot_product_attention", false) => operand < 3,
            ("scaled_dot_product_attention", true) => operand < 3 || last,
            ("dot_general", false) => true,
            ("convolution", false) => operand == 0,
            ("convolution_input_grad", false) => operand == 1,
            ("convolution_kernel_grad", false) => true,
            _ => false,
        }
    }

    /// Whether the memory that is saved is worth a rounding, `rounded` being so of the operands.
    fn is_worth_it(&self, index: usize, result: usize, rounded: &dyn Fn(Value) -> bool) -> bool {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let value = node.results[result];
        let whole = graph.ty(value).elements();
        let is_of_size = |o: Value| graph.ty(o).dtype == DType::Float && self.size_behind(o) >= whole;
        let of_size = || node.operands.iter().filter(|&&o| is_of_size(o));
        let all_operands = of_size().next().is_some() && of_size().all(|&o| rounded(o));
        // What the gradient of a norm may be added to on its way is written as it is.
        let absorbed = node.operands.iter().any(|&o| match graph.definition(fer_plan::root(graph, o)) {
            Definition::Node(writer, _) => {
                let op = &graph.nodes[writer].op;
                op.def.name == "layer_norm" && op.adjoint
            }
            Definition::Argument(_) => false,
        });
        let readers = &self.uses.readers[value.index()];
        let all_readers = !readers.is_empty()
            && readers.iter().all(|&reader| {
                let operands = &graph.nodes[reader].operands;
                (0..operands.len())
                    .all(|i| !fer_plan::sources(graph, operands[i]).contains(&value) || self.rounds(reader, i))
            });
        match self.is_elementwise(index) {
            true => all_operands || all_readers && !absorbed,
            false if self.is_of_image(node, result) => {
                all_readers || image_operands(node).iter().all(|&i| rounded(node.operands[i]))
            }
            false => all_readers || self.is_of_factors(index, result),
        }
    }

    /// Elements of what a value is a view of.
    fn size_behind(&self, value: Value) -> usize {
        fer_plan::sources(self.graph, value).iter().map(|&s| self.graph.ty(s).elements()).sum()
    }

    fn is_elementwise(&self, index: usize) -> bool {
        self.clusters.of[index].is_some() && !self.squares.contains_key(&self.graph.nodes[index].results[0])
    }
}

/// Which operands of a node are images that it takes number by number, or few at a time.
fn image_operands(node: &Node) -> &'static [usize] {
    match (node.op.def.name, node.op.adjoint) {
        ("batch_norm_training" | "resize" | "max_pool", false) => &[0],
        ("max_pool_grad", false) => &[0, 1],
        ("batch_norm_training", true) => &[0, 5],
        ("resize", true) => &[1],
        _ => &[],
    }
}
