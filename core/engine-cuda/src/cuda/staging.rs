//! Bytes on their way to the device: two pinned buffers that take turns, so that one is filled while the other is read.

use std::sync::Arc;

use super::{
    driver::{Context, Event, Pinned, Stream},
    fault::Result,
};
use crate::device::Address;

/// What is larger goes in pieces, where it may wait for the piece before the last.
pub(super) const PIECE: usize = 16 << 20;

#[derive(Debug)]
struct Buffer {
    /// `None` before the first use, and where the host would not give pinned memory.
    memory: Option<Pinned>,
    /// The device has read it.
    read: Event,
}

/// Two buffers of the host and the stream that reads them.
#[derive(Debug)]
pub(super) struct Staging {
    context: Arc<Context>,
    buffers: [Buffer; 2],
    turn: usize,
    told: bool,
}

impl Staging {
    pub fn new(context: &Arc<Context>) -> Result<Staging> {
        let buffer = || Ok(Buffer { memory: None, read: Event::new(context)? });
        Ok(Staging { context: context.clone(), buffers: [buffer()?, buffer()?], turn: 0, told: false })
    }

    /// Asks for a copy; the bytes may be changed as soon as this returns.
    pub fn send(&mut self, stream: &Stream, to: Address, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.turn = 1 - self.turn;
        let buffer = &mut self.buffers[self.turn];
        buffer.read.synchronise()?;
        if buffer.memory.as_ref().is_none_or(|memory| memory.bytes < bytes.len()) {
            buffer.memory = None;
            match Pinned::new(&self.context, bytes.len().next_power_of_two()) {
                Ok(memory) => buffer.memory = Some(memory),
                // Slower: the driver stages pageable memory by itself, after the stream is through.
                Err(error) if !self.told => {
                    self.told = true;
                    tracing::warn!("{error}; copies to the device are slower without");
                }
                Err(_) => {}
            }
        }
        let start = match &mut buffer.memory {
            Some(memory) => memory.fill(bytes),
            None => bytes.as_ptr(),
        };
        // SAFETY: pinned bytes are not written before `read` has happened; pageable ones the driver takes before it returns. That
        // there is room at `to` is the contract of `Device::upload` and `Device::stage`.
        unsafe { stream.upload(to, start, bytes.len()) }?;
        buffer.read.record(stream)
    }
}
