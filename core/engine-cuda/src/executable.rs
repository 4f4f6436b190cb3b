//! A plan that runs: arguments are looked up, inputs uploaded, the recorded step replayed, outputs downloaded.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use fer_engine::{
    Call, Data, EngineError, Executable, Feeds, Outputs, Result, Store, Summary, Tensor, kernel::Checked,
};
use fer_graph::{Argument, Graph, Role, TensorType};
use fer_plan::{Touched, allot};

use crate::{
    Options,
    ahead::Ahead,
    device::{Address, Command, Device, DeviceError, Recording},
    lower::{check, lower, supports},
    peak::Peak,
    plan::{BufferId, Home, Plan},
    report::{Need, out_of_memory},
    store::{CudaStore, Memory, bytes, data, held, refused},
};

/// The memory in which steps run; executables of one engine take turns.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    block: Option<Memory>,
}

impl Arena {
    fn at_least(&mut self, device: &Arc<dyn Device>, bytes: usize) -> Result<Address, DeviceError> {
        match &self.block {
            Some(block) if block.bytes >= bytes => Ok(block.address),
            _ => {
                // The old block goes before the new one comes.
                self.block = None;
                Ok(self.block.insert(Memory::new(device, bytes)?).address)
            }
        }
    }
}

/// A graph as the engine lowers it.
///
/// # Errors
/// [`EngineError::Graph`] when the graph breaks a rule, [`EngineError::Unsupported`] for an op without a kernel.
pub(crate) fn plan(graph: &Graph, options: &Options) -> Result<Plan> {
    lower(&prepared(graph, options)?, options)
}

fn prepared(graph: &Graph, options: &Options) -> Result<Graph> {
    fer_graph::verify(graph)?;
    let graph = fer_plan::inline(graph, |graph, node| supports(options, graph, node))?;
    let mut graph = fer_plan::simplify(&fer_plan::join(&fer_plan::simplify(&graph)?)?)?;
    if !options.is_off("recompute") {
        graph = fer_plan::recompute(&graph, |node| node.op.is("gelu"))?;
    }
    Ok(graph)
}

/// What was recorded, and where everything stood then.
struct Recorded {
    addresses: Vec<Address>,
    recording: Box<dyn Recording>,
}

/// Memory of an executable's own.
struct Held {
    /// By argument: what inputs are uploaded to.
    inputs: Vec<Option<Memory>>,
    constants: Vec<Memory>,
    /// By buffer, where each has memory of its own.
    separate: Vec<Option<Memory>>,
}

pub(crate) struct CudaExecutable {
    device: Arc<dyn Device>,
    arguments: Vec<(Argument, TensorType)>,
    outputs: Vec<(String, TensorType)>,
    plan: Plan,
    /// Places in the arena, by buffer; those that are elsewhere have none.
    offsets: Vec<Option<usize>>,
    arena_bytes: usize,
    separate: bool,
    /// What it holds from its first step on.
    held: OnceLock<Held>,
    recorded: Mutex<Option<Recorded>>,
    ahead: Mutex<Ahead>,
    arena: Arc<Mutex<Arena>>,
}

impl CudaExecutable {
    /// # Errors
    /// Those of [`plan`], and [`EngineError::Device`] for a device that refuses.
    pub(crate) fn compile(
        graph: &Graph,
        device: &Arc<dyn Device>,
        options: &Options,
        checked: &Checked,
        arena: Arc<Mutex<Arena>>,
    ) -> Result<CudaExecutable> {
        let graph = prepared(graph, options)?;
        let plan = lower(&graph, options)?;
        check(checked, device, options, &graph)?;
        let (offsets, arena_bytes) = places(&plan);
        device.prepare(&plan.units).map_err(|error| refused(&error))?;
        Ok(CudaExecutable {
            device: device.clone(),
            arguments: graph.arguments.iter().map(|a| (a.clone(), graph.ty(a.value).clone())).collect(),
            outputs: graph.outputs.iter().map(|(n, v)| (n.clone(), graph.ty(*v).clone())).collect(),
            plan,
            offsets,
            arena_bytes: if options.separate { 0 } else { arena_bytes },
            separate: options.separate,
            held: OnceLock::new(),
            recorded: Mutex::default(),
            ahead: Mutex::default(),
            arena,
        })
    }

