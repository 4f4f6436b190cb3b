//! How a convolution's passes are laid out as correlations, and which way each is computed.

use super::{Convolution, lanes};

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    InputGrad,
    KernelGrad,
}

/// How it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Nothing is summed: the result is empty, zero, or the bias.
    Nothing,
    /// The kernel covers the whole image: a matrix product.
    Whole,
    /// A correlation that reads its source where it stands.
    InPlace,
    /// A correlation of bands that are staged first.
    Staged,
    /// Sums over positions in the lanes of vectors, for few channels.
    Lanes,
    /// Sums over positions as a matrix product, for many channels.
    Columns,
}

/// The path of a pass.
pub fn plan(shape: &Convolution, pass: Pass) -> Path {
    if shape.image_len() == 0 || shape.out_len() == 0 {
        return Path::Nothing;
    }
    let covers = shape.kernel == [shape.height, shape.width] && shape.padding == [0, 0] && shape.groups == 1;
    if covers && shape.dilation == [1, 1] {
        return Path::Whole;
    }
    let grid = match pass {
        Pass::InputGrad => Grid::adjoint(shape),
        Pass::Forward | Pass::KernelGrad => Grid::forward(shape),
    };
    match pass {
        Pass::KernelGrad => {
            // A product's tile has outputs for columns and channels for rows: with fewer, too much of it stays empty.
            let fills = grid.outs >= 24 && grid.equidistant().1 >= 8;
            // Lanes pay for loading and storing every sum once a band.
            let brief = grid.positions(lanes::band(&grid)) < 1000;
            if fills && brief { Path::Columns } else { Path::Lanes }
        }
        _ if grid.stands() => Path::InPlace,
        _ => Path::Staged,
    }
}

/// One axis of a correlation: output i reads at `(i + shift) * step + phase + origin` of the source for each element of the kernel,
/// zeros outside.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub source: usize,
    pub outputs: usize,
    pub step: usize,
    pub origin: isize,
    /// Phases that some element of the kernel reads are below this.
    pub phases: usize,
    /// The greatest shift.
    pub span: usize,
    pub kernel: usize,
    dilation: usize,
    stride: usize,
    adjoint: bool,
    /// Output i of class r belongs at `i * classes + r + first`, if that is within `target`.
    pub classes: usize,
    pub first: isize,
    pub target: usize,
}

/// What an element of the kernel reads and which outputs it counts for, along one axis.
#[derive(Clone, Copy, Debug)]
pub struct Tap {
    pub class: usize,
    pub phase: usize,
    pub shift: usize,
}

impl Axis {
    fn forward(shape: &Convolution, axis: usize, source: usize, outputs: usize) -> Axis {
        let (kernel, stride, dilation) = (shape.kernel[axis], shape.stride[axis], shape.dilation[axis]);
        Axis {
            source,
            outputs,
            step: stride,
            origin: -(shape.padding[axis] as isize),
            phases: (0..kernel).map(|a| a * dilation % stride).max().map_or(0, |p| p + 1),
            span: (kernel - 1) * dilation / stride,
            kernel,
            dilation,
            stride,
            adjoint: false,
            classes: 1,
            first: 0,
            target: outputs,
        }
    }

    /// Position i of the image is `stride * q + class - padding`; the element a of the kernel with `a * dilation = stride * t +
    /// class` reads the cotangent at q - t.
    fn adjoint(shape: &Convolution, axis: usize, source: usize, target: usize) -> Axis {
        let (kernel, stride, dilation) = (shape.kernel[axis], shape.stride[axis], shape.dilation[axis]);
        let padding = shape.padding[axis];
        let (low, high) = (padding / stride, (target + padding).saturating_sub(1) / stride);
        let span = (kernel - 1) * dilation / stride;
        Axis {
            source,
            outputs: high + 1 - low,
            step: 1,
            origin: low as isize - span as isize,
            phases: 1,
            span,
            kernel,
            dilation,
            stride,
            adjoint: true,
            classes: stride,
            first: (low * stride) as isize - padding as isize,
            target,
        }
    }

    pub fn tap(&self, element: usize) -> Tap {
        let (rest, whole) = (element * self.dilation % self.stride, element * self.dilation / self.stride);
        match self.adjoint {
            false => Tap { class: 0, phase: rest, shift: whole },
            true => Tap { class: rest, phase: 0, shift: self.span - whole },
        }
    }

    /// The kernel's elements that count for a class.
    pub fn taps(&self, class: usize) -> impl Iterator<Item = (usize, Tap)> + '_ {
        (0..self.kernel).map(|a| (a, self.tap(a))).filter(move |(_, tap)| tap.class == class)
    }

    /// The outputs of a class, of `range`, that lie within the target, and where the first of them belongs.
    #[inline(always)]
    pub fn within(&self, class: usize, from: usize, count: usize) -> (usize, usize, usize) {
        let (step, first) = (self.classes as isize, class as isize + self.first);
        let reach = |end: isize| ((end - first).max(0) + step - 1) / step;
        let (low, high) = (reach(0) as usize, reach(self.target as isize) as usize);
        let (low, high) = (low.max(from), high.min(from + count));
        match low < high {
            true => (low - from, high - from, (low as isize * step + first) as usize),
            false => (0, 0, 0),
        }
    }
}

