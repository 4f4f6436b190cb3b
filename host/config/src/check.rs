//! What types cannot say: ranges, names, and settings that must agree. Every fault is found, not only the first.

use fer_data::spec::{Augmentation, BuiltinSpec, DataSpec, Otherwise};
use fer_train::spec::{Optimiser, Schedule};

use crate::component::OptionValue;
use crate::error::ConfigError;
use crate::fault::called;
use crate::schema::{ClassWeights, Experiment, Head, Normalise, Plugins};
use crate::tree::{Node, join};

/// Checks an experiment; errors point into the tree that it was read from.
pub(crate) fn check(experiment: &Experiment, tree: &Node) -> Result<(), ConfigError> {
    let mut checks = Checks { tree, faults: Vec::new() };
    checks.name(&experiment.name);
    checks.data("data", &experiment.data);
    checks.images(experiment);
    for (index, augmentation) in experiment.augment.iter().enumerate() {
        checks.augmentation(&join("augment", index), augmentation);
    }
    checks.model(experiment);
    checks.class_weights(&experiment.class_weights);
    checks.optimiser(&experiment.optimiser);
    checks.schedule(&experiment.schedule);
    checks.run(experiment);
    ConfigError::all(checks.faults).map_or(Ok(()), Err)
}

struct Checks<'t> {
    tree: &'t Node,
    faults: Vec<ConfigError>,
}

