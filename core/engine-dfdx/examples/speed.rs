//! How fast the reference engine is: `cargo run --release -p fer-engine-dfdx --example speed`.

use std::time::Instant;

use fer_engine::{Engine, Feeds, Precision, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, Result, TensorType, Value, ops::Window};

/// The best of several runs, in milliseconds.
fn measure(name: &str, inputs: &[&[usize]], compute: impl Fn(&Builder, &[Value]) -> Result<Vec<Value>>) {
    let b = Builder::new("speed");
    let values: Vec<Value> =
        inputs.iter().enumerate().map(|(i, s)| b.input(&format!("x{i}"), TensorType::float(*s)).unwrap()).collect();
    let results = compute(&b, &values).unwrap();
    // Results are reduced to one number, so that fetching them costs nothing.
    for (i, v) in results.into_iter().enumerate() {
        let axes: Vec<usize> = (0..b.rank(v)).collect();
        b.output(&format!("y{i}"), b.reduce_max(v, &axes).unwrap());
    }
    let feeds: Feeds = inputs
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let count = s.iter().product();
            let data = fer_engine::uniform([1, 2, 3], i as u32, count).map(|v| v as f32 - 0.5).collect();
            (format!("x{i}"), Tensor::f32(*s, data))
        })
        .collect();
    let engine = DfdxEngine::new(Precision::F32);
    let executable = engine.compile(&b.finish()).unwrap();
    let mut store = engine.store();
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            executable.run(store.as_mut(), &feeds).unwrap();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name:60} {best:9.2} ms");
}

fn with_gradients(b: &Builder, y: Value, wrt: &[Value]) -> Result<Vec<Value>> {
    let axes: Vec<usize> = (0..b.rank(y)).collect();
    let loss = b.mean(b.multiply(y, y)?, &axes)?;
    Ok(fer_autodiff::gradients(b, loss, wrt)?.into_iter().flatten().collect())
}

fn main() {
    measure("nothing but feeding 4096x1536", &[&[4096, 1536]], |_, x| Ok(vec![x[0]]));
    measure("add 4096x1536", &[&[4096, 1536], &[4096, 1536]], |b, x| Ok(vec![b.add(x[0], x[1])?]));
    measure("scale 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.scale(x[0], 0.5)?]));
    measure("exponential 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.exponential(x[0])?]));
    measure("tanh 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.tanh(x[0])?]));
    measure("erf 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.erf(x[0])?]));
    measure("select 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.relu(x[0])?]));
    measure("transpose 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.transpose(x[0], &[1, 0])?]));
    measure("sum of rows 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.reduce_sum(x[0], &[1])?]));
    measure("sum of columns 4096x1536", &[&[4096, 1536]], |b, x| Ok(vec![b.reduce_sum(x[0], &[0])?]));
    measure("sum of the middle of 64x96x1024", &[&[64, 96, 1024]], |b, x| Ok(vec![b.reduce_sum(x[0], &[1])?]));
    measure("matmul 4096x384x1536", &[&[4096, 384], &[384, 1536]], |b, x| Ok(vec![b.matmul(x[0], x[1])?]));
    measure("softmax 1024x49x49", &[&[1024, 49, 49]], |b, x| Ok(vec![b.softmax(x[0], -1)?]));
    measure("layer_norm 4096x384", &[&[4096, 384], &[384], &[384]], |b, x| {
        Ok(vec![b.layer_norm(x[0], x[1], x[2], 1e-5)?])
    });
    measure("attention 64x12x49x32", &[&[64, 12, 49, 32], &[64, 12, 49, 32], &[64, 12, 49, 32]], |b, x| {
        Ok(vec![b.scaled_dot_product_attention(x[0], x[1], x[2], None, 0.2)?])
    });
    let mlp: [&[usize]; 5] = [&[4096, 384], &[1536, 384], &[1536], &[384, 1536], &[384]];
    measure("linear gelu linear 4096x384x1536, forward", &mlp, |b, x| {
        Ok(vec![b.linear(b.gelu(b.linear(x[0], x[1], Some(x[2]))?)?, x[3], Some(x[4]))?])
    });
    measure("linear gelu linear 4096x384x1536, with all gradients", &mlp, |b, x| {
        let y = b.linear(b.gelu(b.linear(x[0], x[1], Some(x[2]))?)?, x[3], Some(x[4]))?;
        with_gradients(b, y, x)
    });
    let window = Window { padding: [1, 1], ..Window::default() };
    measure("convolution 3x3 16->16 8x96x96, forward", &[&[8, 16, 96, 96], &[16, 16, 3, 3]], |b, x| {
        Ok(vec![b.convolution(x[0], x[1], window)?])
    });
    measure("convolution 3x3 16->16 8x96x96, with both gradients", &[&[8, 16, 96, 96], &[16, 16, 3, 3]], |b, x| {
        with_gradients(b, b.convolution(x[0], x[1], window)?, x)
    });
    measure("depthwise 3x3 192 8x14x14, with both gradients", &[&[8, 192, 14, 14], &[192, 1, 3, 3]], |b, x| {
        with_gradients(b, b.convolution(x[0], x[1], Window { groups: 192, ..window })?, x)
    });
}
