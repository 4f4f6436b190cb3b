//! The whole forward pass as one graph.

use fer_config::{ConfigError, Normalise, Resolved};
use fer_graph::{Builder, DType, Graph, GraphError, TensorType, Value, verify};

use super::{
    fragment::{fragment, place},
    head::head,
    recipe::Recipe,
};

/// Mean and deviation of ImageNet's RGB channels in 0..1, as every timm model expects.
const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// The output of a backbone that the head takes, and the beginning of the names of further ones.
const FEATURES: &str = "features";

/// What the graph's `images` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// u8 `[n, c, h, w]`: made float, three-channelled and normalised in the graph.
    Pixels,
    /// Float `[n, c, h, w]`, normalised already.
    Normalised,
}

/// How the truth comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Input `labels: i32[n]`.
    Labels,
    /// Input `targets: f[n, classes]`: one-hot or soft.
    Targets,
}

/// How far the graph goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Logits,
    /// Logits, and the loss over truth, prior and sample weights.
    Loss(Truth),
}

/// The sizes and the mode of one graph.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `[n, c, h, w]` of the images.
    pub images: [usize; 4],
    pub entry: Entry,
    pub classes: usize,
    pub training: bool,
    pub part: Part,
    /// `classes x classes`, row-major.
    pub prior: Vec<f64>,
}

/// Builds and verifies the forward graph: outputs `logits` and, where asked, `loss`; inner names `normalised`, `resizers.N`,
/// `features`, `logits`, `prior`, and those the components give.
///
/// # Errors
/// A component that cannot take what it is given, told at its place in the config with both sides' shapes.
pub fn forward(resolved: &Resolved, recipe: &Recipe, spec: &Spec) -> Result<Graph, ConfigError> {
    let b = Builder::new(if spec.training { "train" } else { "evaluate" });
    let internal = |e: GraphError| ConfigError::new(format!("the graph cannot be composed: {e}"));
    let mut x = images(&b, &recipe.normalise, spec).map_err(internal)?;
    b.name("normalised", x);
    let mut giver = format!("the images give {}", b.ty(x));
    for (i, part) in recipe.resizers.iter().enumerate() {
        let graph = fragment(resolved, part, &[("images", b.ty(x))], spec.training, &[giver])?;
        let scope = format!("resizers.{i}");
        let outputs = place(&b, &scope, &graph, &[("images", x)]).map_err(internal)?;
        x = output(resolved, &part.path, &outputs, "images")?;
        let ty = b.ty(x);
        if ty.rank() != 4 || ty.dtype != DType::Float || ty.shape[0] != spec.images[0] {
            return Err(faulty(
                resolved,
                &part.path,
                &format!("gives images {ty}, expected f[{}, c, h, w]", spec.images[0]),
            ));
        }
        b.name(&scope, x);
        giver = format!("resizer {:?} gives {ty}", part.component.id());
    }
    let part = &recipe.backbone;
    let graph = fragment(resolved, part, &[("images", b.ty(x))], spec.training, &[giver])?;
    let outputs = place(&b, "backbone", &graph, &[("images", x)]).map_err(internal)?;
    let logits = logits(&b, resolved, recipe, spec, &outputs)?;
    b.name("logits", logits);
    b.output("logits", logits);
    if let Part::Loss(truth) = spec.part {
        let loss = loss(&b, resolved, recipe, spec, logits, truth)?;
        b.output("loss", loss);
    }
    let graph = b.finish();
    verify(&graph).map_err(internal)?;
    Ok(graph)
}

/// Mean and deviation that an experiment takes from its images, by channel.
pub fn colours(normalise: &Normalise) -> ([f64; 3], [f64; 3]) {
    match *normalise {
        Normalise::ImageNet => IMAGENET,
        Normalise::None => ([0.0; 3], [1.0; 3]),
        Normalise::Values { mean, std } => (mean, std),
    }
}

fn images(b: &Builder, normalise: &Normalise, spec: &Spec) -> fer_graph::Result<Value> {
    let [n, c, h, w] = spec.images;
    if spec.entry == Entry::Normalised {
        return b.input("images", TensorType::float([n, c, h, w]));
    }
    let pixels = b.input("images", TensorType::new(DType::U8, [n, c, h, w]))?;
    let _scope = b.scope("normalise");
    let unit = b.scale(b.convert(pixels, DType::Float)?, 1.0 / 255.0)?;
    // Models pretrained on colour images see a grey one as three equal channels.
    let colour = if c == 1 { b.broadcast_in_dim(unit, &[n, 3, h, w], &[0, 1, 2, 3])? } else { unit };
    if *normalise == Normalise::None {
        return Ok(colour);
    }
    let (mean, deviation) = colours(normalise);
    let channels = |v: [f64; 3]| b.constant(&[3, 1, 1], v.to_vec());
    b.divide(b.subtract(colour, channels(mean)?)?, channels(deviation)?)
}

