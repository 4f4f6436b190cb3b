//! A resizer's images between kernels, as f32 and as bfloat16: convolutions, batch norms, rectifiers, resizing, pools and a skip
//! connection, forward and backward.

use fer_autodiff::gradients;
use fer_engine::{Engine, Feeds, Outputs, Tensor};
use fer_engine_cpu::{CpuEngine, Factors, Isa, Options};
use fer_graph::{Builder, Graph, TensorType, Value, ops::Window};

/// A learned resizer in small, a pool behind it, and the gradients of a weighted sum.
fn graph() -> Graph {
    let b = Builder::new("resizer");
    let (n, side, to) = (2, 40, 23);
    let mut wanted = vec![];
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let x = input("x", &[n, 3, side, side]);
    let kernels: Vec<Value> = [("k0", [8, 3, 7, 7]), ("k1", [8, 8, 1, 1]), ("k2", [8, 8, 3, 3]), ("k3", [8, 8, 3, 3])]
        .into_iter()
        .chain([("depthwise", [8, 1, 3, 3]), ("strided", [6, 8, 3, 3])])
        .map(|(name, shape)| input(name, &shape))
        .collect();
    let bias = input("bias", &[8]);
    let norms: Vec<[Value; 4]> = (0..3)
        .map(|i| ["weight", "shift", "mean", "variance"].map(|part| input(&format!("{part}{i}"), &[8])))
        .collect();
    let convolution = |x, kernel: usize, padding, stride, groups| {
        let window = Window { padding: [padding; 2], stride: [stride; 2], groups, ..Window::default() };
        b.convolution(x, kernels[kernel], window).unwrap()
    };
    let norm = |x, i: usize| {
        let [weight, shift, mean, variance] = norms[i];
        b.batch_norm_training([x, weight, shift, mean, variance], 1e-5, 0.1).unwrap()[0]
    };
    let y = convolution(x, 0, 3, 1, 1);
    let wide = b.broadcast_in_dim(bias, &b.shape(y), &[1]).unwrap();
    let y = b.leaky_relu(b.add(y, wide).unwrap(), 0.2).unwrap();
    let y = norm(b.leaky_relu(convolution(y, 1, 0, 1, 1), 0.2).unwrap(), 0);
    let skip = b.resize(y, [to, to]).unwrap();
    let y = b.leaky_relu(norm(convolution(skip, 2, 1, 1, 1), 1), 0.2).unwrap();
    let y = b.add(norm(convolution(y, 3, 1, 1, 1), 2), skip).unwrap();
    let y = b.leaky_relu(convolution(y, 4, 1, 1, 8), 0.0).unwrap();
    let y = b.max_pool(y, [2; 2], [2; 2], [0; 2]).unwrap();
    let y = convolution(y, 5, 1, 2, 1);
    let weights = b.input("g", TensorType::float(b.shape(y))).unwrap();
    let loss = b.reduce_sum(b.multiply(y, weights).unwrap(), &[0, 1, 2, 3]).unwrap();
    b.output("loss", loss);
    wanted.extend([x, bias]);
    wanted.extend(&kernels);
    wanted.extend(norms.iter().flat_map(|n| [n[0], n[1]]));
    for (i, gradient) in gradients(&b, loss, &wanted).unwrap().into_iter().enumerate() {
        b.output(&format!("gradient{i}"), gradient.unwrap());
    }
    b.finish()
}

fn engine(isa: Isa, factors: Factors, no_fuse: &str) -> CpuEngine {
    let no_fuse = [no_fuse.to_owned()].into_iter().filter(|s| !s.is_empty()).collect();
    CpuEngine::new(Options { isa, factors, no_fuse, ..Options::default() })
}

fn run(engine: &CpuEngine, graph: &Graph) -> Outputs {
    let feeds: Feeds = (graph.arguments.iter().enumerate())
        .map(|(i, a)| {
            let ty = graph.ty(a.value);
            let numbers = fer_engine::uniform([1, 2, 3], i as u32, ty.elements());
            (a.name.clone(), Tensor::f64(ty.shape.clone(), numbers.map(|u| 2.0 * u - 1.0).collect()))
        })
        .collect();
    engine.compile(graph).unwrap().run(engine.store().as_mut(), &feeds).unwrap()
}

/// How far each output is from the exact one, relative to its size.
fn errors(found: &Outputs, exact: &Outputs) -> Vec<f64> {
    let norm = |v: &[f64], w: &[f64]| v.iter().zip(w).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let of = |name: &String| {
        let (found, exact) = (found[name].to_f64(), exact[name].to_f64());
        norm(&found, &exact) / norm(&exact, &vec![0.0; exact.len()])
    };
    exact.keys().map(of).collect()
}

/// What is rounded between kernels costs no more than factors that are rounded do, whatever else is switched off: a tenth here, since
/// some winners of the pool and some signs before rectifiers change.
#[test]
fn images_in_bfloat16_are_near() {
    let graph = graph();
    let exact = run(&engine(Isa::best(), Factors::F32, ""), &graph);
    let mean = |errors: &[f64]| (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
    let of_factors = mean(&errors(&run(&engine(Isa::best(), Factors::Bf16, "bf16_storage"), &graph), &exact));
    for isa in Isa::available() {
        for no_fuse in ["", "all", "elementwise", "absorb"] {
            let found = errors(&run(&engine(isa, Factors::Bf16, no_fuse), &graph), &exact);
            // Rounding twice instead of once would be 1.4 times as far; one gradient that is wrong would be off by about 1.
            assert!(mean(&found) <= 1.5 * of_factors, "{isa} {no_fuse}: {found:?} beside {of_factors}");
            assert!(found.iter().all(|&e| e < 0.4), "{isa} {no_fuse}: {found:?}");
        }
    }
}

/// Nothing is computed otherwise than in f32, and all images between are halved.
#[test]
fn images_in_bfloat16_take_half_the_memory() {
    let graph = graph();
    let plan = |engine: CpuEngine| engine.compile(&graph).unwrap().summary().unwrap();
    let halves = plan(engine(Isa::best(), Factors::Bf16, ""));
    let wide = plan(engine(Isa::best(), Factors::Bf16, "bf16_storage"));
    assert_eq!(halves.calls, wide.calls);
    // But for the gradient of x, which is an output.
    assert!(5 * halves.arena_bytes <= 3 * wide.arena_bytes, "{} of {}", halves.arena_bytes, wide.arena_bytes);
}
