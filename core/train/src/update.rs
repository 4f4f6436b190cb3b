//! What happens between the gradients and the next step: clipping, the optimiser's rule, averaged weights.

use fer_graph::{Builder, Init, Result, Role, TensorType, Value, ops::AdamConstants};

use crate::{
    groups::ParameterRule,
    names::{EMA, FIRST_MOMENT, MOMENTUM, SECOND_MOMENT},
    spec::Optimiser,
};

/// A parameter that trains, and its gradient.
pub(crate) struct Trained<'a> {
    pub rule: &'a ParameterRule,
    pub parameter: Value,
    pub gradient: Value,
}

/// The L2 norm of all gradients taken as one vector.
pub(crate) fn global_norm(b: &Builder, trained: &[Trained<'_>]) -> Result<Value> {
    let _scope = b.absolute_scope("gradient_norm");
    let mut total = b.full(&[], 0.0)?;
    for t in trained {
        let axes: Vec<usize> = (0..b.rank(t.gradient)).collect();
        total = b.add(total, b.reduce_sum(b.multiply(t.gradient, t.gradient)?, &axes)?)?;
    }
    b.sqrt(total)
}

/// Scales all gradients as `torch.nn.utils.clip_grad_norm_`: by `max_norm / (norm + 1e-6)` where that is below 1.
pub(crate) fn clip(b: &Builder, trained: &mut [Trained<'_>], norm: Value, max_norm: f64) -> Result<()> {
    let _scope = b.absolute_scope("clip");
    let ratio = b.divide(b.full(&[], max_norm)?, b.add_scalar(norm, 1e-6)?)?;
    let coefficient = b.minimum(ratio, b.full(&[], 1.0)?)?;
    for t in trained {
        t.gradient = b.multiply(t.gradient, coefficient)?;
    }
    Ok(())
}

/// The optimiser's inputs in a graph under construction.
pub(crate) struct Rates {
    learning_rate: Value,
    step: Value,
    /// Scaled learning rates by scale, each computed once.
    scaled: Vec<(f64, Value)>,
}

impl Rates {
    /// Declares the inputs `learning_rate` and `step`, whatever the optimiser, so that all steps are fed alike.
    pub fn declare(b: &Builder) -> Result<Rates> {
        let learning_rate = b.input("learning_rate", TensorType::float([]))?;
        let step = b.input("step", TensorType::float([]))?;
        Ok(Rates { learning_rate, step, scaled: vec![(1.0, learning_rate)] })
    }

    fn scaled(&mut self, b: &Builder, scale: f64) -> Result<Value> {
        if let Some((_, known)) = self.scaled.iter().find(|(s, _)| *s == scale) {
            return Ok(*known);
        }
        let _scope = b.absolute_scope("optimiser");
        let value = b.scale(self.learning_rate, scale)?;
        self.scaled.push((scale, value));
        Ok(value)
    }
}

/// One step of one parameter; gives its new value. Updates of the optimiser's own states are registered.
pub(crate) fn optimise(b: &Builder, optimiser: &Optimiser, rates: &mut Rates, t: &Trained<'_>) -> Result<Value> {
    let rate = rates.scaled(b, t.rule.learning_rate_scale)?;
    let _scope = b.absolute_scope(&format!("optimiser.{}", t.rule.name));
    let decay = t.rule.weight_decay;
    match *optimiser {
        Optimiser::Adam { betas, eps, .. } => adam(b, rates.step, rate, t, betas, eps, false),
        Optimiser::AdamW { betas, eps, .. } => adam(b, rates.step, rate, t, betas, eps, true),
        Optimiser::Sgd { momentum, nesterov, .. } => {
            let gradient = if decay == 0.0 { t.gradient } else { b.add(t.gradient, b.scale(t.parameter, decay)?)? };
            let direction = if momentum == 0.0 {
                gradient
            } else {
                let old = zero_state(b, MOMENTUM, t)?;
                // PyTorch's buffer starts as the first gradient; from zero the same comes out.
                let buffer = b.add(b.scale(old, momentum)?, gradient)?;
                b.update(old, buffer)?;
                if nesterov { b.add(gradient, b.scale(buffer, momentum)?)? } else { buffer }
            };
            b.subtract(t.parameter, b.multiply(direction, rate)?)
        }
    }
}

fn adam(
    b: &Builder,
    step: Value,
    rate: Value,
    t: &Trained<'_>,
    (beta1, beta2): (f64, f64),
    epsilon: f64,
    decoupled: bool,
) -> Result<Value> {
    let (m, v) = (zero_state(b, FIRST_MOMENT, t)?, zero_state(b, SECOND_MOMENT, t)?);
    let constants = AdamConstants { beta1, beta2, epsilon, weight_decay: t.rule.weight_decay, decoupled };
    let [parameter, new_m, new_v] = b.adamw_update([t.parameter, t.gradient, m, v, rate, step], constants)?;
    b.update(m, new_m)?;
    b.update(v, new_v)?;
    Ok(parameter)
}

fn zero_state(b: &Builder, prefix: &str, t: &Trained<'_>) -> Result<Value> {
    b.argument(&format!("{prefix}{}", t.rule.name), Role::State, b.ty(t.parameter), Some(Init::Zeros))
}

/// Moves the average of a weight towards its new value: `decay * average + (1 - decay) * new`.
pub(crate) fn average(b: &Builder, name: &str, init: Init, new: Value, decay: f64) -> Result<()> {
    let _scope = b.absolute_scope(&format!("{EMA}{name}"));
    let old = b.argument(&format!("{EMA}{name}"), Role::State, b.ty(new), Some(init))?;
    b.update(old, b.mix(old, new, decay)?)
}
