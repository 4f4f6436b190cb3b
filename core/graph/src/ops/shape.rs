//! Ops that only move elements: reshape, transpose, broadcast_in_dim, slice, pad, concatenate.

use super::{no_flops, required, source};
use crate::{AttributeKind, Attributes, Builder, Class, Meaning, OpDef, Operands, Result, TensorType, Value};

const ONE: Operands = Operands { names: &["x"], required: 1, variadic: false };

pub(super) static RESHAPE: OpDef = OpDef {
    name: "reshape",
    version: 1,
    class: Class::Primitive,
    summary: "the same elements in row-major order under another shape",
    operands: ONE,
    attributes: &[required("shape", AttributeKind::Ints, "shape of the result")],
    constraints: &[("c1", "the number of elements does not change")],
    infer: |call| {
        let ty = TensorType::new(call.ty(0).dtype, source::shape(call)?);
        call.require(ty.elements() == call.ty(0).elements(), "c1", || {
            format!("{} has {} elements, {ty} has {}", call.ty(0), call.ty(0).elements(), ty.elements())
        })?;
        Ok(vec![ty])
    },
    meaning: Meaning::Primitive(|b, v| Ok(vec![v.when(0, || b.reshape(v.cotangent(), &b.shape(v.operands[0])))?])),
    flops: no_flops,
};

pub(super) static TRANSPOSE: OpDef = OpDef {
    name: "transpose",
    version: 1,
    class: Class::Primitive,
    summary: "axis i of the result is axis permutation[i] of x",
    operands: ONE,
    attributes: &[required("permutation", AttributeKind::Ints, "each axis of x once")],
    constraints: &[("c1", "permutation names each axis once")],
    infer: |call| {
        let permutation = call.sizes("permutation", call.ty(0).rank(), 0, "c1")?;
        let mut sorted = permutation.clone();
        sorted.sort_unstable();
        call.require(sorted.iter().enumerate().all(|(i, &a)| i == a), "c1", || {
            format!("{permutation:?} does not name each axis of {} once", call.ty(0))
        })?;
        let shape: Vec<usize> = permutation.iter().map(|&a| call.shape(0)[a]).collect();
        Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
    },
    meaning: Meaning::Primitive(|b, v| {
        let permutation = v.attributes.sizes("permutation");
        let mut inverse = vec![0; permutation.len()];
        for (i, &a) in permutation.iter().enumerate() {
            inverse[a] = i;
        }
        Ok(vec![v.when(0, || b.transpose(v.cotangent(), &inverse))?])
    }),
    flops: no_flops,
};

pub(super) static BROADCAST_IN_DIM: OpDef = OpDef {
    name: "broadcast_in_dim",
    version: 1,
    class: Class::Primitive,
    summary: "axis i of x becomes axis broadcast_dimensions[i] of the result; other axes, and axes of size 1, repeat",
    operands: ONE,
    attributes: &[
        required("shape", AttributeKind::Ints, "shape of the result"),
        required("broadcast_dimensions", AttributeKind::Ints, "increasing; one axis of the result for each axis of x"),
    ],
    constraints: &[
        ("c1", "broadcast_dimensions are increasing axes of the result, one for each axis of x"),
        ("c2", "each axis of x has size 1 or the size of its axis in the result"),
    ],
    infer: |call| {
        let shape = source::shape(call)?;
        let axes = call.sizes("broadcast_dimensions", call.ty(0).rank(), 0, "c1")?;
        call.require(axes.windows(2).all(|w| w[0] < w[1]) && axes.iter().all(|&a| a < shape.len()), "c1", || {
            format!("broadcast_dimensions {axes:?} are not increasing axes of {shape:?}")
        })?;
        call.require(axes.iter().zip(call.shape(0)).all(|(&a, &d)| d == 1 || d == shape[a]), "c2", || {
            format!("{} does not fit {shape:?} at axes {axes:?}", call.ty(0))
        })?;
        Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
    },
    meaning: Meaning::Primitive(|b, v| {
        let from = b.shape(v.operands[0]);
        let to = b.shape(v.results[0]);
        let axes = v.attributes.sizes("broadcast_dimensions");
        let summed: Vec<usize> =
            (0..to.len()).filter(|a| axes.iter().position(|x| x == a).is_none_or(|i| from[i] != to[*a])).collect();
        Ok(vec![v.when(0, || b.reshape(b.reduce_sum(v.cotangent(), &summed)?, &from))?])
    }),
    flops: no_flops,
};