    /// Bytes that an argument takes where it is an input.
    fn input_bytes((argument, ty): &(Argument, TensorType)) -> Option<usize> {
        (argument.role == Role::Input).then(|| ty.elements() * held(ty.dtype).bytes())
    }

    /// What it holds; got at the first step, when the store is known, so that all memory that a step needs is asked for in one place.
    fn held(&self, store: &CudaStore) -> Result<&Held> {
        if let Some(held) = self.held.get() {
            return Ok(held);
        }
        let got = self.hold().map_err(|error| self.does_not_fit(&error, store))?;
        Ok(self.held.get_or_init(|| got))
    }

    fn hold(&self) -> Result<Held, DeviceError> {
        let memory = |bytes: Option<usize>| bytes.map(|bytes| Memory::new(&self.device, bytes)).transpose();
        let constants = self.plan.constants.iter().map(|numbers| {
            let memory = Memory::new(&self.device, numbers.len())?;
            self.device.upload(memory.address, numbers)?;
            Ok(memory)
        });
        let constants = constants.collect::<Result<_, DeviceError>>()?;
        let inputs =
            self.arguments.iter().map(|argument| memory(Self::input_bytes(argument))).collect::<Result<_, _>>()?;
        let alone = |b: &crate::plan::Buffer| (self.separate && b.home == Home::Arena).then(|| b.bytes());
        let separate = self.plan.buffers.iter().map(|b| memory(alone(b))).collect::<Result<_, _>>()?;
        Ok(Held { inputs, constants, separate })
    }

    /// Where every buffer stands.
    fn addresses(&self, held: &Held, arena: Address, arguments: &[Address]) -> Vec<Address> {
        let places = self.plan.buffers.iter().zip(&self.offsets).zip(&held.separate);
        places
            .map(|((buffer, offset), separate)| match (buffer.home, separate) {
                (Home::Argument(i), _) => arguments[i],
                (Home::Constant(i), _) => held.constants[i].address,
                (Home::Arena, Some(own)) => own.address,
                // Never touched where there is no offset: no step names it.
                (Home::Arena, None) => arena + offset.unwrap_or(0) as u64,
            })
            .collect()
    }

    /// Why memory cannot be had: what the plan needs where, and what would fit.
    fn does_not_fit(&self, error: &DeviceError, store: &CudaStore) -> EngineError {
        let &DeviceError::OutOfMemory { free, total, .. } = error else { return refused(error) };
        // What was got on the way to the error has been given back.
        let free = self.device.memory().map_or(free, |memory| memory.free);
        let images = |(argument, ty): &(Argument, TensorType)| {
            (argument.role == Role::Input && ty.rank() > 1).then(|| ty.shape[0])
        };
        let batch = self.arguments.iter().find_map(images).unwrap_or(1).max(1);
        let stored = || self.arguments.iter().filter(|(argument, _)| argument.role != Role::Input).map(|(_, ty)| ty);
        let mut peak = Peak::of(&self.plan, batch, &stored().map(TensorType::elements).collect());
        // What is lost between buffers is lost for any batch.
        let most = peak.moments.iter().map(|m| m.0 + m.1).max().unwrap_or(0);
        peak.moments.iter_mut().for_each(|m| m.0 += self.arena_bytes.saturating_sub(most));
        let given: usize = self.arguments.iter().filter_map(Self::input_bytes).sum();
        let constants: usize = self.plan.constants.iter().map(Vec::len).sum();
        // Of the store there may be only what did fit.
        let entries = stored().map(|ty| ty.elements() * held(ty.dtype).bytes()).sum::<usize>().max(store.bytes());
        let own = if self.held.get().is_some() { constants + given } else { 0 };
        let need = Need {
            by_scope: &peak.by_scope,
            fixed: entries + constants,
            per_image: given.div_ceil(batch),
            moments: &peak.moments,
            batch,
            // What the plan has got so far counts as free to it.
            free: free + store.bytes() + own,
            total,
        };
        EngineError::Device(out_of_memory(&need))
    }

