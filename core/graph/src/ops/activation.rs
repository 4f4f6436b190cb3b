//! Activations: leaky_relu (relu is its slope 0) and gelu.

use std::f64::consts::FRAC_1_SQRT_2;

use super::required;
use crate::{AttributeKind, Attributes, Builder, Class, Meaning, OpDef, Operands, Result, Value};

const ONE: Operands = Operands { names: &["x"], required: 1, variadic: false };

pub(super) static LEAKY_RELU: OpDef = OpDef {
    name: "leaky_relu",
    version: 1,
    class: Class::Composite,
    summary: "x where x > 0, else slope * x; the derivative at 0 is the slope",
    operands: ONE,
    attributes: &[required("negative_slope", AttributeKind::Float, "factor of what is not positive; 0 gives relu")],
    constraints: &[("c1", "x is float")],
    infer: |call| {
        call.float(0, "c1")?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let x = operands[0];
        let zero = b.full_like(x, 0.0)?;
        let slope = attributes.float("negative_slope");
        // Slope 0 has its own form: 0 * inf would be NaN.
        let below = if slope == 0.0 { zero } else { b.scale(x, slope)? };
        Ok(vec![b.select(b.compare(x, zero, "GT")?, x, below)?])
    }),
    flops: |_, results| 2 * results[0].elements() as u64,
};

pub(super) static GELU: OpDef = OpDef {
    name: "gelu",
    version: 1,
    class: Class::Composite,
    summary: "x * (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016, the exact form)",
    operands: ONE,
    attributes: &[],
    constraints: &[("c1", "x is float")],
    infer: |call| {
        call.float(0, "c1")?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Composite(|b, operands, _| {
        let x = operands[0];
        let share = b.add_scalar(b.erf(b.scale(x, FRAC_1_SQRT_2)?)?, 1.0)?;
        Ok(vec![b.multiply(b.scale(x, 0.5)?, share)?])
    }),
    flops: |_, results| 10 * results[0].elements() as u64,
};

impl Builder {
    pub fn leaky_relu(&self, x: Value, negative_slope: f64) -> Result<Value> {
        self.emit1(&LEAKY_RELU, &[x], Attributes::new().with("negative_slope", negative_slope))
    }

    pub fn relu(&self, x: Value) -> Result<Value> {
        self.leaky_relu(x, 0.0)
    }

    /// The exact (erf) form.
    pub fn gelu(&self, x: Value) -> Result<Value> {
        self.emit1(&GELU, &[x], Attributes::new())
    }
}
