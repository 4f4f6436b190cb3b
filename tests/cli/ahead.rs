//! Evaluation says what comes next while a batch runs, so that an engine can bring it in; what is measured does not depend on it.

use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use fer_data::LoaderOptions;
use fer_engine::{Engine, Executable, Feeds, Outputs, Precision, Store};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Graph, Node};
use fer_host::{
    compose::Recipe,
    run::{Evaluation, Evaluator, Material, Model, Reading},
    session::Session,
};
use fer_registry::{Probe, Registry, SearchPath};
use fer_train::initialise;

use crate::{host::PROGRAM, micro::MICRO};

/// What was said to come next, and of each batch after the first whether it is what was said.
#[derive(Default)]
struct Asked {
    next: Option<Arc<Feeds>>,
    as_told: Vec<bool>,
}

/// The reference engine, which asks for the next batch like one that computes beside the host.
struct Asking(DfdxEngine, Arc<Mutex<Asked>>);

struct AskingRun(Box<dyn Executable>, Arc<Mutex<Asked>>);

impl Engine for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }
    fn precision(&self) -> Precision {
        self.0.precision()
    }
    fn supports(&self, graph: &Graph, node: &Node) -> bool {
        self.0.supports(graph, node)
    }
    fn store(&self) -> Box<dyn Store> {
        self.0.store()
    }
    fn compile(&self, graph: &Graph) -> fer_engine::Result<Box<dyn Executable>> {
        Ok(Box::new(AskingRun(self.0.compile(graph)?, self.1.clone())))
    }
}

impl Executable for AskingRun {
    fn run(&self, _: &mut dyn Store, _: &Feeds) -> fer_engine::Result<Outputs> {
        panic!("a batch is run ahead of the next");
    }
    fn run_ahead(
        &self,
        store: &mut dyn Store,
        inputs: &Arc<Feeds>,
        next: &mut dyn FnMut() -> Option<Arc<Feeds>>,
    ) -> fer_engine::Result<Outputs> {
        let mut asked = self.1.lock().expect("one thread");
        if let Some(told) = asked.next.take() {
            asked.as_told.push(Arc::ptr_eq(&told, inputs));
        }
        asked.next = next();
        self.0.run(store, inputs)
    }
}

/// The micro experiment's 24 test images in batches, with a model as it starts.
fn measured(engine: &dyn Engine, batch: usize) -> Evaluation {
    let resolved = fer_config::load_text("micro.ron", MICRO, &[]).expect("a config");
    let beside = Path::new(PROGRAM).parent().expect("the program lies in a folder");
    let registry = Registry::scan(&SearchPath::of([beside]), &Probe::Off);
    let recipe = Recipe::find(&resolved, &registry).expect("run `cargo build --workspace` first");
    let session = Session { resolved, registry, recipe };
    let material = Material::open(&session.resolved, &session.recipe).expect("drawn faces");
    let model = Model::new(&session, &material);
    let mut store = engine.store();
    initialise(&model.evaluation(1).expect("a graph"), 1, store.as_mut()).expect("has a start");
    let loader = LoaderOptions { workers: 2, prefetch: 2, ..LoaderOptions::default() };
    let reading = Reading { batch, loader, mean_of_batches: false };
    let (classes, never) = (&material.dataset.classes, AtomicBool::new(false));
    let mut evaluator = Evaluator::new(&model, engine);
    let found = evaluator.evaluate(store.as_mut(), "test", &material.test, classes, &reading, &never);
    found.unwrap_or_else(|failure| panic!("{}", failure.error)).expect("was not stopped")
}

#[test]
fn an_evaluation_says_what_comes_next_and_measures_the_same() {
    let reference = || DfdxEngine::new(Precision::F32);
    // Whole batches, and one that is left over.
    for (batch, batches) in [(6, 4), (7, 4), (24, 1)] {
        let asked = Arc::default();
        let asking = Asking(reference(), Arc::clone(&asked));
        let (ours, plain) = (measured(&asking, batch), measured(&reference(), batch));
        assert_eq!(ours.answers, plain.answers);
        assert_eq!(ours.metrics, plain.metrics);
        assert_eq!(plain.answers.len(), 24);
        let asked: std::sync::MutexGuard<'_, Asked> = asked.lock().expect("one thread");
        assert_eq!(asked.as_told, vec![true; batches - 1], "batches of {batch}");
        assert!(asked.next.is_none(), "nothing comes after the last");
    }
}