/// The backbone's `features` through `head`, and each further `features_<name>` through `head_<name>`; their mean. Where there are
/// several, they are named `logits_cls` (of `features`) and `logits_<name>`.
fn logits(
    b: &Builder,
    resolved: &Resolved,
    recipe: &Recipe,
    spec: &Spec,
    outputs: &[(String, Value)],
) -> Result<Value, ConfigError> {
    let internal = |e: GraphError| ConfigError::new(format!("the graph cannot be composed: {e}"));
    let path = &recipe.backbone.path;
    let mut all = vec![(String::new(), output(resolved, path, outputs, FEATURES)?)];
    let further = outputs.iter().filter_map(|(name, value)| Some((name.strip_prefix(FEATURES)?.to_owned(), *value)));
    all.extend(further.filter(|(suffix, _)| suffix.starts_with('_')));
    let mut heads = Vec::with_capacity(all.len());
    for (suffix, features) in &all {
        let name = format!("{FEATURES}{suffix}");
        b.name(&name, *features);
        let shape: [usize; 2] = b.shape(*features).try_into().map_err(|_| {
            faulty(resolved, path, &format!("gives {name} {}, expected f[{}, d]", b.ty(*features), spec.images[0]))
        })?;
        let graph = head(&recipe.head, shape, spec.classes, spec.training).map_err(|e| {
            resolved.error_at("model.head", &format!("the head cannot be built: {e}"), "asked for here", None)
        })?;
        let placed = place(b, &format!("head{suffix}"), &graph, &[(FEATURES, *features)]).map_err(internal)?;
        heads.push(output(resolved, "model.head", &placed, "logits")?);
    }
    if let [one] = heads[..] {
        return Ok(one);
    }
    for ((suffix, _), value) in all.iter().zip(&heads) {
        b.name(&format!("logits{}", if suffix.is_empty() { "_cls" } else { suffix }), *value);
    }
    let mean = || -> fer_graph::Result<Value> {
        let _scope = b.scope("heads");
        let sum = heads[1..].iter().try_fold(heads[0], |sum, head| b.add(sum, *head))?;
        b.scale(sum, 1.0 / heads.len() as f64)
    };
    mean().map_err(internal)
}

fn loss(
    b: &Builder,
    resolved: &Resolved,
    recipe: &Recipe,
    spec: &Spec,
    logits: Value,
    truth: Truth,
) -> Result<Value, ConfigError> {
    let internal = |e: GraphError| ConfigError::new(format!("the graph cannot be composed: {e}"));
    let (n, k) = (spec.images[0], spec.classes);
    let inputs = || -> fer_graph::Result<[Value; 3]> {
        let _scope = b.scope("truth");
        let targets = match truth {
            Truth::Targets => b.input("targets", TensorType::float([n, k]))?,
            Truth::Labels => b.one_hot(b.input("labels", TensorType::new(DType::I32, [n]))?, k)?,
        };
        let prior = b.constant(&[k, k], spec.prior.clone())?;
        Ok([targets, prior, b.input("weights", TensorType::float([n]))?])
    };
    let [targets, prior, weights] = inputs().map_err(internal)?;
    b.name("targets", targets);
    b.name("prior", prior);
    let part = &recipe.loss;
    let given = [("logits", logits), ("targets", targets), ("prior", prior), ("weights", weights)];
    let offered: Vec<(&str, TensorType)> = given.iter().map(|&(name, v)| (name, b.ty(v))).collect();
    let graph = fragment(resolved, part, &offered, spec.training, &[])?;
    let outputs = place(b, "loss", &graph, &given).map_err(internal)?;
    let loss = output(resolved, &part.path, &outputs, "loss")?;
    let ty = b.ty(loss);
    if ty != TensorType::float([]) {
        return Err(faulty(resolved, &part.path, &format!("gives a loss {ty}, expected f[]")));
    }
    b.name("loss", loss);
    Ok(loss)
}

fn output(resolved: &Resolved, path: &str, outputs: &[(String, Value)], name: &str) -> Result<Value, ConfigError> {
    let found = outputs.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    found.ok_or_else(|| {
        let given: Vec<&str> = outputs.iter().map(|(n, _)| n.as_str()).collect();
        faulty(resolved, path, &format!("gives no {name:?}, only {given:?}"))
    })
}

fn faulty(resolved: &Resolved, path: &str, what: &str) -> ConfigError {
    let help = "this is a fault of the plugin; please report it to its author";
    resolved.error_at(path, &format!("the component {what}"), "asked for here", Some(help))
}
