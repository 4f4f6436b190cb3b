//! Correlations: the forward pass, and the gradient of the input.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::{
    After,
    ahead::{Ahead, Parts, source_parts},
    grid::{Axis, Grid},
    stage::{Offsets, copy},
    tile::{Panel, Panels, Sums, Terms, WIDEST, sweep},
    words::{Rows, room, stage_words},
};
use crate::{
    factors::Kind,
    numbers::{Numbers, NumbersMut, Stored},
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
};

/// Staged floats of a band: half of a usual second cache, since the kernel and the results pass through it too.
const STAGED: usize = 128 * 1024;
/// Positions of a strip, about.
const STRIP: usize = 1024;
/// Pieces of work that there should be at least, whatever the number of threads.
const PIECES: usize = 16;
/// Multiply-adds of a task at least: below, handing it out would cost too much.
const TASK: usize = 1 << 18;

/// `out[n][o] = sum over c and the kernel's elements of source`, for either pass.
pub fn correlate<K: Kind>(
    isa: Isa,
    grid: &Grid,
    source: Numbers<'_>,
    kernel: &[f32],
    after: After<'_>,
    out: NumbersMut<'_>,
) {
    isa.run(Correlate::<K> { grid, source, kernel, after, out, kind: PhantomData });
}

struct Correlate<'a, K> {
    grid: &'a Grid,
    source: Numbers<'a>,
    kernel: &'a [f32],
    after: After<'a>,
    out: NumbersMut<'a>,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Correlate<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Correlate { grid, source, kernel, after, out, .. } = self;
        let outputs = grid.axes[0].outputs;
        let images = grid.batch * grid.groups;
        let rows = grid.band(STAGED, (outputs * images).div_ceil(PIECES));
        let bands = outputs.div_ceil(rows);
        let panels = Panels::of::<S>(grid.outs);

        let words = K::words::<S>(grid.sources);
        let mut packed = Scratch::new(grid.groups * words * grid.taps() * grid.outs);
        let to = SharedMut::new(&mut packed);
        let count = panels.count().max(1);
        let units = grid.groups * count;
        let each = TASK.div_ceil(8 * (grid.kernel_len() / count).max(1));
        (0..units.div_ceil(each)).into_par_iter().for_each(|task| {
            for unit in task * each..units.min((task + 1) * each) {
                pack::<K, S>(grid, kernel, unit / count, panels.get(unit % count), to);
            }
        });

        let plane = grid.plane(rows);
        let staged = offsets(grid, words, plane, grid.planes() * plane);
        // What words are made of is staged in any case.
        let near = (grid.stands() && !K::BF16).then(|| offsets(grid, words, 0, grid.source_len()));
        // With few bands the panels are shared out as well; each of these tasks stages its band anew.
        let shares = PIECES.div_ceil((images * bands).max(1)).clamp(1, count);
        let items = images * bands * shares;
        let job = Job {
            grid,
            source,
            packed: &packed,
            after,
            out,
            rows,
            bands,
            plane,
            staged: staged.get(),
            near: near.as_ref().map(Offsets::get),
            shares,
            images,
        };
        let work = words * grid.taps() * grid.outs * grid.positions(rows) / shares;
        let each = TASK.div_ceil(work.max(1));
        (0..items.div_ceil(each)).into_par_iter().for_each(|task| {
            S::ISA.run(Task::<K> { job: &job, from: task * each, to: items.min((task + 1) * each), kind: PhantomData });
        });
    }
}

/// Where each class's taps read, class by class, words of source channels outermost: `apart` floats lie between those.
fn offsets(grid: &Grid, words: usize, plane: usize, apart: usize) -> Offsets {
    assert!(words * apart <= u32::MAX as usize, "offsets within an image are below 2^32");
    let mut offsets = Offsets::new(words * grid.taps());
    let mut to = &mut *offsets.get_mut();
    for (class, taps) in classes(grid) {
        let (own, rest) = to.split_at_mut(words * taps);
        let mut tap = 0;
        for (_, row) in grid.axes[0].taps(class[0]) {
            for (_, column) in grid.axes[1].taps(class[1]) {
                let at = grid.offset(plane, row, column);
                own.iter_mut().skip(tap).step_by(taps).enumerate().for_each(|(c, to)| *to = (c * apart + at) as u32);
                tap += 1;
            }
        }
        to = rest;
    }
    offsets
}

/// Every class of outputs and the number of its taps. An iterator, since vectors are not at home in closures: those are compiled
/// without the instruction set of the function around them.
fn classes(grid: &Grid) -> impl Iterator<Item = ([usize; 2], usize)> {
    let [down, across] = &grid.axes;
    let count = |axis: &Axis, class| axis.taps(class).count();
    (0..down.classes * across.classes).map(move |i| {
        let class = [i / across.classes, i % across.classes];
        (class, count(down, class[0]) * count(across, class[1]))
    })
}

