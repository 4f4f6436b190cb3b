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

    pub fn finish(self) -> Graph {
        self.builder.finish()
    }
}

impl Deref for GraphBuilder {
    type Target = Builder;

    fn deref(&self) -> &Builder {
        &self.builder
    }
}
