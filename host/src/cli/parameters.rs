//! `fer-host graph CONFIG --parameters`: how each parameter trains.

use fer_graph::{Graph, Role};
use fer_train::{ParameterRule, parameter_rules};
use serde_json::{Value, json};

use super::output::{grouped, table};
use crate::{failure::Result, run::step_options, session::Session};

/// Name, type, layer, and what groups, layer decay and the components' own word make of learning rate and weight decay.
pub fn rules(session: &Session, graph: &Graph) -> Result<Vec<ParameterRule>> {
    let options = step_options(&session.resolved.experiment);
    Ok(parameter_rules(graph, &options.optimiser, &options.groups, options.layer_decay)?)
}

pub fn as_table(graph: &Graph, rules: &[ParameterRule]) -> String {
    let head = ["parameter", "type", "numbers", "layer", "learning rate", "weight decay"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (parameter, rule) in graph.by_role(Role::Parameter).zip(rules) {
        let ty = graph.ty(parameter.value);
        let layer = parameter.layer.map_or_else(|| "-".to_owned(), |l| l.to_string());
        let rate = if rule.frozen { "frozen".to_owned() } else { format!("x {:.4}", rule.learning_rate_scale) };
        let decay = if rule.frozen { "-".to_owned() } else { rule.weight_decay.to_string() };
        rows.push(vec![rule.name.clone(), ty.to_string(), grouped(ty.elements() as u64), layer, rate, decay]);
    }
    let of = |frozen: bool| {
        let chosen = graph.by_role(Role::Parameter).zip(rules).filter(|(_, r)| r.frozen == frozen);
        grouped(chosen.map(|(p, _)| graph.ty(p.value).elements() as u64).sum())
    };
    format!("{}\n\n{} numbers are trained, {} are frozen", table(&rows), of(false), of(true))
}

pub fn as_json(graph: &Graph, rules: &[ParameterRule]) -> Value {
    let one = |(parameter, rule): (&fer_graph::Argument, &ParameterRule)| {
        json!({
            "name": rule.name,
            "shape": graph.shape(parameter.value),
            "layer": parameter.layer,
            "learning_rate_scale": rule.learning_rate_scale,
            "weight_decay": rule.weight_decay,
            "frozen": rule.frozen,
        })
    };
    graph.by_role(Role::Parameter).zip(rules).map(one).collect()
}
