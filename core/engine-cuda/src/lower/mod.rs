//! From a graph to a plan: each node becomes kernel launches and matrix products on buffers.
//!
//! A value is a place: a buffer and a [`View`] of it, so that slices, transpositions, windows and joins cost nothing where the next
//! kernel can follow them; where it cannot, they are copied once, just before they are read.

mod absorb;
mod attention;
mod call;
mod convolution;
mod custom;
mod elementwise;
mod factor;
mod image;
mod indexing;
mod movement;
mod normalise;
mod optimiser;
mod product;
mod reduce;
mod storage;
mod supports;
mod updates;

use std::collections::HashMap;

pub(crate) use custom::check;
use fer_engine::{Call, EngineError, Result};
use fer_graph::{DType, Definition, Graph, Node, Value};
use fer_plan::{Clusters, Place, Squares, Targets, Uses, View, is_view, squares};
pub(crate) use supports::{KERNELS, supports};

use crate::{
    Element, Options,
    kernels::Instances,
    plan::{Buffer, BufferId, Home, Plan, Step},
    store::held,
};

/// A graph that is being lowered.
pub(crate) struct Lowering<'g> {
    graph: &'g Graph,
    options: &'g Options,
    uses: Uses,
    /// Squares that their sums compute on the way.
    squares: Squares,
    clusters: Clusters,
    /// What each value is stored as.
    stored: Vec<Element>,
    /// By argument of the graph.
    arguments: Vec<BufferId>,
    buffers: Vec<Buffer>,
    constants: Vec<Vec<u8>>,
    steps: Vec<Step>,
    instances: Instances,
    places: Vec<Option<Place>>,
    /// Values that are not dense where they stand, or not of this element, copied.
    copies: HashMap<(Value, Element), BufferId>,
    /// Where a value is to be written because it will be joined with others there.
    targets: Targets,
    /// What batch norms took of values, by epsilon: their adjoints need it again.
    moments: HashMap<(Value, u64), BufferId>,
    /// What attentions left for their adjoints: the states of their rows, and where they are of which result.
    states: HashMap<attention::Key, (BufferId, Value)>,
    /// Says whether the store may be written to; see [`Lowering::stopped`].
    stopped: Option<BufferId>,
    label: Call,
}

/// # Errors
/// [`EngineError::Unsupported`] for an op without a kernel.
pub(crate) fn lower(graph: &Graph, options: &Options) -> Result<Plan> {
    let uses = Uses::of(graph);
    let clusters = Clusters::of(graph, &uses, !options.is_off("elementwise"));
    let squares = if options.is_off("sum_of_squares") { Squares::new() } else { squares(graph, &uses) };
    let mut lowering = Lowering {
        graph,
        options,
        uses,
        squares,
        clusters,
        stored: storage::of(graph, options),
        arguments: vec![],
        buffers: vec![],
        constants: vec![],
        steps: vec![],
        instances: Instances::default(),
        places: vec![None; graph.values.len()],
        copies: HashMap::new(),
        targets: Targets::new(),
        moments: HashMap::new(),
        states: HashMap::new(),
        stopped: None,
        label: label(""),
    };
    lowering.postpone_updates();
    lowering.place_arguments();
    lowering.join();
    for item in lowering.order() {
        match item {
            Item::Cluster(cluster) => lowering.cluster(cluster),
            Item::Node(node) => lowering.node(node)?,
            Item::Updates(nodes) => lowering.adamw(&nodes),
        }
    }
    lowering.label = label("copy");
    let outputs: Vec<BufferId> = graph.outputs.iter().map(|(_, v)| lowering.leaving(*v)).collect();
    lowering.updates();
    let guard = lowering.guard(&outputs);
    let Lowering { buffers, constants, steps, instances, .. } = lowering;
    Ok(Plan { buffers, constants, steps, outputs, guard, units: instances.units() })
}

enum Item {
    Cluster(usize),
    Node(usize),
    /// Parameters that are updated together.
    Updates(Vec<usize>),
}

