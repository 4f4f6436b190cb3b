//! Asks an engine a problem and compares its answer.

use fer_graph::GraphError;

use super::{Problem, Tolerance, gradient, naive::reference};
use crate::{Engine, EngineError, Feeds, Outputs, Precision, Tensor};

/// What an engine answers.
///
/// # Errors
/// The engine's, in words.
pub fn answer(engine: &dyn Engine, graph: &fer_graph::Graph, feeds: &Feeds) -> Result<Outputs, String> {
    let run = || -> Result<Outputs, EngineError> { engine.compile(graph)?.run(engine.store().as_mut(), feeds) };
    run().map_err(|e| format!("{} fails: {e}", engine.name()))
}

/// Compares an engine with another on one problem.
///
/// # Errors
/// What differs, in words.
pub fn check_against(
    engine: &dyn Engine,
    oracle: &dyn Engine,
    problem: &Problem,
    tolerance: Tolerance,
) -> Result<(), String> {
    let expected = answer(oracle, &problem.graph, &problem.feeds)?;
    let found = answer(engine, &problem.graph, &problem.feeds)?;
    compare(&expected, &found, tolerance, engine.precision())
}

/// Compares an engine with the definition of the ops, on a problem's outputs and, where it has them, its gradients.
///
/// # Errors
/// What differs, in words.
pub fn check(engine: &dyn Engine, problem: &Problem) -> Result<(), String> {
    let words = |e: GraphError| format!("the problem itself is wrong: {e}");
    let expected = reference(&problem.graph, &problem.feeds).map_err(words)?;
    let found = answer(engine, &problem.graph, &problem.feeds)?;
    compare(&expected, &found, problem.tolerance, engine.precision())?;
    if problem.wrt.is_empty() {
        return Ok(());
    }
    let joint = gradient::joint(problem).map_err(words)?;
    let expected = reference(&joint, &problem.feeds).map_err(words)?;
    let found = answer(engine, &joint, &problem.feeds)?;
    compare(&expected, &found, gradient::tolerance(problem.tolerance), engine.precision())
}

/// Whether every output is there, has its shape and is close enough; a NaN must be a NaN and an infinity the same one.
///
/// # Errors
/// The first element that is not.
pub fn compare(expected: &Outputs, found: &Outputs, tolerance: Tolerance, precision: Precision) -> Result<(), String> {
    for (name, expected) in expected {
        let found = found.get(name).ok_or_else(|| format!("output {name:?} is missing"))?;
        close(expected, found, tolerance, precision).map_err(|e| format!("output {name:?} {e}"))?;
    }
    Ok(())
}

fn close(expected: &Tensor, found: &Tensor, tolerance: Tolerance, precision: Precision) -> Result<(), String> {
    if expected.shape != found.shape {
        return Err(format!("has shape {:?}, expected {:?}", found.shape, expected.shape));
    }
    let (truth, answer) = (expected.to_f64(), found.to_f64());
    let largest = truth.iter().filter(|v| v.is_finite()).fold(1f64, |top, v| top.max(v.abs()));
    let share = tolerance.at(precision);
    for (i, (&t, &a)) in truth.iter().zip(&answer).enumerate() {
        let magnitude = if tolerance.elementwise { t.abs() } else { largest };
        let fits = t == a || (t.is_nan() && a.is_nan()) || (t.is_finite() && (t - a).abs() <= share * magnitude);
        if !fits {
            return Err(format!(
                "differs at element {i}: expected {t:?}, found {a:?}, may differ by {:e}",
                share * magnitude
            ));
        }
    }
    Ok(())
}
