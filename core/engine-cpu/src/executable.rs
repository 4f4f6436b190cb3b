//! A plan that runs: arguments are looked up, steps follow each other in one arena, updates take effect at the end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fer_cpu_kernels::{elementwise::Element, product::Factors};
use fer_engine::{
    Call, Data, EngineError, Executable, Feeds, Outputs, Result, Store, Summary, Tensor, kernel::Checked,
};
use fer_graph::{Argument, DType, Graph, Role, TensorType};
use fer_plan::{Touched, allot};

use crate::{
    Options,
    lower::{Plan, Update, check, lower, supports},
    memory::Block,
    step::{Access, BufferId, Home, Memory},
    store::{CpuStore, element_of},
};

/// The memory in which steps run; executables of one engine take turns.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    block: Option<Block>,
}

impl Arena {
    fn at_least(&mut self, bytes: usize) -> *mut u8 {
        if self.block.as_ref().is_none_or(|b| b.bytes() < bytes) {
            // The old block goes before the new one comes.
            self.block = None;
            self.block = Some(Block::zeroed(bytes));
        }
        self.block.as_mut().map_or(std::ptr::null_mut(), Block::pointer)
    }
}

pub(crate) struct CpuExecutable {
    arguments: Vec<(Argument, TensorType)>,
    outputs: Vec<(String, TensorType)>,
    /// The arguments that are updated.
    updates: Vec<usize>,
    plan: Plan,
    /// Places in the arena, by buffer; those that are elsewhere have none.
    offsets: Vec<Option<usize>>,
    arena_bytes: usize,
    guards: Vec<Guard>,
    arena: Arc<Mutex<Arena>>,
}

impl CpuExecutable {
    /// # Errors
    /// [`EngineError::Graph`] when the graph breaks a rule, [`EngineError::Unsupported`] for an op without a kernel,
    /// [`EngineError::Kernel`] for a plugin's kernel that is not what its op means.
    pub(crate) fn compile(
        graph: &Graph,
        options: &Options,
        checked: &Checked,
        arena: Arc<Mutex<Arena>>,
    ) -> Result<CpuExecutable> {
        fer_graph::verify(graph)?;
        let graph = fer_plan::inline(graph, |graph, node| supports(options, graph, node))?;
        check(checked, options, &graph)?;
        let mut graph = fer_plan::simplify(&fer_plan::join(&fer_plan::simplify(&graph)?)?)?;
        // In bfloat16 keeping it costs half as much, and computing it anew as much as ever.
        if options.factors == Factors::F32 && !options.is_off("recompute") {
            graph = fer_plan::recompute(&graph, |node| node.op.is("gelu"))?;
        }
        let plan = lower(&graph, options)?;
        let (offsets, arena_bytes) = places(&plan);
        let guards = guards(&graph, &plan);
        Ok(CpuExecutable {
            arguments: graph.arguments.iter().map(|a| (a.clone(), graph.ty(a.value).clone())).collect(),
            outputs: graph.outputs.iter().map(|(n, v)| (n.clone(), graph.ty(*v).clone())).collect(),
            updates: updated(&graph),
            plan,
            offsets,
            arena_bytes,
            guards,
            arena,
        })
    }
}

/// A scalar that is looked at before anything is updated: after which step, and where it stands.
struct Guard {
    step: usize,
    buffer: BufferId,
}

/// The scalar outputs that are there before the first update in place.
fn guards(graph: &Graph, plan: &Plan) -> Vec<Guard> {
    if plan.updates.is_empty() {
        return vec![];
    }
    let stores = |b: &BufferId| matches!(plan.buffers[*b].home, Home::Argument(_));
    let first = plan.steps.iter().position(|s| s.writes.iter().any(stores)).unwrap_or(plan.steps.len());
    let scalars = graph.outputs.iter().zip(&plan.outputs).filter(|((_, v), _)| {
        let ty = graph.ty(*v);
        ty.dtype == DType::Float && ty.rank() == 0
    });
    let written = |&b: &BufferId| plan.steps.iter().rposition(|s| s.writes.contains(&b));
    let guarded = scalars.filter_map(|(_, buffer)| Some(Guard { step: written(buffer)?, buffer: *buffer }));
    guarded.filter(|g| g.step < first).collect()
}

/// Which argument each update is of.
fn updated(graph: &Graph) -> Vec<usize> {
    let place = |name: &str| graph.arguments.iter().position(|a| a.name == name);
    graph.updates.iter().map(|(name, _)| place(name).expect("a verified graph updates its arguments")).collect()
}

