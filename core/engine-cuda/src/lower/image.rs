//! resize, grid_sample and max_pool, and their adjoints.

use fer_graph::{Attribute, Node, ops::interpolation_matrix};

use super::Lowering;
use crate::{Element, kernels::Family, plan::BufferId};

/// Results of a row, and rows, that a thread of `RESIZE_FORWARD` computes.
const RESIZE_WIDE: usize = 4;
const RESIZE_ROWS: usize = 8;
/// Threads of a block of `RESIZE_BACKWARD`.
const REACH_THREADS: usize = 128;
/// Threads that keep a card busy; with fewer points than that, several threads share a point's channels.
const BUSY: usize = 1 << 17;

/// The type of an index of threads: divisions of 32 bits are several times faster.
fn index(threads: usize) -> &'static str {
    if threads < 1 << 31 { "u32" } else { "u64" }
}

/// The cells that are not 0 in each row of a matrix: from the first to the last.
fn runs(matrix: &[f64], width: usize) -> Vec<(usize, &[f64])> {
    let run = |row: &[f64]| {
        let first = row.iter().position(|w| *w != 0.0)?;
        let last = row.iter().rposition(|w| *w != 0.0)?;
        Some(first..last + 1)
    };
    matrix.chunks_exact(width).map(|row| run(row).map_or((0, &row[..0]), |r| (r.start, &row[r]))).collect()
}

