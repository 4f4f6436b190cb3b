//! Memory of the device and of the host, and the ways between.

use std::{
    ffi::{c_uint, c_void},
    slice,
    sync::Arc,
};

use fer_engine_cuda::device::{Device, MemoryInfo};

use crate::{
    state::{Answer, INVALID_VALUE, OUT_OF_MEMORY, State, give, giving_back, inside, say},
    work::Work,
};

#[unsafe(no_mangle)]
pub extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    inside(|state| {
        let memory = Device::memory(&state.device).map_err(|error| state.refused(&error))?;
        let MemoryInfo { free: now, total: all } = memory;
        give(free, now);
        give(total, all);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAlloc_v2(to: *mut u64, bytes: usize) -> u32 {
    inside(|state| {
        if bytes == 0 {
            return Err(say(INVALID_VALUE, "an allocation of no bytes"));
        }
        let address = state.device.allocate(bytes).map_err(|error| state.refused(&error))?;
        give(to, address);
        Ok(())
    })
}

/// Waits for everything, as the driver does.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    giving_back(|state| {
        state.idle()?;
        state.device.release(address);
        state.device.synchronise().map_err(|error| state.refused(&error))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostAlloc(to: *mut *mut c_void, bytes: usize, _flags: c_uint) -> u32 {
    inside(|state| {
        if !state.settings.pinned {
            return Err(OUT_OF_MEMORY);
        }
        let mut memory = vec![u128::MAX; bytes.div_ceil(16).max(1)];
        let start: *mut c_void = memory.as_mut_ptr().cast();
        state.pinned.insert(start.expose_provenance(), memory);
        give(to, start);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(start: *mut c_void) -> u32 {
    giving_back(|state| {
        if state.streams.values().any(|stream| stream.reads(start.addr())) {
            return Err(say(INVALID_VALUE, "memory of the host is given back that a copy is still to read"));
        }
        let known = state.pinned.remove(&start.addr());
        known.map(drop).ok_or_else(|| say(INVALID_VALUE, "this memory of the host was not pinned"))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: *mut c_void) -> u32 {
    inside(|state| {
        let work = if state.pinned_at(from.addr()).is_some() {
            Work::Upload { from: from.addr(), to, bytes }
        } else {
            // SAFETY: the caller gave so many bytes.
            let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes) };
            Work::Store { bytes: Arc::new(bytes.to_vec()), to }
        };
        state.ask(stream, work)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: *mut c_void) -> u32 {
    inside(|state| state.ask(stream, Work::Download { from, to: to.expose_provenance(), bytes }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut c_void) -> u32 {
    inside(|state| state.ask(stream, Work::Copy { from, to, bytes }))
}

impl State {
    /// The pinned memory that an address lies in: where it begins, and how many bytes it has.
    fn pinned_at(&self, address: usize) -> Option<(usize, usize)> {
        let all = self.pinned.iter().map(|(&start, memory)| (start, 16 * memory.len()));
        all.into_iter().find(|&(start, bytes)| (start..start + bytes).contains(&address))
    }

    /// What pinned memory holds now.
    pub(crate) fn host(&mut self, address: usize, bytes: usize) -> Answer<Vec<u8>> {
        let inside = self.pinned_at(address).filter(|(start, room)| address + bytes <= start + room);
        if inside.is_none() {
            return Err(self.lose(crate::state::ILLEGAL_ADDRESS, "a copy reads memory of the host that is not pinned"));
        }
        // SAFETY: inside memory that is pinned. Whoever writes to it meanwhile breaks the engine's own rule, and is to be noticed.
        Ok(unsafe { slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), bytes) }.to_vec())
    }
}
