//! From a graph to a plan: each node becomes kernel calls on buffers.
//!
//! A value is a place: a buffer and a [`View`] of it, so that slices, transpositions, windows and joins cost nothing where the next
//! kernel can follow them; where it cannot, they are copied once, just before they are read.

mod absorb;
mod attention;
mod convolution;
mod custom;
mod elementwise;
mod epilogue;
mod image;
mod indexing;
mod movement;
mod normalise;
mod optimiser;
mod patches;
mod product;
mod reduce;
mod storage;
mod supports;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub(crate) use custom::check;
use fer_cpu_kernels::{elementwise::Element, simd::Isa};
use fer_engine::{Call, EngineError, Result};
use fer_graph::{DType, Definition, Graph, Node, Value};
use fer_plan::{Clusters, Place, Squares, Targets, Uses, View, squares};
pub(crate) use supports::{KERNELS, supports};

use crate::{
    Options,
    memory::Block,
    step::{Access, Buffer, BufferId, Home, Step},
    store::element_of,
};

/// What the executable runs.
pub(crate) struct Plan {
    pub buffers: Vec<Buffer>,
    pub constants: Vec<Block>,
    pub steps: Vec<Step>,
    /// Where each output of the graph stands, dense.
    pub outputs: Vec<BufferId>,
    /// What each update becomes.
    pub updates: Vec<Update>,
}

/// The value of an update.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Update {
    /// It stands densely in a buffer.
    Buffer(BufferId),
    /// One number everywhere.
    Fill(f32),
}

/// A graph that is being lowered.
pub(crate) struct Lowering<'g> {
    graph: &'g Graph,
    options: &'g Options,
    uses: Uses,
    /// Squares that their sums compute on the way.
    squares: Squares,
    clusters: Clusters,
    buffers: Vec<Buffer>,
    constants: Vec<Block>,
    steps: Vec<Step>,
    places: Vec<Option<Place>>,
    /// What each value stands in memory as.
    elements: Vec<Element>,
    /// Copies of values that are not dense where they stand.
    copies: HashMap<Value, BufferId>,
    /// Images laid out in patches of a size.
    patched: HashMap<(Value, [usize; 2]), BufferId>,
    /// Where a value is to be written because it will be joined with others there.
    targets: Targets,
    /// Nodes that a kernel computes on its way, though they come before it.
    merged: HashSet<usize>,
    label: Call,
}

/// # Errors
/// [`EngineError::Unsupported`] for an op without a kernel.
pub(crate) fn lower(graph: &Graph, options: &Options) -> Result<Plan> {
    let uses = Uses::of(graph);
    let mut clusters = Clusters::of(graph, &uses, !options.is_off("elementwise"));
    clusters.hurry(graph, &uses);
    let squares = if options.is_off("sum_of_squares") { Squares::new() } else { squares(graph, &uses) };
    let mut lowering = Lowering {
        graph,
        options,
        uses,
        squares,
        clusters,
        buffers: vec![],
        constants: vec![],
        steps: vec![],
        places: vec![None; graph.values.len()],
        elements: vec![],
        copies: HashMap::new(),
        patched: HashMap::new(),
        targets: Targets::new(),
        merged: HashSet::new(),
        label: label(""),
    };
    lowering.elements = lowering.storage();
    lowering.arguments();
    lowering.join();
    lowering.merge_rectifiers();
    for item in lowering.order() {
        match item {
            Item::Cluster(cluster) => lowering.cluster(cluster),
            Item::Node(node) => lowering.node(node)?,
        }
    }
    lowering.label = label("copy");
    let dense = |lowering: &mut Lowering<'_>, list: &[(String, Value)]| -> Vec<BufferId> {
        list.iter().map(|(_, v)| lowering.dense(*v)).collect()
    };
    let outputs = dense(&mut lowering, &graph.outputs);
    let updates = graph
        .updates
        .iter()
        .map(|(_, v)| match lowering.place(*v) {
            Place::Splat(number) if graph.ty(*v).dtype == DType::Float => Update::Fill(number as f32),
            _ => Update::Buffer(lowering.dense(*v)),
        })
        .collect();
    let Lowering { buffers, constants, steps, .. } = lowering;
    Ok(Plan { buffers, constants, steps, outputs, updates })
}

