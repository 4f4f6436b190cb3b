//! A device's memory: each allocation lies between pages that cannot be touched, and what it leaves of its own pages holds a pattern.

use std::{collections::BTreeMap, io, ptr, slice};

use fer_engine_cuda::device::{DeviceError, MemoryInfo, Result};

/// What lies beside data in its pages.
const PATTERN: u8 = 0xa5;

/// What fresh memory holds: as f32 and as bf16 a NaN.
const FRESH: u8 = 0xff;

/// Allocations begin and end at multiples of this.
const ALIGNMENT: usize = 256;

/// Addresses on both sides of an allocation that nothing may touch: a multiple of every page's size, and more than most wrong strides.
const GUARD: usize = 1 << 20;

/// Whole pages between some that cannot be touched.
pub(crate) struct Pages {
    map: *mut u8,
    /// Of those that can be touched.
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; who writes to it where is up to the pointers' users.
unsafe impl Send for Pages {}

impl Pages {
    pub(crate) fn new(least: usize) -> io::Result<Pages> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = least.max(1).checked_next_multiple_of(page).ok_or(io::ErrorKind::OutOfMemory)?;
        let all = bytes.checked_add(2 * GUARD).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, at a place that the system chooses.
        let map = unsafe { libc::mmap(ptr::null_mut(), all, libc::PROT_NONE, flags, -1, 0) };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pages = Pages { map: map.cast(), bytes };
        // SAFETY: pages of the mapping above.
        if unsafe { libc::mprotect(pages.begin().cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(pages)
    }

    pub(crate) fn begin(&self) -> *mut u8 {
        self.map.wrapping_add(GUARD)
    }

    pub(crate) fn end(&self) -> *mut u8 {
        self.begin().wrapping_add(self.bytes)
    }

    /// Gives the memory back and keeps the addresses, so that who still uses them is noticed.
    fn close(&mut self) {
        // SAFETY: pages of this mapping that nobody has a reference to. Where it fails they stay as they are.
        unsafe {
            libc::madvise(self.begin().cast(), self.bytes, libc::MADV_DONTNEED);
            libc::mprotect(self.begin().cast(), self.bytes, libc::PROT_NONE);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the whole of this mapping, which nobody uses any more.
        unsafe { libc::munmap(self.map.cast(), self.bytes + 2 * GUARD) };
    }
}

struct Allocation {
    bytes: usize,
    pages: Pages,
}

impl Allocation {
    fn begin(&self) -> *mut u8 {
        self.pages.end().wrapping_sub(self.bytes.max(1).next_multiple_of(ALIGNMENT))
    }

    /// Where the bytes before and behind the data are, and how many.
    fn beside(&self) -> [(*mut u8, usize); 2] {
        let (begin, end) = (self.begin(), self.begin().wrapping_add(self.bytes));
        let part = |from: *mut u8, to: *mut u8| (from, to as usize - from as usize);
        [part(self.pages.begin(), begin), part(end, self.pages.end())]
    }
}

pub(crate) struct Memory {
    total: usize,
    used: usize,
    live: BTreeMap<u64, Allocation>,
    /// Kept so that their addresses are given to nobody else.
    released: Vec<Allocation>,
}

impl Memory {
    pub(crate) fn new(total: usize) -> Memory {
        Memory { total, used: 0, live: BTreeMap::new(), released: vec![] }
    }

    pub(crate) fn info(&self) -> MemoryInfo {
        MemoryInfo { free: self.total - self.used, total: self.total }
    }

    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<u64> {
        let MemoryInfo { free, total } = self.info();
        let none = DeviceError::OutOfMemory { wanted: bytes, free, total };
        let Some(taken) = bytes.max(1).checked_next_multiple_of(ALIGNMENT).filter(|&taken| taken <= free) else {
            return Err(none);
        };
        let pages = Pages::new(taken).map_err(|_| none)?;
        let allocation = Allocation { bytes, pages };
        // SAFETY: the allocation's own pages, which nobody else knows yet.
        unsafe {
            allocation.begin().write_bytes(FRESH, bytes);
            allocation.beside().into_iter().for_each(|(part, bytes)| part.write_bytes(PATTERN, bytes));
        }
        self.used += taken;
        let address = allocation.begin() as u64;
        self.live.insert(address, allocation);
        Ok(address)
    }

    pub(crate) fn release(&mut self, address: u64) -> Result<(), String> {
        let mut allocation =
            self.live.remove(&address).ok_or_else(|| format!("{address:#x} is released and was not allocated"))?;
        let verified = verify(address, &allocation);
        self.used -= allocation.bytes.max(1).next_multiple_of(ALIGNMENT);
        allocation.pages.close();
        self.released.push(allocation);
        verified
    }

    /// The bytes from `address` on, which all lie in one allocation.
    pub(crate) fn place(&self, address: u64, bytes: usize) -> Result<*mut u8, String> {
        let last = self.live.range(..=address).next_back();
        let inside = last.is_some_and(|(begin, allocation)| {
            let offset = (address - begin) as usize;
            offset <= allocation.bytes && bytes <= allocation.bytes - offset
        });
        if inside {
            return Ok(ptr::with_exposed_provenance_mut(address as usize));
        }
        Err(format!("{bytes} bytes at {address:#x}: {}", self.describe(address)))
    }

    /// Where allocations begin and end.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = (usize, usize)> {
        self.live.iter().map(|(&begin, allocation)| (begin as usize, begin as usize + allocation.bytes))
    }

    /// Fails where something was written beside an allocation.
    pub(crate) fn verify(&self) -> Result<(), String> {
        self.live.iter().try_for_each(|(&address, allocation)| verify(address, allocation))
    }

    /// Where an address lies.
    pub(crate) fn describe(&self, address: u64) -> String {
        let of = |allocation: &Allocation, what: &str| {
            let begin = allocation.begin() as u64;
            let (map, end) = (allocation.pages.map as u64, allocation.pages.end() as u64 + GUARD as u64);
            let size = allocation.bytes;
            (map..end).contains(&address).then(|| match address.checked_sub(begin) {
                None => format!("{} bytes before {what} of {size} bytes", begin - address),
                Some(offset) if (offset as usize) < size => format!("byte {offset} of {what} of {size} bytes"),
                Some(offset) => format!("{} bytes behind the end of {what} of {size} bytes", offset as usize - size),
            })
        };
        let live = self.live.values().find_map(|a| of(a, "an allocation"));
        let released = || self.released.iter().find_map(|a| of(a, "a released allocation"));
        live.or_else(released).unwrap_or_else(|| "in no allocation".into())
    }
}

fn verify(address: u64, allocation: &Allocation) -> Result<(), String> {
    // SAFETY: parts of the pages that nobody writes to while the device's lock is held.
    let [before, behind] = allocation.beside().map(|(part, bytes)| unsafe { slice::from_raw_parts(part, bytes) });
    let size = allocation.bytes;
    let at = |part: &[u8]| part.iter().position(|&byte| byte != PATTERN);
    if let Some(i) = at(behind) {
        return Err(format!("something wrote {i} bytes behind the end of the {size} bytes at {address:#x}"));
    }
    if let Some(i) = at(before) {
        return Err(format!("something wrote {} bytes before the {size} bytes at {address:#x}", before.len() - i));
    }
    Ok(())
}
