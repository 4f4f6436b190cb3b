//! scaled_dot_product_attention (Vaswani et al. 2017), with an additive bias.

use super::required;
use crate::{
    AttributeKind, Attributes, Builder, Class, Meaning, OpDef, Operands, Result, TensorType, Value, ops::dot::DotAxes,
};

pub(super) static SCALED_DOT_PRODUCT_ATTENTION: OpDef = OpDef {
    name: "scaled_dot_product_attention",
    version: 1,
    class: Class::Composite,
    summary: "softmax(scale * q k^T + bias) v; leading axes are batch, the bias is broadcast over them",
    operands: Operands { names: &["query", "key", "value", "bias"], required: 3, variadic: false },
    attributes: &[required("scale", AttributeKind::Float, "factor of the products, usually 1 / sqrt(d)")],
    constraints: &[
        ("c1", "query [..., n, d], key [..., m, d], value [..., m, e] are float with equal leading axes"),
        ("c2", "bias broadcasts to [..., n, m]"),
    ],
    infer: |call| {
        let [q, k, v] = [call.ty(0), call.ty(1), call.ty(2)];
        let r = q.rank();
        let fits = r >= 2
            && k.rank() == r
            && v.rank() == r
            && q.dtype.is_float()
            && q.dtype == k.dtype
            && q.dtype == v.dtype
            && q.shape[..r - 2] == k.shape[..r - 2]
            && q.shape[..r - 2] == v.shape[..r - 2]
            && q.shape[r - 1] == k.shape[r - 1]
            && k.shape[r - 2] == v.shape[r - 2];
        call.require(fits, "c1", || format!("query {q}, key {k} and value {v} do not fit"))?;
        if call.operands.len() > 3 {
            let bias = call.ty(3);
            let mut scores = q.shape.clone();
            scores[r - 1] = k.shape[r - 2];
            let offset = r.wrapping_sub(bias.rank());
            let fits = bias.dtype == q.dtype
                && bias.rank() <= r
                && bias.shape.iter().enumerate().all(|(i, &d)| d == 1 || d == scores[offset + i]);
            call.require(fits, "c2", || format!("bias {bias} does not broadcast to {scores:?}"))?;
        }
        let mut shape = q.shape.clone();
        shape[r - 1] = v.shape[r - 1];
        Ok(vec![TensorType::new(q.dtype, shape)])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let r = b.rank(operands[0]);
        let batch: Vec<usize> = (0..r - 2).collect();
        let axes = DotAxes {
            lhs_batch: batch.clone(),
            rhs_batch: batch,
            lhs_contract: vec![r - 1],
            rhs_contract: vec![r - 1],
        };
        // The query is scaled, not the scores: n d products instead of n m.
        let query = b.scale(operands[0], attributes.float("scale"))?;
        let mut scores = b.dot_general(query, operands[1], &axes)?;
        if let Some(&bias) = operands.get(3) {
            scores = b.add(scores, bias)?;
        }
        Ok(vec![b.matmul(b.softmax(scores, -1)?, operands[2])?])
    }),
    flops: |call, results| {
        let (q, k) = (call.ty(0), call.ty(1));
        let scores = (q.elements() / q.shape[q.rank() - 1]).saturating_mul(k.shape[k.rank() - 2]);
        let d = q.shape[q.rank() - 1] + results[0].shape[q.rank() - 1];
        scores.saturating_mul(2 * d + 6) as u64
    },
};

impl Builder {
    /// `query [..., n, d]`, `key [..., m, d]`, `value [..., m, e]`, `bias` broadcast to `[..., n, m]`.
    pub fn scaled_dot_product_attention(
        &self,
        query: Value,
        key: Value,
        value: Value,
        bias: Option<Value>,
        scale: f64,
    ) -> Result<Value> {
        let operands: Vec<Value> = [query, key, value].into_iter().chain(bias).collect();
        self.emit1(&SCALED_DOT_PRODUCT_ATTENTION, &operands, Attributes::new().with("scale", scale))
    }
}
