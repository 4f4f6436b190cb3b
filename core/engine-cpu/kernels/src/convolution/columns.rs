//! The gradient of a kernel of many channels: a matrix product that contracts positions.
//!
//! Channels of the staged source are a tile's rows, and outputs its columns, so the cotangents are turned: `[positions, outputs]`.
//! Bands come one after another, and all threads share the work of each, for the sums would be too large to keep several of.

use rayon::prelude::*;

use super::{
    grid::Grid,
    words::{Rows, room, stage_along},
};
use crate::{
    factors::Exact,
    numbers::{Numbers, Stored},
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
    tile::{Left, Right, Target, TileSize, product},
};

/// Positions of a band, about: the panel of cotangents that a thread works on then fits into the first cache.
const POSITIONS: usize = 224;
/// Staged floats of the bands that are worked on together.
const STAGED: usize = 256 * 1024;
/// Pieces of work that there should be at least, whatever the number of threads.
const PIECES: usize = 16;

/// `grad_kernel[o][k] = sum over n and q of cotangent[n][o][q] * source[n][offset_k + q]`.
pub fn kernel_grad(isa: Isa, grid: &Grid, source: Numbers<'_>, cotangent: Numbers<'_>, grad_kernel: &mut [f32]) {
    for (group, out) in grad_kernel.chunks_exact_mut(grid.kernel_len()).enumerate() {
        isa.run(Group { grid, group, source, cotangent, out });
    }
}

struct Group<'a> {
    grid: &'a Grid,
    group: usize,
    source: Numbers<'a>,
    cotangent: Numbers<'a>,
    out: &'a mut [f32],
}

impl Kernel for Group<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Group { grid, group, source, cotangent, out } = self;
        let (sets, lines) = grid.equidistant();
        let outputs = grid.axes[0].outputs;
        let rows = grid.band(STAGED, (POSITIONS / grid.pitch).max(1));
        let plane = grid.plane(rows);
        let bands = outputs.div_ceil(rows);
        let items = grid.batch * bands;
        let together = (STAGED / (grid.sources * grid.planes() * plane)).clamp(1, items);
        let width = TileSize::columns::<S>();
        let panels = grid.outs.div_ceil(width);
        let mut staged = Scratch::new(together * grid.sources * grid.planes() * plane);
        let mut turned = Scratch::new(together * panels * grid.positions(rows) * width);
        let mut sums = Scratch::new(sets * lines * grid.outs);
        let job = Job {
            grid,
            group,
            source,
            cotangent,
            rows,
            bands,
            plane,
            staged: SharedMut::new(&mut staged),
            turned: SharedMut::new(&mut turned),
            sums: SharedMut::new(&mut sums),
            panels,
        };
        // Pieces of a set's lines, in whole tiles.
        let tile = TileSize::of::<S>().rows;
        let cuts = PIECES.div_ceil(panels * sets);
        let piece = lines.div_ceil(cuts).next_multiple_of(tile);
        let cuts = lines.div_ceil(piece);
        for from in (0..items).step_by(together) {
            let count = together.min(items - from);
            (0..count * (grid.sources + panels)).into_par_iter().with_min_len(4).for_each(|task| {
                let (slot, part) = (task / (grid.sources + panels), task % (grid.sources + panels));
                S::ISA.run(Prepare { job: &job, slot, item: from + slot, part });
            });
            (0..sets * cuts * panels).into_par_iter().for_each(|task| {
                let (set, cut) = (task / panels / cuts, task / panels % cuts);
                let lines = cut * piece..lines.min((cut + 1) * piece);
                S::ISA.run(Multiply { job: &job, from, count, panel: task % panels, set, lines });
            });
        }
        gather(grid, &sums, out);
    }
}

struct Job<'a> {
    grid: &'a Grid,
    group: usize,
    source: Numbers<'a>,
    cotangent: Numbers<'a>,
    rows: usize,
    bands: usize,
    plane: usize,
    /// `[slot, channel, phase, plane]`.
    staged: SharedMut<'a, f32>,
    /// `[slot, panel, position, column]`.
    turned: SharedMut<'a, f32>,
    /// `[set, line, output]`.
    sums: SharedMut<'a, f32>,
    panels: usize,
}

impl Job<'_> {
    /// Image and group, first row and rows of a band.
    fn band(&self, item: usize) -> (usize, usize, usize) {
        let (image, first) = (item / self.bands * self.grid.groups + self.group, item % self.bands * self.rows);
        (image, first, self.rows.min(self.grid.axes[0].outputs - first))
    }

    fn staged_len(&self) -> usize {
        self.grid.sources * self.grid.planes() * self.plane
    }

    fn panel_len<S: Simd>(&self) -> usize {
        self.grid.positions(self.rows) * TileSize::columns::<S>()
    }
}

/// Stages a channel of a band, or turns a panel of its cotangents.
struct Prepare<'a> {
    job: &'a Job<'a>,
    slot: usize,
    item: usize,
    part: usize,
}

