//! Which properties a component has by its kind, in groups that are worth a test each.

use fer_abi::kind;

use crate::{Property, batch, building, execution, gradients, losses};

/// A group of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Building,
    Execution,
    Gradients,
    Batch,
    /// What the kind demands besides.
    Kind,
}

impl Family {
    pub const ALL: [Family; 5] = [Family::Building, Family::Execution, Family::Gradients, Family::Batch, Family::Kind];

    /// The properties of a component of that kind.
    pub fn properties(self, of: &str) -> &'static [Property<'static>] {
        match self {
            Family::Building => building::PROPERTIES,
            Family::Execution => execution::PROPERTIES,
            Family::Gradients => gradients::PROPERTIES,
            Family::Batch => batch::PROPERTIES,
            Family::Kind if of == kind::LOSS => losses::PROPERTIES,
            Family::Kind => &[],
        }
    }
}
