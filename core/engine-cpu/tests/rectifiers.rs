//! Rectifiers before and behind convolutions and batch norms, forward and backward: computed on the way of another kernel, and apart.

use std::time::Duration;

use fer_autodiff::gradients;
use fer_engine::{Call, Engine, Feeds, Outputs, Tensor};
use fer_engine_cpu::{CpuEngine, Options};
use fer_graph::{Builder, Graph, TensorType, ops::Window};

/// convolution - rectifier - norm - rectifier - convolution - norm - rectifier, and the gradients of a weighted sum of the end.
fn graph(slopes: [f64; 3], plane: usize) -> Graph {
    let b = Builder::new("rectifiers");
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let (n, c) = (3, 4);
    let x = input("x", &[n, 3, plane, plane]);
    let kernels = [input("k1", &[c, 3, 3, 3]), input("k2", &[c, c, 1, 1])];
    let window = |padding| Window { padding: [padding; 2], ..Window::default() };
    let norm = |i: usize, x| {
        let [w, bias, mean, variance] = ["w", "b", "mean", "variance"].map(|part| input(&format!("{part}{i}"), &[c]));
        (b.batch_norm_training([x, w, bias, mean, variance], 1e-5, 0.1).unwrap()[0], w, bias)
    };
    let y = b.leaky_relu(b.convolution(x, kernels[0], window(1)).unwrap(), slopes[0]).unwrap();
    let (y, w1, b1) = norm(1, y);
    let y = b.leaky_relu(y, slopes[1]).unwrap();
    let (y, w2, b2) = norm(2, b.convolution(y, kernels[1], window(0)).unwrap());
    let y = b.leaky_relu(y, slopes[2]).unwrap();
    let weighted = b.multiply(y, input("g", &[n, c, plane, plane])).unwrap();
    let loss = b.reduce_sum(weighted, &[0, 1, 2, 3]).unwrap();
    b.output("y", y);
    let wanted = [x, kernels[0], kernels[1], w1, b1, w2, b2];
    for (i, gradient) in gradients(&b, loss, &wanted).unwrap().into_iter().enumerate() {
        b.output(&format!("gradient{i}"), gradient.unwrap());
    }
    b.finish()
}

/// The outputs, and the ops of the kernel calls.
fn run(graph: &Graph, no_fuse: &[&str]) -> (Outputs, Vec<String>) {
    let feeds: Feeds = (graph.arguments.iter().enumerate())
        .map(|(i, a)| {
            let ty = graph.ty(a.value);
            let numbers = fer_engine::uniform([1, 2, 3], i as u32, ty.elements());
            (a.name.clone(), Tensor::f64(ty.shape.clone(), numbers.map(|u| 2.0 * u - 1.0).collect()))
        })
        .collect();
    let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
    let engine = CpuEngine::new(Options { no_fuse, ..Options::default() });
    let mut calls = vec![];
    let mut see = |call: &Call, _: Duration| calls.push(call.op.to_string());
    let outputs = engine.compile(graph).unwrap().run_timed(engine.store().as_mut(), &feeds, &mut see).unwrap();
    (outputs, calls)
}

#[test]
fn rectifiers_are_computed_on_the_way_and_change_nothing() {
    for slopes in [[0.2, 0.2, 0.01], [0.0, 0.0, 0.0], [1.0, 0.5, 0.0]] {
        for plane in [3, 17] {
            let graph = graph(slopes, plane);
            let (fused, calls) = run(&graph, &[]);
            let (apart, separate) = run(&graph, &["absorb"]);
            let (plain, _) = run(&graph, &["all"]);
            // A convolution takes no slope of 0. The rest goes with a norm or its adjoint, and the adjoint of the one before a norm too.
            let left = calls.iter().filter(|op| op.contains("leaky_relu")).count();
            assert_eq!(left, usize::from(slopes[0] == 0.0), "{calls:?}");
            // Of the six the last adjoint goes with the product before it.
            assert_eq!(separate.iter().filter(|op| op.contains("leaky_relu")).count(), 5, "{separate:?}");
            for (name, ours) in &fused {
                let (ours, apart, plain) = (ours.to_f64(), apart[name].to_f64(), plain[name].to_f64());
                let largest = plain.iter().fold(1.0f64, |m, v| m.max(v.abs()));
                for i in 0..ours.len() {
                    // Sums of some hundred terms in f32, in another order.
                    let near = |other: f64| (ours[i] - other).abs() <= 1e-5 * largest;
                    assert!(
                        near(apart[i]) && near(plain[i]),
                        "{slopes:?} {plane} {name}[{i}]: {} {} {}",
                        ours[i],
                        apart[i],
                        plain[i]
                    );
                }
            }
        }
    }
}

/// A rectifier that goes with the kernel before it leaves nothing for another one.
#[test]
fn two_rectifiers_of_one_value_both_see_it() {
    let b = Builder::new("two");
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let x = input("x", &[2, 3, 5, 5]);
    let [w, bias, mean, variance] = ["w", "b", "mean", "variance"].map(|name| input(name, &[3]));
    let normed = b.batch_norm_training([x, w, bias, mean, variance], 1e-5, 0.1).unwrap()[0];
    let convolved = b.convolution(x, input("k", &[3, 3, 1, 1]), Window::default()).unwrap();
    for (name, value) in [("normed", normed), ("convolved", convolved)] {
        for slope in [0.5, 0.25] {
            b.output(&format!("{name} {slope}"), b.leaky_relu(value, slope).unwrap());
        }
    }
    let graph = b.finish();
    let (fused, plain) = (run(&graph, &[]).0, run(&graph, &["all"]).0);
    for (name, ours) in &fused {
        for (a, b) in ours.to_f64().iter().zip(plain[name].to_f64()) {
            // Sums of 50 terms in f32, in another order.
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

/// As XCiT's local patch interaction has it: what stands before the norm is no rectifier.
#[test]
fn a_norm_behind_another_activation_is_left_alone() {
    let b = Builder::new("gelu_norm");
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let x = input("x", &[2, 3, 5, 5]);
    let [w, bias, mean, variance] = ["w", "b", "mean", "variance"].map(|name| input(name, &[3]));
    let y = b.batch_norm_training([b.gelu(x).unwrap(), w, bias, mean, variance], 1e-5, 0.1).unwrap()[0];
    let loss = b.reduce_sum(b.multiply(y, input("g", &[2, 3, 5, 5])).unwrap(), &[0, 1, 2, 3]).unwrap();
    for (i, gradient) in gradients(&b, loss, &[x, w, bias]).unwrap().into_iter().enumerate() {
        b.output(&format!("gradient{i}"), gradient.unwrap());
    }
    let graph = b.finish();
    let (fused, plain) = (run(&graph, &[]).0, run(&graph, &["all"]).0);
    for (name, ours) in &fused {
        for (a, b) in ours.to_f64().iter().zip(plain[name].to_f64()) {
            // Sums of 50 terms in f32, in another order.
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}
