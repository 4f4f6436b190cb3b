//! How warps reach memory: what a card moves for what their lanes ask for together.
//!
//! Lanes run one after the other here, so which of their accesses a card does at once is concluded: the n-th of each lane at one place
//! in the code. That is right where lanes go the same way, and near it elsewhere.

use std::collections::{HashMap, VecDeque};

use crate::watch::Kind;

/// A place in a kernel that reads or writes memory, and what a launch did there.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The command that launched it, by its place in the recording.
    pub launch: usize,
    pub kernel: String,
    /// Lines of the unit, from the innermost function that was inlined there to the kernel; empty where nothing knows them.
    pub lines: Vec<String>,
    pub writes: bool,
    /// Shared memory, or the device's.
    pub shared: bool,
    /// Bytes that one lane asks for.
    pub bytes: u64,
    /// Times that a warp asked, reckoned for all blocks of the launch.
    pub requests: f64,
    /// Sectors of 32 bytes that were moved; of shared memory, passes over its banks.
    pub moved: f64,
    /// The same, had the bytes asked for lain side by side; of shared memory, had no two lanes met in a bank.
    pub least: f64,
}

/// What one place did, in blocks that were run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Site {
    pub(crate) writes: bool,
    pub(crate) shared: bool,
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) moved: u64,
    pub(crate) least: u64,
}

/// Accesses of lanes that belong together.
struct Request {
    lanes: u32,
    addresses: [usize; 32],
}

/// Requests of a warp at one place that not all lanes have come to.
#[derive(Default)]
struct Open {
    counts: [usize; 32],
    /// How many were closed.
    first: usize,
    requests: VecDeque<Request>,
}

/// Puts accesses together.
#[derive(Default)]
pub(crate) struct Recorder {
    open: HashMap<(usize, usize), Open>,
    sites: HashMap<usize, Site>,
}

impl Recorder {
    pub(crate) fn note(&mut self, thread: usize, address: usize, bytes: usize, kind: Kind, at: usize, shared: bool) {
        let (warp, lane) = (thread / 32, thread % 32);
        let site = self.sites.entry(at).or_default();
        (site.writes, site.shared, site.bytes) = (kind != Kind::Read, shared, bytes as u64);
        let open = self.open.entry((at, warp)).or_default();
        let i = open.counts[lane] - open.first;
        open.counts[lane] += 1;
        if i == open.requests.len() {
            open.requests.push_back(Request { lanes: 0, addresses: [0; 32] });
        }
        let request = &mut open.requests[i];
        request.lanes |= 1 << lane;
        request.addresses[lane] = address;
        while open.requests.front().is_some_and(|request| request.lanes == u32::MAX) {
            if let Some(request) = open.requests.pop_front() {
                open.first += 1;
                site.add(&request);
            }
        }
    }

    /// A block is over: no lane comes any more.
    pub(crate) fn end_block(&mut self) {
        for ((at, _), open) in self.open.drain() {
            let site = self.sites.entry(at).or_default();
            open.requests.iter().for_each(|request| site.add(request));
        }
    }

    /// What the launch did, by place.
    pub(crate) fn end_launch(&mut self) -> Vec<(usize, Site)> {
        let mut sites: Vec<_> = self.sites.drain().collect();
        sites.sort_by_key(|(at, _)| *at);
        sites
    }
}

impl Site {
    fn add(&mut self, request: &Request) {
        let addresses: Vec<(usize, usize)> =
            crate::warp::lanes(request.lanes).map(|lane| (lane, request.addresses[lane])).collect();
        let (moved, least) = if self.shared { self.passes(&addresses) } else { self.sectors(&addresses) };
        self.requests += 1;
        self.moved += moved as u64;
        self.least += least as u64;
    }

    fn sectors(&self, addresses: &[(usize, usize)]) -> (usize, usize) {
        const SECTOR: usize = 32;
        let bytes = self.bytes as usize;
        let asked = distinct(addresses.iter().map(|(_, address)| *address)) * bytes;
        let touched = addresses.iter().flat_map(|(_, a)| a / SECTOR..=(a + bytes - 1) / SECTOR);
        (distinct(touched), asked.div_ceil(SECTOR))
    }

    /// As many lanes go at once as ask for 128 bytes; of words in one bank, one goes at a time.
    fn passes(&self, addresses: &[(usize, usize)]) -> (usize, usize) {
        const WORD: usize = 4;
        let words = (self.bytes as usize).div_ceil(WORD);
        let at_once = 32 / words.next_power_of_two();
        let (mut passes, mut least) = (0, 0);
        for group in addresses.chunk_by(|(a, _), (b, _)| a / at_once == b / at_once) {
            let mut asked: Vec<usize> =
                group.iter().flat_map(|(_, a)| a / WORD..(a + self.bytes as usize).div_ceil(WORD)).collect();
            asked.sort_unstable();
            asked.dedup();
            let mut banks = [0; 32];
            asked.iter().for_each(|word| banks[word % 32] += 1);
            passes += banks.into_iter().max().unwrap_or(0);
            least += 1;
        }
        (passes, least)
    }
}

fn distinct(numbers: impl Iterator<Item = usize>) -> usize {
    let mut all: Vec<usize> = numbers.collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}
