//! The gradient of a kernel of few channels: positions in lanes, a few outputs by a few elements of the kernel in registers.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::{
    ahead::{Ahead, Parts, source_parts},
    grid::Grid,
    stage::Offsets,
    words::{Rows, room, spread_along, stage_along},
};
use crate::{
    factors::Kind,
    numbers::Numbers,
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
};

/// Staged floats of a band, at most: half of a usual second cache.
const STAGED: usize = 128 * 1024;
/// Positions of a band, about: many, since sums are loaded and stored once a band; few, since the cotangents of a tile and the rows
/// that it meets should stay in the first cache.
const POSITIONS: usize = 1536;
/// Pieces that sums are kept apart in, whatever the number of threads.
const PIECES: usize = 16;

/// Rows of a band.
pub fn band(grid: &Grid) -> usize {
    grid.band(STAGED, (POSITIONS / grid.pitch).max(1))
}

/// `grad_kernel[o][k] = sum over n and q of cotangent[n][o][q] * source[n][offset_k + q]`.
pub fn kernel_grad<K: Kind>(
    isa: Isa,
    grid: &Grid,
    source: Numbers<'_>,
    cotangent: Numbers<'_>,
    grad_kernel: &mut [f32],
) {
    let rows = band(grid);
    let bands = grid.axes[0].outputs.div_ceil(rows);
    let items = grid.batch * bands;
    let pieces = PIECES.div_ceil(grid.groups).min(items);
    let plane = grid.plane(rows);
    let steps = isa.run(Steps::<K>(PhantomData));
    let offsets = offsets(grid, plane, grid.planes() * plane, steps);
    // What words are made of is staged in any case.
    let near = (grid.stands() && !K::BF16).then(|| self::offsets(grid, 0, grid.source_len(), 1));
    let len = grid.groups * grid.kernel_len();
    let mut partial = Scratch::new(if pieces > 1 { pieces * len } else { 0 });
    let out = match pieces {
        1 => SharedMut::new(&mut *grad_kernel),
        _ => SharedMut::new(&mut partial),
    };
    let job = Job {
        grid,
        source,
        cotangent,
        rows,
        bands,
        plane,
        staged: offsets.get(),
        near: near.as_ref().map(Offsets::get),
        out,
        pieces,
    };
    // A depthwise convolution has many groups of little work.
    let work = grid.kernel_len() * grid.positions(rows) * items / pieces;
    (0..pieces * grid.groups).into_par_iter().with_min_len((1usize << 18).div_ceil(work.max(1))).for_each(|task| {
        isa.run(Task::<K> { job: &job, piece: task / grid.groups, group: task % grid.groups, kind: PhantomData });
    });
    if pieces > 1 {
        let partial = &*partial;
        grad_kernel.par_chunks_mut(4096).enumerate().for_each(|(i, to)| {
            to.copy_from_slice(&partial[i * 4096..][..to.len()]);
            for piece in 1..pieces {
                let from = &partial[piece * len + i * 4096..][..to.len()];
                to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
            }
        });
    }
}

/// How many steps of the contraction an instruction set has in a word.
struct Steps<K>(PhantomData<K>);

impl<K: Kind> Kernel for Steps<K> {
    type Output = usize;
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        K::steps::<S>()
    }
}

/// Where each element of the kernel reads, in the kernel's order; `apart` floats lie between channels. With two positions in a
/// word, a channel's words begin at even positions, and in a second half at odd ones.
fn offsets(grid: &Grid, plane: usize, apart: usize, steps: usize) -> Offsets {
    assert!(grid.sources * apart <= u32::MAX as usize, "offsets within an image are below 2^32");
    let mut offsets = Offsets::new(grid.sources * grid.taps());
    let width = grid.axes[1].kernel;
    for (k, to) in offsets.get_mut().iter_mut().enumerate() {
        let (channel, element) = (k / grid.taps(), k % grid.taps());
        let (row, column) = (grid.axes[0].tap(element / width), grid.axes[1].tap(element % width));
        let at = grid.offset(plane, row, column);
        *to = (channel * apart + at % steps * (apart / 2) + at / steps) as u32;
    }
    offsets
}