/// A panel's words of every class, its outputs side by side.
fn pack<K: Kind, S: Simd>(grid: &Grid, kernel: &[f32], group: usize, panel: Panel, to: SharedMut<'_, f32>) {
    let len = grid.kernel_len();
    let kernel = &kernel[group * len..][..len];
    let words = K::words::<S>(grid.sources);
    let mut start = group * words * grid.taps() * grid.outs;
    for (class, taps) in classes(grid) {
        let steps = words * taps;
        // SAFETY: nobody else packs this panel of this group and class.
        let to = unsafe { to.part(start + panel.first * steps, panel.width * steps) };
        let mut tap = 0;
        for (a, _) in grid.axes[0].taps(class[0]) {
            for (b, _) in grid.axes[1].taps(class[1]) {
                let from = &kernel[panel.first * grid.out_stride + a * grid.axes[1].kernel + b..];
                for word in 0..words {
                    let first = word * K::steps::<S>();
                    let second = K::steps::<S>() == 2 && first + 1 < grid.sources;
                    let to = &mut to[(word * taps + tap) * panel.width..][..panel.width];
                    for (o, to) in to.iter_mut().enumerate() {
                        let at = first * grid.source_stride + o * grid.out_stride;
                        *to = K::word::<S>(from[at], if second { from[at + grid.source_stride] } else { 0.0 });
                    }
                }
                tap += 1;
            }
        }
        start += grid.outs * steps;
    }
}

struct Job<'a> {
    grid: &'a Grid,
    source: Numbers<'a>,
    packed: &'a [f32],
    after: After<'a>,
    out: NumbersMut<'a>,
    /// Rows of a band.
    rows: usize,
    bands: usize,
    plane: usize,
    staged: &'a [u32],
    /// Offsets in the source itself, where it may be read without staging.
    near: Option<&'a [u32]>,
    /// Tasks that share a band's panels.
    shares: usize,
    /// Images, as many times as there are groups.
    images: usize,
}

impl Job<'_> {
    /// What a band is staged from: most often the same thread is next to take it.
    fn next(&self, band: usize, vectors: usize) -> Ahead {
        if band >= self.images * self.bands {
            return Ahead::NOTHING;
        }
        let (image, first) = (band / self.bands, band % self.bands * self.rows);
        let rows = self.rows.min(self.grid.axes[0].outputs - first);
        Ahead::of(self.source, source_parts(self.grid, image, first, rows), vectors)
    }
}

struct Task<'a, K> {
    job: &'a Job<'a>,
    from: usize,
    to: usize,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Task<'_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let grid = job.grid;
        let strip = vectors::<S>(grid.positions(strip(grid).min(job.rows))) * S::LANES;
        let words = K::words::<S>(grid.sources);
        let len = grid.planes() * job.plane;
        let mut band = Scratch::new(words * len);
        let mut room = room::<K>(&[job.source], K::steps::<S>() * len);
        let mut sums = Scratch::new(Panels::of::<S>(grid.outs).most() * strip);
        // What a task sweeps over for each vector of positions, classes aside.
        let panels = Panels::of::<S>(grid.outs).count().div_ceil(job.shares);
        for item in self.from..self.to {
            let (share, item) = (item % job.shares, item / job.shares);
            let (index, image) = (item % job.bands, item / job.bands);
            let first = index * job.rows;
            let rows = job.rows.min(grid.axes[0].outputs - first);
            let channels = image * grid.sources;

            let start = channels * grid.source_len() + first * grid.axes[1].source;
            let reach = grid.axes[0].span * grid.pitch + grid.axes[1].span;
            let end = start + (grid.sources - 1) * grid.source_len() + grid.positions(rows) + S::LANES + reach;
            let (source, offsets) = match (job.source, job.near) {
                (Numbers::F32(source), Some(near)) if end <= source.len() => (source[start..].as_ptr(), near),
                _ => {
                    let image = channels * grid.source_len()..(channels + grid.sources) * grid.source_len();
                    let rows = Rows { first, count: rows, plane: job.plane };
                    for (word, to) in band.chunks_exact_mut(len).enumerate() {
                        match job.source {
                            Numbers::F32(source) => {
                                stage_words::<K, S, _>(s, grid, &source[image.clone()], word, rows, &mut room, to);
                            }
                            Numbers::Bf16(source) => {
                                stage_words::<K, S, _>(s, grid, &source[image.clone()], word, rows, &mut room, to);
                            }
                        }
                    }
                    (band.as_ptr(), job.staged)
                }
            };
            let vectors = vectors::<S>(grid.positions(rows)) * panels;
            let piece = Piece { image, first, rows, share, next: job.next(item + 1, vectors) };
            // SAFETY: planes reach a vector further than the positions of their rows, and so does the source itself here.
            unsafe {
                match job.out {
                    NumbersMut::F32(out) => piece.run::<K, S, _>(s, job, source, offsets, &mut sums, out),
                    NumbersMut::Bf16(out) => piece.run::<K, S, _>(s, job, source, offsets, &mut sums, out),
                }
            }
        }
    }
}

fn vectors<S: Simd>(positions: usize) -> usize {
    positions.div_ceil(S::LANES)
}

/// Rows of outputs whose sums are kept aside at once, to be copied while they are in the first cache.
fn strip(grid: &Grid) -> usize {
    (STRIP / grid.pitch).max(1)
}

