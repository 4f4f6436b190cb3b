//! A single component, traced as a contract looked at it: the text that a failed property leaves.

use std::{collections::BTreeMap, path::Path};

use fer_abi::kind;
use fer_config::{ConfigError, Field, Node, Source, Span, Value};
use fer_contract::{Case, Family, Model, Reproduction, Start, Subject, Trouble, plan};
use fer_engine::{Precision, Tensor};
use fer_graph::{Role, TensorType};
use fer_registry::{Component, OptionErrorKind, OptionInput, Probe, Registry, SearchPath};

use crate::{
    failure::{Failure, Result},
    session::plugins,
};

const NAME: &str = "Reproduction";
const KEYS: &str = "library, one of backbone, resizer and loss, inputs, mode, start, seed, property";

/// What came out.
pub struct Reproduced {
    /// Outputs, new states as `update/<name>`, and with gradients `grad/<name>`.
    pub answers: BTreeMap<String, Tensor>,
    /// The property that the text names, and what it finds; nothing where it holds.
    pub property: Option<(String, Option<String>)>,
}

/// The text of a reproduction; `None` for another file, an experiment's.
///
/// # Errors
/// A file that cannot be read as RON, or a reproduction that says too little or too much.
pub fn reproduction(path: &Path) -> Result<Option<(Reproduction, Component)>> {
    let Ok(text) = std::fs::read_to_string(path) else {
        // Reading it as an experiment says why.
        return Ok(None);
    };
    if !text.contains(NAME) {
        return Ok(None);
    }
    let root = fer_config::read(&Source::file(path.display().to_string(), text))?;
    if root.name() != Some(NAME) {
        return Ok(None);
    }
    understand(&root).map(Some)
}

fn wrong(span: &Span, message: impl Into<String>) -> Failure {
    ConfigError::new(message).label(span, "found here").into()
}

fn understand(root: &Node) -> Result<(Reproduction, Component)> {
    let kinds = [kind::BACKBONE, kind::RESIZER, kind::LOSS];
    let (mut named, mut inputs, mut library, mut property) = (None, None, None, None);
    let (mut training, mut start, mut seed) = (false, Start::Moved, 0);
    for field in root.fields() {
        let node = &field.node;
        match field.key.as_str() {
            key if kinds.contains(&key) => named = Some(field),
            "inputs" => inputs = Some(shapes(node)?),
            "library" => library = Some(text(node)?.into()),
            "property" => property = Some(text(node)?),
            "mode" => training = word(node, &[("Train", true), ("Eval", false)])?,
            "start" => start = word(node, &[("Initial", Start::Initial), ("Moved", Start::Moved)])?,
            "seed" => seed = whole(node)?,
            other => {
                let failure = wrong(&field.key_span, format!("a reproduction has no key {other:?}"));
                return Err(failure.help(format!("its keys: {KEYS}")));
            }
        }
    }
    let missing = |what: &str| {
        wrong(root.name_span(), format!("the reproduction does not say {what}")).help(format!("its keys: {KEYS}"))
    };
    let named = named.ok_or_else(|| missing("which component it is about"))?;
    let inputs = inputs.ok_or_else(|| missing("the shapes of its inputs"))?;
    let component = find(library.as_deref(), named)?;
    let options = options(&component, named)?;
    offered(&named.key, &inputs).map_err(|said| wrong(root.name_span(), said))?;
    let case = Case { options, inputs, training, seed };
    let (kind, id) = (component.kind().to_owned(), component.id().to_owned());
    Ok((Reproduction { library, kind, id, case, start, property }, component))
}

fn text(node: &Node) -> Result<String> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(wrong(&node.span, format!("a text in quotes is expected, found {}", node.describe()))),
    }
}

fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T> {
    let found = words.iter().find(|(word, _)| node.name() == Some(word));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        wrong(&node.span, format!("{} is expected, found {}", words.join(" or "), node.describe()))
    })
}

