//! Normalisations: layer_norm, batch_norm_training, batch_norm_inference, l2_normalize.

use super::required;
use crate::{
    AttributeDef, AttributeKind, Attributes, Builder, Call, Class, Meaning, OpDef, Operands, Result, TensorType, Value,
};

const EPSILON: AttributeDef = required("epsilon", AttributeKind::Float, "added to the variance");

fn positive_epsilon(call: &Call<'_>, label: &str) -> Result<()> {
    let epsilon = call.attributes.float("epsilon");
    call.require(epsilon.is_finite() && epsilon > 0.0, label, || format!("epsilon must be positive, found {epsilon}"))
}

fn per_channel(call: &Call<'_>, from: usize, channels: usize, label: &str) -> Result<()> {
    let expected = TensorType::new(call.ty(0).dtype, [channels]);
    for i in from..call.operands.len() {
        call.require(*call.ty(i) == expected, label, || {
            format!("{} must be {expected}, found {}", call.op.operands.names[i], call.ty(i))
        })?;
    }
    Ok(())
}

pub(super) static LAYER_NORM: OpDef = OpDef {
    name: "layer_norm",
    version: 1,
    class: Class::Composite,
    summary: "(x - mean) / sqrt(var + epsilon) * weight + bias over the last axis, two-pass, biased variance",
    operands: Operands { names: &["x", "weight", "bias"], required: 3, variadic: false },
    attributes: &[EPSILON],
    constraints: &[
        ("c1", "x is float of at least one axis"),
        ("c2", "weight and bias are float [last axis of x]"),
        ("c3", "epsilon is positive"),
    ],
    infer: |call| {
        call.require(call.ty(0).rank() >= 1 && call.ty(0).dtype.is_float(), "c1", || format!("found {}", call.ty(0)))?;
        per_channel(call, 1, call.shape(0)[call.ty(0).rank() - 1], "c2")?;
        positive_epsilon(call, "c3")?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let x = operands[0];
        let shape = b.shape(x);
        let axis = [shape.len() - 1];
        let centred = b.subtract(x, b.unreduce(b.mean(x, &axis)?, &shape, &axis)?)?;
        let variance = b.mean(b.multiply(centred, centred)?, &axis)?;
        let deviation = b.sqrt(b.add_scalar(variance, attributes.float("epsilon"))?)?;
        let normal = b.divide(centred, b.unreduce(deviation, &shape, &axis)?)?;
        Ok(vec![b.add(b.multiply(normal, operands[1])?, operands[2])?])
    }),
    flops: |_, results| 8 * results[0].elements() as u64,
};

/// All axes but the channels'.
fn batch_axes(b: &Builder, x: Value) -> Vec<usize> {
    (0..b.rank(x)).filter(|&a| a != 1).collect()
}

fn check_batch_norm(call: &Call<'_>) -> Result<usize> {
    call.require(call.ty(0).rank() >= 2 && call.ty(0).dtype.is_float(), "c1", || {
        format!("x must be float [n, c, ...], found {}", call.ty(0))
    })?;
    let channels = call.shape(0)[1];
    per_channel(call, 1, channels, "c2")?;
    positive_epsilon(call, "c3")?;
    Ok(channels)
}

fn affine(
    b: &Builder,
    x: Value,
    mean: Value,
    variance: Value,
    weight: Value,
    bias: Value,
    epsilon: f64,
) -> Result<Value> {
    let shape = b.shape(x);
    let spread = |v: Value| b.broadcast_in_dim(v, &shape, &[1]);
    let deviation = b.sqrt(b.add_scalar(variance, epsilon)?)?;
    let normal = b.divide(b.subtract(x, spread(mean)?)?, spread(deviation)?)?;
    b.add(b.multiply(normal, spread(weight)?)?, spread(bias)?)
}

