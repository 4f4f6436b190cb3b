//! What a run says: words on standard output, or lines of JSON.

use std::{cell::RefCell, path::Path, time::Duration};

use fer_engine::{Precision, Summary};
use fer_graph::Role;
use fer_plan::{inline, simplify};
use fer_train::{Metrics, Step};
use indicatif::ProgressBar;
use serde_json::json;

use super::{
    checkpointing::{EpochSums, State},
    folder::RunFolder,
    record::{Environment, Results},
};
use crate::{
    cli::output::{binary, decimal, print, table},
    failure::Result,
    session::Session,
    weights::Pretrained,
};

pub struct Reporter {
    json: bool,
    /// The bar that is drawn now, above which lines must go.
    bar: RefCell<Option<ProgressBar>>,
}

impl Reporter {
    pub fn new(json: bool) -> Reporter {
        Reporter { json, bar: RefCell::new(None) }
    }

    /// A line for people.
    pub fn say(&self, line: &str) {
        if self.json {
            return;
        }
        self.out(line);
    }

    /// Something the user must know, whatever the format.
    pub fn notice(&self, line: &str) {
        eprintln!("note: {line}");
    }

    fn out(&self, line: &str) {
        let write = || {
            // A closed pipe must not end a training that is under way.
            let _ = print(line);
        };
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// The bar under which the next lines are printed.
    pub fn during(&self, bar: &ProgressBar) {
        *self.bar.borrow_mut() = Some(bar.clone());
    }

    /// Name, model, data, engine.
    pub fn header(&self, session: &Session, environment: &Environment, step: &Step) {
        let experiment = &session.resolved.experiment;
        let parameters = step.graphs()[0].parameter_count();
        let recipe = &session.recipe;
        let resizers: Vec<&str> = recipe.resizers.iter().map(|p| p.component.id()).collect();
        let chain = if resizers.is_empty() { "pixels".to_owned() } else { resizers.join(" -> ") };
        let data = &environment.data;
        let counts = data.counts;
        let name = match &data.substitute_for {
            Some(absent) => format!("{} in place of {absent}", data.name),
            None => data.name.clone(),
        };
        self.say(&table(&[vec![
            experiment.name.clone(),
            format!(
                "{chain} -> {} {}parameters   {}   {} {}, seed {}",
                recipe.backbone.component.id(),
                decimal(parameters as f64) + " ",
                recipe.loss.component.id(),
                environment.engine,
                environment.precision,
                environment.seed
            ),
        ]]));
        self.say(&format!(
            "{name}: train {}   validation {}   test {}   ({})",
            counts.train, counts.validation, counts.test, data.origin
        ));
        if !data.dropped.is_empty() {
            let reasons: Vec<String> = data.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
            self.say(&format!("left out: {}", reasons.join(", ")));
        }
    }

    /// The weights that were loaded.
    pub fn weights(&self, pretrained: &Pretrained) {
        if self.json && !pretrained.records.is_empty() {
            return self.out(&json!({ "kind": "pretrained", "components": pretrained.records }).to_string());
        }
        pretrained.report().iter().for_each(|line| self.say(line));
    }

    /// What the plan costs, for `--dry-run`.
    pub fn planned(&self, step: &Step, precision: Precision, summaries: &[Option<Summary>]) -> Result<()> {
        for (graph, summary) in step.graphs().into_iter().zip(summaries) {
            let plan = simplify(&inline(graph, |_, _| false)?)?;
            let flops: u64 = plan.nodes.iter().map(|n| plan.flops(n)).sum();
            let needs = match summary {
                Some(needs) => format!("arena {}   {} kernel calls", binary(needs.arena_bytes as f64), needs.calls),
                None => {
                    let bytes = fer_engine_dfdx::peak_bytes(graph, precision)?;
                    format!("peak {}   {} nodes", binary(bytes as f64), plan.nodes.len())
                }
            };
            let states: usize = plan.by_role(Role::State).map(|a| plan.ty(a.value).elements()).sum();
            self.say(&format!(
                "plan {}: {}FLOP/step   {needs}   {} state numbers",
                graph.name,
                decimal(flops as f64),
                decimal(states as f64)
            ));
        }
        Ok(())
    }

    /// The step is compiled and the first batch may come.
    pub fn ready(&self, folder: &Path, compiling: Duration, state: &State) {
        let from = match state.position.global_step {
            0 => String::new(),
            step => format!("   resumed at epoch {}, step {step}", state.position.epoch + 1),
        };
        if self.json {
            let line = json!({ "kind": "start", "folder": folder, "global_step": state.position.global_step });
            return self.out(&line.to_string());
        }
        self.say(&format!("{}   planned in {:.1} s{from}\n", folder.display(), compiling.as_secs_f64()));
        self.say("epoch   train loss   accuracy   validation loss   accuracy   balanced   macro F1");
    }

    /// An epoch that was trained and judged.
    pub fn epoch(&self, epoch: usize, sums: &EpochSums, found: &Metrics, best: bool, line: &serde_json::Value) {
        if self.json {
            return self.out(&line.to_string());
        }
        self.out(&format!(
            "{:>5}   {:>10.4}   {:>8.1}   {:>15.4}   {:>8.1}   {:>8.1}   {:>8.1}{}",
            epoch + 1,
            sums.mean_loss(),
            100.0 * sums.accuracy(),
            found.loss,
            100.0 * found.accuracy,
            100.0 * found.balanced_accuracy,
            100.0 * found.macro_f1,
            if best { "   best so far" } else { "" }
        ));
    }

    /// The end.
    pub fn results(&self, results: &Results, folder: &RunFolder) -> Result<()> {
        if self.json {
            // One line, as every line before it.
            let line = json!({ "kind": "results", "folder": folder.root, "results": results });
            return print(&line.to_string());
        }
        let split = |name: &str, s: &super::record::SplitResult| {
            let (low, high) = s.accuracy_interval;
            format!(
                "{name:<11} accuracy {:.1} % ({:.1} to {:.1})   balanced {:.1}   macro F1 {:.1}   loss {:.4}",
                100.0 * s.metrics.accuracy,
                100.0 * low,
                100.0 * high,
                100.0 * s.metrics.balanced_accuracy,
                100.0 * s.metrics.macro_f1,
                s.metrics.loss
            )
        };
        let data = match &results.data.substitute_for {
            Some(absent) => format!("{} (in place of {absent}; not comparable with it)", results.data.name),
            None => results.data.name.clone(),
        };
        let mut lines = vec![
            String::new(),
            format!("best epoch {} of {}, on {data}", results.best_epoch, results.epochs),
            split("validation", &results.validation),
            split("test", &results.test),
        ];
        if results.paper_compat {
            lines.push("paper_compat: the epoch was chosen on the test set; these numbers are optimistic".into());
        }
        lines.push(format!("{:.1} images/s   {}", results.images_per_second, folder.results().display()));
        print(&lines.join("\n"))
    }
}
