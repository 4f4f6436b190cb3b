//! dot_general: products of matrices, batches of them, and every contraction like them.

use super::required;
use crate::{AttributeKind, Attributes, Builder, Call, Class, Meaning, OpDef, Operands, Result, TensorType, Value};

/// Which axes of the two operands go together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotAxes {
    pub lhs_batch: Vec<usize>,
    pub rhs_batch: Vec<usize>,
    pub lhs_contract: Vec<usize>,
    pub rhs_contract: Vec<usize>,
}

impl DotAxes {
    /// Reads verified attributes.
    pub fn of(attributes: &Attributes) -> DotAxes {
        DotAxes {
            lhs_batch: attributes.sizes("lhs_batch"),
            rhs_batch: attributes.sizes("rhs_batch"),
            lhs_contract: attributes.sizes("lhs_contract"),
            rhs_contract: attributes.sizes("rhs_contract"),
        }
    }

    /// Axes that are neither batch nor contracted.
    pub fn free(rank: usize, batch: &[usize], contract: &[usize]) -> Vec<usize> {
        (0..rank).filter(|a| !batch.contains(a) && !contract.contains(a)).collect()
    }
}

fn axes(call: &Call<'_>) -> Result<DotAxes> {
    let read = |name: &str, operand: usize| {
        let length = call.attributes.ints(name).len();
        let found = call.sizes(name, length, 0, "c1")?;
        let rank = call.ty(operand).rank();
        call.require(found.iter().all(|&a| a < rank), "c1", || {
            format!("{name} {found:?} are not all axes of {}", call.ty(operand))
        })?;
        Ok(found)
    };
    let axes = DotAxes {
        lhs_batch: read("lhs_batch", 0)?,
        rhs_batch: read("rhs_batch", 1)?,
        lhs_contract: read("lhs_contract", 0)?,
        rhs_contract: read("rhs_contract", 1)?,
    };
    for (batch, contract) in [(&axes.lhs_batch, &axes.lhs_contract), (&axes.rhs_batch, &axes.rhs_contract)] {
        let mut all: Vec<_> = batch.iter().chain(contract).collect();
        all.sort_unstable();
        call.require(all.windows(2).all(|w| w[0] != w[1]), "c1", || {
            format!("batch {batch:?} and contracted {contract:?} axes name one twice")
        })?;
    }
    let sizes = |operand: usize, list: &[usize]| list.iter().map(|&a| call.shape(operand)[a]).collect::<Vec<_>>();
    call.require(sizes(0, &axes.lhs_batch) == sizes(1, &axes.rhs_batch), "c2", || {
        format!("batch sizes differ: {} at {:?}, {} at {:?}", call.ty(0), axes.lhs_batch, call.ty(1), axes.rhs_batch)
    })?;
    call.require(sizes(0, &axes.lhs_contract) == sizes(1, &axes.rhs_contract), "c3", || {
        format!(
            "contracted sizes differ: {} at {:?}, {} at {:?}",
            call.ty(0),
            axes.lhs_contract,
            call.ty(1),
            axes.rhs_contract
        )
    })?;
    Ok(axes)
}

