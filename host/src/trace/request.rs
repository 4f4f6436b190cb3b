//! What a trace is asked, and how it answers.

use std::collections::BTreeMap;

use fer_autodiff::pull_back;
use fer_engine::{Data, Feeds, Tensor};
use fer_graph::{Builder, Graph, Role, Value, verify};
use fer_train::initialise;

use super::cut::cut;
use crate::{
    compose::{Entry, Part, Spec, Truth, did_you_mean, forward},
    failure::{Failure, Result},
    session::{Session, published_classes, published_side},
    weights::{Network, Pretrained, classes_of, layouts, match_names},
};

/// Whether the graph is the training or the evaluation one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    Train,
    Eval,
}

/// What is asked.
pub struct TraceRequest {
    /// Weights; `None` starts as a run of the experiment does.
    pub weights: Option<BTreeMap<String, Tensor>>,
    pub inputs: BTreeMap<String, Tensor>,
    pub mode: Mode,
    pub gradients: bool,
    /// Glob over names of values.
    pub values: Option<String>,
}

const COTANGENT: &str = "cotangent/";

/// Runs the trace; gives `logits`, `loss`, `grad/<name>`, in training mode `state/<name>`, and the values asked for.
///
/// # Errors
/// Inputs and weights that do not fit, by name.
pub fn trace(session: &Session, request: &TraceRequest) -> Result<BTreeMap<String, Tensor>> {
    let spec = spec(session, request)?;
    let whole = forward(&session.resolved, &session.recipe, &spec)?;
    let given = given(&whole, request)?;
    let seeds = seeds(&whole, request)?;
    let wanted = wanted(&whole, request, &seeds)?;
    let part = cut(&whole, &given, &wanted)?;
    let spelled = spelled(session, &whole, &part, request)?;
    let graph = if request.gradients { differentiate(&part, &seeds, &spelled)? } else { part };
    run(session, &whole, &graph, &spec, request, &spelled)
}

fn spec(session: &Session, request: &TraceRequest) -> Result<Spec> {
    let experiment = &session.resolved.experiment;
    // Weights know their classes; the data set's files are not needed for that.
    let known = request.weights.as_ref().and_then(classes_of).or_else(|| published_classes(&experiment.data));
    let classes = match known {
        Some(classes) => classes,
        None => fer_data::open(&experiment.data, experiment.seed)?.classes.len(),
    };
    let side = experiment.images.size.or_else(|| published_side(&experiment.data)).unwrap_or(224);
    let (images, entry) = match request.inputs.get("images") {
        Some(tensor) => {
            let shape = tensor.shape.clone().try_into().map_err(|_| {
                Failure::new(format!("the input \"images\" must be [n, c, h, w], found {:?}", tensor.shape))
            })?;
            (shape, if matches!(tensor.data, Data::U8(_)) { Entry::Pixels } else { Entry::Normalised })
        }
        None => {
            let batch = request.inputs.iter().find(|(n, _)| *n == "logits" || *n == "labels");
            let batch = batch.and_then(|(_, t)| t.shape.first().copied()).unwrap_or(1);
            ([batch, 3, side, side], Entry::Normalised)
        }
    };
    let part = match (request.inputs.contains_key("labels"), request.inputs.contains_key("targets")) {
        (true, false) => Part::Loss(Truth::Labels),
        (false, true) => Part::Loss(Truth::Targets),
        (false, false) => Part::Logits,
        (true, true) => return Err(Failure::new("the inputs hold both \"labels\" and \"targets\"; give one of them")),
    };
    let prior: Vec<f64> = fer_data::prior::ferplus_prior().rows.into_iter().flatten().collect();
    let prior = if prior.len() == classes * classes { prior } else { vec![1.0 / classes as f64; classes * classes] };
    Ok(Spec { images, entry, classes, training: request.mode == Mode::Train, part, prior })
}

/// Named inner values that the inputs give.
fn given(graph: &Graph, request: &TraceRequest) -> Result<BTreeMap<String, Value>> {
    let mut given = BTreeMap::new();
    for (name, tensor) in &request.inputs {
        if name.starts_with(COTANGENT) || graph.argument(name).is_some_and(|a| a.role == Role::Input) || name == "rng" {
            continue;
        }
        let value = named(graph, name)?;
        let expected = graph.ty(value);
        if tensor.shape != expected.shape {
            return Err(Failure::new(format!("the input {name:?} must be {expected}, found {}", tensor.ty())));
        }
        given.insert(name.clone(), value);
    }
    Ok(given)
}

fn named(graph: &Graph, name: &str) -> Result<Value> {
    if let Some(&value) = graph.names.get(name) {
        return Ok(value);
    }
    let inputs = || graph.by_role(Role::Input).map(|a| a.name.as_str());
    let names = || graph.names.keys().map(String::as_str).chain(inputs());
    let failure = Failure::new(format!("the graph has no input or value {name:?}"));
    let all = format!("values: {}", names().collect::<Vec<_>>().join(", "));
    Err(match did_you_mean(name, names()) {
        Some(hint) => failure.note(all).help(hint),
        None => failure.note(all),
    })
}

/// `(value's name, value)` of each `cotangent/<value>` input.
fn seeds(graph: &Graph, request: &TraceRequest) -> Result<Vec<(String, Value)>> {
    let names = request.inputs.keys().filter_map(|n| n.strip_prefix(COTANGENT));
    names.map(|n| Ok((n.to_owned(), named(graph, n)?))).collect()
}

