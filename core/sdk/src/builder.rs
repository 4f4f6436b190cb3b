//! The graph builder as a component sees it: every op of `fer-graph`, and what depends on training or evaluation.

use std::ops::Deref;

use fer_graph::{Builder, Graph, Value};

use crate::Result;

/// Builds a component's graph. Derefs to [`fer_graph::Builder`], which has a method for every op.
pub struct GraphBuilder {
    builder: Builder,
    training: bool,
}

impl GraphBuilder {
    pub fn new(name: &str, training: bool) -> GraphBuilder {
        GraphBuilder { builder: Builder::new(name), training }
    }

    /// Whether the graph is for training (dropout, batch statistics) or evaluation.
    pub fn training(&self) -> bool {
        self.training
    }

    /// Zeroes elements with a probability in training; the identity in evaluation.
    pub fn dropout(&self, x: Value, probability: f64) -> Result<Value> {
        Ok(if self.training { self.builder.dropout(x, probability)? } else { x })
    }

    /// Drops whole samples of axis 0 with a probability in training (stochastic depth); the identity in evaluation.
    pub fn drop_path(&self, x: Value, probability: f64) -> Result<Value> {
        Ok(if self.training { self.builder.drop_path(x, probability)? } else { x })
    }

    /// `mean(values * weights)`: a batch's loss from per-sample losses `[n]` and sample weights `[n]`.
    pub fn weighted_mean(&self, values: Value, weights: Value) -> Result<Value> {
        Ok(self.mean(self.multiply(values, weights)?, &[0])?)
    }

    /// One node of an op of your own, whose meaning `body` writes once in terms of other ops: it gets a builder of its own and the
    /// operands as they are called inside. Everything that the op depends on is an operand: no parameter, no random number, no
    /// value from outside. What stands here is what the op means, and its derivative is derived from it; a kernel that the library
    /// ships for the op is compared with it before use.
    ///
    /// `op` is two words with one dot between them, `focal.terms`, and the version 1; or `("focal.terms", 2)`.
    ///
    /// # Errors
    /// Those of `body`; a bad name; a body that depends on something else than its operands.
    pub fn composite<'n>(
        &self,
        op: impl Into<OpName<'n>>,
        operands: &[Value],
        body: impl FnOnce(&GraphBuilder, &[Value]) -> Result<Value>,
    ) -> Result<Value> {
        let results = self.composite_of_several(op, operands, |g, x| Ok(vec![body(g, x)?]))?;
        Ok(results[0])
    }

    /// [`GraphBuilder::composite`] with several results.
    ///
    /// # Errors
    /// Those of [`GraphBuilder::composite`]; no result.
    pub fn composite_of_several<'n>(
        &self,
        op: impl Into<OpName<'n>>,
        operands: &[Value],
        body: impl FnOnce(&GraphBuilder, &[Value]) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let OpName { name, version } = op.into();
        let training = self.training;
        let mut open = self.builder.open_body(name, operands)?;
        let inside = GraphBuilder { builder: std::mem::replace(&mut open.builder, Builder::new(name)), training };
        let results = body(&inside, &open.operands)?;
        open.builder = inside.builder;
        Ok(self.builder.close_body(name, version, open, &results)?)
    }

    pub fn finish(self) -> Graph {
        self.builder.finish()
    }
}

/// The name of an op of a plugin's own, and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpName<'n> {
    pub name: &'n str,
    pub version: u32,
}

impl<'n> From<&'n str> for OpName<'n> {
    fn from(name: &'n str) -> OpName<'n> {
        OpName { name, version: 1 }
    }
}

impl<'n> From<(&'n str, u32)> for OpName<'n> {
    fn from((name, version): (&'n str, u32)) -> OpName<'n> {
        OpName { name, version }
    }
}

impl Deref for GraphBuilder {
    type Target = Builder;

    fn deref(&self) -> &Builder {
        &self.builder
    }
}
