//! Operations by name: for whoever calls the builder with words from outside.

use crate::{
    Attribute, Attributes, Builder, Class, GraphError, Op, Result, Value,
    assemble::{add_attribute, find_op},
    custom::Definitions,
    ops,
};

impl Builder {
    /// Adds an operation of the table that is named by words, and gives its results. Nothing of it is taken for granted.
    ///
    /// # Errors
    /// `unknown_op`, `adjoint_from_plugin`, `op_version`, `order` (an operand that is no value of this graph), and those of
    /// [`Builder::emit`].
    pub fn emit_named(
        &self,
        name: &str,
        version: u32,
        operands: &[Value],
        attributes: &[(String, Attribute)],
    ) -> Result<Vec<Value>> {
        let op = find_op(name, &Definitions::default()).map_err(|message| self.malformed("unknown_op", message))?;
        if op.class() == Class::Adjoint {
            let message = format!("{name:?} is for differentiation alone; a plugin gives its forward computation");
            return Err(self.malformed("adjoint_from_plugin", message));
        }
        if version != op.def.version {
            let message = format!("{name:?} of version {version} is asked, this host has {}", op.def.version);
            return Err(self.malformed("op_version", message));
        }
        let known = self.look(|graph| graph.values.len());
        if let Some(value) = operands.iter().find(|value| value.index() >= known) {
            let message = format!("{name} uses value {}; there are {known} values", value.0);
            return Err(self.malformed("order", message));
        }
        let attributes = self.read_attributes(op, attributes)?;
        self.emit(op, operands, attributes)
    }

    fn read_attributes(&self, op: Op, given: &[(String, Attribute)]) -> Result<Attributes> {
        given.iter().try_fold(Attributes::new(), |attributes, (name, value)| {
            add_attribute(op, attributes, name, value.clone()).map_err(|message| GraphError::Constraint {
                op: op.name(),
                constraint: format!("{}_attribute", op.name()),
                message,
                scope: self.scope_path(),
            })
        })
    }
}

/// Whether the table has the op in this version, for a plugin to use.
pub fn has_op(name: &str, version: u32) -> bool {
    ops::lookup(name).is_some_and(|op| op.class() != Class::Adjoint && op.def.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorType;

    #[test]
    fn words_are_checked() {
        let b = Builder::new("words");
        let x = b.input("x", TensorType::float([2, 3])).unwrap();
        let axis = |name: &str| vec![(name.to_owned(), Attribute::Int(1))];
        let sum = b.emit_named("softmax", 1, &[x], &axis("axis")).unwrap();
        assert_eq!(b.shape(sum[0]), [2, 3]);
        for (name, version, operand, attribute, code) in [
            ("softmaxx", 1, x, "axis", "unknown_op"),
            ("softmax_vjp", 1, x, "axis", "adjoint_from_plugin"),
            ("softmax", 9, x, "axis", "op_version"),
            ("softmax", 1, Value(7), "axis", "order"),
            ("softmax", 1, x, "axes", "softmax_attribute"),
        ] {
            let error = b.emit_named(name, version, &[operand], &axis(attribute)).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        }
        assert!(has_op("softmax", 1) && !has_op("softmax", 2) && !has_op("softmax_vjp", 1) && !has_op("soft", 1));
    }
}
