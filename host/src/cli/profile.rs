//! `fer-host profile CONFIG`: where the time of a step goes, by op and by place in the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fer_engine::{Call, Limits};
use fer_train::initialise;
use serde_json::json;

use super::{
    bench::{self, Phase},
    output::{binary, decimal, print, print_json, table},
};
use crate::{
    failure::{Failure, Result},
    session::{ConfigArguments, Session},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Images in a step; the config's batch when absent
    #[arg(long)]
    batch: Option<usize>,
    /// Steps whose times are averaged, after the first
    #[arg(long, default_value_t = 3)]
    steps: usize,
    #[arg(long, value_enum, default_value = "train")]
    phase: Phase,
    /// Levels of scope that are told apart
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// Tell only of calls of this op, as the first table names it, e.g. "linear_vjp x"; may be repeated
    #[arg(long, value_name = "OP")]
    op: Vec<String>,
    #[arg(long)]
    json: bool,
}

/// What several calls took together.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    calls: usize,
    time: Duration,
    flops: u64,
    bytes: u64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::open(arguments.config.resolve()?)?;
    let engine = session.engine()?;
    let batch = arguments.batch.unwrap_or(session.resolved.experiment.batch).max(1);
    let graph = bench::graph(&session, batch, arguments.phase)?;
    let executable = engine.compile(&graph)?;
    let mut store = engine.store();
    initialise(&graph, session.resolved.experiment.seed, store.as_mut())?;
    let steps = arguments.steps.max(1);
    let (mut by_op, mut by_scope) = (BTreeMap::<String, Sum>::new(), BTreeMap::<String, Sum>::new());
    let mut all = BTreeSet::new();
    for step in 0..=steps {
        let feeds = bench::feeds(&graph, step as u64);
        executable.run_timed(store.as_mut(), &feeds, &mut |call, time| {
            let told = arguments.op.is_empty() || arguments.op.iter().any(|op| *op == *call.op);
            all.insert(call.op.to_string());
            if step > 0 && told {
                by_op.entry(call.op.to_string()).or_default().add(call, time);
                by_scope.entry(cut(&call.scope, arguments.depth)).or_default().add(call, time);
            }
        })?;
    }
    if let Some(missing) = arguments.op.iter().find(|op| !all.contains(*op)) {
        return Err(unknown_op(missing, &all));
    }
    let limits = engine.limits()?;
    let total = by_op.values().fold(Sum::default(), |a, b| a.with(*b));
    let summary = executable.summary();
    if arguments.json {
        let list = |sums: &BTreeMap<String, Sum>| -> serde_json::Value {
            sums.iter().map(|(name, sum)| sum.json(name, steps)).collect()
        };
        return print_json(&json!({
            "name": session.resolved.experiment.name,
            "engine": engine.name(),
            "precision": engine.precision_name(),
            "batch": batch,
            "steps": steps,
            "step_seconds": total.time.as_secs_f64() / steps as f64,
            "arena_bytes": summary.map(|s| s.arena_bytes),
            "peak": limits.map(|l| json!({ "flops_per_second": l.flops, "of": l.of, "bytes_per_second": l.bandwidth })),
            "by_op": list(&by_op),
            "by_scope": list(&by_scope),
        }));
    }
    let seconds = total.time.as_secs_f64() / steps as f64;
    print(&format!(
        "{}, batch {batch}, {} {}: {:.1} ms a step in kernels, {:.2} images/s{}\n{}",
        session.resolved.experiment.name,
        engine.name(),
        engine.precision_name(),
        1e3 * seconds,
        batch as f64 / seconds,
        summary.map_or(String::new(), |s| format!(", {} calls, arena {}", s.calls, binary(s.arena_bytes as f64))),
        limits.map_or(String::new(), |l| {
            let (flops, bandwidth) = (decimal(l.flops), binary(l.bandwidth));
            format!("at most, measured now: {flops}FLOP/s in {}, {bandwidth}/s copied\n", l.of)
        }),
    ))?;
    print(&rows("op", &by_op, total, limits, steps))?;
    print("")?;
    print(&rows("scope", &by_scope, total, limits, steps))
}

/// No call of the step is of this op.
fn unknown_op(name: &str, all: &BTreeSet<String>) -> Failure {
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let failure = Failure::new(format!("the step has no call of {name:?}")).note(format!("ops: {}", all.join(", ")));
    match fer_config::nearest(name, all) {
        Some(near) => failure.help(format!("did you mean {near:?}?")),
        None => failure,
    }
}

/// The longest first.
fn rows(title: &str, sums: &BTreeMap<String, Sum>, total: Sum, limits: Option<Limits>, steps: usize) -> String {
    let share = |done: f64, most: fn(&Limits) -> f64| {
        limits.map_or(String::new(), |l| format!("{:.0} %", 100.0 * done / most(&l)))
    };
    let heads = [title, "calls", "ms", "share", "GFLOP/s", "of peak", "GB/s", "of peak"];
    let mut lines = vec![heads.map(str::to_owned).to_vec()];
    let mut sorted: Vec<(&String, &Sum)> = sums.iter().collect();
    sorted.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.time));
    for (name, sum) in sorted.into_iter().chain([(&"all".to_owned(), &total)]) {
        let seconds = sum.time.as_secs_f64().max(1e-12);
        let (flops, bytes) = (sum.flops as f64 / seconds, sum.bytes as f64 / seconds);
        lines.push(vec![
            if name.is_empty() { "(top)".to_owned() } else { name.clone() },
            (sum.calls / steps).to_string(),
            format!("{:.2}", 1e3 * seconds / steps as f64),
            format!("{:.1} %", 100.0 * seconds / total.time.as_secs_f64().max(1e-12)),
            format!("{:.1}", flops / 1e9),
            share(flops, |l| l.flops),
            format!("{:.1}", bytes / 1e9),
            share(bytes, |l| l.bandwidth),
        ]);
    }
    table(&lines)
}

/// The first levels of a scope.
fn cut(scope: &str, depth: usize) -> String {
    scope.split('.').take(depth.max(1)).collect::<Vec<_>>().join(".")
}

impl Sum {
    fn add(&mut self, call: &Call, time: Duration) {
        *self = self.with(Sum { calls: 1, time, flops: call.flops, bytes: call.bytes });
    }

    fn with(self, other: Sum) -> Sum {
        Sum {
            calls: self.calls + other.calls,
            time: self.time + other.time,
            flops: self.flops + other.flops,
            bytes: self.bytes + other.bytes,
        }
    }

    fn json(&self, name: &str, steps: usize) -> serde_json::Value {
        json!({
            "name": name,
            "calls": self.calls / steps,
            "seconds": self.time.as_secs_f64() / steps as f64,
            "flops": self.flops / steps as u64,
            "bytes": self.bytes / steps as u64,
        })
    }
}
