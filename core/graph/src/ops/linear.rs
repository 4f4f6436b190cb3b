//! linear: `x W^T + b`.

use crate::{Attributes, Builder, Class, Meaning, OpDef, Operands, Result, TensorType, Value, ops::dot::DotAxes};

pub(super) static LINEAR: OpDef = OpDef {
    name: "linear",
    version: 1,
    class: Class::Composite,
    summary: "x W^T + b over the last axis, W as [out, in]",
    operands: Operands { names: &["x", "weight", "bias"], required: 2, variadic: false },
    attributes: &[],
    constraints: &[
        ("c1", "x is float of at least one axis, weight float [out, in]"),
        ("c2", "the last axis of x is in"),
        ("c3", "bias is float [out]"),
    ],
    infer: |call| {
        let (x, weight) = (call.ty(0), call.ty(1));
        call.require(
            x.rank() >= 1 && weight.rank() == 2 && x.dtype.is_float() && x.dtype == weight.dtype,
            "c1",
            || format!("needs float [..., in] and [out, in] of one type, found {x} and {weight}"),
        )?;
        call.require(x.shape[x.rank() - 1] == weight.shape[1], "c2", || {
            format!("x {x} ends in {}, the weight {weight} takes {}", x.shape[x.rank() - 1], weight.shape[1])
        })?;
        if call.operands.len() > 2 {
            let expected = TensorType::new(x.dtype, [weight.shape[0]]);
            call.require(*call.ty(2) == expected, "c3", || format!("bias must be {expected}, found {}", call.ty(2)))?;
        }
        let mut shape = x.shape.clone();
        shape[x.rank() - 1] = weight.shape[0];
        Ok(vec![TensorType::new(x.dtype, shape)])
    },
    meaning: Meaning::Composite(|b, operands, _| {
        let last = b.rank(operands[0]) - 1;
        let axes = DotAxes { lhs_contract: vec![last], rhs_contract: vec![1], ..DotAxes::default() };
        let product = b.dot_general(operands[0], operands[1], &axes)?;
        Ok(vec![match operands.get(2) {
            Some(&bias) => b.add(product, bias)?,
            None => product,
        }])
    }),
    flops: |call, results| {
        let bias = if call.operands.len() > 2 { results[0].elements() as u64 } else { 0 };
        2 * results[0].elements() as u64 * call.shape(1)[1] as u64 + bias
    },
};

impl Builder {
    /// `x W^T + b` over the last axis of `x`; `weight` is `[out, in]`, `bias` `[out]`.
    pub fn linear(&self, x: Value, weight: Value, bias: Option<Value>) -> Result<Value> {
        let operands: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
        self.emit1(&LINEAR, &operands, Attributes::new())
    }
}
