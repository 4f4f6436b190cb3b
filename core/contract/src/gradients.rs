//! Derivatives: they agree with differences in a random direction, and reach every parameter that is to be trained.
//!
//! The direction runs through all trained parameters and through the images or logits together, scaled so that each of them
//! contributes alike: a mistake in a small bias is not drowned by a large weight. It leans towards the gradient, or the
//! contributions of thousands of numbers would cancel and hide a mistake of scale.
//!
//! Rectifiers, maxima and interpolation have kinks, where a difference says nothing about the derivative. A draw that is not
//! confirmed and whose one-sided differences disagree, however short the step, is taken for one and drawn again; more than half of
//! the draws at kinks is a failure of its own, since a wrong derivative of a strongly curved function looks the same. Differences
//! also see through a `stop_gradient` whose argument depends on what is trained: a component that holds such a value constant on
//! purpose breaks this.

use fer_engine::{Precision, Tensor};
use fer_graph::{Graph, Role};

use crate::{
    Case, Model, Outcome, Property, Subject, Trouble, ensure,
    model::{OBJECTIVE, Runner, Values, gradient},
    values::numbers,
};

pub const PROPERTIES: &[Property<'static>] = &[
    Property { name: "gradients are those of differences", cases: 12, wide: false, check: &differences },
    Property { name: "every parameter is trained or frozen", cases: 6, wide: false, check: &reach },
];

/// Draws of a case.
const DRAWS: u64 = 6;
/// Draws that must agree.
const ENOUGH: usize = 2;
/// Draws that may lie at a kink.
const KINKS: usize = 3;
/// The step changes the objective by this share of its terms' size: what is rounded (1e-16) is far below it, the square that
/// a central difference neglects (1e-12) is too, and hardly a unit of a rectifier changes sides.
const STEP: f64 = 1e-6;
/// Allowed difference as a share of the sum of all contributions: a hundred times the rounding of one operation over [`STEP`], since
/// some ten to fifty stand one after another. Half of all draws of this workspace's plugins stay below a hundredth of it.
const TOLERANCE: f64 = 1e-8;
/// Shorter steps, tried while the one-sided differences disagree: fewer kinks lie on the way, and less curvature shows. Rounding
/// weighs more, and so does what is allowed.
const STEPS: [f64; 4] = [1.0, 0.1, 0.01, 0.001];
/// An argument whose gradient is small moves at most the inverse of this further than the one with the largest.
const LEAST: f64 = 0.01;
/// No number is moved further than this, however flat the objective: beyond it curvature shows.
const FURTHEST: f64 = 1e-4;

enum Draw {
    Agrees,
    Kink(String),
    Differs(String),
}

fn differences(subject: &Subject, case: &Case) -> Outcome {
    let (mut agreed, mut kinks) = (0, vec![]);
    for i in 0..DRAWS {
        let case = Case { seed: case.seed.wrapping_add(i << 40), ..case.clone() };
        match draw(&Model::moved(subject, &case)?, case.seed)? {
            Draw::Agrees => agreed += 1,
            Draw::Kink(said) => kinks.push(said),
            Draw::Differs(said) => return ensure(false, || said),
        }
        if agreed == ENOUGH {
            return Ok(());
        }
        ensure(kinks.len() <= KINKS, || {
            let count = kinks.len();
            format!(
                "differences from the left and the right disagree at {count} random points of {}: {}",
                i + 1,
                kinks[0]
            )
        })?;
    }
    ensure(agreed == ENOUGH, || format!("only {agreed} of {DRAWS} random points are not at a kink: {kinks:?}"))
}

/// The arguments that are differentiated: trained parameters, and what comes from the component before.
fn differentiated(graph: &Graph) -> Vec<&str> {
    let input = |name: &str| matches!(name, "images" | "logits");
    graph
        .arguments
        .iter()
        .filter(|a| (a.role == Role::Parameter && !a.frozen) || (a.role == Role::Input && input(&a.name)))
        .filter(|a| graph.ty(a.value).dtype.is_float())
        .map(|a| a.name.as_str())
        .collect()
}

