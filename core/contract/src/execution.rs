//! Being run: what a graph promises of shapes and names holds when it runs, and the numbers are numbers.

use fer_engine::{Outputs, Precision, Tensor};
use fer_graph::{Argument, DType, Graph, Role, TensorType, Value};

use crate::{Case, Deviation, Model, Outcome, Property, Subject, close, ensure, values::numbers};

pub const PROPERTIES: &[Property<'static>] = &[
    Property { name: "the signature is that of its kind", cases: 24, wide: false, check: &signature },
    Property { name: "inferred shapes are executed shapes, of finite numbers", cases: 12, wide: false, check: &shapes },
    Property { name: "the same seed gives the same bits", cases: 6, wide: false, check: &same_bits },
    Property { name: "f32 agrees with f64", cases: 12, wide: false, check: &precisions },
    Property {
        name: "modes and batch sizes share their parameters",
        cases: 12,
        wide: false,
        check: &shared_parameters,
    },
];

fn signature(subject: &Subject, case: &Case) -> Outcome {
    let graph = subject.graph(case)?;
    for input in graph.by_role(Role::Input) {
        let offered = case.inputs.iter().any(|(name, ty)| *name == input.name && ty == graph.ty(input.value));
        let key = input.name == "rng" && *graph.ty(input.value) == TensorType::new(DType::I32, [3]);
        ensure(offered || key, || format!("declares an input {:?} that is not offered as such", input.name))?;
    }
    let names: Vec<&str> = graph.outputs.iter().map(|(name, _)| name.as_str()).collect();
    let Some(output) = graph.output(subject.output()) else {
        return ensure(false, || format!("gives {names:?}, not {:?}", subject.output()));
    };
    let ty = graph.ty(output);
    let n = case.batch();
    let fits = match subject.output() {
        "loss" => ty.rank() == 0,
        "features" => ty.rank() == 2 && ty.shape[0] == n,
        _ => ty.rank() == 4 && ty.shape[0] == n,
    };
    ensure(fits && ty.dtype == DType::Float, || format!("gives {:?} as {ty} for a batch of {n}", subject.output()))?;
    ensure(case.training || graph.updates.is_empty(), || {
        format!("evaluation updates {:?}", graph.updates.iter().map(|(name, _)| name).collect::<Vec<_>>())
    })
}

fn shapes(subject: &Subject, case: &Case) -> Outcome {
    for model in [Model::initial(subject, case)?, Model::moved(subject, case)?] {
        let outputs = model.run_all(Precision::F64)?;
        for (name, value) in model.graph.outputs.iter().chain(&model.graph.updates) {
            let found = outputs.get(name).or_else(|| outputs.get(&format!("update/{name}")));
            let inferred = model.graph.ty(*value);
            ensure(found.is_some_and(|t| t.shape == inferred.shape), || {
                format!("{name:?} is inferred as {inferred}, executed as {:?}", found.map(|t| &t.shape))
            })?;
            let odd = found.and_then(|t| t.to_f64().into_iter().find(|v| !v.is_finite()));
            ensure(odd.is_none(), || format!("{name:?} holds {} for ordinary inputs", odd.unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// Two independent builds, two independent runs.
fn same_bits(subject: &Subject, case: &Case) -> Outcome {
    for precision in [Precision::F32, Precision::F64] {
        let run = || Model::moved(subject, case)?.run_all(precision);
        let bits = |outputs: Outputs| -> Vec<(String, Vec<u64>)> {
            outputs.into_iter().map(|(name, t)| (name, t.to_f64().iter().map(|v| v.to_bits()).collect())).collect()
        };
        ensure(bits(run()?) == bits(run()?), || format!("two runs in {} differ", precision.name()))?;
    }
    Ok(())
}

/// One rounding to f32 is 6e-8; sums over some thousand products and a few normalisations by small deviations make it a thousand
/// times that at worst. What computes something else is off by far more.
const SINGLE: f64 = 1e-4;
/// Some functions turn a small change of what they are given into a larger one, as sampling a noisy image between its pixels does,
/// and no order of operations helps. So as many roundings as this are allowed wherever one rounding of every input and parameter
/// does more than [`SINGLE`] with them. What cancels inside, between numbers that it was not given, is not excused by that.
const ROUNDINGS: f64 = 200.0;

fn precisions(subject: &Subject, case: &Case) -> Outcome {
    let compare = |seed: u64| -> Outcome<Option<Deviation>> {
        let model = Model::moved(subject, &Case { seed, ..case.clone() })?;
        let exact = model.run_in(Precision::F64)?;
        let Err(off) = close(&model.run_in(Precision::F32)?, &exact, SINGLE) else { return Ok(None) };
        let rounded = close(&rounded(&model, seed).run_in(Precision::F64)?, &exact, 0.0).err();
        let excused = rounded.is_some_and(|by| off.relative <= ROUNDINGS * by.relative);
        Ok((!excused).then_some(off))
    };
    let Some(first) = compare(case.seed)? else { return Ok(()) };
    // One random number in 2^24 ties with a dropout probability that was rounded to f32, and falls on the other side of it.
    let second = compare(!case.seed)?;
    ensure(second.is_none(), || format!("f32 and f64 differ at {first}"))
}

/// The same model, every float that it is given changed by up to one rounding to f32.
fn rounded(model: &Model, seed: u64) -> Model {
    let mut model = model.clone();
    for (name, value) in &mut model.values {
        if value.ty().dtype.is_float() {
            let by = numbers(seed, &format!("{name}/rounded"), value.data.len());
            let unit = f64::from(f32::EPSILON) / 2.0;
            let changed = value.to_f64().iter().zip(by).map(|(v, u)| v * (1.0 + unit * (2.0 * u - 1.0))).collect();
            *value = Tensor::f64(value.shape.clone(), changed);
        }
    }
    model
}

/// A checkpoint of training must fit evaluation, at any batch size.
fn shared_parameters(subject: &Subject, case: &Case) -> Outcome {
    let here = subject.graph(case)?;
    let there = subject.graph(&case.with_batch(case.batch() + 1).in_mode(!case.training))?;
    let (here, there) = (declared(&here), declared(&there));
    let odd = here.iter().find(|d| !there.contains(d)).or_else(|| there.iter().find(|d| !here.contains(d)));
    ensure(odd.is_none(), || format!("{odd:?} stands in one of two modes and batch sizes only"))
}

/// What a checkpoint holds. Numbers of values differ between modes and say nothing.
fn declared(graph: &Graph) -> Vec<(Argument, &TensorType)> {
    let kept = graph.arguments.iter().filter(|a| a.role != Role::Input);
    kept.map(|a| (Argument { value: Value(0), ..a.clone() }, graph.ty(a.value))).collect()
}