struct Job<'a> {
    grid: &'a Grid,
    source: Numbers<'a>,
    cotangent: Numbers<'a>,
    rows: usize,
    bands: usize,
    plane: usize,
    staged: &'a [u32],
    /// Offsets in the source itself, where it may be read without staging.
    near: Option<&'a [u32]>,
    /// One kernel's gradient a piece.
    out: SharedMut<'a, f32>,
    pieces: usize,
}

impl Job<'_> {
    /// What comes after band `item - 1` of a group, if its piece has another, in the course of so many tiles.
    fn next(&self, group: usize, item: usize, end: usize, tiles: usize) -> [Ahead; 2] {
        if item >= end {
            return [Ahead::NOTHING; 2];
        }
        let grid = self.grid;
        let (image, first) = (item / self.bands * grid.groups + group, item % self.bands * self.rows);
        let [down, across] = &grid.axes;
        let rows = self.rows.min(down.outputs - first);
        let source = source_parts(grid, image, first, rows);
        let outputs = down.outputs * across.outputs;
        let cotangent = Parts {
            first: image * grid.outs * outputs + first * across.outputs,
            len: rows * across.outputs,
            stride: outputs,
            count: grid.outs,
        };
        [Ahead::of(self.source, source, tiles), Ahead::of(self.cotangent, cotangent, tiles)]
    }
}

/// A piece of the batch's bands, for one group.
struct Task<'a, K> {
    job: &'a Job<'a>,
    piece: usize,
    group: usize,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Task<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Task { job, piece, group, .. } = self;
        let grid = job.grid;
        let outputs = grid.axes[0].outputs * grid.axes[1].outputs;
        let steps = grid.sources * grid.taps();
        let len = grid.planes() * job.plane;
        // Positions in a vector of words.
        let vector = K::steps::<S>() * S::LANES;
        let most = grid.positions(job.rows).next_multiple_of(vector);
        // Words are written in whole vectors, of which the next half or channel overwrites what is too much.
        let mut band = Scratch::new(grid.sources * len + S::LANES);
        let mut spaced = Scratch::new(grid.outs * most);
        let mut room = room::<K>(&[job.source, job.cotangent], len.max(most) + 4 * S::LANES);
        // Sums are added up lane by lane; the lanes come together at the end.
        let mut sums = Scratch::new(grid.outs * steps * S::LANES);
        sums.fill(0.0);
        let items = grid.batch * job.bands;
        for item in piece * items / job.pieces..(piece + 1) * items / job.pieces {
            let (image, first) = (item / job.bands * grid.groups + group, item % job.bands * job.rows);
            let rows = job.rows.min(grid.axes[0].outputs - first);
            let positions = grid.positions(rows);
            let count = positions.next_multiple_of(vector);

            let channels = image * grid.sources;
            let start = channels * grid.source_len() + first * grid.axes[1].source;
            let reach = grid.axes[0].span * grid.pitch + grid.axes[1].span;
            let end = start + (grid.sources - 1) * grid.source_len() + count + reach;
            let (x, offsets) = match (job.source, job.near) {
                (Numbers::F32(source), Some(near)) if end <= source.len() && count == positions => {
                    (source[start..].as_ptr(), near)
                }
                _ => {
                    let rows = Rows { first, count: rows, plane: job.plane };
                    for c in 0..grid.sources {
                        let channel = (channels + c) * grid.source_len()..(channels + c + 1) * grid.source_len();
                        let to = &mut band[c * len..][..len + S::LANES];
                        match job.source {
                            Numbers::F32(x) => stage_along::<K, S, _>(s, grid, &x[channel], rows, &mut room, to),
                            Numbers::Bf16(x) => stage_along::<K, S, _>(s, grid, &x[channel], rows, &mut room, to),
                        }
                    }
                    (band.as_ptr(), job.staged)
                }
            };
            let rows_of = |o: usize| {
                let at = (image * grid.outs + o) * outputs + first * grid.axes[1].outputs;
                at..at + rows * grid.axes[1].outputs
            };
            let dense = grid.pitch == grid.axes[1].outputs && count == positions && !K::BF16;
            let (g, stride) = match job.cotangent {
                Numbers::F32(g) if dense => (g[rows_of(0)].as_ptr(), outputs),
                _ => {
                    let words = count / K::steps::<S>();
                    for o in 0..grid.outs {
                        let to = &mut spaced[o * words..][..words];
                        // SAFETY: `rows` rows are there.
                        unsafe {
                            match job.cotangent {
                                Numbers::F32(g) => {
                                    spread_along::<K, S, _>(s, grid, g[rows_of(o)].as_ptr(), rows, &mut room, to);
                                }
                                Numbers::Bf16(g) => {
                                    spread_along::<K, S, _>(s, grid, g[rows_of(o)].as_ptr(), rows, &mut room, to);
                                }
                            }
                        }
                    }
                    (spaced.as_ptr(), words)
                }
            };
            let terms = Terms { x, offsets, g, stride, vectors: count / vector };
            let end = (piece + 1) * items / job.pieces;
            let mut ahead = job.next(group, item + 1, end, tiles::<S>(grid.outs, steps).count());
            // SAFETY: positions in whole vectors are there behind every offset and in every row of cotangents, and as many vectors of
            // sums as there are outputs times steps.
            unsafe { add::<K, S>(terms, grid.outs, sums.as_mut_ptr(), &mut ahead) };
        }
        let at = (piece * grid.groups + group) * grid.kernel_len();
        // SAFETY: nobody else writes this piece of this group.
        let out = unsafe { job.out.part(at, grid.kernel_len()) };
        let mut from = sums.as_ptr();
        for (outs, taps) in tiles::<S>(grid.outs, steps) {
            for o in outs.first..outs.first + outs.len {
                for k in taps.first..taps.first + taps.len {
                    // SAFETY: in the order in which they were stored.
                    unsafe {
                        out[o * steps + k] = s.sum(s.load(from));
                        from = from.add(S::LANES);
                    }
                }
            }
        }
    }
}

