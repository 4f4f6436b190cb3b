//! A component's graph with numbers for all its arguments, run on the reference engine.

use std::collections::BTreeMap;

use fer_autodiff::gradients;
use fer_engine::{Engine, Executable, Feeds, Outputs, Precision, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Graph, Role, TensorType, verify};

use crate::{
    Case, Outcome, Subject, Trouble,
    values::{Start, draw, numbers},
};

/// Inputs, parameters and states by name.
pub type Values = BTreeMap<String, Tensor>;

/// The input of a differentiated graph that weighs the elements of its output.
const COTANGENT: &str = "contract.cotangent";
/// The weighted sum of the output.
pub const OBJECTIVE: &str = "contract.objective";

/// A graph and its numbers.
#[derive(Clone, Debug)]
pub struct Model {
    pub graph: Graph,
    pub values: Values,
    /// The name of the promised output.
    pub output: &'static str,
}

impl Model {
    /// As training starts.
    ///
    /// # Errors
    /// The component's refusal, and what is wrong with its graph.
    pub fn initial(subject: &Subject, case: &Case) -> Outcome<Model> {
        Model::start(subject, case, Start::Initial)
    }

    /// With parameters and states away from their start.
    ///
    /// # Errors
    /// See [`Model::initial`].
    pub fn moved(subject: &Subject, case: &Case) -> Outcome<Model> {
        Model::start(subject, case, Start::Moved)
    }

    /// [`Model::initial`] or [`Model::moved`].
    ///
    /// # Errors
    /// See [`Model::initial`].
    pub fn start(subject: &Subject, case: &Case, start: Start) -> Outcome<Model> {
        let graph = subject.graph(case)?;
        let values = draw(&graph, case.seed, start)?;
        let output = subject.output();
        if graph.output(output).is_none() {
            return Err(Trouble::Broken(format!("gives no output {output:?}")));
        }
        Ok(Model { graph, values, output })
    }

    /// The type of the promised output.
    pub fn ty(&self) -> &TensorType {
        self.graph.ty(self.graph.output(self.output).expect("looked at when the model was built"))
    }

    /// The promised output, in f64.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run(&self) -> Outcome<Vec<f64>> {
        self.run_in(Precision::F64)
    }

    /// The promised output.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run_in(&self, precision: Precision) -> Outcome<Vec<f64>> {
        Ok(self.run_all(precision)?[self.output].to_f64())
    }

    /// Every output, and what each state becomes as `update/<name>`.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run_all(&self, precision: Precision) -> Outcome<Outputs> {
        Runner::new(&self.graph, precision)?.run(&self.values)
    }

    /// The promised output and the gradient of `sum(output * cotangent)` over some arguments, in the given order; the
    /// cotangent is 1 for a scalar and drawn from the seed otherwise.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn run_with_gradients(&self, wrt: &[&str], precision: Precision) -> Outcome<(Vec<f64>, Vec<Vec<f64>>)> {
        let mut model = self.differentiated(wrt, 0)?;
        let mut outputs = model.run_all(precision)?;
        let gradients = wrt.iter().map(|name| outputs[&gradient(name)].to_f64()).collect();
        model.output = self.output;
        let value = outputs.remove(self.output).map(|t| t.to_f64()).unwrap_or_default();
        Ok((value, gradients))
    }

    /// The same model with the outputs [`OBJECTIVE`] and [`gradient`] of each argument in `wrt`; an argument that the output
    /// does not depend on gets zeros.
    pub(crate) fn differentiated(&self, wrt: &[&str], seed: u64) -> Outcome<Model> {
        let b = Builder::resume(Graph { updates: vec![], ..self.graph.clone() });
        let output = self.graph.output(self.output).expect("looked at when the model was built");
        let ty = b.ty(output);
        let mut values = self.values.clone();
        let objective = if ty.rank() == 0 {
            output
        } else {
            let weights = numbers(seed, COTANGENT, ty.elements()).into_iter().map(|u| 2.0 * u - 1.0).collect();
            values.insert(COTANGENT.into(), Tensor::f64(ty.shape.clone(), weights));
            let weighted = b.multiply(output, b.input(COTANGENT, TensorType::float(ty.shape.clone()))?)?;
            b.reduce_sum(weighted, &(0..ty.rank()).collect::<Vec<_>>())?
        };
        b.output(OBJECTIVE, objective);
        let wanted: Vec<_> = wrt
            .iter()
            .map(|name| self.graph.argument(name).expect("asked for a gradient over an argument of the graph").value)
            .collect();
        for ((name, value), found) in wrt.iter().zip(&wanted).zip(gradients(&b, objective, &wanted)?) {
            b.output(&gradient(name), found.map_or_else(|| b.full_like(*value, 0.0), Ok)?);
        }
        let graph = b.finish();
        verify(&graph)?;
        Ok(Model { graph, values, output: OBJECTIVE })
    }

    /// Only the objective of a differentiated model, without its gradients.
    pub(crate) fn objective_only(&self) -> Model {
        let mut model = self.clone();
        model.graph.outputs.retain(|(name, _)| name == OBJECTIVE);
        model
    }
}

/// The name of the output with the gradient over an argument.
pub(crate) fn gradient(name: &str) -> String {
    format!("gradient/{name}")
}

/// A compiled graph that changes nothing: updates come out as outputs `update/<name>`.
pub(crate) struct Runner {
    engine: DfdxEngine,
    graph: Graph,
    executable: Box<dyn Executable>,
}

impl Runner {
    pub(crate) fn new(graph: &Graph, precision: Precision) -> Outcome<Runner> {
        let engine = DfdxEngine::new(precision);
        let mut graph = graph.clone();
        let updates = std::mem::take(&mut graph.updates);
        graph.outputs.extend(updates.into_iter().map(|(name, value)| (format!("update/{name}"), value)));
        Ok(Runner { engine, executable: engine.compile(&graph)?, graph })
    }

    pub(crate) fn run(&self, values: &Values) -> Outcome<Outputs> {
        let mut store = self.engine.store();
        let mut feeds = Feeds::new();
        for argument in &self.graph.arguments {
            let Some(value) = values.get(&argument.name) else { continue };
            match argument.role {
                Role::Input => {
                    feeds.insert(argument.name.clone(), value.clone());
                }
                Role::Parameter | Role::State => store.write(&argument.name, value),
            }
        }
        Ok(self.executable.run(store.as_mut(), &feeds)?)
    }
}
