//! Inputs of the next step, brought to the device while a step runs.

use std::sync::Arc;

use fer_engine::Feeds;

use crate::{
    device::{Address, Device, DeviceError},
    store::Memory,
};

/// Feeds that wait on the device for the step that is given them.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// By argument of the graph, for its inputs; allocated at the first use.
    places: Vec<Option<Memory>>,
    /// What waits there. As long as it is held here it cannot change, and nothing else can be mistaken for it.
    waiting: Option<Arc<Feeds>>,
}

impl Ahead {
    /// Whether it is these feeds that wait, which then do so no longer; nor do others, which came for nothing.
    pub(crate) fn take(&mut self, feeds: Option<&Arc<Feeds>>) -> bool {
        self.waiting.take().zip(feeds).is_some_and(|(waiting, feeds)| Arc::ptr_eq(&waiting, feeds))
    }

    /// Where the input of an argument waits.
    pub(crate) fn place(&self, argument: usize) -> Option<Address> {
        self.places.get(argument)?.as_ref().map(|memory| memory.address)
    }

    /// Brings feeds to the device: of each argument that is an input its numbers.
    ///
    /// # Errors
    /// Those of the device; then nothing waits.
    pub(crate) fn stage(
        &mut self,
        device: &Arc<dyn Device>,
        feeds: Arc<Feeds>,
        inputs: &[Option<Vec<u8>>],
    ) -> Result<(), DeviceError> {
        if self.places.is_empty() {
            let place = |numbers: &Option<Vec<u8>>| numbers.as_ref().map(|n| Memory::new(device, n.len())).transpose();
            self.places = inputs.iter().map(place).collect::<Result<_, _>>()?;
        }
        for (memory, numbers) in self.places.iter().zip(inputs) {
            if let (Some(memory), Some(numbers)) = (memory, numbers) {
                device.stage(memory.address, numbers)?;
            }
        }
        self.waiting = Some(feeds);
        Ok(())
    }
}