enum Item {
    Cluster(usize),
    Node(usize),
}

impl Lowering<'_> {
    fn isa(&self) -> Isa {
        self.options.isa
    }

    fn arguments(&mut self) {
        for (i, argument) in self.graph.arguments.iter().enumerate() {
            let ty = self.graph.ty(argument.value);
            let buffer = self.buffer(ty.elements(), element_of(ty.dtype), Home::Argument(i));
            self.set(argument.value, buffer);
            if ty.dtype == DType::Bf16 {
                self.label = label("convert");
                let rounded = self.buffer(ty.elements(), Element::F32, Home::Arena);
                self.round_to_bf16(buffer, rounded);
                self.set(argument.value, rounded);
            }
        }
    }

    /// Everything that computes, by slot.
    fn order(&self) -> Vec<Item> {
        let mut items: Vec<(f64, usize, Item)> = vec![];
        for (i, cluster) in self.clusters.clusters.iter().enumerate() {
            if let Some(&first) = cluster.nodes.first() {
                items.push((self.clusters.slots[first], first, Item::Cluster(i)));
            }
        }
        for (i, node) in self.graph.nodes.iter().enumerate() {
            if self.clusters.of[i].is_none() && !fer_plan::is_view(node) && !self.merged.contains(&i) {
                items.push((self.clusters.slots[i], i, Item::Node(i)));
            }
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
            ("linear", false) => self.linear(index),
            ("linear", true) => self.linear_vjp(index),
            ("dot_general", false) => self.dot_general(node),
            ("scaled_dot_product_attention", false) => self.attention(node),
            ("scaled_dot_product_attention", true) => self.attention_vjp(node),
            ("convolution" | "convolution_input_grad" | "convolution_kernel_grad", false) => self.convolution(node),
            ("layer_norm", adjoint) => self.layer_norm(node, adjoint),
            ("softmax" | "log_softmax", adjoint) => self.softmax(node, adjoint),
            ("batch_norm_training", false) => self.batch_norm(node),
            ("batch_norm_training", true) => self.batch_norm_vjp(node),
            ("l2_normalize", adjoint) => self.l2_normalize(node, adjoint),
            ("reduce_sum" | "reduce_max", false) => self.reduce(node),
            ("resize", adjoint) => self.resize(node, adjoint),
            ("grid_sample", false) => self.grid_sample(node),
            ("grid_sample", true) => self.grid_sample_vjp(node),
            ("max_pool" | "max_pool_grad", false) => self.max_pool(node),
            ("gather", false) => self.gather(node),
            ("scatter_add", false) => self.scatter_add(node),
            ("pad", false) => self.pad(node),
            ("rng_uniform", false) => self.rng_uniform(node),
            ("adamw_update", false) => self.adamw(index),
            (
                "add" | "subtract" | "multiply" | "divide" | "maximum" | "power" | "compare" | "select" | "convert",
                false,
            ) => {
                self.integers(node);
            }
            _ => {
                let message = format!("the cpu engine has no kernel for {:?}", node.op);
                return Err(EngineError::Unsupported(message));
            }
        }
        // What kernels give is rounded where the graph says so; the elementwise operations do it themselves.
        for &result in node.results.iter().filter(|&&r| graph.ty(r).dtype == DType::Bf16) {
            if let Some(Place::At { buffer, view }) = self.places[result.index()].clone() {
                let rounded = self.buffer(self.buffers[buffer].elements, Element::F32, Home::Arena);
                self.round_to_bf16(buffer, rounded);
                self.places[result.index()] = Some(Place::At { buffer: rounded, view });
            }
        }
        Ok(())
    }

    fn constant(&mut self, node: &Node) {
        let value = node.results[0];
        let ty = self.graph.ty(value);
        let numbers = node.attributes.floats("value");
        let rounded = |x: f64| match ty.dtype {
            DType::Bf16 => f64::from(fer_cpu_kernels::bf16::widen(fer_cpu_kernels::bf16::round(x as f32))),
            _ => x,
        };
        if let [one] = numbers[..] {
            self.places[value.index()] = Some(Place::Splat(rounded(one)));
            return;
        }
        let block = match element_of(ty.dtype) {
            Element::F32 | Element::Bf16 => Block::of(&numbers.iter().map(|&x| rounded(x) as f32).collect::<Vec<_>>()),
            Element::I32 => Block::of(&numbers.iter().map(|&x| x as i32).collect::<Vec<_>>()),
            Element::U8 | Element::Bool => Block::of(&numbers.iter().map(|&x| x as u8).collect::<Vec<_>>()),
        };
        let buffer = self.given(block, ty.elements(), element_of(ty.dtype));
        self.set(value, buffer);
    }

    /// A buffer for a constant.
    fn given(&mut self, block: Block, elements: usize, element: Element) -> BufferId {
        self.constants.push(block);
        self.buffer(elements, element, Home::Constant(self.constants.len() - 1))
    }

    fn buffer(&mut self, elements: usize, element: Element, home: Home) -> BufferId {
        self.buffers.push(Buffer { elements, element, home });
        self.buffers.len() - 1
    }

    /// A new buffer of the step for a value, which then stands in it densely.
    fn output(&mut self, value: Value) -> BufferId {
        let ty = self.graph.ty(value);
        let buffer = self.buffer(ty.elements(), self.elements[value.index()], Home::Arena);
        self.set(value, buffer);
        buffer
    }

    /// The value stands densely in the buffer.
    fn set(&mut self, value: Value, buffer: BufferId) {
        let view = View::dense(self.graph.shape(value));
        self.places[value.index()] = Some(Place::At { buffer, view });
    }

    fn emit(
        &mut self,
        reads: impl Into<Vec<BufferId>>,
        writes: impl Into<Vec<BufferId>>,
        run: impl Fn(&Access<'_>) + Send + Sync + 'static,
    ) {
        self.emit_in_place(reads, writes, vec![], run);
    }

    fn emit_in_place(
        &mut self,
        reads: impl Into<Vec<BufferId>>,
        writes: impl Into<Vec<BufferId>>,
        in_place: Vec<(BufferId, BufferId)>,
        run: impl Fn(&Access<'_>) + Send + Sync + 'static,
    ) {
        let (reads, writes) = (reads.into(), writes.into());
        let bytes = reads.iter().chain(&writes).map(|&b| self.buffers[b].bytes() as u64).sum();
        let call = Call { bytes, ..self.label.clone() };
        // The first call of a node counts its operations.
        self.label.flops = 0;
        self.steps.push(Step { run: Box::new(run), reads, writes, in_place, call });
    }

    /// Where a value stands; it has been computed.
    fn place(&mut self, value: Value) -> Place {
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
    fn dense(&mut self, value: Value) -> BufferId {
        if let Some(&copy) = self.copies.get(&value) {
            return copy;
        }
        let ty = self.graph.ty(value).clone();
        match self.place(value) {
            Place::At { buffer, view } if view.is_dense(self.buffers[buffer].elements) => buffer,
            Place::Splat(number) => {
                let count = ty.elements();
                let element = element_of(ty.dtype);
                let block = match element {
                    Element::F32 | Element::Bf16 => Block::of(&vec![number as f32; count]),
                    Element::I32 => Block::of(&vec![number as i32; count]),
                    Element::U8 | Element::Bool => Block::of(&vec![number as u8; count]),
                };
                let buffer = self.given(block, count, element);
                self.copies.insert(value, buffer);
                buffer
            }
            Place::At { buffer, view } => {
                let to = self.buffer(ty.elements(), self.buffers[buffer].element, Home::Arena);
                let own = std::mem::replace(&mut self.label.op, "copy".into());
                let flops = std::mem::take(&mut self.label.flops);
                self.copy(buffer, &view, to, &View::dense(&ty.shape));
                (self.label.op, self.label.flops) = (own, flops);
                self.copies.insert(value, to);
                to
            }
        }
    }

    fn shape(&self, value: Value) -> Vec<usize> {
        self.graph.shape(value).to_vec()
    }
}

/// A call of an op that stands nowhere in the model.
fn label(op: &str) -> Call {
    Call { op: op.into(), scope: "".into(), flops: 0, bytes: 0 }
}

/// A list that closures share.
fn shared<T: Clone>(list: &[T]) -> Arc<[T]> {
    list.into()
}
