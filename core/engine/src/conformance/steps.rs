//! A training step that every engine's tests run whole: a store, gradients and updates together.

use fer_graph::{Builder, Graph, GraphError, Init, Role, TensorType, Value, ops::AdamConstants};

use crate::{Engine, Feeds, Result, Store, Tensor};

/// Entries of a store, by name.
pub type Entries = Vec<(String, Vec<f64>)>;

/// A block of a windowed transformer over 4 x 8 tokens, rolled, and one AdamW step of every parameter.
///
/// Inputs `x` of shape `[2, 4, 8, 16]` and `step`, the output `loss`.
///
/// # Errors
/// None: the step is well formed.
pub fn training_step() -> Result<Graph, GraphError> {
    let b = Builder::new("step");
    let x = b.input("x", TensorType::float([2, 4, 8, 16]))?;
    let step = b.input("step", TensorType::float([]))?;
    let parameter = |name: &str, shape: &[usize]| b.parameter(name, shape, Init::Zeros);
    let (scale, shift) = (parameter("norm.weight", &[16])?, parameter("norm.bias", &[16])?);
    let (qkv, qkv_bias) = (parameter("qkv.weight", &[48, 16])?, parameter("qkv.bias", &[48])?);
    let out = parameter("out.weight", &[16, 16])?;
    let (fc, proj) = (parameter("fc.weight", &[32, 16])?, parameter("proj.weight", &[16, 32])?);
    let y = b.layer_norm(x, scale, shift, 1e-5)?;
    let y = b.roll(b.roll(y, 1, -1)?, 2, -2)?;
    let y = b.transpose(b.reshape(y, &[2, 2, 2, 2, 4, 16])?, &[0, 1, 3, 2, 4, 5])?;
    let y = b.linear(b.reshape(y, &[8, 8, 16])?, qkv, Some(qkv_bias))?;
    let head = |i: usize| {
        let part = b.reshape(b.slice_axis(y, 2, 16 * i, 16 * (i + 1))?, &[8, 8, 2, 8])?;
        b.transpose(part, &[0, 2, 1, 3])
    };
    let y = b.scaled_dot_product_attention(head(0)?, head(1)?, head(2)?, None, 0.35)?;
    let y = b.linear(b.reshape(b.transpose(y, &[0, 2, 1, 3])?, &[8, 8, 16])?, out, None)?;
    let y = b.reshape(y, &[2, 2, 2, 2, 4, 16])?;
    let y = b.reshape(b.transpose(y, &[0, 1, 3, 2, 4, 5])?, &[2, 4, 8, 16])?;
    let y = b.add(x, b.roll(b.roll(y, 1, 1)?, 2, 2)?)?;
    let hidden = b.gelu(b.linear(y, fc, None)?)?;
    let y = b.add(y, b.linear(hidden, proj, None)?)?;
    let loss = b.mean(b.multiply(y, y)?, &[0, 1, 2, 3])?;
    b.output("loss", loss);
    let rate = b.full(&[], 0.01)?;
    update_all(&b, loss, rate, step)?;
    Ok(b.finish())
}

/// A product that reads a join as one matrix, so that it has to be copied.
fn product_of_a_join() -> Result<Graph, GraphError> {
    let b = Builder::new("join");
    let [one, other] = ["a", "b"].map(|name| b.input(name, TensorType::float([4, 8])));
    let weight = b.input("weight", TensorType::float([16, 8]))?;
    b.output("y", b.linear(b.concatenate(&[one?, other?], 0)?, weight, None)?);
    Ok(b.finish())
}

/// What each call is for, with its floating-point operations, where a join is copied for a product of 8 by 8 by 16.
///
/// # Errors
/// Those of the engine.
pub fn work_of_a_join(engine: &dyn Engine) -> Result<Vec<(String, u64)>> {
    let graph = product_of_a_join()?;
    let of = |a: &fer_graph::Argument| {
        let shape = graph.shape(a.value).to_vec();
        let count = shape.iter().product();
        (a.name.clone(), Tensor::f64(shape, numbers(count, 1)))
    };
    let inputs: Feeds = graph.arguments.iter().map(of).collect();
    let mut calls = vec![];
    let executable = engine.compile(&graph)?;
    executable
        .run_timed(engine.store().as_mut(), &inputs, &mut |call, _| calls.push((call.op.to_string(), call.flops)))?;
    Ok(calls)
}

/// One AdamW step of every parameter, whose moments are `NAME.m` and `NAME.v`.
///
/// # Errors
/// Those of differentiating `loss`.
pub fn update_all(b: &Builder, loss: Value, rate: Value, step: Value) -> Result<(), GraphError> {
    let trained: Vec<(String, Value)> =
        b.look(|g| g.by_role(Role::Parameter).map(|a| (a.name.clone(), a.value)).collect());
    let wrt: Vec<Value> = trained.iter().map(|t| t.1).collect();
    let gradients = fer_autodiff::gradients(b, loss, &wrt)?;
    let constants = AdamConstants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: true };
    for ((name, p), gradient) in trained.into_iter().zip(gradients) {
        // What the loss does not depend on stays as it is.
        let Some(gradient) = gradient else { continue };
        let shape = b.shape(p);
        let m = b.state(&format!("{name}.m"), &shape, Init::Zeros)?;
        let v = b.state(&format!("{name}.v"), &shape, Init::Zeros)?;
        let [new_p, new_m, new_v] = b.adamw_update([p, gradient, m, v, rate, step], constants)?;
        for (old, new) in [(p, new_p), (m, new_m), (v, new_v)] {
            b.update(old, new)?;
        }
    }
    Ok(())
}

/// Numbers between -1 and 1, the same for the same seed.
pub fn numbers(count: usize, seed: u64) -> Vec<f64> {
    crate::uniform([seed as i32, 0, 0], 7, count).map(|x| 2.0 * x - 1.0).collect()
}

/// A store for a graph: numbers for parameters, zeros for states.
pub fn prepare(engine: &dyn Engine, graph: &Graph) -> Box<dyn Store> {
    let mut store = engine.store();
    for (i, a) in graph.arguments.iter().filter(|a| a.init.is_some()).enumerate() {
        let shape = graph.shape(a.value).to_vec();
        let count = shape.iter().product();
        let values = if a.role == Role::State { vec![0.0; count] } else { numbers(count, i as u64) };
        store.write(&a.name, &Tensor::f64(shape, values));
    }
    store
}

/// Inputs of [`training_step`].
pub fn feeds(step: usize) -> Feeds {
    Feeds::from([
        ("x".into(), Tensor::f64([2, 4, 8, 16], numbers(1024, 99 + step as u64))),
        ("step".into(), Tensor::scalar(step as f64)),
    ])
}

/// Everything that a store holds.
pub fn entries(store: &dyn Store) -> Entries {
    let read = |name: String| {
        let numbers = store.read(&name).map(|tensor| tensor.to_f64()).unwrap_or_default();
        (name, numbers)
    };
    store.names().into_iter().map(read).collect()
}

/// Losses of some steps of [`training_step`], and everything in the store after them.
///
/// # Errors
/// What the engine says.
pub fn train(engine: &dyn Engine, steps: usize) -> Result<(Vec<f64>, Entries)> {
    let graph = training_step()?;
    let mut store = prepare(engine, &graph);
    let executable = engine.compile(&graph)?;
    let mut losses = vec![];
    for step in 1..=steps {
        let outputs = executable.run(store.as_mut(), &feeds(step))?;
        losses.extend(outputs["loss"].item());
    }
    Ok((losses, entries(store.as_ref())))
}
