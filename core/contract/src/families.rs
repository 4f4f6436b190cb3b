//! Which properties a component has by its kind, in groups that are worth a test each.

use fer_abi::kind;

use crate::{Property, batch, building, execution, gradients, kernels, losses};

/// A group of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Building,
    /// Of a library that ships kernels.
    Kernels,
    Execution,
    Gradients,
    Batch,
    /// What the kind demands besides.
    Kind,
    /// What the component claims of itself: [`laws::declared`](crate::laws::declared).
    Claims,
}

impl Family {
    pub const ALL: [Family; 7] = [
        Family::Building,
        Family::Kernels,
        Family::Execution,
        Family::Gradients,
        Family::Batch,
        Family::Kind,
        Family::Claims,
    ];

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Family::Building => "building",
            Family::Kernels => "kernels",
            Family::Execution => "execution",
            Family::Gradients => "gradients",
            Family::Batch => "batch",
            Family::Kind => "kind",
            Family::Claims => "claims",
        }
    }

    /// The properties of every component of that kind.
    pub fn properties(self, of: &str) -> &'static [Property<'static>] {
        match self {
            Family::Building => building::PROPERTIES,
            Family::Kernels => kernels::PROPERTIES,
            Family::Execution => execution::PROPERTIES,
            Family::Gradients => gradients::PROPERTIES,
            Family::Batch => batch::PROPERTIES,
            Family::Kind if of == kind::LOSS => losses::PROPERTIES,
            Family::Kind | Family::Claims => &[],
        }
    }
}
