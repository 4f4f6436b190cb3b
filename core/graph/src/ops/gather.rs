//! gather along one axis, its adjoint scatter_add, and one_hot.

use super::{no_flops, required};
use crate::{AttributeKind, Attributes, Builder, Class, DType, Meaning, OpDef, Operands, Result, TensorType, Value};

pub(super) static GATHER: OpDef = OpDef {
    name: "gather",
    version: 1,
    class: Class::Primitive,
    summary: "slices of x at the indices along an axis, which is replaced by the axes of indices; indices are clamped into range",
    operands: Operands { names: &["x", "indices"], required: 2, variadic: false },
    attributes: &[required("axis", AttributeKind::Int, "the axis that is indexed")],
    constraints: &[("c1", "axis is an axis of x"), ("c2", "indices are i32")],
    infer: |call| {
        let axis = call.axis("axis", 0, "c1")?;
        call.require(call.ty(1).dtype == DType::I32, "c2", || format!("indices must be i32, found {}", call.ty(1)))?;
        let mut shape = call.shape(0)[..axis].to_vec();
        shape.extend_from_slice(call.shape(1));
        shape.extend_from_slice(&call.shape(0)[axis + 1..]);
        Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
    },
    meaning: Meaning::Primitive(|b, v| {
        let axis = v.attributes.int("axis") as usize;
        let size = b.shape(v.operands[0])[axis];
        Ok(vec![
            v.when(0, || {
                let attributes = Attributes::new().with("axis", axis).with("size", size);
                b.emit1(&SCATTER_ADD, &[v.operands[1], v.cotangent()], attributes)
            })?,
            None,
        ])
    }),
    flops: no_flops,
};

pub(super) static SCATTER_ADD: OpDef = OpDef {
    name: "scatter_add",
    version: 1,
    class: Class::Adjoint,
    summary: "zeros, with updates added at the indices along an axis: the adjoint of gather",
    operands: Operands { names: &["indices", "updates"], required: 2, variadic: false },
    attributes: &[
        required("axis", AttributeKind::Int, "the axis that is indexed"),
        required("size", AttributeKind::Int, "its size in the result"),
    ],
    constraints: &[
        ("c1", "the axes of indices stand in updates from axis on"),
        ("c2", "indices are i32, updates float"),
    ],
    infer: |call| {
        let (indices, updates) = (call.ty(0), call.ty(1));
        call.require(indices.dtype == DType::I32 && updates.dtype.is_float(), "c2", || {
            format!("needs i32 indices and float updates, found {indices} and {updates}")
        })?;
        let axis = call.attributes.int("axis");
        let size = call.attributes.int("size");
        let end = axis.saturating_add(indices.rank() as i64);
        let fits = axis >= 0 && size >= 1 && end <= updates.rank() as i64;
        call.require(fits && updates.shape[axis as usize..end as usize] == indices.shape, "c1", || {
            format!("{indices} does not stand in {updates} from axis {axis}")
        })?;
        let mut shape = updates.shape[..axis as usize].to_vec();
        shape.push(size as usize);
        shape.extend_from_slice(&updates.shape[end as usize..]);
        Ok(vec![TensorType::new(updates.dtype, shape)])
    },
    meaning: Meaning::Terminal,
    flops: |call, _| call.ty(1).elements() as u64,
};

impl Builder {
    /// Rows of `x` at `indices` along `axis`.
    pub fn gather(&self, x: Value, indices: Value, axis: usize) -> Result<Value> {
        self.emit1(&GATHER, &[x, indices], Attributes::new().with("axis", axis))
    }

    /// `[n]` class numbers as `[n, classes]` of zeros and ones.
    pub fn one_hot(&self, labels: Value, classes: usize) -> Result<Value> {
        let [n] = self.dims::<1>(labels)?;
        let numbers: Vec<f64> = (0..classes).map(|c| c as f64).collect();
        let numbers = self.constant_of(DType::I32, &[classes], numbers)?;
        let shape = [n, classes];
        let labels = self.broadcast_in_dim(labels, &shape, &[0])?;
        let numbers = self.broadcast_in_dim(numbers, &shape, &[1])?;
        let hit = self.compare(labels, numbers, "EQ")?;
        self.select(hit, self.full(&shape, 1.0)?, self.full(&shape, 0.0)?)
    }
}