/// Places in the arena, by buffer, and its size.
fn places(plan: &Plan) -> (Vec<Option<usize>>, usize) {
    let calls: Vec<Touched<'_>> =
        plan.steps.iter().map(|s| Touched { reads: &s.reads, writes: &s.writes, in_place: &s.in_place }).collect();
    let bytes: Vec<Option<usize>> = plan.buffers.iter().map(|b| (b.home == Home::Arena).then(|| b.bytes())).collect();
    // Outputs and updates are read when all steps are done.
    let updates = plan.updates.iter().filter_map(|update| match update {
        Update::Buffer(b) => Some(*b),
        Update::Fill(_) => None,
    });
    let kept: Vec<BufferId> = plan.outputs.iter().copied().chain(updates).collect();
    allot(&calls, &bytes, &kept)
}

/// What an input is read from: the tensor itself where its elements are as the step wants them, else a copy.
enum Fed<'a> {
    Tensor(&'a Data),
    Copy(Block),
}

impl Fed<'_> {
    fn pointer(&mut self) -> *mut u8 {
        // Nothing writes to an input: the pointer is mutable because all are.
        match self {
            Fed::Tensor(Data::F32(v)) => v.as_ptr().cast_mut().cast(),
            Fed::Tensor(Data::F64(v)) => v.as_ptr().cast_mut().cast(),
            Fed::Tensor(Data::I32(v)) => v.as_ptr().cast_mut().cast(),
            Fed::Tensor(Data::U8(v)) => v.as_ptr().cast_mut(),
            Fed::Tensor(Data::Bool(v)) => v.as_ptr().cast_mut().cast(),
            Fed::Copy(block) => block.pointer(),
        }
    }
}

fn feed<'a>(name: &str, given: &'a Tensor, expected: &TensorType) -> Result<Fed<'a>> {
    let dtype = given.data.dtype();
    let fits =
        given.shape == expected.shape && (dtype == expected.dtype || dtype.is_float() && expected.dtype.is_float());
    if !fits {
        return Err(EngineError::WrongType { name: name.to_owned(), expected: expected.clone(), found: given.ty() });
    }
    Ok(match &given.data {
        Data::F64(_) => Fed::Copy(Block::of(&given.to_f32())),
        data => Fed::Tensor(data),
    })
}

impl Executable for CpuExecutable {
    fn run(&self, store: &mut dyn Store, inputs: &Feeds) -> Result<Outputs> {
        self.execute(store, inputs, None)
    }

    fn run_timed(
        &self,
        store: &mut dyn Store,
        inputs: &Feeds,
        see: &mut dyn FnMut(&Call, Duration),
    ) -> Result<Outputs> {
        self.execute(store, inputs, Some(see))
    }

    fn stops_when_not_finite(&self, output: &str) -> bool {
        let guarded = |buffer: &BufferId| self.guards.iter().any(|g| g.buffer == *buffer);
        self.outputs.iter().zip(&self.plan.outputs).any(|((name, _), buffer)| name == output && guarded(buffer))
    }

    fn summary(&self) -> Option<Summary> {
        Some(Summary { calls: self.plan.steps.len(), arena_bytes: self.arena_bytes })
    }
}

/// Who is shown each call and its time.
type See<'a> = &'a mut dyn FnMut(&Call, Duration);

