//! A compiled graph: a flat list of steps, and what to drop after each.

use std::collections::BTreeMap;

use fer_engine::{EngineError, Executable, Feeds, Outputs, Result, Store, Tensor};
use fer_graph::{Argument, DType, Graph, Role, TensorType};

use crate::{
    element::Element,
    kernels::{Kernel, Site, maker},
    store::DfdxStore,
    value::Value,
};

pub(crate) struct DfdxExecutable<E: Element> {
    pub(crate) graph: Graph,
    steps: Vec<Step<E>>,
    /// Constants, at their places; everything else is computed.
    constants: Vec<Option<Value<E>>>,
}

struct Step<E: Element> {
    node: usize,
    kernel: Kernel<E>,
    operands: Vec<usize>,
    /// Whether this step is the last to read the operand, and may have its memory.
    last: Vec<bool>,
    result: usize,
    dtype: DType,
    /// Nothing reads the result.
    unread: bool,
}

/// Inlines every composite and merges what is equal.
///
/// # Errors
/// When the graph breaks a rule.
pub(crate) fn primitives(graph: &Graph) -> Result<Graph> {
    Ok(fer_plan::simplify(&fer_plan::inline(graph, |_, _| false)?)?)
}

impl<E: Element> DfdxExecutable<E> {
    /// # Errors
    /// [`EngineError::Graph`] when the graph breaks a rule, [`EngineError::Unsupported`] for an op without a kernel.
    pub(crate) fn compile(graph: &Graph) -> Result<Self> {
        fer_graph::verify(graph)?;
        let graph = primitives(graph)?;
        let last_uses = fer_plan::last_uses(&graph);
        let mut constants = vec![None; graph.values.len()];
        let mut steps = vec![];
        for (i, node) in graph.nodes.iter().enumerate() {
            let Some(make) = maker::<E>(&node.op.name()) else {
                return Err(EngineError::Unsupported(format!("the dfdx engine has no kernel for {:?}", node.op)));
            };
            let kernel = make(&Site { graph: &graph, node });
            let result = node.results[0].index();
            if node.operands.is_empty() {
                constants[result] = Some(kernel(vec![]));
                continue;
            }
            let operands: Vec<usize> = node.operands.iter().map(|v| v.index()).collect();
            // An operand that stands twice is given up at its last place only.
            let last = (0..operands.len())
                .map(|o| last_uses[operands[o]] == i && !operands[o + 1..].contains(&operands[o]))
                .collect();
            let unread = last_uses[result] == i;
            steps.push(Step {
                node: i,
                kernel,
                operands,
                last,
                result,
                dtype: graph.ty(node.results[0]).dtype,
                unread,
            });
        }
        Ok(DfdxExecutable { graph, steps, constants })
    }

    /// The constants, with the index of their value.
    pub(crate) fn constants(&self) -> impl Iterator<Item = (usize, &Value<E>)> {
        self.constants.iter().enumerate().filter_map(|(i, value)| value.as_ref().map(|v| (i, v)))
    }

    /// Runs all steps, showing each result as it comes; gives the values that outlive them.
    pub(crate) fn execute(
        &self,
        arguments: BTreeMap<usize, Value<E>>,
        mut see: impl FnMut(usize, &Value<E>),
    ) -> Vec<Option<Value<E>>> {
        let mut slots = self.constants.clone();
        for (index, value) in arguments {
            slots[index] = Some(value);
        }
        for step in &self.steps {
            let operands = step
                .operands
                .iter()
                .zip(&step.last)
                .map(|(&o, &last)| if last { slots[o].take() } else { slots[o].clone() })
                .map(|value| {
                    value.expect("a verified graph defines a value before its use and keeps it until the last")
                })
                .collect();
            let result = (step.kernel)(operands).rounded_to(step.dtype);
            see(step.node, &result);
            if !step.unread {
                slots[step.result] = Some(result);
            }
        }
        slots
    }

    /// The graph's arguments out of the feeds and, through `stored`, the store.
    pub(crate) fn arguments(
        &self,
        inputs: &Feeds,
        stored: impl Fn(&Argument, &TensorType) -> Result<Value<E>>,
    ) -> Result<BTreeMap<usize, Value<E>>> {
        let mut values = BTreeMap::new();
        for argument in &self.graph.arguments {
            let expected = self.graph.ty(argument.value);
            let value = if argument.role == Role::Input {
                let given = inputs.get(&argument.name).ok_or_else(|| EngineError::MissingInput {
                    name: argument.name.clone(),
                    expected: expected.clone(),
                })?;
                from_host(&argument.name, given, expected)?
            } else {
                stored(argument, expected)?
            };
            values.insert(argument.value.index(), value);
        }
        Ok(values)
    }
}

/// # Errors
/// [`EngineError::WrongType`] when shape or element type differ; any float fits a float.
pub(crate) fn from_host<E: Element>(name: &str, given: &Tensor, expected: &TensorType) -> Result<Value<E>> {
    let wrong = || EngineError::WrongType { name: name.to_owned(), expected: expected.clone(), found: given.ty() };
    if given.shape != expected.shape {
        return Err(wrong());
    }
    Value::from_host(given, expected.dtype).ok_or_else(wrong)
}

impl<E: Element> Executable for DfdxExecutable<E> {
    fn run(&self, store: &mut dyn Store, inputs: &Feeds) -> Result<Outputs> {
        let Some(store) = store.as_any_mut().downcast_mut::<DfdxStore<E>>() else {
            return Err(EngineError::Unsupported(format!(
                "this store belongs to another engine, not to dfdx in {}",
                E::PRECISION.name()
            )));
        };
        let arguments = self.arguments(inputs, |argument, expected| store.get(&argument.name, expected))?;
        let values = self.execute(arguments, |_, _| {});
        let value = |v: fer_graph::Value| values[v.index()].as_ref().expect("outputs and updates outlive the steps");
        let outputs = self
            .graph
            .outputs
            .iter()
            .map(|(name, v)| (name.clone(), value(*v).to_host(self.graph.shape(*v))))
            .collect();
        for (name, v) in &self.graph.updates {
            store.set(name, self.graph.shape(*v), value(*v).clone());
        }
        Ok(outputs)
    }
}
