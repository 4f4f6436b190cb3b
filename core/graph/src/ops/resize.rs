//! resize: bilinear interpolation of NCHW images.

use super::{optional, required};
use crate::{
    Attribute, AttributeKind, Attributes, Builder, Class, Meaning, OpDef, Operands, Result, TensorType, Value,
    ops::dot::DotAxes,
};

pub(super) static RESIZE: OpDef = OpDef {
    name: "resize",
    version: 1,
    class: Class::Composite,
    summary: "bilinear interpolation of [n, c, h, w] to a size, as PyTorch's interpolate without antialiasing",
    operands: Operands { names: &["x"], required: 1, variadic: false },
    attributes: &[
        required("size", AttributeKind::Ints, "[height, width] of the result"),
        optional(
            "scales",
            AttributeKind::Floats,
            "[height, width]: sample at 1 / scale steps, as PyTorch does when given a scale factor, instead of at in / out",
        ),
        required("coordinate_mode", AttributeKind::Text, "half_pixel or align_corners"),
    ],
    constraints: &[
        ("c1", "x is float [n, c, h, w]"),
        ("c2", "size is two integers of at least 1; scales are two positive numbers"),
        ("c3", "coordinate_mode is half_pixel or align_corners; align_corners takes no scales"),
    ],
    infer: |call| {
        call.require(call.ty(0).rank() == 4 && call.ty(0).dtype.is_float(), "c1", || {
            format!("x must be float [n, c, h, w], found {}", call.ty(0))
        })?;
        let size = call.sizes("size", 2, 1, "c2")?;
        let mode = call.attributes.text("coordinate_mode");
        if let Some(Attribute::Floats(scales)) = call.optional("scales") {
            call.require(scales.len() == 2 && scales.iter().all(|s| s.is_finite() && *s > 0.0), "c2", || {
                format!("scales must be two positive numbers, found {} others", scales.len())
            })?;
            call.require(mode == "half_pixel", "c3", || "scales need coordinate_mode half_pixel".into())?;
        }
        call.require(matches!(mode, "half_pixel" | "align_corners"), "c3", || {
            format!("coordinate_mode must be half_pixel or align_corners, found {mode:?}")
        })?;
        Ok(vec![TensorType::new(call.ty(0).dtype, [call.shape(0)[0], call.shape(0)[1], size[0], size[1]])])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let [_, _, height, width] = b.dims::<4>(operands[0])?;
        let size = attributes.sizes("size");
        let matrix = |axis: usize, from: usize| {
            let scale = match attributes.get("scales") {
                Some(Attribute::Floats(s)) => Some(s[axis]),
                _ => None,
            };
            let corners = attributes.text("coordinate_mode") == "align_corners";
            let weights = interpolation_matrix(from, size[axis], scale, corners);
            b.constant_of(b.dtype(operands[0]), &[size[axis], from], weights)
        };
        // [n, c, h, w] x [ow, w] -> [n, c, h, ow]; x [oh, h] -> [n, c, ow, oh]; then the last two axes change places.
        let along = |x: Value, matrix: Value, axis: usize| {
            b.dot_general(x, matrix, &DotAxes { lhs_contract: vec![axis], rhs_contract: vec![1], ..DotAxes::default() })
        };
        let wide = along(operands[0], matrix(1, width)?, 3)?;
        let tall = along(wide, matrix(0, height)?, 2)?;
        Ok(vec![b.transpose(tall, &[0, 1, 3, 2])?])
    }),
    flops: |_, results| 8 * results[0].elements() as u64,
};

/// The weights `[out, in]` of bilinear interpolation along one axis.
///
/// Half-pixel centres: source = (i + 0.5) * step - 0.5, cut at 0, with step = in / out, or 1 / scale when a scale is given
/// (PyTorch's two readings of `scale_factor`). Aligned corners: source = i * (in - 1) / (out - 1).
///
/// Coordinates are rounded to single precision at each operation, as PyTorch rounds them for f32 images: a model trained there then
/// sees the same pixels here in every precision. The exact coordinates differ by up to 4e-6 pixels.
pub fn interpolation_matrix(from: usize, to: usize, scale: Option<f64>, align_corners: bool) -> Vec<f64> {
    let step: f32 = match (align_corners, scale) {
        (true, _) if to > 1 => (from - 1) as f32 / (to - 1) as f32,
        (true, _) => 0.0,
        (false, Some(scale)) => (1.0 / scale) as f32,
        (false, None) => from as f32 / to as f32,
    };
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let source = if align_corners { i as f32 * step } else { ((i as f32 + 0.5) * step - 0.5).max(0.0) };
        let low = (source as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let weight = (source - low as f32).clamp(0.0, 1.0);
        row[low] += f64::from(1.0 - weight);
        row[high] += f64::from(weight);
    }
    matrix
}

impl Builder {
    /// Bilinear, half-pixel centres, sampled at in / out steps.
    pub fn resize(&self, x: Value, size: [usize; 2]) -> Result<Value> {
        let attributes = Attributes::new().with("size", size.as_slice()).with("coordinate_mode", "half_pixel");
        self.emit1(&RESIZE, &[x], attributes)
    }

    /// Bilinear, half-pixel centres, sampled at 1 / scale steps.
    pub fn resize_by(&self, x: Value, size: [usize; 2], scales: [f64; 2]) -> Result<Value> {
        let attributes = Attributes::new()
            .with("size", size.as_slice())
            .with("scales", scales.to_vec())
            .with("coordinate_mode", "half_pixel");
        self.emit1(&RESIZE, &[x], attributes)
    }
}
