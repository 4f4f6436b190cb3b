//! The number of threads must not show in the bits.

use fer_engine::{Engine, Feeds, Outputs, Tensor};
use fer_engine_cpu::{CpuEngine, Factors, Isa, Options};
use fer_graph::{Builder, TensorType, ops::Window};

fn numbers(count: usize, stream: u32) -> Vec<f64> {
    fer_engine::uniform([5, 0, 0], stream, count).map(|x| 2.0 * x - 1.0).collect()
}

/// A layer with what follows it, attention within windows, convolutions, norms, sums, and the gradients of all of them: large enough
/// to be shared between threads.
fn work(options: Options, threads: usize) -> Outputs {
    let b = Builder::new("t");
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let (x, w, qkv) = (input("x", &[8, 300, 96]), input("w", &[192, 96]), input("qkv", &[288, 192]));
    let (image, kernel) = (input("image", &[6, 4, 40, 40]), input("kernel", &[16, 2, 3, 3]));
    let (scale, shift) = (input("scale", &[192]), input("shift", &[192]));
    let y = b.gelu(b.linear(x, w, None).unwrap()).unwrap();
    let y = b.layer_norm(y, scale, shift, 1e-5).unwrap();
    let y = b.reshape(b.linear(y, qkv, None).unwrap(), &[8, 300, 3, 6, 16]).unwrap();
    let heads = |i: usize| {
        let part = b.reshape(b.slice_axis(y, 2, i, i + 1).unwrap(), &[8, 300, 6, 16]).unwrap();
        b.transpose(part, &[0, 2, 1, 3]).unwrap()
    };
    let y = b.scaled_dot_product_attention(heads(0), heads(1), heads(2), None, 0.25).unwrap();
    let window = Window { padding: [1, 1], groups: 2, ..Window::default() };
    let z = b.tanh(b.convolution(image, kernel, window).unwrap()).unwrap();
    let loss = b.add(b.mean(y, &[0, 1, 2, 3]).unwrap(), b.mean(z, &[0, 1, 2, 3]).unwrap()).unwrap();
    b.output("y", y);
    b.output("z", z);
    b.output("columns", b.reduce_sum(y, &[0, 1]).unwrap());
    b.output("loss", loss);
    let wrt = [x, w, qkv, scale, shift, image, kernel];
    for (i, g) in fer_autodiff::gradients(&b, loss, &wrt).unwrap().into_iter().enumerate() {
        b.output(&format!("g{i}"), g.unwrap());
    }
    let graph = b.finish();
    let feeds: Feeds = graph
        .arguments
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let ty = graph.ty(a.value);
            (a.name.clone(), Tensor::f64(ty.shape.clone(), numbers(ty.elements(), i as u32)))
        })
        .collect();
    let engine = CpuEngine::new(options);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| engine.compile(&graph).unwrap().run(engine.store().as_mut(), &feeds)).unwrap()
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    for isa in Isa::available() {
        for factors in [Factors::F32, Factors::Bf16] {
            let options = Options { isa, factors, ..Options::default() };
            let one = work(options.clone(), 1);
            assert_eq!(one, work(options.clone(), 2), "{isa}");
            assert_eq!(one, work(options, 3), "{isa}");
        }
    }
}