impl Lowering<'_> {
    fn place_arguments(&mut self) {
        for (i, argument) in self.graph.arguments.iter().enumerate() {
            let ty = self.graph.ty(argument.value);
            // Arguments stand in the element of their type: an argument of bf16 is f32 in the store, and rounded when it is read.
            let buffer = self.buffer(ty.elements(), held(ty.dtype), Home::Argument(i));
            self.arguments.push(buffer);
            self.set(argument.value, buffer);
            if ty.dtype == DType::Bf16 {
                self.label = label("convert");
                let rounded = self.converted(buffer, Element::Bf16);
                self.set(argument.value, rounded);
            }
        }
    }

    /// Where an output stands when all is done: what is the store's own may be updated before it is read.
    fn leaving(&mut self, value: Value) -> BufferId {
        let from = self.dense_as(value, Element::of(self.graph.ty(value).dtype));
        if self.is_stored(from) { self.kept(from) } else { from }
    }

    /// Everything that computes, by slot.
    fn order(&self) -> Vec<Item> {
        let mut items: Vec<(f64, usize, Item)> = vec![];
        for (i, cluster) in self.clusters.clusters.iter().enumerate() {
            if let Some(&first) = cluster.nodes.first() {
                items.push((self.clusters.slots[first], first, Item::Cluster(i)));
            }
        }
        let count = self.graph.nodes.len() as f64;
        let mut updates = vec![];
        for (i, node) in self.graph.nodes.iter().enumerate() {
            if node.op.is("adamw_update") {
                // One that needs another's result goes alone.
                match self.clusters.slots[i] < 2.0 * count {
                    true => updates.push(i),
                    false => items.push((self.clusters.slots[i], i, Item::Updates(vec![i]))),
                }
            } else if self.clusters.of[i].is_none() && !is_view(node) {
                items.push((self.clusters.slots[i], i, Item::Node(i)));
            }
        }
        if let Some(&first) = updates.first() {
            items.push((count, first, Item::Updates(updates)));
        }
        items.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        items.into_iter().map(|(_, _, item)| item).collect()
    }

    fn node(&mut self, index: usize) -> Result<()> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        self.label = Call { op: node.op.name().into(), scope: node.scope.clone(), flops: graph.flops(node), bytes: 0 };
        if let Some(kernel) = self.options.kernels.of(graph, node) {
            self.custom(node, kernel);
            return Ok(());
        }
        match (node.op.def.name, node.op.adjoint) {
            ("constant", false) => self.constant(node),
            ("linear", false) => self.linear(node),
            ("linear", true) => self.linear_vjp(node),
            ("dot_general", false) => self.dot_general(node),
            ("scaled_dot_product_attention", false) => self.attention(node),
            ("scaled_dot_product_attention", true) => self.attention_vjp(node),
            ("convolution", false) => self.convolution(node),
            ("convolution_input_grad", false) => self.convolution_input_grad(node),
            ("convolution_kernel_grad", false) => self.convolution_kernel_grad(node),
            ("layer_norm", false) => self.layer_norm(node),
            ("layer_norm", true) => self.layer_norm_vjp(node),
            ("softmax" | "log_softmax", adjoint) => self.softmax(node, adjoint),
            ("batch_norm_training", false) => self.batch_norm(node),
            ("batch_norm_training", true) => self.batch_norm_vjp(node),
            ("l2_normalize", adjoint) => self.l2_normalize(node, adjoint),
            ("reduce_sum" | "reduce_max", false) => self.reduce(node),
            ("resize", adjoint) => self.resize(node, adjoint),
            ("grid_sample", false) => self.grid_sample(node),
            ("grid_sample", true) => self.grid_sample_vjp(node),
            ("max_pool", false) => self.max_pool(node),
            ("max_pool_grad", false) => self.max_pool_grad(node),
            ("gather", false) => self.gather(node),
            ("scatter_add", false) => self.scatter_add(node),
            ("pad", false) => self.pad(node),
            ("rng_uniform", false) => self.rng_uniform(node),
            (
                "add" | "subtract" | "multiply" | "divide" | "maximum" | "power" | "compare" | "select" | "convert",
                false,
            ) => self.elementwise_node(index),
            _ => {
                let message = format!("the cuda engine has no kernel for {:?}", node.op);
                return Err(EngineError::Unsupported(message));
            }
        }
        Ok(())
    }

    fn constant(&mut self, node: &Node) {
        let value = node.results[0];
        let numbers = node.attributes.floats("value");
        if let [one] = numbers[..] {
            let number = match self.graph.ty(value).dtype {
                DType::Bf16 => f64::from(half::bf16::from_f64(one)),
                _ => one,
            };
            self.places[value.index()] = Some(Place::Splat(number));
            return;
        }
        let element = Element::of(self.graph.ty(value).dtype);
        let buffer = self.given(bytes_of(numbers.iter().copied(), element), numbers.len(), element);
        self.set(value, buffer);
    }

    /// A buffer for a constant.
    pub(crate) fn given(&mut self, bytes: Vec<u8>, elements: usize, element: Element) -> BufferId {
        // The same table is asked for by every block of a model.
        if let Some(known) = self.constants.iter().position(|c| *c == bytes)
            && let Some(buffer) =
                self.buffers.iter().position(|b| b.home == Home::Constant(known) && b.element == element)
        {
            return buffer;
        }
        self.constants.push(bytes);
        self.buffer(elements, element, Home::Constant(self.constants.len() - 1))
    }

    /// A table of indices.
    pub(crate) fn table(&mut self, numbers: &[u32]) -> BufferId {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.given(bytes, numbers.len(), Element::I32)
    }

    pub(crate) fn buffer(&mut self, elements: usize, element: Element, home: Home) -> BufferId {
        self.buffers.push(Buffer { elements, element, home });
        self.buffers.len() - 1
    }

    /// A buffer that only this node uses.
    pub(crate) fn scratch(&mut self, elements: usize, element: Element) -> BufferId {
        self.buffer(elements, element, Home::Arena)
    }

    /// What a buffer is made of.
    pub(crate) fn element(&self, buffer: BufferId) -> Element {
        self.buffers[buffer].element
    }

    /// The same, as the kernels' sources write it.
    pub(crate) fn c(&self, buffer: BufferId) -> &'static str {
        self.buffers[buffer].element.c()
    }

    /// A new buffer of the step for a value, which then stands in it densely; of the element that it is stored as.
    pub(crate) fn output(&mut self, value: Value) -> BufferId {
        self.output_as(value, self.stored[value.index()])
    }

    /// As [`Lowering::output`], of an element that the kernel gives.
    pub(crate) fn output_as(&mut self, value: Value, element: Element) -> BufferId {
        let buffer = self.buffer(self.graph.ty(value).elements(), element, Home::Arena);
        self.set(value, buffer);
        buffer
    }

    /// The value stands densely in the buffer.
    pub(crate) fn set(&mut self, value: Value, buffer: BufferId) {
        let view = View::dense(self.graph.shape(value));
        self.places[value.index()] = Some(Place::At { buffer, view });
    }

    /// Where a value stands; it has been computed.
    pub(crate) fn place(&mut self, value: Value) -> Place {
        if let Some(place) = &self.places[value.index()] {
            return place.clone();
        }
        let place = match self.graph.definition(value) {
            Definition::Node(node, _) => self.seen(node),
            Definition::Argument(_) => unreachable!("arguments are placed first"),
        };
        self.places[value.index()] = Some(place.clone());
        place
    }

    /// The buffer in which a value stands densely, copied there if need be.
    pub(crate) fn dense(&mut self, value: Value) -> BufferId {
        let element = match self.place(value) {
            Place::At { buffer, .. } => self.element(buffer),
            Place::Splat(_) => self.stored[value.index()],
        };
        self.dense_as(value, element)
    }

    /// The buffer in which a value stands densely and in this element, copied or converted if need be.
    pub(crate) fn dense_as(&mut self, value: Value, element: Element) -> BufferId {
        if let Some(&copy) = self.copies.get(&(value, element)) {
            return copy;
        }
        let count = self.graph.ty(value).elements();
        let to = match self.place(value) {
            Place::At { buffer, view } if view.is_dense(self.buffers[buffer].elements) => {
                if self.element(buffer) == element {
                    return buffer;
                }
                self.converted(buffer, element)
            }
            Place::Splat(number) => self.given(bytes_of(std::iter::repeat_n(number, count), element), count, element),
            Place::At { buffer, view } => {
                let to = self.buffer(count, element, Home::Arena);
                let own = std::mem::replace(&mut self.label.op, "copy".into());
                let flops = std::mem::take(&mut self.label.flops);
                self.copy(buffer, &view, to, &View::dense(view.shape()));
                (self.label.op, self.label.flops) = (own, flops);
                to
            }
        };
        self.copies.insert((value, element), to);
        to
    }

    pub(crate) fn shape(&self, value: Value) -> Vec<usize> {
        self.graph.shape(value).to_vec()
    }
}

/// Numbers as they stand in memory.
pub(crate) fn bytes_of(numbers: impl Iterator<Item = f64>, element: Element) -> Vec<u8> {
    match element {
        Element::F32 => numbers.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        Element::Bf16 => numbers.flat_map(|x| half::bf16::from_f64(x).to_le_bytes()).collect(),
        Element::I32 => numbers.flat_map(|x| (x as i32).to_le_bytes()).collect(),
        Element::U8 | Element::Bool => numbers.map(|x| x as u8).collect(),
    }
}

/// A call of an op that stands nowhere in the model.
fn label(op: &str) -> Call {
    Call { op: op.into(), scope: "".into(), flops: 0, bytes: 0 }
}