pub(super) static BATCH_NORM_TRAINING: OpDef = OpDef {
    name: "batch_norm_training",
    version: 1,
    class: Class::Composite,
    summary: "normalises by the batch's mean and biased variance over all axes but 1; also gives the new running mean and (unbiased) variance",
    operands: Operands { names: &["x", "weight", "bias", "running_mean", "running_var"], required: 5, variadic: false },
    attributes: &[EPSILON, required("momentum", AttributeKind::Float, "weight of the batch in the running statistics")],
    constraints: &[
        ("c1", "x is float [n, c, ...]"),
        ("c2", "weight, bias, running_mean and running_var are float [c]"),
        ("c3", "epsilon is positive, momentum within 0 to 1"),
        ("c4", "there is more than one value a channel"),
    ],
    infer: |call| {
        let channels = check_batch_norm(call)?;
        let momentum = call.attributes.float("momentum");
        call.require((0.0..=1.0).contains(&momentum), "c3", || {
            format!("momentum must be within 0 to 1, found {momentum}")
        })?;
        call.require(call.ty(0).elements() / channels > 1, "c4", || {
            format!("batch statistics need more than one value a channel, found {}", call.ty(0))
        })?;
        let statistics = TensorType::new(call.ty(0).dtype, [channels]);
        Ok(vec![call.ty(0).clone(), statistics.clone(), statistics])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let [x, weight, bias, running_mean, running_var] = operands else { unreachable!("arity is verified") };
        let axes = batch_axes(b, *x);
        let shape = b.shape(*x);
        let count = (shape.iter().product::<usize>() / shape[1]) as f64;
        let mean = b.mean(*x, &axes)?;
        let centred = b.subtract(*x, b.unreduce(mean, &shape, &axes)?)?;
        let variance = b.mean(b.multiply(centred, centred)?, &axes)?;
        let y = affine(b, *x, mean, variance, *weight, *bias, attributes.float("epsilon"))?;
        let momentum = attributes.float("momentum");
        let new_mean = b.mix(b.stop_gradient(mean)?, *running_mean, momentum)?;
        let unbiased = b.scale(b.stop_gradient(variance)?, count / (count - 1.0))?;
        Ok(vec![y, new_mean, b.mix(unbiased, *running_var, momentum)?])
    }),
    flops: |_, results| 9 * results[0].elements() as u64,
};

pub(super) static BATCH_NORM_INFERENCE: OpDef = OpDef {
    name: "batch_norm_inference",
    version: 1,
    class: Class::Composite,
    summary: "(x - running_mean) / sqrt(running_var + epsilon) * weight + bias, channels on axis 1",
    operands: Operands { names: &["x", "weight", "bias", "running_mean", "running_var"], required: 5, variadic: false },
    attributes: &[EPSILON],
    constraints: &[
        ("c1", "x is float [n, c, ...]"),
        ("c2", "weight, bias, running_mean and running_var are float [c]"),
        ("c3", "epsilon is positive"),
    ],
    infer: |call| {
        check_batch_norm(call)?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let [x, weight, bias, mean, variance] = operands else { unreachable!("arity is verified") };
        Ok(vec![affine(b, *x, *mean, *variance, *weight, *bias, attributes.float("epsilon"))?])
    }),
    flops: |_, results| 4 * results[0].elements() as u64,
};

pub(super) static L2_NORMALIZE: OpDef = OpDef {
    name: "l2_normalize",
    version: 1,
    class: Class::Composite,
    summary: "x / sqrt(max(sum(x^2), epsilon^2)) along an axis",
    operands: Operands { names: &["x"], required: 1, variadic: false },
    attributes: &[
        required("axis", AttributeKind::Int, "the axis whose squares sum to one"),
        required("epsilon", AttributeKind::Float, "the least norm"),
    ],
    constraints: &[("c1", "x is float"), ("c2", "axis is an axis of x"), ("c3", "epsilon is positive")],
    infer: |call| {
        call.float(0, "c1")?;
        call.axis("axis", 0, "c2")?;
        positive_epsilon(call, "c3")?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let x = operands[0];
        let axes = [attributes.int("axis") as usize];
        let epsilon = attributes.float("epsilon");
        let squares = b.reduce_sum(b.multiply(x, x)?, &axes)?;
        let norm = b.sqrt(b.maximum(squares, b.full_like(squares, epsilon * epsilon)?)?)?;
        Ok(vec![b.divide(x, b.unreduce(norm, &b.shape(x), &axes)?)?])
    }),
    flops: |_, results| 4 * results[0].elements() as u64,
};

impl Builder {
    /// Over the last axis.
    pub fn layer_norm(&self, x: Value, weight: Value, bias: Value, epsilon: f64) -> Result<Value> {
        self.emit1(&LAYER_NORM, &[x, weight, bias], Attributes::new().with("epsilon", epsilon))
    }

    /// Channels on axis 1. Returns the result and the new running mean and variance.
    pub fn batch_norm_training(&self, operands: [Value; 5], epsilon: f64, momentum: f64) -> Result<[Value; 3]> {
        let attributes = Attributes::new().with("epsilon", epsilon).with("momentum", momentum);
        let results = self.emit(&BATCH_NORM_TRAINING, &operands, attributes)?;
        Ok([results[0], results[1], results[2]])
    }

    /// Channels on axis 1.
    pub fn batch_norm_inference(&self, operands: [Value; 5], epsilon: f64) -> Result<Value> {
        self.emit1(&BATCH_NORM_INFERENCE, &operands, Attributes::new().with("epsilon", epsilon))
    }

    /// A negative axis counts from the end.
    pub fn l2_normalize(&self, x: Value, axis: isize, epsilon: f64) -> Result<Value> {
        let attributes = Attributes::new().with("axis", self.axis_from_end(x, axis)).with("epsilon", epsilon);
        self.emit1(&L2_NORMALIZE, &[x], attributes)
    }
}
