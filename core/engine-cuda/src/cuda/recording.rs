//! A step as one graph of the driver, and the same step command by command for its times.

use std::{sync::Arc, time::Duration};

use super::{
    Inner,
    arguments::{Arguments, check_launch, check_sizes},
    driver::{Event, Function, Graph, Stream},
};
use crate::device::{Address, Command, DeviceError, Launch, Recording, Result, Unit};

/// What a kernel may have without asking for it.
const SHARED_BY_DEFAULT: u32 = 48 << 10;

/// Commands with their kernels found.
#[derive(Debug)]
pub(super) struct Recorded {
    inner: Arc<Inner>,
    graph: Option<Graph>,
    commands: Vec<(Command<Address>, Option<Function>)>,
}

impl Recorded {
    /// Everything that loads or allocates happens before the recording begins.
    pub fn new(inner: Arc<Inner>, units: &[Unit], commands: &[Command<Address>]) -> Result<Recorded> {
        let mut found = Vec::with_capacity(commands.len());
        for command in commands {
            let function = match command {
                Command::Launch(launch) => Some(ready(&inner, units, launch)?),
                Command::MatMul(product) => {
                    inner.products()?.plan(product)?;
                    None
                }
                Command::Copy { .. } => None,
            };
            found.push((command.clone(), function));
        }
        let mut recorded = Recorded { inner, graph: None, commands: found };
        if !recorded.commands.is_empty() {
            let stream = Stream::new(&recorded.inner.context)?;
            let graph =
                stream.capture(|| recorded.commands.iter().try_for_each(|(c, f)| recorded.ask(&stream, c, *f)))?;
            recorded.graph = Some(graph);
        }
        Ok(recorded)
    }

    fn ask(&self, stream: &Stream, command: &Command<Address>, function: Option<Function>) -> Result<()> {
        match (command, function) {
            (Command::Launch(launch), Some(function)) => {
                let mut arguments = Arguments::of(&launch.parameters);
                let what = format!("the kernel {}", launch.kernel);
                let mut pointers = arguments.pointers();
                // SAFETY: sizes were checked against the kernel's where the driver tells them, and are the lowering's to get right;
                // so are the addresses. The driver copies the values before it returns.
                unsafe { stream.launch(&what, function, launch.grid, launch.block, launch.shared, &mut pointers) }
            }
            (Command::Launch(launch), None) => Err(DeviceError::Missing(format!("the kernel {}", launch.kernel))),
            (Command::MatMul(product), _) => self.inner.products()?.multiply(stream, product),
            (Command::Copy { from, to, bytes }, _) => stream.copy(*from, *to, *bytes),
        }
    }
}

/// The kernel of a launch, allowed the memory that the launch gives it.
fn ready(inner: &Inner, units: &[Unit], launch: &Launch<Address>) -> Result<Function> {
    check_launch(launch, inner.info.shared_memory)?;
    let function = inner.function(units, &launch.kernel)?;
    if launch.shared > SHARED_BY_DEFAULT {
        function.allow_shared(&launch.kernel, inner.info.shared_memory)?;
    }
    if let Some(declared) = function.parameter_sizes() {
        check_sizes(&launch.kernel, &declared, &Arguments::of(&launch.parameters).sizes())?;
    }
    Ok(function)
}

impl Recording for Recorded {
    fn replay(&self) -> Result<()> {
        self.inner.guard(|| match &self.graph {
            Some(graph) => graph.launch(&self.inner.stream),
            None => Ok(()),
        })
    }

    fn replay_timed(&self, see: &mut dyn FnMut(usize, Duration)) -> Result<()> {
        let inner = &self.inner;
        inner.guard(|| {
            // All are asked for before the first is waited for, so that the host's time between them does not count.
            let mut events = Vec::with_capacity(self.commands.len());
            for (command, function) in &self.commands {
                let (before, after) = (Event::timed(&inner.context)?, Event::timed(&inner.context)?);
                before.record(&inner.stream)?;
                self.ask(&inner.stream, command, *function)?;
                after.record(&inner.stream)?;
                events.push((before, after));
            }
            inner.stream.synchronise()?;
            for (at, (before, after)) in events.iter().enumerate() {
                see(at, after.since(before)?);
            }
            Ok(())
        })
    }
}
