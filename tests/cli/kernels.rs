//! What engines make of the shipped experiments: each has kernels for everything, and NVIDIA's compiler takes those for cards.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use fer_engine::Engine;
use fer_engine_cpu::{CpuEngine, Factors};
use fer_engine_cuda::{Options, Precision, cuda, device::Unit};
use fer_graph::Graph;

use crate::{host::Host, own_ops::brier};

/// A shipped experiment, by its file, and what is set besides.
pub type Experiment = (&'static str, &'static str);

/// The whole way: enlarged, aligned, learned downscaling.
const ALIGNED: &str = r#"--set model.resizers=[(plugin:"sr",scale:8),(plugin:"stn"),(plugin:"ltr",scale:0.584)]"#;

/// Experiments that between them have every backbone and resizer, and in which precision a card's compiler is shown their kernels.
pub const EXPERIMENTS: [(Experiment, Option<Precision>); 6] = [
    (("table1/swin_proposed", ""), Some(Precision::Bf16)),
    (("table1/vit_proposed", ""), Some(Precision::Bf16)),
    (("table1/convit_vanilla", ""), Some(Precision::F32)),
    (("table1/xcit_vanilla", ""), Some(Precision::F32)),
    (("swin_nr_fpdls", ""), None),
    (("swin_nr_fpdls", ALIGNED), Some(Precision::Bf16)),
];

/// Those whose kernels are looked at one by one, with a precision; two of them in tf32 too.
pub fn shown() -> impl Iterator<Item = (Experiment, Precision)> {
    let tf32 = EXPERIMENTS[..2].iter().map(|&(experiment, _)| (experiment, Precision::Tf32));
    EXPERIMENTS.into_iter().filter_map(|(experiment, precision)| Some((experiment, precision?))).chain(tf32)
}

/// An experiment's training step; of several micro-batches, what is done for each.
pub fn step((config, set): Experiment, micro_batches: usize) -> Graph {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../configs/{config}.ron"));
    let of = format!("{} --data builtin --set accumulate={micro_batches} {set}", path.display());
    let ask = format!("graph {of} --stage step --format text --full --batch 2");
    let text = Host::new().run(&ask).ok();
    fer_graph::parse(&text).unwrap()
}

/// The kernels that a card needs for a graph.
fn units(graph: &Graph, precision: Precision) -> Vec<Unit> {
    fer_engine_cuda::units(graph, &Options { precision, smallest_rounded: 0, ..Options::default() }).unwrap()
}

#[test]
fn every_shipped_step_has_kernels_in_every_precision() {
    for (experiment, _) in EXPERIMENTS {
        let (graph, config) = (step(experiment, 1), experiment.0);
        for factors in [Factors::F32, Factors::Bf16] {
            let engine = CpuEngine::new(fer_engine_cpu::Options { factors, ..Default::default() });
            let executable = engine.compile(&graph).unwrap();
            assert!(executable.summary().is_some_and(|plan| plan.calls > 10), "{config}");
            assert!(executable.stops_when_not_finite("loss"), "{config}");
        }
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let units = units(&graph, precision);
            let kernels: usize = units.iter().map(|u| u.source.matches("extern \"C\"").count()).sum();
            assert!(units.len() >= 4 && kernels > 10, "{config}: {} units", units.len());
            let guarded = fer_engine_cuda::guarded(&graph, &Options { precision, ..Options::default() }).unwrap();
            assert_eq!(guarded, ["loss", "gradient_norm"], "{config}");
        }
    }
}

/// Gradients are added up only where the loss is finite.
#[test]
fn micro_batches_are_guarded_by_their_loss() {
    for (experiment, _) in EXPERIMENTS {
        let (graph, config) = (step(experiment, 2), experiment.0);
        assert!(graph.updates.iter().any(|(name, _)| name.starts_with("gradient.")), "{config}");
        let guarded = fer_engine_cuda::guarded(&graph, &Options::default()).unwrap();
        assert!(guarded.iter().any(|name| name == "loss"), "{config}: {guarded:?}");
    }
}