impl Lowering<'_> {
    pub(super) fn resize(&mut self, node: &Node, adjoint: bool) {
        let shape = self.shape(node.operands[0]);
        let size = node.attributes.sizes("size");
        let corners = node.attributes.text("coordinate_mode") == "align_corners";
        let matrices = [0, 1].map(|axis| {
            let scale = match node.attributes.get("scales") {
                Some(Attribute::Floats(scales)) => Some(scales[axis]),
                _ => None,
            };
            interpolation_matrix(shape[2 + axis], size[axis], scale, corners)
        });
        let planes = shape[0] * shape[1];
        let from = [shape[2], shape[3]];
        let to = [size[0], size[1]];
        match adjoint {
            false => self.resize_forward(node, &matrices, planes, from, to),
            true => self.resize_backward(node, &matrices, planes, from, to),
        }
    }

    fn resize_forward(
        &mut self,
        node: &Node,
        matrices: &[Vec<f64>; 2],
        planes: usize,
        from: [usize; 2],
        to: [usize; 2],
    ) {
        let taps = [0, 1].map(|axis| {
            let words: Vec<u32> = runs(&matrices[axis], from[axis])
                .into_iter()
                .flat_map(|(low, weights)| {
                    let weight = |i: usize| weights.get(i).map_or(0, |w| (*w as f32).to_bits());
                    let high = low + weights.len().saturating_sub(1);
                    [low as u32, high as u32, weight(0), weight(1)]
                })
                .collect();
            self.table(&words)
        });
        let x = self.dense(node.operands[0]);
        let y = self.output(node.results[0]);
        let count = planes * to[0].div_ceil(RESIZE_ROWS) * to[1].div_ceil(RESIZE_WIDE);
        let types = [self.c(x), self.c(y), index(count)];
        let k = self.kernel(Family::Image, "RESIZE_FORWARD", &types).each(count, 128);
        let k = k.read(x).read(taps[0]).read(taps[1]).write(y).long(count);
        self.launch(k.int(from[0]).int(from[1]).int(to[0]).int(to[1]));
    }

    fn resize_backward(
        &mut self,
        node: &Node,
        matrices: &[Vec<f64>; 2],
        planes: usize,
        from: [usize; 2],
        to: [usize; 2],
    ) {
        let tables = [0, 1].map(|axis| {
            let transposed: Vec<f64> = (0..from[axis])
                .flat_map(|cell| matrices[axis].iter().skip(cell).step_by(from[axis]).copied())
                .collect();
            let (mut words, mut weights) = (vec![], vec![]);
            for (first, run) in reaches(runs(&transposed, to[axis])) {
                words.extend([first as u32, run.len() as u32, weights.len() as u32, 0]);
                weights.extend(run);
            }
            let count = weights.len();
            let bytes = super::bytes_of(weights.into_iter(), Element::F32);
            [self.table(&words), self.given(bytes, count, Element::F32)]
        });
        let g = self.dense(node.operands[1]);
        let dx = self.output(node.results[0]);
        let lanes = from[1].min(REACH_THREADS);
        let (rows, pieces) = (planes * from[0], from[1].div_ceil(lanes));
        let blocks = rows.div_ceil(REACH_THREADS / lanes) * pieces;
        let types = [self.c(g), self.c(dx)];
        let k = self.kernel(Family::Image, "RESIZE_BACKWARD", &types).grid([blocks, 1, 1], REACH_THREADS);
        let k = tables.into_iter().flatten().fold(k.read(g), |k, table| k.read(table)).write(dx).int(rows);
        self.launch(k.int(from[0]).int(from[1]).int(to[0]).int(to[1]).int(lanes).int(pieces));
    }

    pub(super) fn max_pool(&mut self, node: &Node) {
        let pool = self.pool(node);
        let x = self.dense(node.operands[0]);
        let y = self.output(node.results[0]);
        self.each_window("MAX_POOL", self.c(y), x, y, &pool);
    }

    pub(super) fn max_pool_grad(&mut self, node: &Node) {
        let pool = self.pool(node);
        let reads = [0, 1].map(|i| self.dense(node.operands[i]));
        let dx = self.output(node.results[0]);
        // Where each window's winner stands in it.
        let byte = pool.cells <= 256;
        let (element, place) = if byte { (Element::U8, "u8") } else { (Element::I32, "int") };
        let places = self.scratch(pool.windows, element);
        self.each_window("MAX_POOL_PLACES", place, reads[0], places, &pool);
        let count = pool.lines * pool.width.div_ceil(4);
        let mut types = vec![place, self.c(reads[1]), self.c(dx), index(count)];
        types.extend(pool.constants.iter().map(String::as_str));
        let k = self.kernel(Family::Image, "MAX_POOL_GRAD", &types).each(count, 256);
        self.launch(k.read(places).read(reads[1]).write(dx).long(count).words(pool.words));
    }

    fn each_window(&mut self, kernel: &str, to: &str, x: BufferId, y: BufferId, pool: &Pool) {
        let mut types = vec![self.c(x), to, index(pool.windows)];
        types.extend(pool.constants.iter().map(String::as_str));
        let k = self.kernel(Family::Image, kernel, &types).each(pool.windows, 256);
        self.launch(k.read(x).write(y).long(pool.windows).words(pool.words.clone()));
    }

    /// Of `max_pool`, or `max_pool_grad` whose second operand is as the other's result.
    fn pool(&self, node: &Node) -> Pool {
        let x = self.graph.shape(node.operands[0]);
        let y = self.graph.shape(if node.op.is("max_pool") { node.results[0] } else { node.operands[1] });
        let [kernel, stride, padding] = ["kernel_size", "stride", "padding"].map(|name| node.attributes.sizes(name));
        let sizes = [x[2], x[3], y[2], y[3], padding[0], padding[1]];
        Pool {
            constants: [kernel[0], kernel[1], stride[0], stride[1]].map(|n| n.to_string()),
            words: sizes.map(|n| n as u32).to_vec(),
            cells: kernel[0] * kernel[1],
            windows: y.iter().product(),
            lines: x[..3].iter().product(),
            width: x[3],
        }
    }

    pub(super) fn grid_sample(&mut self, node: &Node) {
        let sampled = self.sampled(node);
        let [x, grid] = [0, 1].map(|i| self.dense(node.operands[i]));
        let y = self.output(node.results[0]);
        let types = [self.c(x), self.c(grid), self.c(y), index(sampled.points)];
        let k = self.kernel(Family::Image, "GRID_SAMPLE", &types).grid(sampled.blocks(), 256);
        self.launch(k.read(x).read(grid).write(y).long(sampled.points).words(sampled.words));
    }

    pub(super) fn grid_sample_vjp(&mut self, node: &Node) {
        let sampled = self.sampled(node);
        let reads = [0, 1, 2].map(|i| self.dense(node.operands[i]));
        for (operand, &result) in node.attributes.sizes("wrt").into_iter().zip(&node.results) {
            let to = self.output(result);
            match operand {
                0 => self.sample_images_vjp(&sampled, reads, to),
                _ => self.sample_points_vjp(&sampled, reads, to),
            }
        }
    }

    fn sample_points_vjp(&mut self, sampled: &Sampled, [x, grid, g]: [BufferId; 3], to: BufferId) {
        let slices = match sampled.channels {
            0..8 => 1,
            8..32 => 2,
            _ => 4,
        };
        let types = [self.c(x), self.c(grid), self.c(g), self.c(to), index(sampled.points * slices)];
        let k = self.kernel(Family::Image, "GRID_SAMPLE_POINTS_GRAD", &types).each(sampled.points * slices, 128);
        let k = k.read(x).read(grid).read(g).write(to).long(sampled.points);
        self.launch(k.words(sampled.words.clone()).int(slices));
    }

    fn sample_images_vjp(&mut self, sampled: &Sampled, [_, grid, g]: [BufferId; 3], to: BufferId) {
        let cells = self.buffers[to].elements;
        let (planes, own) = (sampled.images * sampled.channels, sampled.points / sampled.images);
        let area = cells / planes;
        let sums = self.scratch(2 * cells, Element::I32);
        let largest = self.scratch(1 + planes, Element::I32);
        let (points, i) = (sampled.points, index(sampled.points));
        let [c_grid, c_g, c_to] = [grid, g, to].map(|b| self.c(b));

        let k = self.kernel(Family::Image, "SAMPLE_CLEAR", &[]).each(cells.max(1 + planes), 256);
        self.launch(k.write(sums).write(largest).long(cells).long(planes));
        // Eight cotangents a thread, unless the planes alone are as many blocks as keep a card busy.
        let blocks = own.div_ceil(256 * 8).min(1024_usize.div_ceil(planes));
        let k = self.kernel(Family::Image, "SAMPLE_LARGEST", &[c_g]).grid([planes * blocks, 1, 1], 256);
        self.launch(k.read(g).update(largest).int(own).int(blocks));
        let k = self.kernel(Family::Image, "SAMPLE_SCATTER", &[c_grid, c_g, i]).grid(sampled.blocks(), 256);
        let k = k.read(grid).read(g).read(largest).update(sums).long(points);
        self.launch(k.words(sampled.words.clone()).int(sampled.room));
        let k = self.kernel(Family::Image, "SAMPLE_CONVERT", &[c_to, index(cells)]).each(cells, 256);
        self.launch(k.read(sums).read(largest).write(to).long(cells).int(area).int(sampled.room));
        let k = self.kernel(Family::Image, "SAMPLE_SPOIL", &[c_grid, c_g, c_to, i]).each(points, 256);
        let k = k.read(grid).read(g).read(largest).update(to).long(points);
        self.launch(k.words(sampled.words.clone()));
    }

    fn sampled(&self, node: &Node) -> Sampled {
        let [x, grid] = [0, 1].map(|i| self.graph.shape(node.operands[i]));
        let place = |size: usize| match node.attributes.flag("align_corners") {
            true => [0.5 * (size - 1) as f32, 0.0],
            false => [0.5 * size as f32, -0.5],
        };
        let (channels, own, points) = (x[1], grid[1] * grid[2], grid[..3].iter().product::<usize>());
        let shares = BUSY.div_ceil(points).min(channels.div_ceil(4)).max(channels.div_ceil(65535));
        let share = channels.div_ceil(shares);
        let mut words: Vec<u32> = [channels, x[2], x[3], own, share].map(|n| n as u32).to_vec();
        words.extend(place(x[3]).into_iter().chain(place(x[2])).map(f32::to_bits));
        let room = own.next_power_of_two().ilog2() as usize + 1;
        Sampled { images: grid[0], channels, shares: channels.div_ceil(share), points, room, words }
    }
}

/// Runs that begin and end in their order: one of a cell that goes nowhere stands where the one before it ended.
fn reaches(mut runs: Vec<(usize, &[f64])>) -> Vec<(usize, &[f64])> {
    let mut end = 0;
    for (first, run) in &mut runs {
        if run.is_empty() {
            *first = end;
        }
        end = *first + run.len();
    }
    runs
}

/// What the kernels of max pooling are given.
struct Pool {
    /// The window and its steps, in the kernels' source.
    constants: [String; 4],
    words: Vec<u32>,
    /// Of a window.
    cells: usize,
    windows: usize,
    /// Rows of all planes, and cells in each.
    lines: usize,
    width: usize,
}

/// What the kernels of grid_sample are given.
struct Sampled {
    images: usize,
    channels: usize,
    /// Threads that share a point.
    shares: usize,
    /// Of all images.
    points: usize,
    /// The logarithm of how many points of an image may meet in a pixel, and one.
    room: usize,
    words: Vec<u32>,
}

impl Sampled {
    /// Blocks of 256 threads, one for each point and share.
    fn blocks(&self) -> [usize; 3] {
        [self.points.div_ceil(256), self.shares, 1]
    }
}