pub(super) static SLICE: OpDef = OpDef {
    name: "slice",
    version: 1,
    class: Class::Primitive,
    summary: "elements start, start + stride, ... below limit, along every axis",
    operands: ONE,
    attributes: &[
        required("start", AttributeKind::Ints, "first index, one an axis"),
        required("limit", AttributeKind::Ints, "index after the last, one an axis"),
        required("strides", AttributeKind::Ints, "step, one an axis, at least 1"),
    ],
    constraints: &[
        ("c1", "start, limit and strides have one entry an axis; strides are at least 1"),
        ("c2", "start < limit <= size"),
    ],
    infer: |call| {
        let rank = call.ty(0).rank();
        let start = call.sizes("start", rank, 0, "c1")?;
        let limit = call.sizes("limit", rank, 0, "c1")?;
        let strides = call.sizes("strides", rank, 1, "c1")?;
        let inside = (0..rank).all(|a| start[a] < limit[a] && limit[a] <= call.shape(0)[a]);
        call.require(inside, "c2", || format!("{start:?} to {limit:?} is not inside {}", call.ty(0)))?;
        let shape: Vec<usize> = (0..rank).map(|a| (limit[a] - start[a]).div_ceil(strides[a])).collect();
        Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
    },
    meaning: Meaning::Primitive(|b, v| {
        let from = b.shape(v.operands[0]);
        let to = b.shape(v.results[0]);
        let start = v.attributes.sizes("start");
        let strides = v.attributes.sizes("strides");
        let high: Vec<usize> = (0..from.len()).map(|a| from[a] - start[a] - ((to[a] - 1) * strides[a] + 1)).collect();
        let interior: Vec<usize> = strides.iter().map(|s| s - 1).collect();
        Ok(vec![v.when(0, || b.pad(v.cotangent(), &start, &high, &interior, 0.0))?])
    }),
    flops: no_flops,
};

pub(super) static PAD: OpDef = OpDef {
    name: "pad",
    version: 1,
    class: Class::Primitive,
    summary: "adds a value before, after and between the elements of every axis",
    operands: ONE,
    attributes: &[
        required("low", AttributeKind::Ints, "how many before, one an axis"),
        required("high", AttributeKind::Ints, "how many after, one an axis"),
        required("interior", AttributeKind::Ints, "how many between neighbours, one an axis"),
        required("value", AttributeKind::Float, "the added value"),
    ],
    constraints: &[("c1", "low, high and interior have one entry an axis and are not negative")],
    infer: |call| {
        let rank = call.ty(0).rank();
        let low = call.sizes("low", rank, 0, "c1")?;
        let high = call.sizes("high", rank, 0, "c1")?;
        let interior = call.sizes("interior", rank, 0, "c1")?;
        let shape: Vec<usize> = (0..rank)
            .map(|a| {
                low[a]
                    .saturating_add(high[a])
                    .saturating_add((call.shape(0)[a] - 1).saturating_mul(interior[a] + 1))
                    .saturating_add(1)
            })
            .collect();
        Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
    },
    meaning: Meaning::Primitive(|b, v| {
        let from = b.shape(v.operands[0]);
        let low = v.attributes.sizes("low");
        let strides: Vec<usize> = v.attributes.sizes("interior").iter().map(|i| i + 1).collect();
        let limit: Vec<usize> = (0..from.len()).map(|a| low[a] + (from[a] - 1) * strides[a] + 1).collect();
        Ok(vec![v.when(0, || b.slice(v.cotangent(), &low, &limit, &strides))?])
    }),
    flops: no_flops,
};

pub(super) static CONCATENATE: OpDef = OpDef {
    name: "concatenate",
    version: 1,
    class: Class::Primitive,
    summary: "operands one after another along an axis",
    operands: Operands { names: &["parts"], required: 1, variadic: true },
    attributes: &[required("axis", AttributeKind::Int, "the axis along which they are joined")],
    constraints: &[
        ("c1", "axis is an axis of the first operand"),
        ("c2", "operands agree in element type and in every other axis"),
    ],
    infer: |call| {
        let axis = call.axis("axis", 0, "c1")?;
        let mut ty = call.ty(0).clone();
        for i in 1..call.operands.len() {
            let other = call.ty(i);
            let fits = other.dtype == ty.dtype
                && other.rank() == ty.rank()
                && (0..ty.rank()).all(|a| a == axis || other.shape[a] == ty.shape[a]);
            call.require(fits, "c2", || format!("{other} cannot follow {} along axis {axis}", call.ty(0)))?;
            ty.shape[axis] = ty.shape[axis].saturating_add(other.shape[axis]);
        }
        Ok(vec![ty])
    },
    meaning: Meaning::Primitive(|b, v| {
        let axis = v.attributes.int("axis") as usize;
        let mut at = 0;
        let mut cotangents = Vec::with_capacity(v.operands.len());
        for (i, &operand) in v.operands.iter().enumerate() {
            let size = b.shape(operand)[axis];
            cotangents.push(v.when(i, || b.slice_axis(v.cotangent(), axis, at, at + size))?);
            at += size;
        }
        Ok(cotangents)
    }),
    flops: no_flops,
};

