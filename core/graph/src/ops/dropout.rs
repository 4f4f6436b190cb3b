//! dropout and stochastic depth from counter-based random numbers: the backward pass draws the same mask again.

use super::required;
use crate::{
    AttributeKind, Attributes, Builder, Class, DType, Meaning, OpDef, Operands, Result, TensorType, Value,
    ops::source::RNG_UNIFORM,
};

pub(super) static DROPOUT: OpDef = OpDef {
    name: "dropout",
    version: 1,
    class: Class::Composite,
    summary: "zeroes each element with a probability and scales the others by 1 / (1 - probability)",
    operands: Operands { names: &["x", "key"], required: 2, variadic: false },
    attributes: &[
        required("probability", AttributeKind::Float, "of zeroing an element"),
        required("stream", AttributeKind::Int, "random stream, see rng_uniform"),
    ],
    constraints: &[
        ("c1", "x is float"),
        ("c2", "probability is within 0 to 1, 1 excluded"),
        ("c3", "key is i32[3], stream within 0 to 2^31 - 1"),
    ],
    infer: |call| {
        call.float(0, "c1")?;
        let p = call.attributes.float("probability");
        call.require((0.0..1.0).contains(&p), "c2", || format!("probability must be within 0 to 1, found {p}"))?;
        let stream = call.attributes.int("stream");
        let key = TensorType::new(DType::I32, [3]);
        call.require(*call.ty(1) == key && (0..1 << 31).contains(&stream), "c3", || {
            format!("key must be {key}, found {}, stream {stream}", call.ty(1))
        })?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let (x, p) = (operands[0], attributes.float("probability"));
        let shape = b.shape(x);
        let draw = Attributes::new().with("shape", shape.as_slice()).with("stream", attributes.int("stream"));
        let uniform = b.emit1(&RNG_UNIFORM, &[operands[1]], draw)?;
        let keep = b.compare(uniform, b.full(&shape, threshold(p))?, "GE")?;
        Ok(vec![b.select(keep, b.scale(x, 1.0 / (1.0 - p))?, b.full_like(x, 0.0)?)?])
    }),
    flops: |_, results| 2 * results[0].elements() as u64,
};

/// The probability as one of the numbers that `rng_uniform` can give, multiples of 2^-24. The same draws fall below it, and f32
/// and f64 hold it exactly, so that every precision drops the same elements.
fn threshold(probability: f64) -> f64 {
    let steps = f64::from(1u32 << 24);
    (probability * steps).ceil() / steps
}

impl Builder {
    /// For training graphs; an evaluation graph leaves it out.
    pub fn dropout(&self, x: Value, probability: f64) -> Result<Value> {
        if probability == 0.0 {
            return Ok(x);
        }
        let attributes = Attributes::new().with("probability", probability).with("stream", self.next_stream());
        self.emit1(&DROPOUT, &[x, self.rng_key()?], attributes)
    }

    /// Stochastic depth (Huang et al. 2016, timm's `drop_path`): drops whole samples of axis 0, scales the others.
    pub fn drop_path(&self, x: Value, probability: f64) -> Result<Value> {
        if probability == 0.0 {
            return Ok(x);
        }
        let shape = self.shape(x);
        let samples = [shape.first().copied().unwrap_or(1)];
        let keep = self.compare(self.rng_uniform(&samples)?, self.full(&samples, threshold(probability))?, "GE")?;
        let factor = self.select(keep, self.full(&samples, 1.0 / (1.0 - probability))?, self.full(&samples, 0.0)?)?;
        self.multiply(x, self.broadcast_in_dim(factor, &shape, &[0])?)
    }
}