pub(super) static DOT_GENERAL: OpDef = OpDef {
    name: "dot_general",
    version: 1,
    class: Class::Primitive,
    summary: "sum of products over contracted axes; the result has the batch axes, then the free axes of lhs, then those of rhs",
    operands: Operands { names: &["lhs", "rhs"], required: 2, variadic: false },
    attributes: &[
        required("lhs_batch", AttributeKind::Ints, "axes of lhs that run along with rhs_batch"),
        required("rhs_batch", AttributeKind::Ints, "axes of rhs that run along with lhs_batch"),
        required("lhs_contract", AttributeKind::Ints, "axes of lhs that are summed over"),
        required("rhs_contract", AttributeKind::Ints, "axes of rhs that are summed over"),
    ],
    constraints: &[
        ("c1", "batch and contracted axes are distinct axes of their operand"),
        ("c2", "batch sizes are equal pair by pair"),
        ("c3", "contracted sizes are equal pair by pair"),
        ("c4", "lhs and rhs are float of one element type"),
    ],
    infer: |call| {
        call.require(call.ty(0).dtype.is_float() && call.ty(0).dtype == call.ty(1).dtype, "c4", || {
            format!("operands must be float of one type, found {} and {}", call.ty(0), call.ty(1))
        })?;
        let axes = axes(call)?;
        let mut shape: Vec<usize> = axes.lhs_batch.iter().map(|&a| call.shape(0)[a]).collect();
        shape.extend(
            DotAxes::free(call.ty(0).rank(), &axes.lhs_batch, &axes.lhs_contract).iter().map(|&a| call.shape(0)[a]),
        );
        shape.extend(
            DotAxes::free(call.ty(1).rank(), &axes.rhs_batch, &axes.rhs_contract).iter().map(|&a| call.shape(1)[a]),
        );
        Ok(vec![TensorType::new(call.ty(0).dtype, shape)])
    },
    meaning: Meaning::Primitive(|b, v| {
        let axes = DotAxes::of(v.attributes);
        let (lhs, rhs, g) = (v.operands[0], v.operands[1], v.cotangent());
        let lhs_free = DotAxes::free(b.rank(lhs), &axes.lhs_batch, &axes.lhs_contract).len();
        let batch = axes.lhs_batch.len();
        let swapped = DotAxes {
            lhs_batch: axes.rhs_batch.clone(),
            rhs_batch: axes.lhs_batch.clone(),
            lhs_contract: axes.rhs_contract.clone(),
            rhs_contract: axes.lhs_contract.clone(),
        };
        let rhs_free = DotAxes::free(b.rank(rhs), &axes.rhs_batch, &axes.rhs_contract).len();
        Ok(vec![
            v.when(0, || pull_back(b, g, lhs, rhs, &axes, batch + lhs_free..batch + lhs_free + rhs_free))?,
            v.when(1, || pull_back(b, g, rhs, lhs, &swapped, batch..batch + lhs_free))?,
        ])
    }),
    flops: |call, results| {
        let contracted: usize = call.attributes.sizes("lhs_contract").iter().map(|&a| call.shape(0)[a]).product();
        2 * results[0].elements() as u64 * contracted as u64
    },
};

/// The cotangent of `x` in `x . y`, with `axes` seen from `x`; `y_in_g` are the axes of the result that came from `y`.
fn pull_back(
    b: &Builder,
    g: Value,
    x: Value,
    y: Value,
    axes: &DotAxes,
    y_in_g: std::ops::Range<usize>,
) -> Result<Value> {
    let y_free = DotAxes::free(b.rank(y), &axes.rhs_batch, &axes.rhs_contract);
    let product = b.dot_general(
        g,
        y,
        &DotAxes {
            lhs_batch: (0..axes.lhs_batch.len()).collect(),
            rhs_batch: axes.rhs_batch.clone(),
            lhs_contract: y_in_g.collect(),
            rhs_contract: y_free,
        },
    )?;
    // The product's axes, as axes of x: batch, x's free axes, then x's contracted axes in the order of y's.
    let mut by_y: Vec<usize> = (0..axes.rhs_contract.len()).collect();
    by_y.sort_by_key(|&i| axes.rhs_contract[i]);
    let mut order = axes.lhs_batch.clone();
    order.extend(DotAxes::free(b.rank(x), &axes.lhs_batch, &axes.lhs_contract));
    order.extend(by_y.iter().map(|&i| axes.lhs_contract[i]));
    let mut permutation = vec![0; order.len()];
    for (i, &axis) in order.iter().enumerate() {
        permutation[axis] = i;
    }
    b.transpose(product, &permutation)
}

impl Builder {
    pub fn dot_general(&self, lhs: Value, rhs: Value, axes: &DotAxes) -> Result<Value> {
        let attributes = Attributes::new()
            .with("lhs_batch", axes.lhs_batch.as_slice())
            .with("rhs_batch", axes.rhs_batch.as_slice())
            .with("lhs_contract", axes.lhs_contract.as_slice())
            .with("rhs_contract", axes.rhs_contract.as_slice());
        self.emit1(&DOT_GENERAL, &[lhs, rhs], attributes)
    }

    /// `[..., m, k] x [..., k, n] -> [..., m, n]`; leading axes are equal.
    pub fn matmul(&self, lhs: Value, rhs: Value) -> Result<Value> {
        let (left, right) = (self.rank(lhs), self.rank(rhs));
        if left != right || left < 2 {
            let message =
                format!("matmul needs operands of one rank of at least 2, found {} and {}", self.ty(lhs), self.ty(rhs));
            return Err(self.malformed("rank", message));
        }
        let batch: Vec<usize> = (0..left - 2).collect();
        self.dot_general(
            lhs,
            rhs,
            &DotAxes {
                lhs_batch: batch.clone(),
                rhs_batch: batch,
                lhs_contract: vec![left - 1],
                rhs_contract: vec![left - 2],
            },
        )
    }
}
