//! What can be wrong with a graph. Every constraint has a name (`softmax_c1`) that the docs and the tests cite.

/// An operation, a graph or a graph's text that breaks a rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// An operation breaks one of its numbered constraints.
    #[error("{op}{}: {message} ({constraint})", at(scope))]
    Constraint { op: String, constraint: String, message: String, scope: String },
    /// The graph around the operations is malformed.
    #[error("graph {graph:?}: {message} ({code})")]
    Malformed { graph: String, code: &'static str, message: String },
    /// Text that does not read as a graph.
    #[error("line {line}, column {column}: {message}")]
    Syntax { line: usize, column: usize, message: String },
    /// A gradient was asked for through an operation that has none.
    #[error("{op}{}: has no derivative rule, and a gradient is asked through it", at(scope))]
    NoDerivative { op: String, scope: String },
}

fn at(scope: &str) -> String {
    if scope.is_empty() { String::new() } else { format!(" in {scope}") }
}

impl GraphError {
    /// The constraint's name, where there is one.
    pub fn code(&self) -> &str {
        match self {
            GraphError::Constraint { constraint, .. } => constraint,
            GraphError::Malformed { code, .. } => code,
            GraphError::Syntax { .. } => "syntax",
            GraphError::NoDerivative { .. } => "no_derivative",
        }
    }

    /// The same error, told of another place.
    #[must_use]
    pub(crate) fn in_scope(mut self, place: &str) -> Self {
        match &mut self {
            GraphError::Constraint { scope, .. } | GraphError::NoDerivative { scope, .. } if scope.is_empty() => {
                *scope = place.to_owned();
            }
            _ => {}
        }
        self
    }
}

pub type Result<T, E = GraphError> = std::result::Result<T, E>;
