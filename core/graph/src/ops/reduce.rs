//! Reductions: reduce_sum, reduce_max, and the mean made of them.

use super::required;
use crate::{
    AttributeDef, AttributeKind, Attributes, Builder, Call, Class, Meaning, OpDef, Operands, Result, TensorType, Value,
};

static AXES: [AttributeDef; 1] = [required("axes", AttributeKind::Ints, "axes that disappear, increasing")];
const ONE: Operands = Operands { names: &["x"], required: 1, variadic: false };

fn infer(call: &Call<'_>) -> Result<Vec<TensorType>> {
    call.float(0, "c1")?;
    let axes = call.axes("axes", 0, "c2")?;
    let shape: Vec<usize> =
        call.shape(0).iter().enumerate().filter(|(a, _)| !axes.contains(a)).map(|(_, &d)| d).collect();
    Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
}

fn flops(call: &Call<'_>, _: &[TensorType]) -> u64 {
    call.ty(0).elements() as u64
}

pub(super) static REDUCE_SUM: OpDef = OpDef {
    name: "reduce_sum",
    version: 1,
    class: Class::Primitive,
    summary: "sum over axes",
    operands: ONE,
    attributes: &AXES,
    constraints: &[("c1", "x is float"), ("c2", "axes are increasing axes of x")],
    infer,
    meaning: Meaning::Primitive(|b, v| {
        Ok(vec![v.when(0, || b.unreduce(v.cotangent(), &b.shape(v.operands[0]), &v.attributes.sizes("axes")))?])
    }),
    flops,
};

pub(super) static REDUCE_MAX: OpDef = OpDef {
    name: "reduce_max",
    version: 1,
    class: Class::Primitive,
    summary: "largest element over axes; a tie shares the gradient equally",
    operands: ONE,
    attributes: &AXES,
    constraints: &[("c1", "x is float"), ("c2", "axes are increasing axes of x")],
    infer,
    meaning: Meaning::Primitive(|b, v| {
        Ok(vec![v.when(0, || {
            let x = v.operands[0];
            let (shape, axes) = (b.shape(x), v.attributes.sizes("axes"));
            let top = b.unreduce(v.results[0], &shape, &axes)?;
            let hit = b.select(b.compare(x, top, "EQ")?, b.full_like(x, 1.0)?, b.full_like(x, 0.0)?)?;
            let share = b.divide(v.cotangent(), b.reduce_sum(hit, &axes)?)?;
            b.multiply(hit, b.unreduce(share, &shape, &axes)?)
        })?])
    }),
    flops,
};

impl Builder {
    /// Sum over axes, which disappear.
    pub fn reduce_sum(&self, x: Value, axes: &[usize]) -> Result<Value> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.emit1(&REDUCE_SUM, &[x], Attributes::new().with("axes", axes))
    }

    /// Largest element over axes, which disappear.
    pub fn reduce_max(&self, x: Value, axes: &[usize]) -> Result<Value> {
        self.emit1(&REDUCE_MAX, &[x], Attributes::new().with("axes", axes))
    }

    /// Mean over axes, which disappear.
    pub fn mean(&self, x: Value, axes: &[usize]) -> Result<Value> {
        let shape = self.shape(x);
        let sum = self.reduce_sum(x, axes)?;
        let count: usize = axes.iter().map(|&a| shape[a]).product();
        self.scale(sum, 1.0 / count as f64)
    }

    /// Repeats a reduced tensor over the axes that disappeared, back to `shape`.
    pub fn unreduce(&self, x: Value, shape: &[usize], axes: &[usize]) -> Result<Value> {
        let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
        if kept.len() == shape.len() {
            return Ok(x);
        }
        self.broadcast_in_dim(x, shape, &kept)
    }
}