fn draw(forward: &Model, seed: u64) -> Outcome<Draw> {
    let names = differentiated(&forward.graph);
    let model = &forward.differentiated(&names, seed)?;
    let outputs = model.run_all(Precision::F64)?;
    let gradients: Vec<Vec<f64>> = names.iter().map(|name| outputs[&gradient(name)].to_f64()).collect();
    if let Some(i) = gradients.iter().position(|g| g.iter().any(|v| !v.is_finite())) {
        return Ok(Draw::Differs(format!("the gradient over {:?} is not finite", names[i])));
    }
    let direction = direction(&names, &gradients, seed);
    let products = || gradients.iter().zip(&direction).flat_map(|(g, d)| g.iter().zip(d).map(|(g, d)| g * d));
    let (slope, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());

    let middle = outputs[OBJECTIVE].to_f64()[0];
    // How large the terms are of which the objective is the sum; what they cancel to has their rounding.
    let terms = outputs[forward.output].to_f64().iter().map(|v| v.abs()).sum::<f64>() + 1.0;
    let longest = direction.iter().flatten().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let step = (STEP * terms / size.max(f64::MIN_POSITIVE)).min(FURTHEST / longest);
    let runner = Runner::new(&model.objective_only().graph, Precision::F64)?;
    let at = |t: f64| -> Outcome<f64> {
        Ok(runner.run(&moved(&model.values, &names, &direction, t))?[OBJECTIVE].to_f64()[0])
    };
    let mut said = String::new();
    for share in STEPS {
        let step = share * step;
        let (left, right) = (at(-step)?, at(step)?);
        let central = (right - left) / (2.0 * step);
        let sides = [(middle - left) / step, (right - middle) / step];
        let allowed = TOLERANCE * size + TOLERANCE * STEP * terms / step;
        if (central - slope).abs() <= allowed {
            return Ok(Draw::Agrees);
        }
        said = format!(
            "in a random direction the gradient gives {slope:e}, the difference {central:e} (left {:e}, right {:e}), allowed are {allowed:.1e}; gradients of {names:?}",
            sides[0], sides[1]
        );
        if (sides[1] - sides[0]).abs() <= allowed {
            return Ok(Draw::Differs(said));
        }
    }
    Ok(Draw::Kink(said))
}

/// One random list an argument, such that each contributes alike to the slope. An argument without a gradient gets a direction too:
/// that is where a missing one shows.
fn direction(names: &[&str], gradients: &[Vec<f64>], seed: u64) -> Vec<Vec<f64>> {
    let norm = |g: &[f64]| g.iter().map(|v| v * v).sum::<f64>().sqrt();
    let largest = gradients.iter().map(|g| norm(g)).fold(f64::MIN_POSITIVE, f64::max);
    let one = |name: &&str, g: &Vec<f64>| -> Vec<f64> {
        let scale = largest / norm(g).max(LEAST * largest);
        let random = numbers(seed, &format!("{name}/direction"), g.len());
        let longest = g.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        random.iter().zip(g).map(|(u, g)| scale * (2.0 * u - 1.0 + g / longest)).collect()
    };
    names.iter().zip(gradients).map(|(name, g)| one(name, g)).collect()
}

fn moved(values: &Values, names: &[&str], direction: &[Vec<f64>], by: f64) -> Values {
    let mut values = values.clone();
    for (name, d) in names.iter().zip(direction) {
        let old = &values[*name];
        let new = old.to_f64().iter().zip(d).map(|(v, d)| v + by * d).collect();
        let new = Tensor::f64(old.shape.clone(), new);
        values.insert((*name).to_owned(), new);
    }
    values
}

/// A parameter that the output does not depend on never trains, which is nearly always a mistake in a model.
fn reach(subject: &Subject, case: &Case) -> Outcome {
    let graph = subject.graph(&case.in_mode(true))?;
    let Some(output) = graph.output(subject.output()) else {
        return ensure(false, || format!("gives no output {:?}", subject.output()));
    };
    let names: Vec<String> = graph.by_role(Role::Parameter).filter(|a| !a.frozen).map(|a| a.name.clone()).collect();
    if names.is_empty() {
        return Err(Trouble::Idle("it has no parameters to train".into()));
    }
    let values: Vec<_> = names.iter().filter_map(|name| Some(graph.argument(name)?.value)).collect();
    let b = fer_graph::Builder::resume(graph);
    let axes: Vec<usize> = (0..b.rank(output)).collect();
    let found = fer_autodiff::gradients(&b, b.reduce_sum(output, &axes)?, &values)?;
    let without: Vec<&String> = names.iter().zip(&found).filter(|(_, g)| g.is_none()).map(|(name, _)| name).collect();
    ensure(without.is_empty(), || format!("no gradient reaches {without:?}; declare them frozen"))
}