    /// Of each argument that is an input its numbers, as they stand in memory.
    ///
    /// # Errors
    /// [`EngineError::MissingInput`], [`EngineError::WrongType`].
    fn numbers(&self, inputs: &Feeds) -> Result<Vec<Option<Vec<u8>>>> {
        let numbers = self.arguments.iter().map(|(argument, ty)| {
            if argument.role != Role::Input {
                return Ok(None);
            }
            let given = inputs
                .get(&argument.name)
                .ok_or_else(|| EngineError::MissingInput { name: argument.name.clone(), expected: ty.clone() })?;
            checked(&argument.name, given, ty).map(Some)
        });
        numbers.collect()
    }

    fn execute(&self, store: &mut dyn Store, inputs: &Feeds, mut how: How<'_>) -> Result<Outputs> {
        let Some(store) = store.as_any_mut().downcast_mut::<CudaStore>() else {
            return Err(EngineError::Unsupported("this store belongs to another engine, not to cuda".to_owned()));
        };
        if let Some(error) = store.failure() {
            return Err(self.does_not_fit(&error, store));
        }
        // Everything that can be wrong is seen before anything is uploaded.
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = ahead.take(how.shared());
        // What waits has been looked at.
        let numbers = if waits { vec![None; self.arguments.len()] } else { self.numbers(inputs)? };
        let held = self.held(store)?;
        let mut arguments = vec![];
        for ((argument, ty), input) in self.arguments.iter().zip(&held.inputs) {
            arguments.push(match input {
                Some(memory) => memory.address,
                None => store.place(&argument.name, ty)?,
            });
        }
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        let refuse = |error: DeviceError| refused(&error);
        let block = arena.at_least(&self.device, self.arena_bytes).map_err(|error| self.does_not_fit(&error, store))?;
        let addresses = self.addresses(held, block, &arguments);
        for (i, memory) in held.inputs.iter().enumerate() {
            match (memory, &numbers[i], ahead.place(i)) {
                (Some(memory), Some(numbers), _) => self.device.upload(memory.address, numbers),
                (Some(memory), None, Some(from)) => self.device.fetch(from, memory.address, memory.bytes),
                _ => Ok(()),
            }
            .map_err(refuse)?;
        }
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = match recorded.take().filter(|r| r.addresses == addresses) {
            Some(same) => recorded.insert(same),
            None => {
                let commands: Vec<Command<Address>> =
                    self.plan.steps.iter().map(|step| step.command.map(|&b| addresses[b])).collect();
                let recording = self.device.record(&self.plan.units, &commands).map_err(refuse)?;
                recorded.insert(Recorded { addresses, recording })
            }
        };
        match &mut how {
            How::Plain => recorded.recording.replay().map_err(refuse)?,
            How::Timed(see) => {
                let mut show = |i: usize, time: Duration| see(&self.plan.steps[i].call, time);
                recorded.recording.replay_timed(&mut show).map_err(refuse)?;
            }
            How::Ahead(_, next) => {
                recorded.recording.replay().map_err(refuse)?;
                // What cannot be brought now is uploaded by its own step, which says what is wrong.
                if let Some(next) = next()
                    && let Ok(numbers) = self.numbers(&next)
                {
                    let _ = ahead.stage(&self.device, next, &numbers);
                }
            }
        }
        let outputs = self.outputs.iter().zip(&self.plan.outputs).map(|((name, ty), &buffer)| {
            let Plan { buffers, .. } = &self.plan;
            let mut numbers = vec![0; buffers[buffer].bytes()];
            self.device.download(recorded.addresses[buffer], &mut numbers).map_err(refuse)?;
            Ok((name.clone(), Tensor { shape: ty.shape.clone(), data: data(buffers[buffer].element, &numbers) }))
        });
        outputs.collect::<Result<Outputs>>().map(|outputs| self.judged(outputs))
    }