fn whole<T: TryFrom<i128>>(node: &Node) -> Result<T> {
    let number = match node.value {
        Value::Int(number) => T::try_from(number).ok(),
        _ => None,
    };
    number.ok_or_else(|| wrong(&node.span, format!("a whole number from 0 is expected, found {}", node.describe())))
}

/// `(images: [1, 3, 8, 8])`: what is offered is float.
fn shapes(node: &Node) -> Result<Vec<(String, TensorType)>> {
    let shape = |field: &Field| match &field.node.value {
        Value::List(sizes) => {
            Ok((field.key.clone(), TensorType::float(sizes.iter().map(whole).collect::<Result<Vec<usize>>>()?)))
        }
        _ => Err(wrong(&field.node.span, format!("a shape [n, ...] is expected, found {}", field.node.describe()))),
    };
    node.fields().iter().map(shape).collect()
}

/// More numbers than this are no small case.
const MOST_NUMBERS: usize = 1 << 26;

/// What a component of that kind is offered, and not more than can be computed.
fn offered(kind: &str, inputs: &[(String, TensorType)]) -> std::result::Result<(), String> {
    let expected: &[(&str, usize)] = match kind {
        kind::LOSS => &[("logits", 2), ("targets", 2), ("prior", 2), ("weights", 1)],
        _ => &[("images", 4)],
    };
    let same =
        |((name, rank), (found, ty)): (&(&str, usize), &(String, TensorType))| name == found && ty.rank() == *rank;
    if inputs.len() != expected.len() || !expected.iter().zip(inputs).all(same) {
        let names: Vec<String> = expected.iter().map(|(name, rank)| format!("{name} of {rank} sizes")).collect();
        return Err(format!("a {kind} is offered {}, in this order", names.join(", ")));
    }
    for (name, ty) in inputs {
        let numbers = ty.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d).filter(|&n| n <= MOST_NUMBERS));
        if numbers.is_none_or(|n| n == 0) {
            return Err(format!(
                "the input {name:?} has {:?} numbers, from 1 to {MOST_NUMBERS} can be traced",
                ty.shape
            ));
        }
    }
    Ok(())
}

/// In the library that the text names, or on the plugin path.
fn find(library: Option<&Path>, named: &Field) -> Result<Component> {
    let plugin = named.node.field("plugin");
    let plugin =
        plugin.ok_or_else(|| wrong(&named.node.span, format!("the {} has no `plugin: \"NAME\"`", named.key)))?;
    let id = text(&plugin.node)?;
    let registry = match library {
        Some(library) => {
            let probe = Probe::this_program()
                .map_err(|e| Failure::new(format!("cannot find this program's own file to try plugins with: {e}")))?;
            Registry::scan(&SearchPath::of([library]), &probe)
        }
        None => plugins()?,
    };
    let found = registry.get(&named.key, &id).map(Clone::clone);
    found.map_err(|error| {
        let failure = wrong(&plugin.node.span, error.message).help(error.help);
        registry.problems().iter().fold(failure, |failure, problem| failure.note(problem.to_string()))
    })
}

/// Checked against the schema, without the defaults: a property may be about what is left out.
fn options(component: &Component, named: &Field) -> Result<Vec<fer_abi::NamedOption>> {
    let fields: Vec<&Field> = named.node.fields().iter().filter(|field| field.key != "plugin").collect();
    let given = fields.iter().map(|field| Ok((field.key.clone(), input(&field.node)?))).collect::<Result<Vec<_>>>()?;
    let checked = component.check_options(&given).map_err(|error| {
        let field = fields.iter().find(|field| field.key == error.option);
        let span = match (field, error.kind) {
            (Some(field), OptionErrorKind::Value) => &field.node.span,
            (Some(field), _) => &field.key_span,
            (None, _) => &named.key_span,
        };
        wrong(span, error.message).help(error.help)
    })?;
    Ok(checked.into_iter().filter(|option| given.iter().any(|(name, _)| option.name == *name)).collect())
}