impl Builder {
    /// The same elements under another shape.
    pub fn reshape(&self, x: Value, shape: &[usize]) -> Result<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.emit1(&RESHAPE, &[x], Attributes::new().with("shape", shape))
    }

    /// Axis `i` of the result is axis `permutation[i]` of `x`.
    pub fn transpose(&self, x: Value, permutation: &[usize]) -> Result<Value> {
        if permutation.len() == self.rank(x) && permutation.iter().enumerate().all(|(i, &a)| i == a) {
            return Ok(x);
        }
        self.emit1(&TRANSPOSE, &[x], Attributes::new().with("permutation", permutation))
    }

    pub fn broadcast_in_dim(&self, x: Value, shape: &[usize], broadcast_dimensions: &[usize]) -> Result<Value> {
        let attributes = Attributes::new().with("shape", shape).with("broadcast_dimensions", broadcast_dimensions);
        self.emit1(&BROADCAST_IN_DIM, &[x], attributes)
    }

    /// NumPy broadcasting: axes are aligned at the end.
    pub fn broadcast_to(&self, x: Value, shape: &[usize]) -> Result<Value> {
        let from = self.shape(x);
        if from == shape {
            return Ok(x);
        }
        let Some(offset) = shape.len().checked_sub(from.len()) else {
            return Err(self.malformed("broadcast", format!("{} cannot be broadcast to {shape:?}", self.ty(x))));
        };
        self.broadcast_in_dim(x, shape, &(offset..shape.len()).collect::<Vec<_>>())
    }

    /// Both operands under their common NumPy shape.
    pub fn broadcast_together(&self, lhs: Value, rhs: Value) -> Result<(Value, Value)> {
        let (a, b) = (self.shape(lhs), self.shape(rhs));
        if a == b {
            return Ok((lhs, rhs));
        }
        let rank = a.len().max(b.len());
        let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
        let mut shape = vec![];
        for i in 0..rank {
            let (x, y) = (at(&a, i), at(&b, i));
            if x != y && x != 1 && y != 1 {
                let message = format!("{} and {} cannot be broadcast together", self.ty(lhs), self.ty(rhs));
                return Err(self.malformed("broadcast", message));
            }
            shape.push(x.max(y));
        }
        Ok((self.broadcast_to(lhs, &shape)?, self.broadcast_to(rhs, &shape)?))
    }

    pub fn slice(&self, x: Value, start: &[usize], limit: &[usize], strides: &[usize]) -> Result<Value> {
        let shape = self.shape(x);
        if start.iter().all(|&s| s == 0) && limit == shape && strides.iter().all(|&s| s == 1) {
            return Ok(x);
        }
        let attributes = Attributes::new().with("start", start).with("limit", limit).with("strides", strides);
        self.emit1(&SLICE, &[x], attributes)
    }

    /// Elements `from..to` of one axis, all of the others.
    pub fn slice_axis(&self, x: Value, axis: usize, from: usize, to: usize) -> Result<Value> {
        let shape = self.shape(x);
        if axis >= shape.len() {
            return Err(self.malformed("axis", format!("{} has no axis {axis}", self.ty(x))));
        }
        let mut start = vec![0; shape.len()];
        let mut limit = shape.clone();
        start[axis] = from;
        limit[axis] = to;
        self.slice(x, &start, &limit, &vec![1; shape.len()])
    }

    pub fn pad(&self, x: Value, low: &[usize], high: &[usize], interior: &[usize], value: f64) -> Result<Value> {
        if [low, high, interior].iter().all(|l| l.iter().all(|&p| p == 0)) && low.len() == self.rank(x) {
            return Ok(x);
        }
        let attributes = Attributes::new().with("low", low).with("high", high).with("interior", interior);
        self.emit1(&PAD, &[x], attributes.with("value", value))
    }

    pub fn concatenate(&self, parts: &[Value], axis: usize) -> Result<Value> {
        if let [only] = parts {
            return Ok(*only);
        }
        self.emit1(&CONCATENATE, parts, Attributes::new().with("axis", axis))
    }

    /// `torch.roll` along one axis: element `i` moves to `i + shift`.
    pub fn roll(&self, x: Value, axis: usize, shift: isize) -> Result<Value> {
        let size = self.shape(x)[axis] as isize;
        let cut = (size - shift.rem_euclid(size)) as usize;
        if cut == size as usize {
            return Ok(x);
        }
        let tail = self.slice_axis(x, axis, cut, size as usize)?;
        let head = self.slice_axis(x, axis, 0, cut)?;
        self.concatenate(&[tail, head], axis)
    }
}
