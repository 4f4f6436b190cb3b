//! How a convolution, or the gradient of its image, is points that gather what their taps see; and how points are cut into tiles.

use fer_graph::ops::Window;

/// One axis of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Cells that can be seen.
    pub(super) cells: usize,
    /// Points that look at them.
    pub(super) points: usize,
    /// Cells from one point to the next.
    pub(super) step: usize,
    /// Where each tap lies, in cells from point 0's place; and which row or column of the kernel it is.
    pub(super) taps: Vec<(i64, usize)>,
    /// Length of the result, and where in it the first point and the ones behind it are stored.
    pub(super) results: usize,
    pub(super) first: usize,
    pub(super) stride: usize,
}

impl Axis {
    /// Of a convolution.
    pub(super) fn forward(window: &Window, axis: usize, cells: usize, kernel: usize, results: usize) -> Axis {
        let tap = |k: usize| ((k * window.dilation[axis]) as i64 - window.padding[axis] as i64, k);
        Axis {
            cells,
            points: results,
            step: window.stride[axis],
            taps: (0..kernel).map(tap).collect(),
            results,
            first: 0,
            stride: 1,
        }
    }

    /// Of the gradient of its image, of `results` cells. A cell at `i` is seen by the point `(i + padding - k * dilation) / stride`
    /// through tap `k`, where that divides: cells that are `stride` apart see by the same taps, so there are as many axes.
    pub(super) fn backward(window: &Window, axis: usize, cells: usize, kernel: usize, results: usize) -> Vec<Axis> {
        let stride = window.stride[axis];
        let phase = |first: usize| {
            let taps = (0..kernel).filter_map(|k| {
                let at = (first + window.padding[axis]) as i64 - (k * window.dilation[axis]) as i64;
                (at % stride as i64 == 0).then_some((at / stride as i64, k))
            });
            let points = (results - first).div_ceil(stride);
            Axis { cells, points, step: 1, taps: taps.collect(), results, first, stride }
        };
        (0..stride.min(results)).map(phase).collect()
    }

    /// The first cell that point 0 sees.
    fn lowest(&self) -> i64 {
        self.taps.iter().map(|t| t.0).min().unwrap_or(0)
    }

    /// Cells that so many points see, from the first to the last.
    fn patch(&self, points: usize) -> usize {
        let highest = self.taps.iter().map(|t| t.0).max().unwrap_or(0);
        (points - 1) * self.step + (highest - self.lowest()) as usize + 1
    }
}

/// Points that a block computes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Tile {
    /// The tile of at most `points` points and `most` cells for which the least is computed and staged: a point costs what `work`
    /// cells cost. `even` asks for an even number of columns, which may be one more than there are.
    pub(super) fn best(
        images: usize,
        axes: &[Axis; 2],
        points: usize,
        most: usize,
        work: f64,
        even: bool,
    ) -> Option<Tile> {
        let [down, across] = axes;
        let mut best: Option<(f64, Tile)> = None;
        let widest = across.points.min(points);
        for columns in (1..=widest).filter(|&c| c == widest || c % 8 == 0 || c < 8) {
            let columns = if even { columns.next_multiple_of(2) } else { columns };
            let tallest = down.points.min(points / columns);
            // All rows, or rows for which the last tile is as tall as the others.
            for pieces in down.points.div_ceil(tallest)..=(2 * down.points.div_ceil(tallest)).min(down.points) {
                let rows = down.points.div_ceil(pieces);
                let whole = rows >= down.points && columns >= across.points;
                let most_images = if whole { (points / (rows * columns)).clamp(1, images) } else { 1 };
                let cells = down.patch(rows) * across.patch(columns);
                for together in [most_images, 1] {
                    if together * cells > most {
                        continue;
                    }
                    let tiles =
                        images.div_ceil(together) * down.points.div_ceil(rows) * across.points.div_ceil(columns);
                    let cost = tiles as f64 * (points as f64 * work + (together * cells) as f64);
                    if best.is_none_or(|(least, _)| cost < least) {
                        best = Some((cost, Tile { images: together, rows, columns }));
                    }
                }
            }
        }
        best.map(|(_, tile)| tile)
    }

    pub(super) fn points(self) -> usize {
        self.images * self.rows * self.columns
    }
}

