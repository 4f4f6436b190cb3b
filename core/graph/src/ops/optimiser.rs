//! adamw_update: one optimiser step of one parameter, an op so that an engine may do it in one pass.

use super::required;
use crate::{AttributeKind, Attributes, Builder, Class, Meaning, OpDef, Operands, Result, TensorType, Value};

pub(super) static ADAMW_UPDATE: OpDef = OpDef {
    name: "adamw_update",
    version: 1,
    class: Class::Composite,
    summary: "Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) step as PyTorch computes it; gives parameter and both moments anew",
    operands: Operands {
        names: &["parameter", "gradient", "first_moment", "second_moment", "learning_rate", "step"],
        required: 6,
        variadic: false,
    },
    attributes: &[
        required("beta1", AttributeKind::Float, "decay of the first moment"),
        required("beta2", AttributeKind::Float, "decay of the second moment"),
        required("epsilon", AttributeKind::Float, "added to the root of the second moment"),
        required("weight_decay", AttributeKind::Float, "strength of the decay"),
        required(
            "decoupled",
            AttributeKind::Bool,
            "decay the parameter (AdamW) instead of adding to the gradient (Adam)",
        ),
    ],
    constraints: &[
        ("c1", "parameter, gradient and moments have one float type"),
        ("c2", "learning_rate and step are float scalars; step counts from 1"),
    ],
    infer: |call| {
        call.float(0, "c1")?;
        for i in 1..4 {
            call.require(call.operands[i] == call.operands[0], "c1", || {
                format!("{} is {}, the parameter {}", call.op.operands.names[i], call.ty(i), call.ty(0))
            })?;
        }
        for i in 4..6 {
            let scalar = TensorType::new(call.ty(0).dtype, []);
            call.require(*call.ty(i) == scalar, "c2", || {
                format!("{} must be {scalar}, found {}", call.op.operands.names[i], call.ty(i))
            })?;
        }
        Ok(vec![call.ty(0).clone(); 3])
    },
    meaning: Meaning::Composite(|b, operands, attributes| {
        let [parameter, gradient, m, v, rate, step] = *operands else { unreachable!("arity is verified") };
        let (beta1, beta2) = (attributes.float("beta1"), attributes.float("beta2"));
        let decay = attributes.float("weight_decay");
        let decoupled = attributes.flag("decoupled");
        let gradient = if decay != 0.0 && !decoupled { b.add(gradient, b.scale(parameter, decay)?)? } else { gradient };
        let m = b.mix(m, gradient, beta1)?;
        let v = b.mix(v, b.multiply(gradient, gradient)?, beta2)?;
        let correction = |beta: f64| b.one_minus(b.power(b.full_like(step, beta)?, step)?);
        let root = b.divide(b.sqrt(v)?, b.sqrt(correction(beta2)?)?)?;
        let move_ = b.divide(m, b.add_scalar(root, attributes.float("epsilon"))?)?;
        let pace = b.divide(rate, correction(beta1)?)?;
        let kept = if decay != 0.0 && decoupled {
            b.multiply(parameter, b.one_minus(b.scale(rate, decay)?)?)?
        } else {
            parameter
        };
        Ok(vec![b.subtract(kept, b.multiply(move_, pace)?)?, m, v])
    }),
    flops: |_, results| 14 * results[0].elements() as u64,
};

/// The constants of an Adam or AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConstants {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    pub decoupled: bool,
}

impl Builder {
    /// `operands`: parameter, gradient, first moment, second moment, learning rate, step. Gives parameter and moments anew.
    pub fn adamw_update(&self, operands: [Value; 6], constants: AdamConstants) -> Result<[Value; 3]> {
        let attributes = Attributes::new()
            .with("beta1", constants.beta1)
            .with("beta2", constants.beta2)
            .with("epsilon", constants.epsilon)
            .with("weight_decay", constants.weight_decay)
            .with("decoupled", constants.decoupled);
        let results = self.emit(&ADAMW_UPDATE, &operands, attributes)?;
        Ok([results[0], results[1], results[2]])
    }
}