fn wanted(graph: &Graph, request: &TraceRequest, seeds: &[(String, Value)]) -> Result<Vec<(String, Value)>> {
    let mut wanted: Vec<(String, Value)> = seeds.to_vec();
    let mut want = |name: &str, value: Value| {
        if !wanted.iter().any(|(n, _)| n == name) {
            wanted.push((name.to_owned(), value));
        }
    };
    // Asked about one value, a trace computes no more than that value needs.
    if seeds.is_empty() {
        graph.outputs.iter().for_each(|(n, v)| want(n, *v));
    }
    if let Some(pattern) = &request.values {
        let glob = globset::Glob::new(pattern)
            .map(|g| g.compile_matcher())
            .map_err(|e| Failure::new(format!("--values {pattern:?}: {e}")))?;
        let found: Vec<_> = graph.names.iter().filter(|(n, _)| glob.is_match(n)).collect();
        if found.is_empty() {
            let names: Vec<&str> = graph.names.keys().map(String::as_str).collect();
            return Err(Failure::new(format!("--values {pattern:?} matches no named value"))
                .note(format!("values: {}", names.join(", "))));
        }
        found.into_iter().for_each(|(n, v)| want(n, *v));
    }
    Ok(wanted)
}

/// For each parameter or state of the part, the name under which the weight file holds it.
fn spelled(session: &Session, whole: &Graph, part: &Graph, request: &TraceRequest) -> Result<BTreeMap<String, String>> {
    let Some(file) = &request.weights else {
        return Ok(part.arguments.iter().map(|a| (a.name.clone(), a.name.clone())).collect());
    };
    let layouts = layouts(&session.recipe);
    let mut matched = match_names(part, file, &layouts, |_| true);
    if !matched.unexpected.is_empty() {
        // What belongs to the cut-away rest of the model is no surprise.
        let elsewhere = match_names(whole, file, &layouts, |_| true);
        matched.unexpected.retain(|n| elsewhere.unexpected.contains(n));
    }
    let complaints = matched.complaints();
    if complaints.is_empty() {
        return Ok(matched.pairs.into_iter().collect());
    }
    let failure = Failure::new("the weights are not those of this model");
    Err(complaints.into_iter().fold(failure, Failure::note))
}

fn differentiate(part: &Graph, seeds: &[(String, Value)], spelled: &BTreeMap<String, String>) -> Result<Graph> {
    let b = Builder::resume(part.clone());
    let mut starts = vec![];
    for (name, _) in seeds {
        let value = part.output(name).expect("seeds are outputs of the part");
        let cotangent = b.input(&format!("{COTANGENT}{name}"), part.ty(value).clone())?;
        starts.push((value, cotangent));
    }
    if starts.is_empty() {
        let Some(loss) = part.output("loss") else {
            let help = "give \"labels\" or \"targets\", or \"cotangent/<value>\" for another objective";
            return Err(Failure::new("there is no loss to differentiate").help(help));
        };
        starts.push((loss, b.full(&[], 1.0)?));
    }
    let wrt: Vec<_> = part
        .arguments
        .iter()
        .filter(|a| a.role != Role::State && part.ty(a.value).dtype.is_float() && !request_only(&a.name))
        .collect();
    let values: Vec<Value> = wrt.iter().map(|a| a.value).collect();
    let end = part.nodes.len();
    for (argument, gradient) in wrt.iter().zip(pull_back(&b, 0..end, &starts, &values)?) {
        let name = spelled.get(&argument.name).unwrap_or(&argument.name);
        let gradient = gradient.map_or_else(|| b.full_like(argument.value, 0.0), Ok)?;
        b.output(&format!("grad/{name}"), gradient);
    }
    let graph = b.finish();
    verify(&graph)?;
    Ok(graph)
}

/// Inputs that are weights of the objective rather than part of the model.
fn request_only(name: &str) -> bool {
    name == "weights" || name == "targets" || name == "prior"
}

fn run(
    session: &Session,
    whole: &Graph,
    graph: &Graph,
    spec: &Spec,
    request: &TraceRequest,
    spelled: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Tensor>> {
    let engine = session.engine()?;
    let mut store = engine.store();
    if let Some(file) = &request.weights {
        for argument in graph.arguments.iter().filter(|a| a.role != Role::Input) {
            store.write(&argument.name, &file[&spelled[&argument.name]]);
        }
    } else {
        Pretrained::gather(session, whole, Network::Allowed(&|_, _, _| {}))?.write(store.as_mut());
    }
    let seed = session.resolved.experiment.seed;
    initialise(graph, seed, store.as_mut())?;
    let mut feeds: Feeds = BTreeMap::new();
    for argument in graph.by_role(Role::Input) {
        let tensor = match request.inputs.get(&argument.name) {
            Some(tensor) => tensor.clone(),
            None if argument.name == "weights" => Tensor::f64([spec.images[0]], vec![1.0; spec.images[0]]),
            None if argument.name == "rng" => fer_train::rng_key(seed, 1),
            None => {
                return Err(Failure::new(format!(
                    "the inputs hold no {:?} ({})",
                    argument.name,
                    graph.ty(argument.value)
                )));
            }
        };
        feeds.insert(argument.name.clone(), tensor);
    }
    let executable = engine.compile(graph)?;
    let mut answers = executable.run(store.as_mut(), &feeds)?;
    for (state, _) in &graph.updates {
        let name = spelled.get(state).unwrap_or(state);
        if let Some(tensor) = store.read(state) {
            answers.insert(format!("state/{name}"), tensor);
        }
    }
    Ok(answers)
}
