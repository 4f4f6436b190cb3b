//! The gradients of kernels: sums over all images and points, in parts whose number depends on shapes alone.

use fer_graph::Value;

use super::{
    Shape,
    gather::{DEPTH_THREADS, MOST_SHARED, SHARED, WARPS},
    geometry::{Axis, Gather, Tile},
};
use crate::{
    Element,
    kernels::Family,
    lower::{Lowering, factor::Factor},
    plan::BufferId,
};

/// Threads of a block of the exact kernel, `EXACT_THREADS` of its source; a thread has four channels by four taps.
const THREADS: usize = 128;
const OWN: usize = 4;
/// Shared memory of two blocks on tensor cores to a multiprocessor.
const GRAD_SHARED: usize = 48 << 10;
/// Blocks that fill a card, some of them over.
const BLOCKS: usize = 1024;
/// Numbers in parts of a sum.
const MOST_PARTS: usize = 1 << 24;

impl Lowering<'_> {
    pub(super) fn kernel_grad(&mut self, shape: &Shape, x: Value, g: Value, value: Value) {
        let (x, g) = (self.dense(x), self.dense(g));
        let to = self.output_as(value, self.grad_element(value));
        let [from, out] = shape.of_group();
        let axis = |a: usize| Axis::forward(&shape.window, a, shape.cells[a], shape.kernel[a], shape.points[a]);
        let gather = Gather {
            images: shape.images,
            groups: shape.window.groups,
            in_channels: from,
            out_channels: out,
            axes: [axis(0), axis(1)],
            tile: Tile { images: 1, rows: 1, columns: 1 },
            plane: 0,
            chunk: 1,
        };
        let done = match shape.is_depthwise() {
            true => self.grad_depthwise(&gather, x, g, to),
            false => {
                let factor = self.rounds_to(value);
                factor.is_some_and(|factor| self.grad_rounded(&gather, x, g, to, factor))
                    || self.grad_exact(&gather, x, g, to)
            }
        };
        if !done {
            let offsets = self.table(&gather.offsets());
            let arguments = [self.c(x), self.c(g), self.c(to)];
            let kernel = self.kernel(Family::Convolution, "CONV_KERNEL_GRAD_DIRECT", &arguments);
            let kernel = kernel.grid([self.buffers[to].elements, 1, 1], 256);
            self.launch(kernel.read(x).read(g).read(offsets).write(to).words(gather.words()));
        }
    }

    /// On tensor cores, factors rounded; false where not enough can be staged.
    fn grad_rounded(&mut self, gather: &Gather, x: BufferId, g: BufferId, to: BufferId, factor: Factor) -> bool {
        let (taps, kept) = (gather.taps(), gather.in_channels * gather.taps());
        // Tiles of sixteen channels of a block, and tiles of eight taps of a warp.
        let high = match gather.out_channels {
            0..=16 => 1,
            17..=32 => 2,
            _ => 4,
        };
        let wide = match kept {
            0..=32 => 1,
            33..=64 => 2,
            _ => 5,
        };
        let of_block = wide * WARPS * 8;
        let chunk = ((of_block + taps - 2) / taps + 1).min(gather.in_channels);
        // Fewer points where they see more than fits.
        let fitting = [256, 128, 64, 32, 16].into_iter().find_map(|points| {
            let pitch = (points / factor.numbers() + 27) / 32 * 32 + 4;
            let others = (high * 16 * pitch + 2 * points) * 4;
            let room = (if points > 16 { GRAD_SHARED } else { MOST_SHARED }).checked_sub(others)?;
            let tile = Tile::best(gather.images, &gather.axes, points, room / 4 / chunk, 0.5, factor == Factor::Bf16)?;
            Some((tile, others))
        });
        let Some((tile, others)) = fitting else { return false };
        let mut gather = Gather { tile, chunk, ..gather.clone() };
        gather.plane = gather.cells();
        let steps = tile.points().div_ceil(8 * factor.numbers());
        let pieces = gather.out_channels.div_ceil(high * 16) * kept.div_ceil(of_block);
        let tiles = gather.tiles();
        let parts = self.count_parts(pieces * gather.groups, tiles, to);
        let partial = self.partial(parts, to);
        let offsets = self.table(&gather.offsets());
        let arguments = [factor.c(), self.c(x), self.c(g), &high.to_string(), &wide.to_string()];
        let kernel = self.kernel(Family::Convolution, "CONV_KERNEL_GRAD_TENSOR", &arguments);
        let kernel = kernel.grid([parts, pieces, gather.groups], WARPS * 32).shared(chunk * gather.plane * 4 + others);
        let kernel = kernel.read(x).read(g).read(offsets).write(partial).words(gather.words());
        self.launch(kernel.int(steps).int(tiles));
        self.add_parts(partial, parts, to);
        true
    }

    /// In f32; false where not enough can be staged.
    fn grad_exact(&mut self, gather: &Gather, x: BufferId, g: BufferId, to: BufferId) -> bool {
        let (taps, kept) = (gather.taps(), gather.in_channels * gather.taps());
        let out_threads = gather.out_channels.div_ceil(OWN).next_power_of_two().min(8);
        let wide = out_threads * OWN;
        let mut tap_threads = kept.div_ceil(OWN).next_power_of_two().min(THREADS / out_threads);
        let points = if wide > 16 { 128 } else { 256 };
        // Numbers that a point has in shared memory: see the kernel.
        let line = wide + 4 + 1;
        let most = (MOST_SHARED / 4 - points * line).min(6 << 10);
        let Some(tile) = Tile::best(gather.images, &gather.axes, points, most.saturating_sub(3), 0.5, false) else {
            return false;
        };
        let mut gather = Gather { tile, ..gather.clone() };
        gather.plane = gather.cells().next_multiple_of(4);
        let points = tile.points();
        let shared = loop {
            // Channels that a run of taps may touch.
            gather.chunk = ((tap_threads * OWN + taps - 2) / taps + 1).min(gather.in_channels);
            let shared = ((gather.chunk * gather.plane + points * line) * 4).max(OWN * OWN * THREADS * 4);
            if shared <= SHARED || tap_threads == 1 {
                break shared;
            }
            tap_threads /= 2;
        };
        if shared > MOST_SHARED {
            return false;
        }
        let pieces = gather.out_channels.div_ceil(wide) * kept.div_ceil(tap_threads * OWN);
        let tiles = gather.tiles();
        let parts = self.count_parts(pieces * gather.groups, tiles, to);
        let partial = self.partial(parts, to);
        let offsets = self.table(&gather.offsets());
        let kernel = self.kernel(Family::Convolution, "CONV_KERNEL_GRAD_EXACT", &[self.c(x), self.c(g)]);
        let kernel = kernel.grid([parts, pieces, gather.groups], THREADS).shared(shared);
        let kernel = kernel.read(x).read(g).read(offsets).write(partial).words(gather.words());
        self.launch(kernel.int(out_threads).int(tap_threads).int(points).int(tiles));
        self.add_parts(partial, parts, to);
        true
    }

    /// Of channels that have a kernel each; false where not enough can be staged.
    fn grad_depthwise(&mut self, gather: &Gather, x: BufferId, g: BufferId, to: BufferId) -> bool {
        let most = SHARED / 4;
        let Some(tile) = Tile::best(gather.images, &gather.axes, 1024, most, 0.5, false) else { return false };
        let mut gather = Gather { tile, ..gather.clone() };
        gather.plane = gather.cells();
        let points = tile.points();
        let shared = (gather.plane + 2 * points + gather.taps()) * 4;
        if shared > MOST_SHARED {
            return false;
        }
        let parts = self.count_parts(gather.groups, gather.tiles(), to);
        let partial = self.partial(parts, to);
        let offsets = self.table(&gather.offsets());
        let kernel = self.kernel(Family::Convolution, "CONV_DEPTHWISE_GRAD", &[self.c(x), self.c(g)]);
        let kernel = kernel.grid([parts, gather.groups, 1], DEPTH_THREADS).shared(shared);
        let kernel = kernel.read(x).read(g).read(offsets).write(partial);
        self.launch(kernel.words(gather.words()).int(points));
        self.add_parts(partial, parts, to);
        true
    }

    /// In how many parts a sum over tiles is made, where so many blocks work on each part.
    fn count_parts(&self, blocks: usize, tiles: usize, to: BufferId) -> usize {
        let room = (MOST_PARTS / self.buffers[to].elements).max(1);
        BLOCKS.div_ceil(blocks).min(room).clamp(1, tiles)
    }

    /// Where parts go: to the result itself if there is one part.
    fn partial(&mut self, parts: usize, to: BufferId) -> BufferId {
        match parts == 1 && self.element(to) == Element::F32 {
            true => to,
            false => self.scratch(parts * self.buffers[to].elements, Element::F32),
        }
    }

    /// Adds parts up.
    pub(super) fn add_parts(&mut self, partial: BufferId, parts: usize, to: BufferId) {
        if partial == to {
            return;
        }
        let count = self.buffers[to].elements;
        let kernel = self.kernel(Family::Convolution, "CONV_SUM", &[self.c(to)]);
        let kernel = kernel.grid([count.div_ceil(32), 1, 1], 256);
        self.launch(kernel.read(partial).write(to).int(count).int(parts));
    }
}