/// A few outputs, or a few elements of the kernel.
#[derive(Clone, Copy)]
struct Few {
    first: usize,
    len: usize,
}

/// Outputs and elements of the kernel cut into tiles, the latter evenly; always in the same order.
fn tiles<S: Simd>(outs: usize, steps: usize) -> impl Iterator<Item = (Few, Few)> {
    (0..outs).step_by(4).flat_map(move |first| {
        let outs = Few { first, len: (outs - first).min(4) };
        let count = steps.div_ceil(across::<S>(outs.len));
        (0..count).map(move |i| {
            let first = i * steps / count;
            (outs, Few { first, len: (i + 1) * steps / count - first })
        })
    })
}

/// Elements of the kernel that a tile of so many outputs takes: registers hold its sums, the outputs' cotangents, and one vector of
/// the source.
const fn across<S: Simd>(outs: usize) -> usize {
    match (S::REGISTERS, outs) {
        (32, 4) => 6,
        (32, 3) => 7,
        (32, 2) => 8,
        (16, 4) => 2,
        (16, 3) => 3,
        (16, 2) => 4,
        (16.., _) => MOST,
        _ => 1,
    }
}

/// Elements of the kernel in the longest tile.
const MOST: usize = 9;

#[derive(Clone, Copy)]
struct Terms<'a> {
    x: *const f32,
    offsets: &'a [u32],
    g: *const f32,
    /// From one output's cotangents to the next.
    stride: usize,
    vectors: usize,
}

/// Adds a band's products to the sums, `outs` times as many vectors as there are offsets. Not inlined: where the compiler keeps
/// numbers of the code around it in registers, too few are left, and a sum that is kept in memory makes each step wait for it.
///
/// # Safety
/// The terms are valid for `vectors` vectors behind all offsets and in `outs` rows of cotangents.
#[inline(never)]
unsafe fn add<K: Kind, S: Simd>(terms: Terms<'_>, outs: usize, sums: *mut f32, ahead: &mut [Ahead; 2]) {
    S::ISA.run(Add::<K> { terms, outs, sums, ahead, kind: PhantomData });
}