    /// Outputs of a step that updated nothing: those that come of updates are NaN, since there were none.
    fn judged(&self, mut outputs: Outputs) -> Outputs {
        let name = |&i: &usize| &self.outputs[i].0;
        let odd = |i: &usize| outputs.get(name(i)).and_then(Tensor::item).is_some_and(|number| !number.is_finite());
        if self.plan.guard.looked.iter().any(odd) {
            for i in &self.plan.guard.later {
                if let Some(Tensor { data: Data::F32(numbers), .. }) = outputs.get_mut(name(i)) {
                    numbers.fill(f32::NAN);
                }
            }
        }
        outputs
    }
}

/// How a step is run.
enum How<'a> {
    Plain,
    /// Each call and its time is shown.
    Timed(&'a mut dyn FnMut(&Call, Duration)),
    /// These are the inputs, and the next step's may be asked for.
    Ahead(&'a Arc<Feeds>, &'a mut dyn FnMut() -> Option<Arc<Feeds>>),
}

impl How<'_> {
    fn shared(&self) -> Option<&Arc<Feeds>> {
        match self {
            How::Ahead(inputs, _) => Some(inputs),
            How::Plain | How::Timed(_) => None,
        }
    }
}

/// An input's numbers as they stand in memory.
fn checked(name: &str, given: &Tensor, expected: &TensorType) -> Result<Vec<u8>> {
    let dtype = given.data.dtype();
    let fits =
        given.shape == expected.shape && (dtype == expected.dtype || dtype.is_float() && expected.dtype.is_float());
    if !fits {
        return Err(EngineError::WrongType { name: name.to_owned(), expected: expected.clone(), found: given.ty() });
    }
    let (element, numbers) = bytes(given);
    debug_assert_eq!(element, held(expected.dtype));
    Ok(numbers)
}

/// Places in the arena, by buffer, and its size.
fn places(plan: &Plan) -> (Vec<Option<usize>>, usize) {
    let calls: Vec<Touched<'_>> =
        plan.steps.iter().map(|s| Touched { reads: &s.reads, writes: &s.writes, in_place: &s.in_place }).collect();
    let bytes: Vec<Option<usize>> = plan.buffers.iter().map(|b| (b.home == Home::Arena).then(|| b.bytes())).collect();
    let kept: Vec<BufferId> = plan.outputs.clone();
    allot(&calls, &bytes, &kept)
}

impl Executable for CudaExecutable {
    fn run(&self, store: &mut dyn Store, inputs: &Feeds) -> Result<Outputs> {
        self.execute(store, inputs, How::Plain)
    }

    fn run_ahead(
        &self,
        store: &mut dyn Store,
        inputs: &Arc<Feeds>,
        next: &mut dyn FnMut() -> Option<Arc<Feeds>>,
    ) -> Result<Outputs> {
        self.execute(store, inputs, How::Ahead(inputs, next))
    }

    fn run_timed(
        &self,
        store: &mut dyn Store,
        inputs: &Feeds,
        see: &mut dyn FnMut(&Call, Duration),
    ) -> Result<Outputs> {
        self.execute(store, inputs, How::Timed(see))
    }

    fn stops_when_not_finite(&self, output: &str) -> bool {
        self.plan.guard.looked.iter().any(|&i| self.outputs[i].0 == output)
    }

    fn summary(&self) -> Option<Summary> {
        Some(Summary { calls: self.plan.steps.len(), arena_bytes: self.arena_bytes })
    }
}
