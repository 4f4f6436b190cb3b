//! Random chains of elementwise operations over images, with broadcasts, reductions and reshapes between them: fused and not.

use fer_engine::{Engine, Feeds, Tensor};
use fer_engine_cpu::{CpuEngine, Options};
use fer_graph::{Builder, Graph, TensorType, Value};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % end as u64) as usize
    }
}

/// A graph of some images, numbers a channel, a column and an image, and thirty operations on them.
fn graph(seed: u64) -> Graph {
    let mut random = Random(seed);
    let b = Builder::new("chains");
    let (n, c, side) = (1 + random.below(3), 1 + random.below(6), 1 + random.below(13));
    let shape = [n, c, side, side];
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let mut images: Vec<Value> = ["x", "y"].map(|name| input(name, &shape)).to_vec();
    let spread =
        [("channel", vec![1, c, 1, 1]), ("column", vec![side]), ("image", vec![n, 1, 1, 1]), ("row", vec![side, 1])];
    let mut small: Vec<Value> = spread.iter().map(|(name, shape)| input(name, shape)).collect();
    for _ in 0..30 {
        let pick = |random: &mut Random, list: &[Value]| list[random.below(list.len())];
        let (a, other) = (pick(&mut random, &images), pick(&mut random, &images));
        let few = pick(&mut random, &small);
        let new = match random.below(13) {
            0 => b.add(a, other),
            1 => b.subtract(a, few),
            2 => b.multiply(a, few),
            3 => b.add(a, few),
            4 => b.divide(a, b.add_scalar(b.multiply(few, few).unwrap(), 1.0).unwrap()),
            5 => b.relu(a),
            6 => b.leaky_relu(a, 0.25),
            7 => b.tanh(a),
            8 => b.gelu(b.scale(a, 0.5).unwrap()),
            9 => b.maximum(a, other),
            10 => b.select(b.compare(a, other, "LT").unwrap(), a, b.negate(other).unwrap()),
            11 => {
                // The same elements under other shapes, and back.
                let flat = b.negate(b.reshape(a, &[n * c, side * side]).unwrap()).unwrap();
                b.reshape(flat, &shape)
            }
            _ => {
                let mean = b.mean(a, &[0, 2, 3]).unwrap();
                small.push(b.reshape(mean, &[1, c, 1, 1]).unwrap());
                b.transpose(a, &[0, 1, 3, 2])
            }
        };
        images.push(b.tanh(new.unwrap()).unwrap());
    }
    for (i, &value) in images.iter().skip(2).step_by(7).chain(images.last()).enumerate() {
        b.output(&format!("image{i}"), value);
    }
    b.finish()
}

#[test]
fn chains_are_the_same_fused_and_not() {
    for seed in 0..400 {
        let graph = graph(seed);
        let feeds: Feeds = graph
            .arguments
            .iter()
            .enumerate()
            .map(|(i, a)| {
                let ty = graph.ty(a.value);
                let numbers = fer_engine::uniform([seed as i32, 0, 0], i as u32, ty.elements());
                (a.name.clone(), Tensor::f64(ty.shape.clone(), numbers.map(|u| 4.0 * u - 2.0).collect()))
            })
            .collect();
        let run = |no_fuse: &[&str]| {
            let no_fuse = no_fuse.iter().map(|&op| op.to_owned()).collect();
            let engine = CpuEngine::new(Options { no_fuse, ..Options::default() });
            engine.compile(&graph).unwrap().run(engine.store().as_mut(), &feeds).unwrap()
        };
        let (fused, plain) = (run(&[]), run(&["all"]));
        for (name, ours) in &fused {
            for (i, (a, b)) in ours.to_f64().iter().zip(plain[name].to_f64()).enumerate() {
                // Some dozens of operations on numbers below 2, gelu and its decomposition apart by some units of the last place.
                assert!((a - b).abs() <= 2e-5, "seed {seed}: {name}[{i}] is {a}, and {b} operation by operation");
            }
        }
    }
}