/// What [`add`] is asked for; its promises hold.
struct Add<'a, K> {
    terms: Terms<'a>,
    outs: usize,
    sums: *mut f32,
    ahead: &'a mut [Ahead; 2],
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Add<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut to = self.sums;
        for (outs, taps) in tiles::<S>(self.outs, self.terms.offsets.len()) {
            self.ahead.iter_mut().for_each(|ahead| ahead.wish(1));
            // SAFETY: the promises of `add`'s caller; the tiles' sums lie one behind the other.
            unsafe {
                tile::<K, S>(s, self.terms, outs, taps, to);
                to = to.add(outs.len * taps.len * S::LANES);
            }
        }
    }
}

/// # Safety
/// The terms are valid for `vectors` vectors behind the offsets of `taps` and for the cotangents of `outs`; `sums` for as many
/// vectors as `outs` times `taps`.
#[inline(always)]
unsafe fn tile<K: Kind, S: Simd>(s: S, terms: Terms<'_>, outs: Few, taps: Few, sums: *mut f32) {
    let offsets = &terms.offsets[taps.first..taps.first + taps.len];
    // SAFETY: the caller's promises.
    unsafe {
        let terms = Terms { g: terms.g.add(outs.first * terms.stride), offsets, ..terms };
        match outs.len {
            4 => line::<K, S, 4>(s, terms, sums),
            3 => line::<K, S, 3>(s, terms, sums),
            2 => line::<K, S, 2>(s, terms, sums),
            _ => line::<K, S, 1>(s, terms, sums),
        }
    }
}

/// # Safety
/// As for [`tile`], for O outputs and all offsets.
#[inline(always)]
unsafe fn line<K: Kind, S: Simd, const O: usize>(s: S, terms: Terms<'_>, sums: *mut f32) {
    // Tiles that never occur need no code.
    let len = terms.offsets.len().min(across::<S>(O));
    // SAFETY: the caller's promises.
    unsafe {
        match len {
            9 if across::<S>(O) >= 9 => block::<K, S, O, 9>(s, terms, sums),
            8 if across::<S>(O) >= 8 => block::<K, S, O, 8>(s, terms, sums),
            7 if across::<S>(O) >= 7 => block::<K, S, O, 7>(s, terms, sums),
            6 if across::<S>(O) >= 6 => block::<K, S, O, 6>(s, terms, sums),
            5 if across::<S>(O) >= 5 => block::<K, S, O, 5>(s, terms, sums),
            4 if across::<S>(O) >= 4 => block::<K, S, O, 4>(s, terms, sums),
            3 if across::<S>(O) >= 3 => block::<K, S, O, 3>(s, terms, sums),
            2 if across::<S>(O) >= 2 => block::<K, S, O, 2>(s, terms, sums),
            _ => block::<K, S, O, 1>(s, terms, sums),
        }
    }
}

/// # Safety
/// As for [`line`], for T offsets.
#[inline(always)]
unsafe fn block<K: Kind, S: Simd, const O: usize, const T: usize>(s: S, terms: Terms<'_>, sums: *mut f32) {
    let mut held = [[s.splat(0.0); T]; O];
    let mut from = [terms.x; T];
    // SAFETY: the caller's promises.
    unsafe {
        for (from, &offset) in from.iter_mut().zip(terms.offsets) {
            *from = from.add(offset as usize);
        }
        for (o, held) in held.iter_mut().enumerate() {
            for (k, held) in held.iter_mut().enumerate() {
                *held = s.load(sums.add((o * T + k) * S::LANES));
            }
        }
        for v in 0..terms.vectors {
            let at = v * S::LANES;
            let mut y = [s.splat(0.0); O];
            for (o, y) in y.iter_mut().enumerate() {
                *y = s.load(terms.g.add(o * terms.stride + at));
            }
            for k in 0..T {
                let x = s.load(from[k].add(at));
                for o in 0..O {
                    held[o][k] = K::dot(s, y[o], x, held[o][k]);
                }
            }
        }
        for (o, held) in held.iter().enumerate() {
            for (k, &held) in held.iter().enumerate() {
                s.store(sums.add((o * T + k) * S::LANES), held);
            }
        }
    }
}