impl Kernel for Prepare<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Prepare { job, slot, item, part } = self;
        let grid = job.grid;
        let (image, first, rows) = job.band(item);
        if let Some(panel) = part.checked_sub(grid.sources) {
            let at = (slot * job.panels + panel) * job.panel_len::<S>();
            // SAFETY: nobody else turns this panel.
            let to = unsafe { job.turned.part(at, job.panel_len::<S>()) };
            let width = TileSize::columns::<S>();
            let outputs = grid.axes[0].outputs * grid.axes[1].outputs;
            let start = (image * grid.outs + panel * width) * outputs + first * grid.axes[1].outputs;
            let outs = width.min(grid.outs - panel * width);
            match job.cotangent {
                Numbers::F32(cotangent) => turn(grid, &cotangent[start..], outs, rows, width, to),
                Numbers::Bf16(cotangent) => turn(grid, &cotangent[start..], outs, rows, width, to),
            }
            return;
        }
        let len = grid.planes() * job.plane;
        // SAFETY: nobody else stages this channel.
        let to = unsafe { job.staged.part(slot * job.staged_len() + part * len, len) };
        let channel =
            (image * grid.sources + part) * grid.source_len()..(image * grid.sources + part + 1) * grid.source_len();
        let rows = Rows { first, count: rows, plane: job.plane };
        let mut room = room::<Exact>(&[job.source], len + 4 * S::LANES);
        match job.source {
            Numbers::F32(x) => stage_along::<Exact, S, _>(s, grid, &x[channel], rows, &mut room, to),
            Numbers::Bf16(x) => stage_along::<Exact, S, _>(s, grid, &x[channel], rows, &mut room, to),
        }
    }
}

/// `outs` outputs of a band side by side at each position, zeros between rows and beyond `outs`.
#[inline(always)]
fn turn<T: Stored>(grid: &Grid, from: &[T], outs: usize, rows: usize, width: usize, to: &mut [f32]) {
    let across = grid.axes[1].outputs;
    let outputs = grid.axes[0].outputs * across;
    if outs < width || grid.pitch > across {
        to.fill(0.0);
    }
    for row in 0..rows {
        let to = &mut to[row * grid.pitch * width..];
        // Eight outputs at once, so that a line of the panel is filled while it is in the cache.
        for first in (0..outs).step_by(8) {
            let start = |o: usize| (first + o) * outputs + row * across;
            if outs - first >= 8 {
                let sources: [&[T]; 8] = std::array::from_fn(|o| &from[start(o)..start(o) + across]);
                for (j, to) in to.chunks_exact_mut(width).take(across).enumerate() {
                    let to: &mut [f32] = &mut to[first..first + 8];
                    to.iter_mut().zip(&sources).for_each(|(to, source)| *to = source[j].widen());
                }
            } else {
                for o in 0..outs - first {
                    let source = &from[start(o)..start(o) + across];
                    source.iter().enumerate().for_each(|(j, x)| to[j * width + first + o] = x.widen());
                }
            }
        }
    }
}

/// Lines of one set by a panel of outputs, over the bands in hand.
struct Multiply<'a> {
    job: &'a Job<'a>,
    from: usize,
    count: usize,
    panel: usize,
    set: usize,
    lines: std::ops::Range<usize>,
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let grid = job.grid;
        let width = TileSize::columns::<S>();
        let (sets, lines) = grid.equidistant();
        // A set of its own for each element of the kernel, or one in which planes follow each other.
        let kernel = grid.axes[1].kernel;
        let (offset, apart) = match sets {
            1 => (grid.offset(job.plane, grid.axes[0].tap(0), grid.axes[1].tap(0)), 1),
            _ => {
                let (row, column) = (grid.axes[0].tap(self.set / kernel), grid.axes[1].tap(self.set % kernel));
                (grid.offset(job.plane, row, column), grid.planes())
            }
        };
        let apart = apart * job.plane;
        let column = self.panel * width;
        for slot in 0..self.count {
            let (_, _, rows) = job.band(self.from + slot);
            let depth = grid.positions(rows);
            let right = job.turned.at((slot * job.panels + self.panel) * job.panel_len::<S>(), depth * width);
            let left = job.staged.at(slot * job.staged_len(), job.staged_len());
            for first in self.lines.clone().step_by(TileSize::of::<S>().rows) {
                let count = TileSize::of::<S>().rows.min(self.lines.end - first);
                let target = Target {
                    data: job.sums.at((self.set * lines + first) * grid.outs + column, 1),
                    stride: grid.outs,
                    columns: width.min(grid.outs - column),
                    add: self.from + slot > 0,
                    bias: std::ptr::null(),
                };
                // SAFETY: staged planes hold `depth` positions behind every offset; nobody else adds to these sums.
                unsafe {
                    let left = Left { data: left.add(offset + first * apart), row: apart, step: 1 };
                    product::<Exact, S>(s, count, depth, left, Right { data: right, stride: width }, target, &mut ());
                }
            }
        }
    }
}

/// Sums `[set, line, output]` as a kernel `[output, channel, element]`.
fn gather(grid: &Grid, sums: &[f32], out: &mut [f32]) {
    const SIDE: usize = 16;
    let (sets, lines) = grid.equidistant();
    let steps = sets * lines;
    out.par_chunks_mut(SIDE * steps).enumerate().for_each(|(i, out)| {
        let (first, count) = (i * SIDE, out.len() / steps);
        for line in 0..lines {
            for set in 0..sets {
                let from = &sums[(set * lines + line) * grid.outs + first..][..count];
                for (o, &x) in from.iter().enumerate() {
                    out[o * steps + line * sets + set] = x;
                }
            }
        }
    });
}
