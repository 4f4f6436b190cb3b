//! One problem: options, input types, mode and seed; its `Display` is the reproduction.

use std::fmt;

use fer_abi::{NamedOption, OptionValue};
use fer_graph::TensorType;

use crate::written;

/// What the host offers, by name.
pub type Inputs = Vec<(String, TensorType)>;

/// What a backbone or a resizer is offered.
pub fn images(shape: [usize; 4]) -> Inputs {
    vec![("images".into(), TensorType::float(shape))]
}

/// What a loss is offered for a batch of `n` and a number of classes.
pub fn truth(n: usize, classes: usize) -> Inputs {
    let of = |name: &str, shape: &[usize]| (name.to_owned(), TensorType::float(shape));
    vec![
        of("logits", &[n, classes]),
        of("targets", &[n, classes]),
        of("prior", &[classes, classes]),
        of("weights", &[n]),
    ]
}

/// A component's options, what it is offered, and where the random numbers come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub options: Vec<NamedOption>,
    pub inputs: Inputs,
    pub training: bool,
    pub seed: u64,
}

impl Case {
    /// The shape of an input; empty when it is not offered.
    pub fn shape(&self, name: &str) -> &[usize] {
        self.inputs.iter().find(|(n, _)| n == name).map_or(&[], |(_, ty)| &ty.shape)
    }

    /// Size of the batch: the first axis of the first input.
    pub fn batch(&self) -> usize {
        self.inputs.first().and_then(|(_, ty)| ty.shape.first()).copied().unwrap_or(0)
    }

    /// The same with another batch size: what has the batch on its first axis follows.
    #[must_use]
    pub fn with_batch(&self, n: usize) -> Case {
        let mut case = self.clone();
        for (name, ty) in &mut case.inputs {
            if name != "prior" {
                ty.shape[0] = n;
            }
        }
        case
    }

    /// The same in the other mode, or in this one.
    #[must_use]
    pub fn in_mode(&self, training: bool) -> Case {
        Case { training, ..self.clone() }
    }

    /// An integer option.
    pub fn int(&self, name: &str) -> Option<usize> {
        match self.options.iter().find(|o| o.name == name).map(|o| &o.value) {
            Some(OptionValue::Int(v)) => usize::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A number option.
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.options.iter().find(|o| o.name == name).map(|o| &o.value) {
            Some(OptionValue::Float(v)) => Some(*v),
            _ => None,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: Vec<String> = self.inputs.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        let mode = if self.training { "training" } else { "evaluation" };
        write!(
            f,
            "options ({})\n  inputs  ({})\n  mode    {mode}\n  seed    {}",
            written::write(&self.options),
            inputs.join(", "),
            self.seed
        )
    }
}
