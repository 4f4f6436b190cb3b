//! A run folder opened again, for evaluation and prediction.

use std::path::Path;

use fer_config::load_text;
use fer_engine::{Engine, Store};
use fer_graph::{Graph, Role};
use fer_train::{Checkpoint, averaged};

use super::{
    folder::{RunFolder, read_json},
    record::Environment,
};
use crate::{
    failure::{Failure, Result},
    session::Session,
};

/// Which weights of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Weights {
    /// Of the epoch that validation chose.
    #[default]
    Best,
    /// Of the last saved step.
    Last,
}

/// A run with its config, its environment and a store that holds its weights.
pub struct FinishedRun {
    pub folder: RunFolder,
    pub environment: Environment,
    pub session: Session,
    pub engine: Box<dyn Engine>,
    pub store: Box<dyn Store>,
}

impl FinishedRun {
    /// # Errors
    /// A folder that is no run, or one without the checkpoint asked for.
    pub fn open(path: &Path, weights: Weights) -> Result<FinishedRun> {
        let folder = RunFolder::open(path)?;
        let config = folder.config();
        let text = std::fs::read_to_string(&config)
            .map_err(|e| Failure::new(format!("cannot read {}: {e}", config.display())))?;
        let session = Session::open(load_text(&config.display().to_string(), &text, &[])?)?;
        let environment = read_json(&folder.environment())?;
        let engine = session.engine()?;
        let file = match weights {
            Weights::Best => folder.best(),
            Weights::Last => folder.last(),
        };
        if !file.is_file() {
            return Err(Failure::new(format!("{} has no checkpoint {}", folder.root.display(), file.display()))
                .help("the first is written at the end of the first epoch"));
        }
        let mut store = engine.store();
        for (name, tensor) in &Checkpoint::load(&file)?.tensors {
            store.write(name, tensor);
        }
        Ok(FinishedRun { folder, environment, session, engine, store })
    }

    /// The graph over the weights that were measured: the averages, where the run kept them.
    ///
    /// # Errors
    /// A checkpoint that lacks what the graph needs, or has it in another shape.
    pub fn fitted(&self, graph: &Graph) -> Result<Graph> {
        let names: std::collections::BTreeSet<String> = self.store.names().into_iter().collect();
        let graph = averaged(graph, |name| names.contains(name));
        for argument in graph.arguments.iter().filter(|a| a.role != Role::Input) {
            let expected = &graph.ty(argument.value).shape;
            let found = self.store.read(&argument.name).map(|t| t.shape);
            if found.as_ref() != Some(expected) {
                let found = found.map_or("missing".to_owned(), |s| format!("{s:?}"));
                let message =
                    format!("the checkpoint is of another model: {} is {found}, expected {expected:?}", argument.name);
                return Err(Failure::new(message).help("has a plugin changed since the run? see environment.json"));
            }
        }
        Ok(graph)
    }
}
