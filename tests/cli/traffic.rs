//! How the warps of a shipped experiment's step reach memory, in kernels that a card would run: mostly side by side.
//!
//! `cargo test -p fer-host --test cli traffic -- --nocapture` prints what each op moves, and the lines that move much more than they need.

use std::{collections::BTreeMap, sync::Arc};

use fer_cuda_emulator::{EmulatedDevice, Traffic};
use fer_engine::{Engine, Feeds, Tensor};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_graph::{DType, Graph, Role};

use crate::kernels::{shown, step};

/// Of each experiment that is shown to a card's compiler: how much of what is moved had to be, of memory and of the passes over shared
/// memory. What was found, rounded down: a change that makes less of it is to be looked at.
const LEAST: [(&str, [f64; 2]); 7] = [
    ("table1/swin_proposed", [0.84, 0.86]),
    ("table1/vit_proposed", [0.79, 0.88]),
    ("table1/convit_vanilla", [0.90, 0.97]),
    ("table1/xcit_vanilla", [0.86, 0.83]),
    ("swin_nr_fpdls", [0.82, 0.86]),
    // In tf32.
    ("table1/swin_proposed", [0.87, 0.90]),
    ("table1/vit_proposed", [0.84, 0.90]),
];

/// What was asked for, by what is added up.
#[derive(Clone, Copy, Default)]
struct Sum {
    requests: f64,
    moved: f64,
    least: f64,
}

impl Sum {
    fn add(&mut self, t: &Traffic) {
        self.requests += t.requests;
        self.moved += t.moved;
        self.least += t.least;
    }
}

/// Numbers for arguments: what is computed does not matter, but an index must be one.
fn numbers(dtype: DType, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    match dtype {
        DType::U8 => Tensor::u8(shape, (0..count).map(|i| (i * 37 % 251) as u8).collect()),
        DType::I32 => Tensor::i32(shape, vec![1; count]),
        _ => Tensor::f64(shape, vec![0.5; count]),
    }
}

/// What each launch of a step of two images does, with the op that it is for.
fn traffic(graph: &Graph, precision: Precision) -> Vec<(String, Traffic)> {
    let device = Arc::new(EmulatedDevice::new().sampling(2));
    let engine = CudaEngine::new(device.clone(), Options { precision, ..Options::default() });
    let of = |role: Role| {
        graph.by_role(role).map(|a| (a.name.clone(), numbers(graph.ty(a.value).dtype, graph.shape(a.value))))
    };
    let mut store = engine.store();
    of(Role::Parameter).chain(of(Role::State)).for_each(|(name, value)| store.write(&name, &value));
    let inputs: Feeds = of(Role::Input).collect();
    let executable = engine.compile(graph).expect("a plan");
    let mut ops = vec![];
    executable.run_timed(store.as_mut(), &inputs, &mut |call, _| ops.push(call.op.to_string())).expect("runs");
    device.traffic().into_iter().map(|t| (ops[t.launch].clone(), t)).collect()
}

fn report(name: &str, all: &[(String, Traffic)]) {
    let (mut ops, mut lines) = (BTreeMap::<&str, [Sum; 2]>::new(), BTreeMap::<(&str, bool, String), Sum>::new());
    for (op, t) in all {
        ops.entry(op).or_default()[usize::from(t.shared)].add(t);
        lines.entry((&t.kernel, t.shared, t.lines.join(" < "))).or_default().add(t);
    }
    println!(
        "{name}: a step of two images\n{:<36} {:>9} {:>8} {:>14} {:>8}",
        "op", "MB moved", "needed", "shared passes", "needed"
    );
    let mut ops: Vec<_> = ops.into_iter().collect();
    ops.sort_by(|a, b| b.1[0].moved.total_cmp(&a.1[0].moved));
    let share =
        |sum: Sum| if sum.moved > 0.0 { format!("{:.0} %", 100.0 * sum.least / sum.moved) } else { String::new() };
    for (op, [global, shared]) in ops.into_iter().take(24) {
        let moved = 32e-6 * global.moved;
        println!("{op:<36} {moved:>9.1} {:>8} {:>14.0} {:>8}", share(global), shared.moved, share(shared));
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|a, b| (b.1.moved - b.1.least).total_cmp(&(a.1.moved - a.1.least)));
    for shared in [false, true] {
        println!("lines that move most of what they need not, {}", if shared { "in passes" } else { "in sectors" });
        for ((kernel, _, line), sum) in lines.iter().filter(|l| l.0.1 == shared).take(8) {
            println!(
                "  {:>12.0} of {:>12.0}, {:>6} needed, {kernel} {line}",
                sum.moved - sum.least,
                sum.moved,
                share(*sum)
            );
        }
    }
}

#[test]
fn warps_reach_memory_side_by_side() {
    for ((experiment, precision), (name, [of_global, of_shared])) in shown().zip(LEAST) {
        assert_eq!(experiment.0, name);
        let all = traffic(&step(experiment, 1), precision);
        report(name, &all);
        let mut sums = [Sum::default(); 2];
        all.iter().for_each(|(_, t)| sums[usize::from(t.shared)].add(t));
        let [global, shared] = sums.map(|sum| sum.least / sum.moved);
        println!("{name} in {precision:?}: {global:.3} of memory, {shared:.3} of shared memory");
        assert!(sums[0].requests > 1e5 && global >= of_global, "{name} in {precision:?}: {global} of memory");
        assert!(shared >= of_shared, "{name} in {precision:?}: {shared} of shared memory");
    }
}
