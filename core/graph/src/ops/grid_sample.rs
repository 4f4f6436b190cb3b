//! grid_sample: bilinear samples of an image at given points (Jaderberg et al. 2015), and affine_grid.

use super::required;
use crate::{
    AttributeKind, Attributes, Builder, Class, DType, Meaning, OpDef, Operands, Result, TensorType, Value,
    ops::dot::DotAxes,
};

pub(super) static GRID_SAMPLE: OpDef = OpDef {
    name: "grid_sample",
    version: 1,
    class: Class::Composite,
    summary: "bilinear samples of [n, c, h, w] at grid [n, oh, ow, 2] of (x, y) in -1..1; zeros outside",
    operands: Operands { names: &["x", "grid"], required: 2, variadic: false },
    attributes: &[required(
        "align_corners",
        AttributeKind::Bool,
        "-1 and 1 are the centres of the corner pixels, not their outer edges",
    )],
    constraints: &[("c1", "x is float [n, c, h, w]"), ("c2", "grid is float [n, oh, ow, 2]")],
    infer: |call| {
        let (x, grid) = (call.ty(0), call.ty(1));
        call.require(x.rank() == 4 && x.dtype.is_float(), "c1", || format!("x must be float [n, c, h, w], found {x}"))?;
        let fits = grid.rank() == 4 && grid.dtype == x.dtype && grid.shape[0] == x.shape[0] && grid.shape[3] == 2;
        call.require(fits, "c2", || format!("grid must be float [{}, oh, ow, 2], found {grid}", x.shape[0]))?;
        Ok(vec![TensorType::new(x.dtype, [x.shape[0], x.shape[1], grid.shape[1], grid.shape[2]])])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let [n, c, height, width] = b.dims::<4>(operands[0])?;
        let [_, oh, ow, _] = b.dims::<4>(operands[1])?;
        let points = n * oh * ow;
        let corners = attributes.flag("align_corners");
        // Pixel rows as a table [n * h * w, c], so that one gather fetches all channels of a point.
        let table = b.reshape(b.transpose(operands[0], &[0, 2, 3, 1])?, &[n * height * width, c])?;
        let grid = b.reshape(operands[1], &[points, 2])?;
        let x = Axis::new(b, grid, 0, width, corners)?;
        let y = Axis::new(b, grid, 1, height, corners)?;
        let starts: Vec<f64> = (0..points).map(|p| (p / (oh * ow) * height * width) as f64).collect();
        let starts = b.constant_of(DType::I32, &[points], starts)?;
        let row = b.constant_of(DType::I32, &[points], vec![width as f64])?;
        let mut sum = None;
        for (yi, yw) in &y.taps {
            let base = b.add(starts, b.multiply(*yi, row)?)?;
            for (xi, xw) in &x.taps {
                let pixels = b.gather(table, b.add(base, *xi)?, 0)?;
                let weight = b.broadcast_in_dim(b.multiply(*yw, *xw)?, &[points, c], &[0])?;
                let term = b.multiply(pixels, weight)?;
                sum = Some(match sum {
                    None => term,
                    Some(so_far) => b.add(so_far, term)?,
                });
            }
        }
        let sum = sum.expect("four corners were added");
        Ok(vec![b.transpose(b.reshape(sum, &[n, oh, ow, c])?, &[0, 3, 1, 2])?])
    }),
    flops: |_, results| 12 * results[0].elements() as u64,
};

/// The two pixels beside each point along one axis: clamped i32 index, and weight (0 outside the image).
struct Axis {
    taps: [(Value, Value); 2],
}

impl Axis {
    fn new(b: &Builder, grid: Value, column: usize, size: usize, align_corners: bool) -> Result<Axis> {
        let [points, _] = b.dims::<2>(grid)?;
        let g = b.reshape(b.slice_axis(grid, 1, column, column + 1)?, &[points])?;
        // align_corners: (g + 1) / 2 * (size - 1); else ((g + 1) * size - 1) / 2.
        let position = if align_corners {
            b.scale(b.add_scalar(g, 1.0)?, 0.5 * (size - 1) as f64)?
        } else {
            b.add_scalar(b.scale(b.add_scalar(g, 1.0)?, 0.5 * size as f64)?, -0.5)?
        };
        let low = b.stop_gradient(b.floor(position)?)?;
        let part = b.subtract(position, low)?;
        let tap = |index: Value, weight: Value| -> Result<(Value, Value)> {
            let zero = b.full_like(index, 0.0)?;
            let last = b.full_like(index, (size - 1) as f64)?;
            let weight = b.select(b.compare(index, zero, "GE")?, weight, zero)?;
            let weight = b.select(b.compare(index, last, "LE")?, weight, zero)?;
            let clamped = b.minimum(b.maximum(index, zero)?, last)?;
            Ok((b.convert(clamped, DType::I32)?, weight))
        };
        Ok(Axis { taps: [tap(low, b.one_minus(part)?)?, tap(b.add_scalar(low, 1.0)?, part)?] })
    }
}

impl Builder {
    pub fn grid_sample(&self, x: Value, grid: Value, align_corners: bool) -> Result<Value> {
        self.emit1(&GRID_SAMPLE, &[x, grid], Attributes::new().with("align_corners", align_corners))
    }

    /// Affine maps `theta [n, 2, 3]` of the regular grid: `[n, height, width, 2]`, as PyTorch's `affine_grid`.
    pub fn affine_grid(&self, theta: Value, height: usize, width: usize, align_corners: bool) -> Result<Value> {
        let [n, ..] = self.dims::<3>(theta)?;
        let line = |size: usize, i: usize| match (align_corners, size) {
            (true, 1) => 0.0,
            (true, _) => -1.0 + 2.0 * i as f64 / (size - 1) as f64,
            (false, _) => (2.0 * i as f64 + 1.0) / size as f64 - 1.0,
        };
        let mut base = Vec::with_capacity(height * width * 3);
        for y in 0..height {
            for x in 0..width {
                base.extend([line(width, x), line(height, y), 1.0]);
            }
        }
        let base = self.constant(&[height * width, 3], base)?;
        // [n, 2, 3] . [p, 3] -> [n, 2, p]
        let axes = DotAxes { lhs_contract: vec![2], rhs_contract: vec![1], ..DotAxes::default() };
        let points = self.transpose(self.dot_general(theta, base, &axes)?, &[0, 2, 1])?;
        self.reshape(points, &[n, height, width, 2])
    }
}
