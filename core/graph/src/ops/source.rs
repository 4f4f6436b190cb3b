//! Where values come from and where gradients stop: constant, rng_uniform, stop_gradient, convert.

use super::{no_flops, optional, required};
use crate::{
    AttributeKind, Attributes, Builder, Call, Class, DType, Meaning, OpDef, Operands, Result, TensorType, Value, Vjp,
};

pub(super) static CONSTANT: OpDef = OpDef {
    name: "constant",
    version: 1,
    class: Class::Primitive,
    summary: "given numbers; a single one fills the whole shape",
    operands: Operands { names: &[], required: 0, variadic: false },
    attributes: &[
        required("value", AttributeKind::Floats, "one number, or one for each element, row-major"),
        required("shape", AttributeKind::Ints, "shape of the result"),
        optional("dtype", AttributeKind::Text, "element type of the result; f when absent"),
    ],
    constraints: &[
        ("c1", "value holds one number or as many as the shape has elements"),
        ("c2", "dtype is an element type that holds every number exactly, or a float"),
    ],
    infer: |call| {
        let ty = TensorType::new(dtype(call, "c2")?, shape(call)?);
        let count = call.attributes.floats("value").len();
        call.require(count == 1 || count == ty.elements(), "c1", || format!("{count} numbers cannot fill {ty}"))?;
        let fits = |v: f64| match ty.dtype {
            DType::Float | DType::Bf16 => true,
            DType::I32 => v.fract() == 0.0 && v >= f64::from(i32::MIN) && v <= f64::from(i32::MAX),
            DType::U8 => v.fract() == 0.0 && (0.0..=255.0).contains(&v),
            DType::Bool => v == 0.0 || v == 1.0,
        };
        let odd = call.attributes.floats("value").iter().find(|&&v| !fits(v));
        call.require(odd.is_none(), "c2", || format!("{} is no {}", odd.copied().unwrap_or_default(), ty.dtype))?;
        Ok(vec![ty])
    },
    meaning: Meaning::Primitive(|_, _| Ok(vec![])),
    flops: no_flops,
};

pub(super) static RNG_UNIFORM: OpDef = OpDef {
    name: "rng_uniform",
    version: 1,
    class: Class::Primitive,
    summary: "uniform numbers in [0, 1) from Philox 4x32-10, a pure function of key, stream and element",
    operands: Operands { names: &["key"], required: 1, variadic: false },
    attributes: &[
        required("shape", AttributeKind::Ints, "shape of the result"),
        required("stream", AttributeKind::Int, "which of the step's independent sequences; 0 to 2^31 - 1"),
    ],
    constraints: &[("c1", "key is i32[3]: seed low, seed high, step"), ("c2", "stream is within 0 to 2^31 - 1")],
    infer: |call| {
        call.require(*call.operands[0] == TensorType::new(DType::I32, [3]), "c1", || {
            format!("key must be i32[3], found {}", call.ty(0))
        })?;
        let stream = call.attributes.int("stream");
        call.require((0..1 << 31).contains(&stream), "c2", || format!("stream {stream} is outside 0 to 2^31 - 1"))?;
        Ok(vec![TensorType::float(shape(call)?)])
    },
    meaning: Meaning::Primitive(|_, vjp| Ok(vec![None; vjp.operands.len()])),
    flops: no_flops,
};

pub(super) static STOP_GRADIENT: OpDef = OpDef {
    name: "stop_gradient",
    version: 1,
    class: Class::Primitive,
    summary: "the operand, held constant by differentiation",
    operands: Operands { names: &["x"], required: 1, variadic: false },
    attributes: &[],
    constraints: &[],
    infer: |call| Ok(vec![call.ty(0).clone()]),
    meaning: Meaning::Primitive(|_, _| Ok(vec![None])),
    flops: no_flops,
};

pub(super) static CONVERT: OpDef = OpDef {
    name: "convert",
    version: 1,
    class: Class::Primitive,
    summary: "another element type; to integers by truncation, saturating, NaN to 0; to bool by x != 0",
    operands: Operands { names: &["x"], required: 1, variadic: false },
    attributes: &[required("dtype", AttributeKind::Text, "element type of the result")],
    constraints: &[("c1", "dtype is an element type")],
    infer: |call| Ok(vec![TensorType::new(dtype(call, "c1")?, call.shape(0))]),
    meaning: Meaning::Primitive(|b: &Builder, vjp: &Vjp<'_>| {
        let from = b.dtype(vjp.operands[0]);
        let through = from.is_float() && b.dtype(vjp.results[0]).is_float();
        Ok(vec![if through { vjp.when(0, || b.convert(vjp.cotangent(), from))? } else { None }])
    }),
    flops: no_flops,
};

fn dtype(call: &Call<'_>, label: &str) -> Result<DType> {
    let Some(crate::Attribute::Text(word)) = call.optional("dtype") else { return Ok(DType::Float) };
    match word.parse() {
        Ok(dtype) => Ok(dtype),
        Err(message) => {
            call.require(false, label, || message)?;
            Ok(DType::Float)
        }
    }
}

/// The `shape` attribute, whose sanity (`size`) the caller checks on the result.
pub(super) fn shape(call: &Call<'_>) -> Result<Vec<usize>> {
    let found = call.attributes.ints("shape");
    call.require(found.iter().all(|&d| d > 0), "shape", || format!("shape must be positive, found {found:?}"))?;
    Ok(found.iter().map(|&d| d as usize).collect())
}

impl Builder {
    /// A tensor of given numbers, row-major.
    pub fn constant(&self, shape: &[usize], values: impl Into<std::sync::Arc<[f64]>>) -> Result<Value> {
        self.constant_of(DType::Float, shape, values)
    }

    /// A tensor of given numbers of any element type.
    pub fn constant_of(
        &self,
        dtype: DType,
        shape: &[usize],
        values: impl Into<std::sync::Arc<[f64]>>,
    ) -> Result<Value> {
        let mut attributes = Attributes::new().with("value", values.into()).with("shape", shape);
        if dtype != DType::Float {
            attributes = attributes.with("dtype", dtype.name());
        }
        self.emit1(&CONSTANT, &[], attributes)
    }

    /// A tensor filled with one number.
    pub fn full(&self, shape: &[usize], value: f64) -> Result<Value> {
        self.constant(shape, vec![value])
    }

    /// A tensor like `x`, filled with one number.
    pub fn full_like(&self, x: Value, value: f64) -> Result<Value> {
        self.constant_of(self.dtype(x), &self.shape(x), vec![value])
    }

    /// Uniform numbers in `[0, 1)` from the step's key; each call in a scope draws its own stream.
    pub fn rng_uniform(&self, shape: &[usize]) -> Result<Value> {
        let key = self.rng_key()?;
        let stream = self.next_stream();
        self.emit1(&RNG_UNIFORM, &[key], Attributes::new().with("shape", shape).with("stream", stream))
    }

    /// The step's random key, an input that the trainer feeds: `rng: i32[3]`.
    pub fn rng_key(&self) -> Result<Value> {
        self.shared_input("rng", TensorType::new(DType::I32, [3]))
    }

    pub fn stop_gradient(&self, x: Value) -> Result<Value> {
        self.emit1(&STOP_GRADIENT, &[x], Attributes::new())
    }

    pub fn convert(&self, x: Value, dtype: DType) -> Result<Value> {
        if self.dtype(x) == dtype {
            return Ok(x);
        }
        self.emit1(&CONVERT, &[x], Attributes::new().with("dtype", dtype.name()))
    }
}
