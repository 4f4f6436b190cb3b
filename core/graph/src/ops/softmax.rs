//! softmax and log_softmax along an axis.

use super::required;
use crate::{
    AttributeDef, AttributeKind, Attributes, Builder, Call, Class, Meaning, OpDef, Operands, Result, TensorType, Value,
};

const ONE: Operands = Operands { names: &["x"], required: 1, variadic: false };
static AXIS: [AttributeDef; 1] = [required("axis", AttributeKind::Int, "the axis whose elements sum to one")];

fn infer(call: &Call<'_>) -> Result<Vec<TensorType>> {
    call.float(0, "c1")?;
    call.axis("axis", 0, "c2")?;
    Ok(vec![call.ty(0).clone()])
}

/// `x - max(x)`, with the maximum held constant: it cancels, and so must not carry a gradient.
fn shifted(b: &Builder, x: Value, axis: usize) -> Result<Value> {
    let top = b.stop_gradient(b.reduce_max(x, &[axis])?)?;
    b.subtract(x, b.unreduce(top, &b.shape(x), &[axis])?)
}

pub(super) static SOFTMAX: OpDef = OpDef {
    name: "softmax",
    version: 1,
    class: Class::Composite,
    summary: "e^x / sum(e^x), computed from x - max(x)",
    operands: ONE,
    attributes: &AXIS,
    constraints: &[("c1", "x is float"), ("c2", "axis is an axis of x")],
    infer,
    meaning: Meaning::Composite(|b, operands, attributes| {
        let axis = attributes.int("axis") as usize;
        let e = b.exponential(shifted(b, operands[0], axis)?)?;
        let sum = b.reduce_sum(e, &[axis])?;
        Ok(vec![b.divide(e, b.unreduce(sum, &b.shape(e), &[axis])?)?])
    }),
    flops: |_, results| 5 * results[0].elements() as u64,
};

pub(super) static LOG_SOFTMAX: OpDef = OpDef {
    name: "log_softmax",
    version: 1,
    class: Class::Composite,
    summary: "x - max(x) - log(sum(e^(x - max(x))))",
    operands: ONE,
    attributes: &AXIS,
    constraints: &[("c1", "x is float"), ("c2", "axis is an axis of x")],
    infer,
    meaning: Meaning::Composite(|b, operands, attributes| {
        let axis = attributes.int("axis") as usize;
        let x = shifted(b, operands[0], axis)?;
        let log = b.log(b.reduce_sum(b.exponential(x)?, &[axis])?)?;
        Ok(vec![b.subtract(x, b.unreduce(log, &b.shape(x), &[axis])?)?])
    }),
    flops: |_, results| 5 * results[0].elements() as u64,
};

impl Builder {
    /// A negative axis counts from the end.
    pub fn softmax(&self, x: Value, axis: isize) -> Result<Value> {
        self.emit1(&SOFTMAX, &[x], Attributes::new().with("axis", self.axis_from_end(x, axis)))
    }

    /// A negative axis counts from the end.
    pub fn log_softmax(&self, x: Value, axis: isize) -> Result<Value> {
        self.emit1(&LOG_SOFTMAX, &[x], Attributes::new().with("axis", self.axis_from_end(x, axis)))
    }

    pub(super) fn axis_from_end(&self, x: Value, axis: isize) -> i64 {
        if axis < 0 { axis as i64 + self.rank(x) as i64 } else { axis as i64 }
    }
}
