//! `fer-host graph CONFIG`: what the config composes, as a table by scope, as text, as a picture's source, or as JSON.

use std::collections::BTreeMap;

use fer_graph::{Graph, Node, PrintOptions, Role};
use fer_plan::{inline, simplify};
use fer_train::Step;
use serde_json::json;

use super::{
    output::{binary, decimal, flop, grouped, print, print_json, table},
    parameters,
};
use crate::{
    compose::{Entry, Part, Spec, Truth, forward},
    failure::Result,
    run::step_options,
    session::{ConfigArguments, Session, published_classes, published_side},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// How far along the way to the engine
    #[arg(long, value_enum, default_value = "forward")]
    stage: Stage,
    /// Images in the graph; the config's batch when absent
    #[arg(long)]
    batch: Option<usize>,
    /// The evaluation graph instead of the training one
    #[arg(long)]
    eval: bool,
    /// Levels of scope in the table
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// Write all numbers of constants, so that the text parses back
    #[arg(long)]
    full: bool,
    /// How each parameter trains: layer, learning rate, weight decay, frozen or not (as a table or JSON)
    #[arg(long, conflicts_with_all = ["stage", "depth", "full"])]
    parameters: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Text,
    Dot,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// The composed model and loss
    Forward,
    /// With the backward pass and the optimiser
    Step,
    /// Composites replaced by their decompositions
    Inlined,
    /// And equal nodes merged, unused ones dropped: what the reference engine runs
    Simplified,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::open(arguments.config.resolve()?)?;
    let experiment = &session.resolved.experiment;
    let batch = arguments.batch.unwrap_or(experiment.batch).max(1);
    let (classes, side) = match published_classes(&experiment.data)
        .zip(experiment.images.size.or_else(|| published_side(&experiment.data)))
    {
        Some(known) => known,
        None => {
            let mut dataset = fer_data::open(&experiment.data, experiment.seed)?;
            let pixels = dataset.prepare(&experiment.images)?;
            (dataset.classes.len(), pixels.size)
        }
    };
    let spec = Spec {
        images: [batch, experiment.images.channels, side, side],
        entry: Entry::Pixels,
        classes,
        training: !arguments.eval,
        part: Part::Loss(Truth::Targets),
        prior: vec![1.0 / classes as f64; classes * classes],
    };
    let whole = forward(&session.resolved, &session.recipe, &spec)?;
    if arguments.parameters {
        let rules = parameters::rules(&session, &whole)?;
        return match arguments.format {
            Format::Json => print_json(&parameters::as_json(&whole, &rules)),
            _ => print(&parameters::as_table(&whole, &rules)),
        };
    }
    let graph = staged(&session, whole, arguments.stage)?;
    match arguments.format {
        Format::Table => print(&by_scope(&graph, batch, arguments.depth)),
        Format::Text => {
            let options = if arguments.full { PrintOptions::EXACT } else { PrintOptions::READABLE };
            print(&fer_graph::print(&graph, options))
        }
        Format::Dot => print(&dot(&graph)),
        Format::Json => print_json(&summary(&graph, batch, arguments.depth)),
    }
}

fn staged(session: &Session, graph: Graph, stage: Stage) -> Result<Graph> {
    if stage == Stage::Forward {
        return Ok(graph);
    }
    let step = match Step::build(&graph, &step_options(&session.resolved.experiment))? {
        Step::Fused(graph) | Step::Accumulated { accumulate: graph, .. } => graph,
    };
    Ok(match stage {
        Stage::Forward | Stage::Step => step,
        Stage::Inlined => inline(&step, |_, _| false)?,
        Stage::Simplified => simplify(&inline(&step, |_, _| false)?)?,
    })
}

/// Totals of one scope.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    parameters: u64,
    flops: u64,
    bytes: u64,
    nodes: u64,
}

impl Total {
    fn add(&mut self, other: Total) {
        self.parameters += other.parameters;
        self.flops += other.flops;
        self.bytes += other.bytes;
        self.nodes += other.nodes;
    }
}

/// `backbone.layers.0.blocks.1.attn` at depth 2 is `backbone.layers.0`: a number belongs to the name before it.
fn shorten(scope: &str, depth: usize) -> String {
    let mut levels = 0;
    let mut kept = vec![];
    for part in scope.split('.').filter(|p| !p.is_empty()) {
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            levels += 1;
        }
        if levels > depth.max(1) {
            break;
        }
        kept.push(part);
    }
    if kept.is_empty() { "(top)".into() } else { kept.join(".") }
}

