//! The number of threads must not show in the bits.

use fer_engine::{Engine, Feeds, Outputs, Precision, Tensor};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{Builder, TensorType, ops::Window};

fn numbers(count: usize, stream: u32) -> Vec<f64> {
    fer_engine::uniform([5, 0, 0], stream, count).map(|x| 2.0 * x - 1.0).collect()
}

/// Products large enough for dfdx to share them between threads, deep enough for several passes over k; convolutions; sums.
fn work(precision: Precision, threads: usize) -> Outputs {
    let b = Builder::new("t");
    let x = b.input("x", TensorType::float([300, 1100])).unwrap();
    let w = b.input("w", TensorType::float([257, 1100])).unwrap();
    let image = b.input("image", TensorType::float([20, 4, 24, 24])).unwrap();
    let kernel = b.input("kernel", TensorType::float([6, 2, 3, 3])).unwrap();
    let y = b.gelu(b.linear(x, w, None).unwrap()).unwrap();
    let window = Window { padding: [1, 1], groups: 2, ..Window::default() };
    let z = b.tanh(b.convolution(image, kernel, window).unwrap()).unwrap();
    let loss = b.add(b.mean(y, &[0, 1]).unwrap(), b.mean(z, &[0, 1, 2, 3]).unwrap()).unwrap();
    b.output("y", y);
    b.output("z", z);
    b.output("columns", b.reduce_sum(y, &[0]).unwrap());
    b.output("rows", b.reduce_sum(y, &[1]).unwrap());
    b.output("loss", loss);
    for (i, g) in fer_autodiff::gradients(&b, loss, &[x, w, image, kernel]).unwrap().into_iter().enumerate() {
        b.output(&format!("g{i}"), g.unwrap());
    }
    let feeds = Feeds::from([
        ("x".into(), Tensor::f64([300, 1100], numbers(300 * 1100, 1))),
        ("w".into(), Tensor::f64([257, 1100], numbers(257 * 1100, 2))),
        ("image".into(), Tensor::f64([20, 4, 24, 24], numbers(20 * 4 * 24 * 24, 3))),
        ("kernel".into(), Tensor::f64([6, 2, 3, 3], numbers(108, 4))),
    ]);
    let engine = DfdxEngine::new(precision);
    let graph = b.finish();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| engine.compile(&graph).unwrap().run(engine.store().as_mut(), &feeds)).unwrap()
}

#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    for precision in [Precision::F32, Precision::F64] {
        let one = work(precision, 1);
        assert_eq!(one, work(precision, 2));
        assert_eq!(one, work(precision, 3));
    }
}

/// Engines share nothing that a second thread could break: dfdx's allocation cache would.
#[test]
fn several_engines_run_at_once() {
    let expected = work(Precision::F32, 1);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| work(Precision::F32, 2))).collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), expected);
        }
    });
}
