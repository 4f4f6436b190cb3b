//! Commands that were recorded, checked as a card's driver and library would.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fer_engine_cuda::device::{Address, Command, DeviceError, DeviceInfo, MatMul, Recording, Result};

use crate::{
    device::{See, State},
    launch::Prepared,
    memory::Memory,
    product,
    unit::Loaded,
};

enum Step {
    Launch(Prepared),
    Product(Box<MatMul<Address>>),
    Copy { from: Address, to: Address, bytes: usize },
}

pub(crate) struct Recorded {
    steps: Vec<Step>,
    state: Arc<Mutex<State>>,
}

impl Recorded {
    /// # Errors
    /// [`DeviceError::Missing`] for a kernel that no unit has, [`DeviceError::Failed`] for what a card refuses.
    pub(crate) fn new(
        units: &[Arc<Loaded>],
        commands: &[Command<Address>],
        info: &DeviceInfo,
        state: Arc<Mutex<State>>,
    ) -> Result<Recorded> {
        let steps = commands.iter().map(|command| {
            Ok(match command {
                Command::Launch(launch) => Step::Launch(Prepared::new(launch, units, info)?),
                Command::MatMul(product) => {
                    product::check(product).map_err(|why| DeviceError::Failed { what: "a product".to_owned(), why })?;
                    Step::Product(Box::new(product.clone()))
                }
                &Command::Copy { from, to, bytes } => Step::Copy { from, to, bytes },
            })
        });
        Ok(Recorded { steps: steps.collect::<Result<_>>()?, state })
    }

    fn run(&self, state: &mut State, see: See<'_>) -> Result<()> {
        for (i, step) in self.steps.iter().enumerate() {
            let began = Instant::now();
            state.machine.command = i;
            match step {
                Step::Launch(launch) => state.machine.launch(launch, &state.memory)?,
                _ if state.machine.sample.is_some() => {}
                Step::Product(product) => product::run(product, &state.memory)
                    .map_err(|why| DeviceError::Lost { what: "a product".to_owned(), why })?,
                &Step::Copy { from, to, bytes } => copy(&state.memory, from, to, bytes)
                    .map_err(|why| DeviceError::Lost { what: "a copy".to_owned(), why })?,
            }
            see(i, began.elapsed());
        }
        Ok(())
    }
}

impl Recording for Recorded {
    fn replay(&self) -> Result<()> {
        self.replay_timed(&mut |_, _: Duration| {})
    }

    fn replay_timed(&self, see: See<'_>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.alive("replay")?;
        match &mut state.left {
            Some(0) => state.lost = Some("it was to be lost now".to_owned()),
            Some(left) => *left -= 1,
            None => {}
        }
        state.alive("replay")?;
        let ran = self.run(&mut state, see);
        if let Err(DeviceError::Lost { why, .. }) = &ran {
            state.lost = Some(why.clone());
        }
        ran
    }
}

/// Copies bytes from one place to another that lies apart.
pub(crate) fn copy(memory: &Memory, from: Address, to: Address, bytes: usize) -> Result<(), String> {
    let (source, target) = (memory.place(from, bytes)?, memory.place(to, bytes)?);
    if from < to + bytes as u64 && to < from + bytes as u64 {
        return Err(format!("{bytes} bytes from {from:#x} to {to:#x} overlap"));
    }
    // SAFETY: `place` found so many bytes at both places, which lie apart.
    unsafe { target.copy_from_nonoverlapping(source, bytes) };
    Ok(())
}
