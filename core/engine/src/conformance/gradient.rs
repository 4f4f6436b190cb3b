//! Gradients: the joint graph of a problem, and the check against central differences.

use fer_graph::{Builder, Graph, GraphError, Value};

use super::{
    Problem, Tolerance,
    check::answer,
    problem::{Draw, Random},
};
use crate::{Engine, Feeds, Tensor};

/// Step of the differences. With four points the error of the formula is about h^4 |f'''''| / 30, that of rounding
/// 1e-16 |f| / h: both stay below 1e-10 for functions of order one.
const STEP: f64 = 1e-3;
/// Allowed difference, relative to the larger of one and the derivative: a hundred times the two errors above, and a thousandth
/// of what a wrong rule would show.
const BOUND: f64 = 1e-7;

/// The tolerance of gradients, which add up more terms than the results.
pub(super) fn tolerance(forward: Tolerance) -> Tolerance {
    let sums = Tolerance::SUMMED;
    Tolerance { f64: 10.0 * forward.f64.max(sums.f64), f32: 10.0 * forward.f32.max(sums.f32), elementwise: false }
}

/// The problem with outputs `objective` and `gradient of <input>`. The objective weighs each smooth output's elements by fixed
/// random numbers, so that no two of them can stand for each other.
pub(super) fn joint(problem: &Problem) -> Result<Graph, GraphError> {
    let mut random = Random::new(77);
    let b = Builder::resume(problem.graph.clone());
    let mut objective: Option<Value> = None;
    for (_, value) in problem.graph.outputs.iter().filter(|(name, _)| problem.smooth.contains(name)) {
        let shape = problem.graph.shape(*value);
        let weights = random.draw(shape.iter().product(), Draw::NotZero);
        let weights = weights.into_iter().map(|v| f64::from(v as f32)).collect::<Vec<_>>();
        let axes: Vec<usize> = (0..shape.len()).collect();
        let term = b.reduce_sum(b.multiply(*value, b.constant(shape, weights)?)?, &axes)?;
        objective = Some(match objective {
            None => term,
            Some(so_far) => b.add(so_far, term)?,
        });
    }
    let objective = objective.map_or_else(|| b.full(&[], 0.0), Ok)?;
    let wrt: Vec<Value> =
        problem.wrt.iter().filter_map(|name| problem.graph.argument(name)).map(|argument| argument.value).collect();
    let gradients = fer_autodiff::gradients(&b, objective, &wrt)?;
    let mut graph = b.finish();
    graph.outputs = vec![("objective".to_owned(), objective)];
    for (name, gradient) in problem.wrt.iter().zip(gradients) {
        if let Some(gradient) = gradient {
            graph.outputs.push((format!("gradient of {name}"), gradient));
        }
    }
    Ok(graph)
}

/// Compares the derivative along a random direction, `<gradient, direction>`, with central differences. The engine must compute
/// in f64. An absent gradient counts as zero.
///
/// # Errors
/// What differs, in words.
pub fn check_gradient(engine: &dyn Engine, problem: &Problem) -> Result<(), String> {
    let graph = joint(problem).map_err(|e| format!("the gradient cannot be built: {e}"))?;
    let outputs = answer(engine, &graph, &problem.feeds)?;
    let executable = {
        let mut forward = graph.clone();
        forward.outputs.truncate(1);
        engine.compile(&forward).map_err(|e| e.to_string())?
    };
    let mut random = Random::new(78);
    let mut along = 0.0;
    let mut directions = vec![];
    for name in &problem.wrt {
        let direction: Vec<f64> =
            random.draw(problem.feeds[name].data.len(), Draw::NotZero).iter().map(|v| v / 2.0).collect();
        if let Some(gradient) = outputs.get(&format!("gradient of {name}")) {
            along += gradient.to_f64().iter().zip(&direction).map(|(g, d)| g * d).sum::<f64>();
        }
        directions.push((name, direction));
    }
    let objective = |steps: f64| -> Result<f64, String> {
        let mut feeds: Feeds = problem.feeds.clone();
        for (name, direction) in &directions {
            let moved =
                problem.feeds[*name].to_f64().iter().zip(direction).map(|(x, d)| x + steps * STEP * d).collect();
            feeds.insert((*name).clone(), Tensor::f64(problem.feeds[*name].shape.clone(), moved));
        }
        let outputs = executable.run(engine.store().as_mut(), &feeds).map_err(|e| e.to_string())?;
        outputs["objective"].item().ok_or_else(|| "the objective is no scalar".to_owned())
    };
    let difference =
        (8.0 * (objective(1.0)? - objective(-1.0)?) - (objective(2.0)? - objective(-2.0)?)) / (12.0 * STEP);
    let fits = (along - difference).abs() <= BOUND * difference.abs().max(1.0);
    if fits { Ok(()) } else { Err(format!("the gradient gives {along:?}, differences give {difference:?}")) }
}