fn input(node: &Node) -> Result<OptionInput> {
    Ok(match &node.value {
        Value::Bool(value) => OptionInput::Bool(*value),
        Value::Int(_) => OptionInput::Int(whole(node)?),
        Value::Float(value) => OptionInput::Float(*value),
        Value::Text(value) => OptionInput::Text(value.clone()),
        Value::List(items) => OptionInput::List(items.iter().map(input).collect::<Result<_>>()?),
        _ => return Err(wrong(&node.span, format!("an option's value is expected, found {}", node.describe()))),
    })
}

/// Builds and runs the component as the contract did, on the reference engine, and looks at the property again.
///
/// # Errors
/// What the component refuses, and what is wrong with its graph.
pub fn reproduce(
    reproduction: &Reproduction,
    component: &Component,
    precision: Precision,
    gradients: bool,
) -> Result<Reproduced> {
    let builder = component.clone();
    let kernels = component.kernels().map_err(|fault| Failure::new(fault.reason))?;
    let subject = Subject::new(component.descriptor().clone(), move |request| builder.build(request))
        .with_kernels(&component.library().display().to_string(), &kernels);
    let property = reproduction.property.as_ref().map(|name| again(&subject, &reproduction.case, name)).transpose()?;
    // What a property of building looks at may be too large to be run, and may not be built at all.
    let building =
        Family::Building.properties(component.kind()).iter().any(|p| Some(p.name) == reproduction.property.as_deref());
    let answers = match building {
        true => BTreeMap::new(),
        false => answers(&subject, reproduction, precision, gradients).map_err(|trouble| {
            let (Trouble::Skipped(said) | Trouble::Idle(said) | Trouble::Broken(said)) = trouble;
            Failure::new(format!("the {} {:?} cannot be run: {said}", reproduction.kind, reproduction.id))
        })?,
    };
    Ok(Reproduced { answers, property })
}

fn again(subject: &Subject, case: &Case, name: &str) -> Result<(String, Option<String>)> {
    let planned = plan(subject);
    let Some((_, property)) = planned.iter().find(|(_, property)| property.name == name) else {
        let names = planned.iter().map(|(_, p)| p.name);
        let failure = Failure::new(format!("{} {:?} has no property {name:?}", subject.kind(), subject.id()));
        return Err(match fer_config::nearest(name, names) {
            Some(near) => failure.help(format!("did you mean {near:?}?")),
            None => failure,
        });
    };
    let found = match (property.check)(subject, case) {
        Err(Trouble::Broken(message)) => Some(message),
        Ok(()) | Err(Trouble::Skipped(_) | Trouble::Idle(_)) => None,
    };
    Ok((name.to_owned(), found))
}

fn answers(
    subject: &Subject,
    reproduction: &Reproduction,
    precision: Precision,
    gradients: bool,
) -> std::result::Result<BTreeMap<String, Tensor>, Trouble> {
    let model = Model::start(subject, &reproduction.case, reproduction.start)?;
    let mut answers: BTreeMap<String, Tensor> = model.run_all(precision)?.into_iter().collect();
    if gradients {
        let trained = |role: Role, name: &str| role == Role::Parameter || ["images", "logits"].contains(&name);
        let arguments = model.graph.arguments.iter().filter(|a| trained(a.role, &a.name));
        let wrt: Vec<&str> =
            arguments.filter(|a| model.graph.ty(a.value).dtype.is_float()).map(|a| a.name.as_str()).collect();
        let (_, found) = model.run_with_gradients(&wrt, precision)?;
        for (name, gradient) in wrt.iter().zip(found) {
            let shape = model.values[*name].shape.clone();
            answers.insert(format!("grad/{name}"), Tensor::f64(shape, gradient));
        }
    }
    Ok(answers)
}