/// A gather as the kernels are told of it: `Gather` of `kernels/convolution.cuh`.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Of a group.
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) axes: [Axis; 2],
    pub(super) tile: Tile,
    /// Numbers from one channel of a patch to the next.
    pub(super) plane: usize,
    /// Channels that are staged at a time.
    pub(super) chunk: usize,
}

impl Gather {
    pub(super) fn taps(&self) -> usize {
        self.axes[0].taps.len() * self.axes[1].taps.len()
    }

    fn patch(&self) -> [usize; 2] {
        [self.axes[0].patch(self.tile.rows), self.axes[1].patch(self.tile.columns)]
    }

    /// Cells of a channel of a patch.
    pub(super) fn cells(&self) -> usize {
        let [rows, columns] = self.patch();
        self.tile.images * rows * columns
    }

    pub(super) fn tiles(&self) -> usize {
        let [down, across] = self.tiles_along();
        self.images.div_ceil(self.tile.images) * down * across
    }

    fn tiles_along(&self) -> [usize; 2] {
        [self.axes[0].points.div_ceil(self.tile.rows), self.axes[1].points.div_ceil(self.tile.columns)]
    }

    /// Where in a patch each tap lies; at least one number.
    pub(super) fn offsets(&self) -> Vec<u32> {
        let [down, across] = &self.axes;
        let (top, left, pitch) = (down.lowest(), across.lowest(), self.patch()[1] as i64);
        let rows = down.taps.iter();
        let at = rows.flat_map(|r| across.taps.iter().map(move |c| ((r.0 - top) * pitch + c.0 - left) as u32));
        or_zero(at.collect())
    }

    /// Where in a kernel of so many columns each tap lies; at least one number.
    pub(super) fn places(&self, columns: usize) -> Vec<u32> {
        let [down, across] = &self.axes;
        let rows = down.taps.iter();
        or_zero(rows.flat_map(|r| across.taps.iter().map(move |c| (r.1 * columns + c.1) as u32)).collect())
    }

    pub(super) fn words(&self) -> Vec<u32> {
        let [down, across] = &self.axes;
        let [tiles_down, tiles_across] = self.tiles_along();
        let [patch_rows, patch_columns] = self.patch();
        let words = [
            self.images as i64,
            self.groups as i64,
            self.in_channels as i64,
            self.out_channels as i64,
            down.cells as i64,
            across.cells as i64,
            down.points as i64,
            across.points as i64,
            down.step as i64,
            across.step as i64,
            down.lowest(),
            across.lowest(),
            down.results as i64,
            across.results as i64,
            down.first as i64,
            across.first as i64,
            down.stride as i64,
            across.stride as i64,
            self.taps() as i64,
            self.tile.images as i64,
            self.tile.rows as i64,
            self.tile.columns as i64,
            tiles_down as i64,
            tiles_across as i64,
            patch_rows as i64,
            patch_columns as i64,
            self.plane as i64,
            self.chunk as i64,
        ];
        let mut words = words.map(|w| i32::try_from(w).expect("sizes of images fit 31 bits") as u32).to_vec();
        words.extend([self.tile.rows, self.tile.columns, patch_rows, patch_columns].map(part));
        words
    }
}

fn or_zero(table: Vec<u32>) -> Vec<u32> {
    if table.is_empty() { vec![0] } else { table }
}

/// What `quotient` of the kernels divides by `divisor` with.
fn part(divisor: usize) -> u32 {
    if divisor == 1 { 0 } else { ((1u64 << 32) / divisor as u64 + 1) as u32 }
}
