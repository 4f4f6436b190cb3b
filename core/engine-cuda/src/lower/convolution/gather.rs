//! Convolutions and the gradients of their images by kernels that gather.

use super::{
    Shape,
    geometry::{Axis, Gather, Tile},
};
use crate::{
    Element,
    kernels::Family,
    lower::{Lowering, call::Kernel, factor::Factor},
    plan::BufferId,
};

/// Shared memory that several blocks of a multiprocessor can have side by side, and the most that one can.
pub(super) const SHARED: usize = 40 << 10;
pub(super) const MOST_SHARED: usize = 99 << 10;

/// Points of a warp of the exact kernel, `EXACT_POINTS` of its source, and of the one for tensor cores; warps of a block of either.
const WARP_POINTS: usize = 128;
const TENSOR_POINTS: usize = 64;
pub(super) const WARPS: usize = 4;
/// Threads of a block of the depthwise kernel, `DEPTH_THREADS` of its source; a thread has four points.
pub(super) const DEPTH_THREADS: usize = 256;
const DEPTH_POINTS: usize = 4 * DEPTH_THREADS;

/// A kernel, and how it is read: channels that are gathered from and gathered to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    kernel: BufferId,
    in_channels: usize,
    out_channels: usize,
    /// Elements from one group, one channel in and one channel out to the next.
    steps: [usize; 3],
}

impl Weights {
    pub(super) fn forward(shape: &Shape, kernel: BufferId) -> Weights {
        let ([from, to], size) = (shape.of_group(), shape.size());
        Weights { kernel, in_channels: from, out_channels: to, steps: [to * from * size, size, from * size] }
    }

    /// For the gradient of the image, which is gathered from the result's channels.
    pub(super) fn backward(shape: &Shape, kernel: BufferId) -> Weights {
        let Weights { in_channels, out_channels, steps: [group, from, to], .. } = Weights::forward(shape, kernel);
        Weights { kernel, in_channels: out_channels, out_channels: in_channels, steps: [group, to, from] }
    }
}

/// Where sums go, and what becomes of them on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub to: BufferId,
    /// A number that is added for each channel, in f32.
    pub bias: Option<BufferId>,
    /// Of a leaky rectifier; 1 where there is none.
    pub slope: f32,
}

impl Target {
    /// As they are.
    pub(super) fn plain(to: BufferId) -> Target {
        Target { to, bias: None, slope: 1.0 }
    }

    /// The kernel's last parameters.
    fn end(self, kernel: Kernel) -> Kernel {
        kernel.read_if(self.bias).float(self.slope)
    }
}