/// A correlation for each image and group.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub axes: [Axis; 2],
    pub batch: usize,
    pub groups: usize,
    /// Channels of the source in a group.
    pub sources: usize,
    /// Channels of the target in a group.
    pub outs: usize,
    /// Staged columns of a row.
    pub pitch: usize,
    /// How far the kernel's numbers are apart for two channels of the target, and of the source.
    pub out_stride: usize,
    pub source_stride: usize,
}

/// Vectors begin anywhere, so up to this many floats are read beyond the last position: vectors of the longest, two in a word.
const BEYOND: usize = 32;

impl Grid {
    pub fn forward(shape: &Convolution) -> Grid {
        let axes = [
            Axis::forward(shape, 0, shape.height, shape.out_height()),
            Axis::forward(shape, 1, shape.width, shape.out_width()),
        ];
        let (sources, outs) = (shape.channels / shape.groups, shape.out_channels / shape.groups);
        let taps = shape.kernel[0] * shape.kernel[1];
        Grid {
            axes,
            batch: shape.batch,
            groups: shape.groups,
            sources,
            outs,
            pitch: pitch(&axes[1]),
            out_stride: sources * taps,
            source_stride: taps,
        }
    }

    pub fn adjoint(shape: &Convolution) -> Grid {
        let axes = [
            Axis::adjoint(shape, 0, shape.out_height(), shape.height),
            Axis::adjoint(shape, 1, shape.out_width(), shape.width),
        ];
        let forward = Grid::forward(shape);
        Grid {
            axes,
            sources: forward.outs,
            outs: forward.sources,
            pitch: pitch(&axes[1]),
            out_stride: forward.source_stride,
            source_stride: forward.out_stride,
            ..forward
        }
    }

    pub fn taps(&self) -> usize {
        self.axes[0].kernel * self.axes[1].kernel
    }

    /// Numbers of the kernel that belong to one group.
    pub fn kernel_len(&self) -> usize {
        self.sources * self.outs * self.taps()
    }

    pub fn source_len(&self) -> usize {
        self.axes[0].source * self.axes[1].source
    }

    pub fn target_len(&self) -> usize {
        self.axes[0].target * self.axes[1].target
    }

    /// Positions that `rows` rows of outputs take.
    pub fn positions(&self, rows: usize) -> usize {
        (rows - 1) * self.pitch + self.axes[1].outputs
    }

    /// Planes that a channel of the source is staged in, one for each pair of phases.
    pub fn planes(&self) -> usize {
        self.axes[0].phases * self.axes[1].phases
    }

    /// Floats from one plane to the next when they serve `rows` rows of outputs.
    pub fn plane(&self, rows: usize) -> usize {
        let slack = (self.axes[1].outputs + self.axes[1].span).saturating_sub(self.pitch) + BEYOND;
        let len = ((rows + self.axes[0].span) * self.pitch + slack).next_multiple_of(16);
        // Planes that are a multiple of 4 KiB apart would share the same few places of the first cache.
        if len.is_multiple_of(1024) { len + 16 } else { len }
    }

    /// Where a pair of taps reads, from the output's position in the first plane.
    pub fn offset(&self, plane: usize, row: Tap, column: Tap) -> usize {
        (row.phase * self.axes[1].phases + column.phase) * plane + row.shift * self.pitch + column.shift
    }

    /// Rows of outputs that are worked on at once: as many as fit into `floats` of staged source, evenly.
    pub fn band(&self, floats: usize, most: usize) -> usize {
        let outputs = self.axes[0].outputs;
        let row = (self.sources * self.planes() * self.pitch).max(1);
        let rows = (floats / row).saturating_sub(self.axes[0].span).clamp(1, most.clamp(1, outputs));
        outputs.div_ceil(outputs.div_ceil(rows))
    }

    /// Whether rows follow each other in the source itself as they would when staged.
    pub fn stands(&self) -> bool {
        self.pitch == self.axes[1].source
            && self.axes.iter().all(|axis| {
                axis.step == 1 && axis.origin == 0 && axis.outputs + axis.span <= axis.source && axis.classes == 1
            })
    }

    /// Staged rows at one distance: how many sets of them, and how many in each. Either every channel and element of the kernel (of
    /// a kernel that is as large as its stride), or the channels for one element.
    pub fn equidistant(&self) -> (usize, usize) {
        let tiles = self.axes.iter().all(|axis| axis.span == 0 && axis.phases == axis.kernel);
        if tiles { (1, self.sources * self.taps()) } else { (self.taps(), self.sources) }
    }
}

/// Rows share the padding between them where they can.
fn pitch(axis: &Axis) -> usize {
    let reach = axis.outputs + axis.span;
    let (lead, trail) = (-axis.origin, reach as isize + axis.origin - axis.source as isize);
    let shared = axis.source + lead.max(trail).max(0) as usize;
    if axis.step == 1 && lead >= 0 && (trail >= 0 || lead == 0) && shared >= axis.outputs { shared } else { reach }
}