impl CpuExecutable {
    fn execute(&self, store: &mut dyn Store, inputs: &Feeds, mut see: Option<See<'_>>) -> Result<Outputs> {
        let Some(store) = store.as_any_mut().downcast_mut::<CpuStore>() else {
            return Err(EngineError::Unsupported("this store belongs to another engine, not to cpu".to_owned()));
        };
        // Everything that can be wrong is seen before anything is computed.
        let mut fed: Vec<Fed<'_>> = vec![];
        let mut given: Vec<*mut u8> = vec![];
        for (argument, ty) in &self.arguments {
            if argument.role == Role::Input {
                let tensor = inputs
                    .get(&argument.name)
                    .ok_or_else(|| EngineError::MissingInput { name: argument.name.clone(), expected: ty.clone() })?;
                let mut input = feed(&argument.name, tensor, ty)?;
                given.push(input.pointer());
                fed.push(input);
            } else {
                given.push(store.place(&argument.name, ty)?);
            }
        }
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        let base = arena.at_least(self.arena_bytes);
        let pointers: Vec<*mut u8> = self
            .plan
            .buffers
            .iter()
            .zip(&self.offsets)
            .map(|(buffer, offset)| match (buffer.home, offset) {
                (Home::Argument(i), _) => given[i],
                (Home::Constant(i), _) => self.plan.constants[i].address(),
                // Never touched where there is no offset: no step names it.
                (Home::Arena, offset) => base.wrapping_add(offset.unwrap_or(0)),
            })
            .collect();
        let memory = Memory { buffers: &self.plan.buffers, pointers: &pointers };
        let mut stopped = None;
        for (index, step) in self.plan.steps.iter().enumerate() {
            // SAFETY: arguments were checked to have their buffers' sizes, the arena was packed so that buffers that live at the same
            // time lie apart, and steps follow each other.
            let access = unsafe { Access::new(&memory, step) };
            let began = see.is_some().then(Instant::now);
            (step.run)(&access);
            if let Some(complaint) = access.complaint() {
                return Err(EngineError::Unsupported(complaint));
            }
            if let (Some(see), Some(began)) = (&mut see, began) {
                see(&step.call, began.elapsed());
            }
            // SAFETY: the buffer holds the scalar, which has just been computed.
            let fails = |g: &Guard| g.step == index && unsafe { !pointers[g.buffer].cast::<f32>().read().is_finite() };
            if self.guards.iter().any(fails) {
                stopped = Some(index);
                break;
            }
        }
        let outputs = self
            .outputs
            .iter()
            .zip(&self.plan.outputs)
            .map(|((name, ty), &buffer)| {
                // SAFETY: the buffer holds the output's elements; nothing else runs.
                let data = unsafe { collect(pointers[buffer], ty) };
                (name.clone(), Tensor { shape: ty.shape.clone(), data })
            })
            .collect::<Outputs>();
        if let Some(index) = stopped {
            return Ok(self.cut_short(outputs, index));
        }
        // An update may be another entry's old value, so all are read before any is written.
        let mut moves = vec![];
        for (&argument, update) in self.updates.iter().zip(&self.plan.updates) {
            let buffer = match *update {
                Update::Buffer(buffer) => buffer,
                Update::Fill(_) => continue,
            };
            let (to, from) = (given[argument], pointers[buffer]);
            if to != from {
                let bytes = self.plan.buffers[buffer].bytes();
                let stored = matches!(self.plan.buffers[buffer].home, Home::Argument(_));
                // SAFETY: the buffer holds as many bytes.
                let copy = stored.then(|| Block::of(unsafe { std::slice::from_raw_parts(from, bytes) }));
                moves.push((to, from, copy, bytes));
            }
        }
        for (to, from, copy, bytes) in moves {
            let from = copy.as_ref().map_or(from, Block::address);
            // SAFETY: both have the argument's size; arena and constants lie apart from the store, and what was the store's was copied.
            unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), to, bytes) };
        }
        for (&argument, update) in self.updates.iter().zip(&self.plan.updates) {
            if let Update::Fill(number) = *update {
                let count = self.arguments[argument].1.elements();
                // SAFETY: the store's entry has the argument's type, which is float.
                unsafe { std::slice::from_raw_parts_mut(given[argument].cast::<f32>(), count) }.fill(number);
            }
        }
        Ok(outputs)
    }
}

impl CpuExecutable {
    /// Outputs of a step that ended early: those that were still to be computed are NaN.
    fn cut_short(&self, mut outputs: Outputs, last: usize) -> Outputs {
        for ((name, _), buffer) in self.outputs.iter().zip(&self.plan.outputs) {
            let later = self.plan.steps[last + 1..].iter().any(|s| s.writes.contains(buffer));
            if let (true, Some(Tensor { data: Data::F32(numbers), .. })) = (later, outputs.get_mut(name)) {
                numbers.fill(f32::NAN);
            }
        }
        outputs
    }
}

/// # Safety
/// The pointer is valid for a tensor of this type.
unsafe fn collect(pointer: *const u8, ty: &TensorType) -> Data {
    let count = ty.elements();
    // SAFETY: the caller's promise; bools were written as 0 or 1.
    unsafe {
        match element_of(ty.dtype) {
            Element::F32 => Data::F32(std::slice::from_raw_parts(pointer.cast(), count).to_vec()),
            Element::I32 => Data::I32(std::slice::from_raw_parts(pointer.cast(), count).to_vec()),
            Element::U8 if ty.dtype == DType::U8 => Data::U8(std::slice::from_raw_parts(pointer, count).to_vec()),
            _ => Data::Bool(std::slice::from_raw_parts(pointer, count).iter().map(|&b| b != 0).collect()),
        }
    }
}