impl Lowering<'_> {
    /// Writes what points gather to their places; factors may be rounded to `factor`.
    pub(super) fn gather_points(
        &mut self,
        shape: &Shape,
        from: BufferId,
        weights: &Weights,
        axes: [Axis; 2],
        target: Target,
        factor: Option<Factor>,
    ) {
        let gather = Gather {
            images: shape.images,
            groups: shape.window.groups,
            in_channels: weights.in_channels,
            out_channels: weights.out_channels,
            axes,
            tile: Tile { images: 1, rows: 1, columns: 1 },
            plane: 0,
            chunk: 1,
        };
        let done = if shape.is_depthwise() {
            self.gather_depthwise(shape, &gather, from, weights, target)
        } else {
            factor.is_some_and(|factor| self.gather_rounded(shape, &gather, from, weights, target, factor))
                || self.gather_exact(shape, &gather, from, weights, target)
        };
        if !done {
            self.gather_direct(shape, &gather, from, weights, target);
        }
    }

    /// On tensor cores, factors rounded; false where not enough can be staged.
    fn gather_rounded(
        &mut self,
        shape: &Shape,
        gather: &Gather,
        from: BufferId,
        weights: &Weights,
        target: Target,
        factor: Factor,
    ) -> bool {
        // Tiles of sixteen channels that a warp has, and warps side by side along the channels.
        let (high, across) = match weights.out_channels {
            0..=16 => (1, 1),
            17..=32 => (2, 1),
            33..=64 => (2, 2),
            _ => (2, 4),
        };
        let points = TENSOR_POINTS * WARPS / across;
        let work = 0.2 * (high + 1) as f64 * gather.taps() as f64;
        let Some(tile) = Tile::best(gather.images, &gather.axes, points, 6 << 10, work, false) else { return false };
        let mut gather = Gather { tile, ..gather.clone() };
        // Four words of channels by eight cells are then in 32 banks.
        gather.plane = (gather.cells() + 24) / 32 * 32 + 8;
        let steps = |words: usize| (gather.taps() * words).div_ceil(8);
        let shared = |words: usize| (words * gather.plane + steps(words) * 8 + 2 * points) * 4;
        // The most that fits and leaves the fewest channels empty, in whole steps if possible.
        let all = gather.in_channels.div_ceil(factor.numbers());
        let whole = (1..=4).map(|n| n * 8).filter(|&w| w <= all && shared(w) <= SHARED);
        let words = if all <= 32 && shared(all) <= SHARED {
            all
        } else if let Some(words) = whole.min_by_key(|&w| (all.next_multiple_of(w), usize::MAX - w)) {
            words
        } else {
            [4, 2, 1].into_iter().find(|&w| shared(w) <= SHARED).unwrap_or(1)
        };
        let (shared, steps, chunk) = (shared(words), steps(words), words * factor.numbers());
        if shared > MOST_SHARED {
            return false;
        }
        gather.chunk = chunk;
        let tiles = gather.out_channels.div_ceil(16).next_multiple_of(high * across);
        let chunks = gather.in_channels.div_ceil(chunk);

        let count = gather.groups * tiles * chunks * steps * 32;
        let laid_out = self.scratch((4 * count).max(1), Element::I32);
        if count > 0 {
            let places = self.table(&gather.places(shape.kernel[1]));
            let [group, one, other] = weights.steps;
            let kernel = self.kernel(Family::Convolution, "CONV_FRAGMENTS", &[factor.c(), self.c(weights.kernel)]);
            let kernel = kernel.each(count, 256).read(weights.kernel).read(places).write(laid_out).int(count);
            let kernel = kernel.int(gather.in_channels).int(gather.taps()).int(gather.out_channels);
            self.launch(kernel.int(tiles).int(chunk).int(steps).int(group).int(one).int(other));
        }

        let offsets = self.table(&gather.offsets());
        let arguments = [factor.c(), self.c(from), self.c(target.to), &high.to_string(), &across.to_string()];
        let kernel = self.kernel(Family::Convolution, "CONV_TENSOR", &arguments);
        let kernel = kernel.grid([gather.tiles(), tiles / (high * across), gather.groups], WARPS * 32).shared(shared);
        let kernel = kernel.read(from).read(laid_out).read(offsets).write(target.to);
        self.launch(target.end(kernel.words(gather.words()).int(tiles).int(steps)));
        true
    }

    /// In f32; false where not enough can be staged.
    fn gather_exact(
        &mut self,
        shape: &Shape,
        gather: &Gather,
        from: BufferId,
        weights: &Weights,
        target: Target,
    ) -> bool {
        // Channels of a thread, and warps side by side along the channels.
        let (wide, across) = match weights.out_channels {
            0..=4 => (4, 1),
            5..=8 => (8, 1),
            9..=16 => (16, 1),
            17..=32 => (16, 2),
            _ => (16, 4),
        };
        let width = wide * across;
        let of_weights = gather.taps() * width * 4;
        let offsets = gather.taps() * 4;
        let Some(room) = MOST_SHARED.checked_sub(of_weights + offsets) else { return false };
        let points = WARP_POINTS * WARPS / across;
        let work = 0.25 * gather.taps() as f64;
        let most = (room / 4).min(6 << 10);
        let Some(tile) = Tile::best(gather.images, &gather.axes, points, most.saturating_sub(3), work, false) else {
            return false;
        };
        let mut gather = Gather { tile, ..gather.clone() };
        gather.plane = gather.cells().next_multiple_of(4);
        let of_channel = gather.plane * 4 + of_weights;
        gather.chunk = (SHARED.saturating_sub(offsets) / of_channel).clamp(1, gather.in_channels);

        let padded = gather.out_channels.next_multiple_of(width);
        let count = gather.groups * gather.in_channels * gather.taps() * padded;
        let laid_out = self.scratch(count.max(1), Element::F32);
        if count > 0 {
            let places = self.table(&gather.places(shape.kernel[1]));
            let [group, one, other] = weights.steps;
            let kernel = self.kernel(Family::Convolution, "CONV_WEIGHTS", &[self.c(weights.kernel)]).each(count, 256);
            let kernel = kernel.read(weights.kernel).read(places).write(laid_out).int(count);
            let kernel = kernel.int(gather.in_channels).int(gather.taps()).int(gather.out_channels).int(padded);
            self.launch(kernel.int(group).int(one).int(other));
        }

        let offsets_table = self.table(&gather.offsets());
        let arguments = [self.c(from), self.c(target.to), &wide.to_string()];
        let kernel = self.kernel(Family::Convolution, "CONV_EXACT", &arguments);
        let blocks = [gather.tiles(), padded / width, gather.groups];
        let kernel = kernel.grid(blocks, WARPS * 32).shared(gather.chunk * of_channel + offsets);
        let kernel = kernel.read(from).read(laid_out).read(offsets_table).write(target.to);
        self.launch(target.end(kernel.words(gather.words()).int(across).int(padded)));
        true
    }

    /// Channels that have a kernel each, in f32; false where not enough can be staged.
    fn gather_depthwise(
        &mut self,
        shape: &Shape,
        gather: &Gather,
        from: BufferId,
        weights: &Weights,
        target: Target,
    ) -> bool {
        let channels = gather.groups;
        let planes = gather.images * channels;
        let most = (SHARED / 4).saturating_sub(gather.taps());
        let Some(tile) = Tile::best(planes, &gather.axes, DEPTH_POINTS, most, 0.1, false) else { return false };
        let mut gather = Gather { images: planes, groups: 1, tile, ..gather.clone() };
        gather.plane = gather.cells();
        let shared = (gather.plane + (gather.tile.images + 1) * gather.taps()) * 4;
        if shared > MOST_SHARED {
            return false;
        }
        let (places, offsets) = (self.table(&gather.places(shape.kernel[1])), self.table(&gather.offsets()));
        let arguments = [self.c(from), self.c(weights.kernel), self.c(target.to)];
        let kernel = self.kernel(Family::Convolution, "CONV_DEPTHWISE", &arguments);
        let kernel = kernel.grid([gather.tiles(), 1, 1], DEPTH_THREADS).shared(shared);
        let kernel = kernel.read(from).read(weights.kernel).read(places).read(offsets).write(target.to);
        self.launch(target.end(kernel.words(gather.words()).int(channels).int(shape.size())));
        true
    }

    /// Each sum by itself.
    fn gather_direct(&mut self, shape: &Shape, gather: &Gather, from: BufferId, weights: &Weights, target: Target) {
        let (places, offsets) = (self.table(&gather.places(shape.kernel[1])), self.table(&gather.offsets()));
        let points = gather.axes[0].points * gather.axes[1].points;
        let count = gather.images * gather.groups * gather.out_channels * points;
        let arguments = [self.c(from), self.c(weights.kernel), self.c(target.to)];
        let kernel = self.kernel(Family::Convolution, "CONV_DIRECT", &arguments).each(count, 256);
        let kernel = kernel.read(from).read(weights.kernel).read(places).read(offsets).write(target.to).long(count);
        let [group, one, other] = weights.steps;
        self.launch(target.end(kernel.words(gather.words()).int(group).int(one).int(other)));
    }
}