/// Spilled bytes that are known, by kernel and architecture.
fn ledger() -> BTreeMap<(String, String), u32> {
    let text = include_str!("../../core/engine-cuda/kernels/spills.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let [kernel, card, bytes] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("spills.txt: {line:?} is not `kernel sm_NN bytes`");
            };
            ((kernel.to_owned(), card.to_owned()), bytes.parse().unwrap())
        })
        .collect()
}

/// One line a kernel and card; a kernel that spills more than is known fails, and so does what is known of one that spills no longer.
#[test]
#[ignore = "needs NVRTC (no card): set FER_NVRTC to its file or folder, and run with --ignored; takes minutes"]
fn kernels_compile_for_every_card_and_spill_no_more_than_is_known() {
    let mut work: BTreeMap<(String, (u32, u32)), Unit> = BTreeMap::new();
    for (experiment, precision) in shown() {
        for unit in units(&step(experiment, 1), precision) {
            // The others are those of f32.
            if precision == Precision::Tf32 && !["attention", "convolution"].iter().any(|of| unit.name.starts_with(of))
            {
                continue;
            }
            for card in [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
                // Between the generations the middle ones are looked at once.
                if matches!(card, (8, 0) | (9, 0) | (12, 0)) || experiment == EXPERIMENTS[0].0 {
                    work.insert((unit.source.to_string(), card), unit.clone());
                }
            }
        }
    }
    // The example of a plugin's own sources.
    let (graph, kernels) = brier();
    let own = fer_engine_cuda::units(&graph, &Options { kernels, ..Options::default() }).unwrap();
    let own: Vec<Unit> = own.into_iter().filter(|unit| unit.name.starts_with("example.")).collect();
    assert_eq!(own.len(), 2, "the op and its adjoint");
    for (unit, card) in own.iter().flat_map(|unit| [(8, 0), (9, 0), (12, 0)].map(|card| (unit, card))) {
        work.insert((unit.source.to_string(), card), unit.clone());
    }
    let work = Mutex::new(work.into_iter());
    let lines = Mutex::new(vec![]);
    let compile = || {
        loop {
            let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(((_, card), unit)) = next else { return };
            let usage = cuda::usage(&unit, card).unwrap_or_else(|error| panic!("sm_{}{}: {error}", card.0, card.1));
            lines.lock().unwrap_or_else(PoisonError::into_inner).extend(usage.into_iter().map(|u| (u, card)));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(compile);
        compile();
    });
    let mut lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    lines.sort_by(|a, b| (&a.0.kernel, a.1).cmp(&(&b.0.kernel, b.1)));
    assert!(lines.len() > 300, "{} kernels", lines.len());
    let (mut gone, mut worse) = (ledger(), vec![]);
    for (usage, (major, minor)) in &lines {
        let card = format!("sm_{major}{minor}");
        println!(
            "{:<80} {card:<7} {:>4} registers {:>6} bytes shared {:>4} bytes spilled",
            usage.kernel, usage.registers, usage.shared, usage.spilled
        );
        let place = (usage.kernel.clone(), card);
        let allowed = gone.get(&place).copied().unwrap_or(0);
        if usage.spilled > allowed {
            worse.push(format!("{} {} {}", place.0, place.1, usage.spilled));
        }
        if usage.spilled > 0 {
            gone.remove(&place);
        }
    }
    worse.dedup();
    assert!(
        worse.is_empty(),
        "kernels that spill more than core/engine-cuda/kernels/spills.txt knows:\n{}",
        worse.join("\n")
    );
    let gone: Vec<String> = gone.into_keys().map(|(kernel, card)| format!("{kernel} {card}")).collect();
    assert!(
        gone.is_empty(),
        "core/engine-cuda/kernels/spills.txt lists what spills no longer, or is no kernel of these experiments; take out:\n{}",
        gone.join("\n")
    );
}