/// A band of one image and group, and a share of its panels.
#[derive(Clone, Copy)]
struct Piece {
    /// Image and group.
    image: usize,
    first: usize,
    rows: usize,
    share: usize,
    /// What the next band is staged from.
    next: Ahead,
}

impl Piece {
    /// # Safety
    /// `source` is valid for the band's positions, and a vector more, behind every offset.
    #[inline(always)]
    unsafe fn run<K: Kind, S: Simd, T: Stored>(
        &self,
        s: S,
        job: &Job<'_>,
        source: *const f32,
        offsets: &[u32],
        sums: &mut [f32],
        out: SharedMut<'_, T>,
    ) {
        let mut ahead = [self.next, Ahead::NOTHING];
        let grid = job.grid;
        let group = self.image % grid.groups;
        let panels = Panels::of::<S>(grid.outs);
        let shared = (self.share * panels.count() / job.shares)..((self.share + 1) * panels.count() / job.shares);
        // Where every position is an output, sums go where they belong at once.
        let across = &grid.axes[1];
        let whole = grid.positions(self.rows).is_multiple_of(S::LANES) && grid.pitch == across.outputs;
        let direct = whole && grid.axes.iter().all(|axis| axis.classes == 1 && axis.first == 0);
        let words = K::words::<S>(grid.sources);
        let (mut start, mut step) = (group * words * grid.taps() * grid.outs, 0);
        for (class, taps) in classes(grid) {
            let steps = words * taps;
            for index in shared.clone() {
                let panel = panels.get(index);
                let weights = &job.packed[start + panel.first * steps..][..panel.width * steps];
                let mut bias = [0.0; WIDEST];
                if let Some(given) = job.after.bias {
                    bias[..panel.width].copy_from_slice(&given[group * grid.outs + panel.first..][..panel.width]);
                }
                let target = (self.image * grid.outs + panel.first) * grid.target_len();
                let out = out.at(target, panel.width * grid.target_len());
                let terms = Terms {
                    source,
                    offsets: &offsets[step..step + steps],
                    weights: weights.as_ptr(),
                    bias: &bias,
                    slope: job.after.slope,
                };
                let width = panel.width;
                if direct {
                    let vectors = grid.positions(self.rows) / S::LANES;
                    // SAFETY: the caller's promise; the target's rows follow each other as the positions do.
                    unsafe {
                        let to = out.add(self.first * across.target);
                        ahead[1] = self.target(grid, out, width, vectors);
                        sweep::<K, S, T>(Sums { terms, width, vectors, to, stride: grid.target_len() }, &mut ahead);
                    }
                    continue;
                }
                for skip in (0..self.rows).step_by(strip(grid)) {
                    let strip = Piece { first: self.first + skip, rows: strip(grid).min(self.rows - skip), ..*self };
                    let vectors = vectors::<S>(grid.positions(strip.rows));
                    let stride = vectors * S::LANES;
                    let sums = sums.as_mut_ptr().cast::<T>();
                    // SAFETY: the caller's promise; `sums` has room for whole vectors of the panel's outputs, as floats or less.
                    unsafe {
                        let terms = Terms { source: source.add(skip * grid.pitch), ..terms };
                        ahead[1] = strip.target(grid, out, width, vectors);
                        sweep::<K, S, T>(Sums { terms, width, vectors, to: sums, stride }, &mut ahead);
                        for o in 0..width {
                            strip.place(s, grid, class, sums.add(o * stride), out.add(o * grid.target_len()));
                        }
                    }
                }
            }
            start += grid.outs * steps;
            step += steps;
        }
    }

    /// The rows that `width` outputs' sums will be put to, where they follow each other.
    #[inline(always)]
    fn target<T>(&self, grid: &Grid, out: *const T, width: usize, vectors: usize) -> Ahead {
        let [down, across] = &grid.axes;
        if down.classes * across.classes > 1 {
            return Ahead::NOTHING;
        }
        let (low, high, y) = down.within(0, self.first, self.rows);
        let len = (high - low) * across.target;
        let parts = Parts { first: y * across.target, len, stride: grid.target_len(), count: width };
        Ahead::of_result(out, parts, vectors)
    }

    /// Copies a channel's sums to the outputs that they are.
    ///
    /// # Safety
    /// `sums` is valid for the band's positions, `to` for a channel of the target.
    #[inline(always)]
    unsafe fn place<S: Simd, T: Stored>(&self, s: S, grid: &Grid, class: [usize; 2], sums: *const T, to: *mut T) {
        let [down, across] = &grid.axes;
        let (low, high, y) = down.within(class[0], self.first, self.rows);
        let (left, right, x) = across.within(class[1], 0, across.outputs);
        for i in low..high {
            // SAFETY: rows and columns lie within the target.
            unsafe {
                let from = sums.add(i * grid.pitch + left);
                let to = to.add((y + (i - low) * down.classes) * across.target + x);
                match across.classes {
                    1 => copy(s, from, to, right - left),
                    step => (0..right - left).for_each(|j| *to.add(j * step) = *from.add(j)),
                }
            }
        }
    }
}
