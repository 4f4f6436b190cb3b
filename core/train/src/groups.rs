//! How each parameter trains: the optimiser's settings, the component's word, and the groups of the experiment.

use fer_graph::{Graph, Role};
use globset::Glob;

use crate::{
    joint::StepError,
    spec::{Group, Optimiser},
};

/// The settings of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterRule {
    pub name: String,
    /// Multiplies the learning rate.
    pub learning_rate_scale: f64,
    pub weight_decay: f64,
    pub frozen: bool,
}

impl Optimiser {
    /// Before schedule and groups.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Optimiser::Adam { learning_rate, .. }
            | Optimiser::AdamW { learning_rate, .. }
            | Optimiser::Sgd { learning_rate, .. } => learning_rate,
        }
    }

    /// Before groups and the rule for biases and norms.
    pub fn weight_decay(&self) -> f64 {
        match *self {
            Optimiser::Adam { weight_decay, .. }
            | Optimiser::AdamW { weight_decay, .. }
            | Optimiser::Sgd { weight_decay, .. } => weight_decay,
        }
    }
}

/// The settings of every parameter of a graph, in its order.
///
/// Decay applies where the graph allows it (timm's rule: not to biases, norms, position tables), unless a group says otherwise.
/// A parameter is frozen when its component or its group says so. `*` in a pattern also matches dots.
///
/// With `layer_decay`, a parameter of layer `i` learns at `layer_decay^(n - i)` of its rate, where layers `0..n` are declared; what
/// belongs to no layer (head, resizers) keeps its rate (Clark et al. 2020, as timm has it).
///
/// # Errors
/// [`StepError::Pattern`] when a pattern is no glob, [`StepError::NothingMatches`] when it matches no parameter,
/// [`StepError::Setting`] when a group's number makes no sense, [`StepError::NoLayers`] when layers should decay and there are none.
pub fn parameter_rules(
    graph: &Graph,
    optimiser: &Optimiser,
    groups: &[Group],
    layer_decay: Option<f64>,
) -> Result<Vec<ParameterRule>, StepError> {
    let mut matchers = Vec::with_capacity(groups.len());
    for group in groups {
        for (what, value) in
            [("learning_rate_scale", group.learning_rate_scale), ("weight_decay", group.weight_decay.unwrap_or(0.0))]
        {
            if !(value.is_finite() && value >= 0.0) {
                let what = format!("{what} of group {:?}", group.pattern);
                return Err(StepError::Setting { what, value, rule: "at least 0" });
            }
        }
        let glob = Glob::new(&group.pattern)
            .map_err(|e| StepError::Pattern { pattern: group.pattern.clone(), message: e.kind().to_string() })?;
        matchers.push(glob.compile_matcher());
    }
    for (group, matcher) in groups.iter().zip(&matchers) {
        if !graph.by_role(Role::Parameter).any(|p| matcher.is_match(&p.name)) {
            let nearest = nearest(&group.pattern, graph.by_role(Role::Parameter).map(|p| p.name.as_str()));
            return Err(StepError::NothingMatches { pattern: group.pattern.clone(), nearest });
        }
    }
    let layers = graph.by_role(Role::Parameter).filter_map(|p| p.layer).max().map(|last| last + 1);
    let by_layer = |layer: Option<u32>| match (layer_decay, layers, layer) {
        (Some(decay), Some(layers), Some(layer)) => decay.powi((layers - layer) as i32),
        _ => 1.0,
    };
    if layer_decay.is_some() && layers.is_none() {
        return Err(StepError::NoLayers);
    }
    let rule = |p: &fer_graph::Argument| {
        let group = groups.iter().zip(&matchers).find(|(_, m)| m.is_match(&p.name)).map(|(g, _)| g);
        let own_decay = if p.decay { optimiser.weight_decay() } else { 0.0 };
        ParameterRule {
            name: p.name.clone(),
            learning_rate_scale: group.map_or(1.0, |g| g.learning_rate_scale) * by_layer(p.layer),
            weight_decay: group.and_then(|g| g.weight_decay).unwrap_or(own_decay),
            frozen: p.frozen || group.is_some_and(|g| g.frozen),
        }
    };
    Ok(graph.by_role(Role::Parameter).map(rule).collect())
}

