//! max_pool, its adjoint, and avg_pool.

use super::{Call, required};
use crate::{
    AttributeDef, AttributeKind, Attributes, Builder, Class, Meaning, OpDef, Operands, Result, TensorType, Value,
    ops::convolution::Window,
};

const ATTRIBUTES: &[AttributeDef] = &[
    required("kernel_size", AttributeKind::Ints, "[height, width] of the window"),
    required("stride", AttributeKind::Ints, "step of the window, [height, width]"),
    required("padding", AttributeKind::Ints, "cells on both sides, [height, width]"),
];

const CONSTRAINTS: &[(&str, &str)] = &[
    ("c1", "x is float [n, c, h, w]"),
    ("c2", "kernel_size and stride are at least 1; padding is at most half the kernel"),
    ("c3", "the window fits into the padded input"),
];

fn pooled(call: &Call<'_>, x: &TensorType) -> Result<TensorType> {
    call.require(x.rank() == 4 && x.dtype.is_float(), "c1", || format!("needs float [n, c, h, w], found {x}"))?;
    let kernel = call.sizes("kernel_size", 2, 1, "c2")?;
    let stride = call.sizes("stride", 2, 1, "c2")?;
    let padding = call.sizes("padding", 2, 0, "c2")?;
    call.require((0..2).all(|a| padding[a] <= kernel[a] / 2), "c2", || {
        format!("padding {padding:?} is more than half of the window {kernel:?}")
    })?;
    let window = Window { stride: [stride[0], stride[1]], padding: [padding[0], padding[1]], ..Window::default() };
    let size = |a: usize| window.output(a, x.shape[2 + a], kernel[a]);
    let (height, width) = (size(0), size(1));
    call.require(height.is_some() && width.is_some(), "c3", || format!("the window {kernel:?} does not fit into {x}"))?;
    Ok(TensorType::new(x.dtype, [x.shape[0], x.shape[1], height.unwrap_or(0), width.unwrap_or(0)]))
}

fn flops(call: &Call<'_>, results: &[TensorType]) -> u64 {
    window_reads(call, &results[0])
}

fn window_reads(call: &Call<'_>, pooled: &TensorType) -> u64 {
    let sizes = call.attributes.sizes("kernel_size");
    sizes.iter().fold(pooled.elements() as u64, |n, &d| n.saturating_mul(d as u64))
}

pub(super) static MAX_POOL: OpDef = OpDef {
    name: "max_pool",
    version: 1,
    class: Class::Primitive,
    summary: "largest element of each window; a tie gives its gradient to the first, row-major",
    operands: Operands { names: &["x"], required: 1, variadic: false },
    attributes: ATTRIBUTES,
    constraints: CONSTRAINTS,
    infer: |call| Ok(vec![pooled(call, call.ty(0))?]),
    meaning: Meaning::Primitive(|b, v| {
        Ok(vec![v.when(0, || b.emit1(&MAX_POOL_GRAD, &[v.operands[0], v.cotangent()], v.attributes.clone()))?])
    }),
    flops,
};

pub(super) static MAX_POOL_GRAD: OpDef = OpDef {
    name: "max_pool_grad",
    version: 1,
    class: Class::Adjoint,
    summary: "cotangent of max_pool's x",
    operands: Operands { names: &["x", "cotangent"], required: 2, variadic: false },
    attributes: ATTRIBUTES,
    constraints: &[CONSTRAINTS[0], CONSTRAINTS[1], CONSTRAINTS[2], ("c4", "the cotangent has max_pool's result type")],
    infer: |call| {
        let expected = pooled(call, call.ty(0))?;
        call.require(*call.ty(1) == expected, "c4", || {
            format!("the cotangent must be {expected}, found {}", call.ty(1))
        })?;
        Ok(vec![call.ty(0).clone()])
    },
    meaning: Meaning::Terminal,
    flops: |call, _| window_reads(call, call.ty(1)),
};

pub(super) static AVG_POOL: OpDef = OpDef {
    name: "avg_pool",
    version: 1,
    class: Class::Composite,
    summary: "mean of each window, padding counted as zeros",
    operands: Operands { names: &["x"], required: 1, variadic: false },
    attributes: ATTRIBUTES,
    constraints: CONSTRAINTS,
    infer: |call| Ok(vec![pooled(call, call.ty(0))?]),
    meaning: Meaning::Composite(|b, operands, attributes| {
        let [_, channels, ..] = b.dims::<4>(operands[0])?;
        let pair = |name| {
            let v = attributes.sizes(name);
            [v[0], v[1]]
        };
        let [kh, kw] = pair("kernel_size");
        let kernel = b.constant_of(b.dtype(operands[0]), &[channels, 1, kh, kw], vec![1.0 / (kh * kw) as f64])?;
        let window = Window { stride: pair("stride"), padding: pair("padding"), dilation: [1, 1], groups: channels };
        Ok(vec![b.convolution(operands[0], kernel, window)?])
    }),
    flops,
};

fn attributes(kernel_size: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Attributes {
    Attributes::new()
        .with("kernel_size", kernel_size.as_slice())
        .with("stride", stride.as_slice())
        .with("padding", padding.as_slice())
}

impl Builder {
    pub fn max_pool(
        &self,
        x: Value,
        kernel_size: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Value> {
        self.emit1(&MAX_POOL, &[x], attributes(kernel_size, stride, padding))
    }

    pub fn avg_pool(
        &self,
        x: Value,
        kernel_size: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Value> {
        self.emit1(&AVG_POOL, &[x], attributes(kernel_size, stride, padding))
    }
}