fn node_total(graph: &Graph, node: &Node) -> Total {
    let bytes = node.results.iter().map(|&r| graph.ty(r)).map(|ty| (ty.elements() * ty.dtype.bytes(4)) as u64).sum();
    Total { parameters: 0, flops: graph.flops(node), bytes, nodes: 1 }
}

/// In the order in which the scopes first appear.
fn totals(graph: &Graph, depth: usize) -> Vec<(String, Total)> {
    let mut order: Vec<(String, Total)> = vec![];
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |scope: String, total: Total| {
        let i = *index.entry(scope.clone()).or_insert_with(|| {
            order.push((scope, Total::default()));
            order.len() - 1
        });
        order[i].1.add(total);
    };
    for node in &graph.nodes {
        add(shorten(&node.scope, depth), node_total(graph, node));
    }
    for parameter in graph.by_role(Role::Parameter) {
        let scope = parameter.name.rsplit_once('.').map_or("", |(scope, _)| scope);
        let total = Total { parameters: graph.ty(parameter.value).elements() as u64, ..Total::default() };
        add(shorten(scope, depth), total);
    }
    order
}

fn by_scope(graph: &Graph, batch: usize, depth: usize) -> String {
    let mut rows = vec![["scope", "parameters", "FLOPs/image", "activations", "nodes"].map(str::to_owned).to_vec()];
    let mut all = Total::default();
    let row = |name: &str, t: Total| {
        let flops = decimal(t.flops as f64 / batch as f64);
        vec![name.to_owned(), grouped(t.parameters), flops, binary(t.bytes as f64), grouped(t.nodes)]
    };
    for (scope, total) in totals(graph, depth) {
        all.add(total);
        rows.push(row(&scope, total));
    }
    rows.push(row("total", all));
    let inputs: Vec<String> =
        graph.by_role(Role::Input).map(|a| format!("{}: {}", a.name, graph.ty(a.value))).collect();
    format!(
        "{}({})\n\n{}\n\nactivations: all results of the nodes in f32, batch {batch}",
        graph.name,
        inputs.join(", "),
        table(&rows)
    )
}

fn summary(graph: &Graph, batch: usize, depth: usize) -> serde_json::Value {
    let object = |t: &Total| {
        json!({
            "parameters": t.parameters,
            "flops_per_image": t.flops as f64 / batch as f64,
            "activation_bytes": t.bytes,
            "nodes": t.nodes,
        })
    };
    let scopes = totals(graph, depth);
    let mut all = Total::default();
    scopes.iter().for_each(|(_, t)| all.add(*t));
    let list: Vec<_> = scopes
        .iter()
        .map(|(scope, t)| {
            let mut row = object(t);
            row["scope"] = json!(scope);
            row
        })
        .collect();
    json!({ "graph": graph.name, "batch": batch, "total": object(&all), "scopes": list })
}

/// Graphviz: a box a scope of depth 3, an arrow a value that passes from one to another.
fn dot(graph: &Graph) -> String {
    let home = |node: &Node| shorten(&node.scope, 3);
    let mut lines =
        vec![format!("digraph {:?} {{", graph.name), "  rankdir=TB; node [shape=box, fontname=\"monospace\"];".into()];
    for (scope, total) in totals(graph, 3) {
        let label = format!("{scope}\\n{} parameters, {}", grouped(total.parameters), flop(total.flops as f64));
        lines.push(format!("  {scope:?} [label=\"{label}\"];"));
    }
    let mut drawn = std::collections::BTreeSet::new();
    for node in &graph.nodes {
        for &operand in &node.operands {
            let from = match graph.definition(operand) {
                fer_graph::Definition::Node(n, _) => home(&graph.nodes[n]),
                fer_graph::Definition::Argument(a) if graph.arguments[a].role == Role::Input => {
                    graph.arguments[a].name.clone()
                }
                fer_graph::Definition::Argument(_) => continue,
            };
            let to = home(node);
            if from != to && drawn.insert((from.clone(), to.clone())) {
                lines.push(format!("  {from:?} -> {to:?} [label=\"{}\"];", graph.ty(operand)));
            }
        }
    }
    lines.push("}".into());
    lines.join("\n")
}