/// At least 0 and finite.
fn positive_or_zero(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

fn positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

impl Checks<'_> {
    /// The value at `path` breaks a rule unless `holds`.
    fn rule(&mut self, holds: bool, path: &str, rule: &str) {
        if !holds {
            let node = self.tree.at(path);
            let found = match node {
                Some(node) if node.fields().is_empty() => format!(", found {}", crate::print_inline(node.inner())),
                _ => String::new(),
            };
            let span = &node.unwrap_or_else(|| self.tree.nearest_at(path)).span;
            self.faults.push(ConfigError::new(format!("{} {rule}{found}", called(path))).label(span, "found here"));
        }
    }

    fn at_least_one(&mut self, number: usize, path: &str) {
        self.rule(number >= 1, path, "must be at least 1");
    }

    fn share(&mut self, number: f64, path: &str) {
        self.rule((0.0..=1.0).contains(&number), path, "must be from 0 to 1");
    }

    /// A share that must leave something.
    fn part(&mut self, number: f64, path: &str) {
        self.rule((0.0..1.0).contains(&number), path, "must be at least 0 and below 1");
    }

    fn size(&mut self, number: f64, path: &str) {
        self.rule(positive_or_zero(number), path, "must be at least 0 and finite");
    }

    fn above_zero(&mut self, number: f64, path: &str) {
        self.rule(positive(number), path, "must be above 0 and finite");
    }

    fn name(&mut self, name: &str) {
        let odd = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
        let usable = !name.is_empty()
            && name.len() <= 100
            && !name.contains(odd)
            && !name.starts_with(['.', '-', ' '])
            && !name.ends_with(['.', ' ']);
        self.rule(usable, "name", "must be usable as the name of a folder");
    }

    fn data(&mut self, path: &str, data: &DataSpec) {
        let (validation, test, otherwise) = match data {
            DataSpec::FerPlus { otherwise, .. } | DataSpec::Fer2013 { otherwise, .. } => (None, None, otherwise),
            DataSpec::RafDb { validation, otherwise, .. } => (Some(*validation), None, otherwise),
            DataSpec::AffectNet { classes, validation, otherwise, .. } => {
                self.rule(matches!(classes, 7 | 8), &join(path, "classes"), "must be 7 or 8");
                (Some(*validation), None, otherwise)
            }
            DataSpec::CkPlus { validation, test, otherwise, .. }
            | DataSpec::ImageFolder { validation, test, otherwise, .. } => (Some(*validation), Some(*test), otherwise),
            DataSpec::Builtin(builtin) => return self.builtin(path, builtin),
        };
        for (share, key) in [(validation, "validation"), (test, "test")] {
            share.into_iter().for_each(|share| self.part(share, &join(path, key)));
        }
        let held_out = validation.unwrap_or(0.0) + test.unwrap_or(0.0);
        let each = [validation, test].into_iter().flatten().all(|share| (0.0..1.0).contains(&share));
        self.rule(
            !each || held_out < 1.0,
            path,
            "must leave images to train on: `validation` and `test` make 1 or more",
        );
        if let Some(Otherwise::Builtin(builtin)) = otherwise {
            self.builtin(&join(path, "otherwise"), builtin);
        }
    }

    fn builtin(&mut self, path: &str, builtin: &BuiltinSpec) {
        self.at_least_one(builtin.train, &join(path, "train"));
        self.at_least_one(builtin.validation, &join(path, "validation"));
        self.at_least_one(builtin.test, &join(path, "test"));
        self.at_least_one(builtin.size, &join(path, "size"));
        self.size(builtin.difficulty, &join(path, "difficulty"));
        builtin.epochs.into_iter().for_each(|epochs| self.at_least_one(epochs, &join(path, "epochs")));
        builtin.batch.into_iter().for_each(|batch| self.at_least_one(batch, &join(path, "batch")));
    }

    fn images(&mut self, experiment: &Experiment) {
        let images = &experiment.images;
        images.size.into_iter().for_each(|size| self.at_least_one(size, "images.size"));
        self.rule(matches!(images.channels, 1 | 3), "images.channels", "must be 1 (grey) or 3 (colour)");
        if let Normalise::Values { mean, std } = &experiment.normalise {
            self.rule(mean.iter().all(|m| m.is_finite()), "normalise.mean", "must be finite");
            self.rule(std.iter().all(|s| positive(*s)), "normalise.std", "must be above 0 and finite");
        }
    }

    fn range(&mut self, (low, high): (f64, f64), path: &str) {
        let holds = positive(low) && high.is_finite() && low <= high;
        self.rule(holds, path, "must be a range (low, high) above 0");
    }

    fn augmentation(&mut self, path: &str, augmentation: &Augmentation) {
        let at = |key: &str| join(path, key);
        match augmentation {
            Augmentation::RandomHorizontalFlip { p } => self.share(*p, &at("p")),
            Augmentation::RandomRotation { degrees } => self.size(*degrees, &at("degrees")),
            Augmentation::RandomAffine { degrees, translate, scale, shear } => {
                self.size(*degrees, &at("degrees"));
                let shares = [translate.0, translate.1].iter().all(|share| (0.0..=1.0).contains(share));
                self.rule(shares, &at("translate"), "must be two shares of the side, each from 0 to 1");
                self.range(*scale, &at("scale"));
                self.size(*shear, &at("shear"));
            }
            Augmentation::ColorJitter { brightness, contrast, saturation, hue } => {
                self.size(*brightness, &at("brightness"));
                self.size(*contrast, &at("contrast"));
                self.size(*saturation, &at("saturation"));
                self.rule((0.0..=0.5).contains(hue), &at("hue"), "must be from 0 to 0.5");
            }
            Augmentation::RandomErasing { p, scale, ratio } => {
                self.share(*p, &at("p"));
                self.range(*scale, &at("scale"));
                self.rule(scale.1 <= 1.0, &at("scale"), "must be shares of the area, at most 1");
                self.range(*ratio, &at("ratio"));
            }
        }
    }

    fn model(&mut self, experiment: &Experiment) {
        let model = &experiment.model;
        if let Head::Mlp { hidden, dropout } = &model.head {
            self.at_least_one(*hidden, "model.head.hidden");
            self.part(*dropout, "model.head.dropout");
        }
        let resizers = model.resizers.iter().enumerate();
        let mut components: Vec<_> =
            resizers.map(|(index, resizer)| (join("model.resizers", index), resizer)).collect();
        components.push(("model.backbone".into(), &model.backbone));
        components.push(("loss".into(), &experiment.loss));
        for (path, component) in components {
            self.rule(!component.plugin.trim().is_empty(), &join(&path, "plugin"), "must name a plugin");
            let lenient = component.pretrained.is_some() || component.pretrained_ignore.is_empty();
            self.rule(lenient, &join(&path, "pretrained_ignore"), "means nothing without `pretrained`");
            if let Some(sha256) = &component.sha256 {
                let whole = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                self.rule(whole, &join(&path, "sha256"), "must be a SHA-256: 64 digits from 0 to 9 and a to f");
            }
            for (key, value) in &component.options {
                self.option_name(&path, key);
                let finite = !matches!(value, OptionValue::Float(number) if !number.is_finite());
                self.rule(finite, &join(&path, key), "must be finite");
            }
        }
    }

    /// A map can hold any text as a key; a plugin's options are plain words.
    fn option_name(&mut self, component: &str, key: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.starts_with(|c: char| c.is_ascii_digit()) || key.is_empty() || !key.chars().all(plain) {
            let path = join(component, key);
            let span = self.tree.key_span_at(&path).unwrap_or(&self.tree.nearest_at(component).span);
            let message = format!("{key:?} cannot be the name of an option of {}", called(component));
            self.faults.push(ConfigError::new(message).label(span, "found here"));
        }
    }

    fn class_weights(&mut self, weights: &ClassWeights) {
        let ClassWeights::Values(values) = weights else { return };
        self.rule(!values.is_empty(), "class_weights", "must name at least one class");
        for (index, (name, weight)) in values.iter().enumerate() {
            let path = join("class_weights", index);
            self.size(*weight, &join(&path, 1));
            if let Some(first) = values[..index].iter().position(|(other, _)| other == name) {
                let span = |index| &self.tree.nearest_at(&join(&join("class_weights", index), 0)).span;
                self.faults.push(
                    ConfigError::new(format!("the class \"{name}\" has two weights"))
                        .label(span(index), "the second")
                        .label(span(first), "the first"),
                );
            }
        }
    }

    fn optimiser(&mut self, optimiser: &Optimiser) {
        let (learning_rate, weight_decay) = match optimiser {
            Optimiser::Adam { learning_rate, betas, eps, weight_decay }
            | Optimiser::AdamW { learning_rate, betas, eps, weight_decay } => {
                let each = [betas.0, betas.1].iter().all(|beta| (0.0..1.0).contains(beta));
                self.rule(each, "optimiser.betas", "must be two numbers, each at least 0 and below 1");
                self.above_zero(*eps, "optimiser.eps");
                (learning_rate, weight_decay)
            }
            Optimiser::Sgd { learning_rate, momentum, nesterov, weight_decay } => {
                self.part(*momentum, "optimiser.momentum");
                self.rule(!nesterov || *momentum > 0.0, "optimiser.nesterov", "needs a momentum above 0");
                (learning_rate, weight_decay)
            }
        };
        self.above_zero(*learning_rate, "optimiser.learning_rate");
        self.size(*weight_decay, "optimiser.weight_decay");
    }

    fn schedule(&mut self, schedule: &Schedule) {
        match schedule {
            Schedule::Constant => {}
            Schedule::Step { every, factor } => {
                self.at_least_one(*every, "schedule.every");
                self.above_zero(*factor, "schedule.factor");
            }
            Schedule::Exponential { factor } => self.above_zero(*factor, "schedule.factor"),
            Schedule::Cosine { final_factor } => self.share(*final_factor, "schedule.final_factor"),
            Schedule::OneCycle { warm, start_divisor, end_divisor } => {
                self.share(*warm, "schedule.warm");
                self.above_zero(*start_divisor, "schedule.start_divisor");
                self.above_zero(*end_divisor, "schedule.end_divisor");
            }
        }
    }

    fn run(&mut self, experiment: &Experiment) {
        if let Plugins::Lock(file) = &experiment.plugins {
            self.rule(!file.as_os_str().is_empty(), "plugins", "must name a lock file");
        }
        self.at_least_one(experiment.epochs, "epochs");
        self.at_least_one(experiment.batch, "batch");
        self.at_least_one(experiment.accumulate, "accumulate");
        self.at_least_one(experiment.workers, "workers");
        experiment.checkpoint_every.into_iter().for_each(|steps| self.at_least_one(steps, "checkpoint_every"));
        experiment.clip.into_iter().for_each(|norm| self.above_zero(norm, "clip"));
        if let Some(decay) = experiment.layer_decay {
            self.rule(decay > 0.0 && decay <= 1.0, "layer_decay", "must be above 0 and at most 1");
        }
        experiment.ema.into_iter().for_each(|decay| self.part(decay, "ema"));
        for (index, group) in experiment.groups.iter().enumerate() {
            let path = join("groups", index);
            self.rule(!group.pattern.is_empty(), &join(&path, "pattern"), "must not be empty");
            self.size(group.learning_rate_scale, &join(&path, "learning_rate_scale"));
            group.weight_decay.into_iter().for_each(|decay| self.size(decay, &join(&path, "weight_decay")));
        }
        if let Some(warm_up) = &experiment.warm_up {
            self.above_zero(warm_up.epochs, "warm_up.epochs");
            self.share(warm_up.start_factor, "warm_up.start_factor");
        }
        if let Some(stop) = &experiment.early_stopping {
            self.at_least_one(stop.patience, "early_stopping.patience");
            self.size(stop.min_delta, "early_stopping.min_delta");
        }
    }
}