/// The first of the names that comes closest to what a pattern spells out, by the whole of it or by a part up to a dot.
fn nearest<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let literal: String = pattern.chars().filter(|c| !"*?[]{}".contains(*c)).collect();
    let literal = literal.trim_matches('.');
    let likeness = |name: &str| {
        let ends = name.match_indices('.').map(|(i, _)| i).chain([name.len()]);
        ends.map(|end| strsim::normalized_levenshtein(literal, &name[..end])).fold(0.0, f64::max)
    };
    let mut best: Option<(f64, &str)> = None;
    for name in names {
        let score = likeness(name);
        if best.is_none_or(|(b, _)| score > b) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, Init};

    use super::*;

    fn graph() -> Graph {
        let b = Builder::new("t");
        for name in ["backbone.stem.weight", "head.weight"] {
            b.parameter(name, &[2, 2], Init::Zeros).unwrap();
        }
        b.parameter("head.bias", &[2], Init::Zeros).unwrap();
        b.parameter_without_decay("backbone.position", &[2, 2], Init::Zeros).unwrap();
        b.finish()
    }

    fn adamw() -> Optimiser {
        Optimiser::AdamW { learning_rate: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.05 }
    }

    fn group(pattern: &str) -> Group {
        Group { pattern: pattern.into(), learning_rate_scale: 1.0, weight_decay: None, frozen: false }
    }

    #[test]
    fn decay_follows_timm_and_groups_override() {
        let decays = |groups: &[Group]| -> Vec<f64> {
            parameter_rules(&graph(), &adamw(), groups, None).unwrap().iter().map(|r| r.weight_decay).collect()
        };
        assert_eq!(decays(&[]), [0.05, 0.05, 0.0, 0.0]);
        let head = Group { weight_decay: Some(0.1), ..group("head.*") };
        assert_eq!(decays(&[head]), [0.05, 0.1, 0.1, 0.0]);
    }

    #[test]
    fn the_first_matching_group_wins() {
        let slow = Group { learning_rate_scale: 0.1, ..group("backbone.stem.*") };
        let frozen = Group { frozen: true, ..group("backbone.*") };
        let rules = parameter_rules(&graph(), &adamw(), &[slow, frozen], None).unwrap();
        assert_eq!((rules[0].learning_rate_scale, rules[0].frozen), (0.1, false));
        assert!(rules[3].frozen && !rules[1].frozen);
    }

    #[test]
    fn layers_decay_towards_the_stem() {
        let b = Builder::new("t");
        for (layer, name) in ["stem", "first", "second"].iter().enumerate() {
            let _layer = b.layer(layer);
            b.parameter(name, &[2, 2], Init::Zeros).unwrap();
        }
        b.parameter("head", &[2, 2], Init::Zeros).unwrap();
        let graph = b.finish();
        let scales = |groups: &[Group]| -> Vec<f64> {
            let rules = parameter_rules(&graph, &adamw(), groups, Some(0.5)).unwrap();
            rules.iter().map(|r| r.learning_rate_scale).collect()
        };
        assert_eq!(scales(&[]), [0.125, 0.25, 0.5, 1.0]);
        let slow = Group { learning_rate_scale: 0.1, ..group("second") };
        assert_eq!(scales(&[slow]), [0.125, 0.25, 0.05, 1.0]);
        let flat = parameter_rules(&super::tests::graph(), &adamw(), &[], Some(0.5));
        assert!(matches!(flat, Err(StepError::NoLayers)));
    }

    #[test]
    fn a_pattern_without_a_parameter_is_an_error() {
        let e = parameter_rules(&graph(), &adamw(), &[group("backbonne.*")], None).unwrap_err();
        assert_eq!(
            e.to_string(),
            "group \"backbonne.*\" matches no parameter; the nearest is \"backbone.stem.weight\""
        );
        let e = parameter_rules(&graph(), &adamw(), &[group("head.[")], None).unwrap_err();
        assert!(matches!(e, StepError::Pattern { .. }), "{e}");
        let wild = Group { learning_rate_scale: f64::NAN, ..group("head.*") };
        assert!(matches!(parameter_rules(&graph(), &adamw(), &[wild], None), Err(StepError::Setting { .. })));
    }
}
