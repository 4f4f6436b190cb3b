//! Small problems for a component about which nothing is known but what it says of itself: options and inputs are tried, and the
//! cheapest that it takes are kept.
//!
//! Tried are, in this order: the problems that it claims to take, with other batches, sizes and further options; its default
//! options at the usual resolutions, the smallest first; where it claims nothing, ever smaller ones from there, option by option;
//! small options within the schema. A graph's own cost decides before anything is run.

use std::time::{Duration, Instant};

use fer_abi::{NamedOption, OptionSpec, OptionValue, kind, option_kind};
use fer_graph::Graph;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    Case, Choices, Domain, Failure, Inputs, Setup, Subject, Trouble, domain::small_truth, images, laws, truth,
};

/// Resolutions that models are made for, the smallest first.
const SIDES: [usize; 14] = [8, 12, 14, 16, 20, 24, 28, 32, 48, 56, 64, 96, 112, 224];
/// One image alone, and enough of them to normalise over; two are too few.
const BATCHES: [usize; 3] = [1, 3, 4];

/// How far to look.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Problems that are tried.
    pub tries: usize,
    pub time: Duration,
    /// What a forward pass may cost in floating-point operations, and in numbers that are kept.
    pub flops: u64,
    pub numbers: u64,
}

/// What was found.
pub struct Explored {
    /// `None`: it takes nothing that was tried, or nothing that is affordable.
    pub domain: Option<Domain>,
    /// Why not, in the words of the last refusal or of the least cost.
    pub refusal: String,
    /// The first problem that broke it.
    pub broken: Option<Failure>,
}

/// Kept of what is taken: enough to vary, few enough to be cheap.
const KEPT: usize = 32;
/// Accepted resolutions of one set of options: more of the same say little.
const ENOUGH_SIDES: usize = 3;

/// Tries problems; `begins` hears of each before it is built.
pub fn explore(subject: &Subject, reach: &Reach, seed: u64, begins: &dyn Fn(&Case)) -> Explored {
    let mut search =
        Search { subject, reach, begins, started: Instant::now(), tried: 0, taken: vec![], said: None, broken: None };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if subject.kind() == kind::LOSS {
        search.losses(&mut runner);
    } else {
        let claimed = laws::problems(subject);
        for problem in &claimed {
            search.around(problem, reach.tries / (2 * claimed.len()), &mut runner);
        }
        search.defaults(&mut runner);
        if let (true, Some(small)) = (claimed.is_empty(), search.smaller(&mut runner)) {
            search.around(&small, reach.tries / 4, &mut runner);
        }
        search.anything(&mut runner);
    }
    search.explored()
}

/// What a graph costs: operations, and numbers in all its values.
fn cost(graph: &Graph) -> (u64, u64) {
    let flops = graph.nodes.iter().fold(0u64, |sum, node| sum.saturating_add(graph.flops(node)));
    let numbers = graph.values.iter().fold(0u64, |sum, (ty, _)| {
        let elements = ty.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        sum.saturating_add(elements)
    });
    (flops, numbers)
}

fn sum((flops, numbers): (u64, u64)) -> u64 {
    flops.saturating_add(numbers)
}

/// Values that make a model small where they are its widths, depths or lists of them. Not 1: norms over one number are constant.
fn small_values(spec: &OptionSpec) -> Vec<OptionValue> {
    const SMALL: [i64; 6] = [2, 3, 4, 6, 8, 16];
    let (low, high) = (spec.min.unwrap_or(f64::NEG_INFINITY), spec.max.unwrap_or(f64::INFINITY));
    let small = SMALL.into_iter().filter(move |&v| (low..=high).contains(&(v as f64)));
    match spec.kind.as_str() {
        option_kind::INT => small.map(OptionValue::Int).collect(),
        option_kind::INTS => {
            (1..=5).flat_map(|length| small.clone().map(move |v| OptionValue::Ints(vec![v; length].into()))).collect()
        }
        option_kind::TEXT => spec.choices.iter().map(|word| OptionValue::Text(word.clone())).collect(),
        _ => vec![],
    }
}

struct Search<'a> {
    subject: &'a Subject,
    reach: &'a Reach,
    begins: &'a dyn Fn(&Case),
    started: Instant,
    tried: usize,
    /// With their costs.
    taken: Vec<(u64, Setup)>,
    said: Option<String>,
    broken: Option<Failure>,
}

impl Search<'_> {
    fn over(&self) -> bool {
        self.tried >= self.reach.tries || self.started.elapsed() > self.reach.time || self.broken.is_some()
    }

    /// What it costs at most, where the component takes it in both modes.
    fn cost(&mut self, setup: &Setup) -> Option<(u64, u64)> {
        let modes = [false, true].map(|training| self.cost_in(setup, training));
        let [Some(one), Some(other)] = modes else { return None };
        Some((one.0.max(other.0), one.1.max(other.1)))
    }

    fn cost_in(&mut self, setup: &Setup, training: bool) -> Option<(u64, u64)> {
        let case = Case { options: setup.options.clone(), inputs: setup.inputs.clone(), training, seed: 0 };
        (self.begins)(&case);
        match self.subject.graph(&case) {
            Ok(graph) => Some(cost(&graph)),
            Err(Trouble::Skipped(said) | Trouble::Idle(said)) => {
                self.said = Some(said);
                None
            }
            Err(Trouble::Broken(message)) => {
                self.broken = Some(Failure {
                    property: crate::building::TOTAL.name.to_owned(),
                    component: format!("{} {:?}", self.subject.kind(), self.subject.id()),
                    message,
                    case,
                });
                None
            }
        }
    }

    fn affordable(&self, (flops, numbers): (u64, u64)) -> bool {
        flops <= self.reach.flops && numbers <= self.reach.numbers
    }

    /// Keeps a problem that the component takes and that is affordable.
    fn tries(&mut self, setup: Setup) -> bool {
        if self.over() || self.taken.iter().any(|(_, known)| *known == setup) {
            return false;
        }
        self.tried += 1;
        let Some(cost) = self.cost(&setup) else { return false };
        if !self.affordable(cost) {
            let [flops, numbers, most, room] =
                [cost.0, cost.1, self.reach.flops, self.reach.numbers].map(|n| format!("{:.0e}", n as f64));
            self.said = Some(format!(
                "what it takes is too large to be run here: {flops} operations and {numbers} numbers, at most {most} and {room} are \
                 affordable"
            ));
            return false;
        }
        self.taken.push((cost.0.saturating_add(cost.1), setup));
        true
    }

    fn losses(&mut self, runner: &mut TestRunner) {
        let drawn = Drawn::new(self.subject, &[]);
        for (n, classes) in [(1, 2), (2, 2), (3, 3), (2, 7), (4, 8), (5, 9)] {
            self.tries(Setup { options: drawn.required(runner), inputs: truth(n, classes) });
        }
        while !self.over() && self.taken.len() < KEPT {
            let inputs = draw(&small_truth(), runner);
            self.tries(Setup { options: drawn.some(runner), inputs });
        }
    }

    /// A problem, a larger batch and larger images, and that many times further options.
    fn around(&mut self, problem: &Setup, times: usize, runner: &mut TestRunner) {
        let Ok([n, c, h, w]) = <[usize; 4]>::try_from(problem.inputs[0].1.shape.as_slice()) else { return };
        self.tries(problem.clone());
        for inputs in [[n + 1, c, h, w], [n, c, 2 * h, w], [n, c, h, 2 * w]].map(images) {
            self.tries(Setup { options: problem.options.clone(), inputs });
        }
        let drawn = Drawn::new(self.subject, &problem.options);
        for _ in 0..times {
            let options = [problem.options.clone(), drawn.some(runner)].concat();
            self.tries(Setup { options, inputs: problem.inputs.clone() });
        }
    }

    /// From the defaults at the smallest resolution that they take, one option after the other is made as cheap as it can be.
    fn smaller(&mut self, runner: &mut TestRunner) -> Option<Setup> {
        let options = Drawn::new(self.subject, &[]).required(runner);
        let mut sides = SIDES.into_iter();
        let (mut best, mut least) = loop {
            let side = sides.next()?;
            let setup = Setup { options: options.clone(), inputs: images([BATCHES[1], 3, side, side]) };
            if let Some(cost) = self.cost_in(&setup, false) {
                break (setup, cost);
            }
        };
        let subject = self.subject;
        loop {
            let before = least;
            for spec in subject.options() {
                for value in small_values(spec) {
                    if self.started.elapsed() > self.reach.time || self.broken.is_some() {
                        return self.affordable(least).then_some(best);
                    }
                    let mut setup = best.clone();
                    setup.options.retain(|option| option.name != spec.name);
                    setup.options.push(NamedOption { name: spec.name.clone(), value });
                    if let Some(cost) = self.cost_in(&setup, false).filter(|cost| sum(*cost) < sum(least)) {
                        (best, least) = (setup, cost);
                    }
                }
            }
            if least == before || sum(least) <= sum((self.reach.flops, self.reach.numbers)) / 16 {
                return self.affordable(least).then_some(best);
            }
        }
    }

    fn defaults(&mut self, runner: &mut TestRunner) {
        let options = Drawn::new(self.subject, &[]).required(runner);
        let mut accepted = 0;
        for side in SIDES {
            for n in BATCHES {
                accepted +=
                    usize::from(self.tries(Setup { options: options.clone(), inputs: images([n, 3, side, side]) }));
            }
            if accepted >= ENOUGH_SIDES * BATCHES.len() {
                break;
            }
        }
    }

    fn anything(&mut self, runner: &mut TestRunner) {
        let drawn = Drawn::new(self.subject, &[]);
        // Small sides are likelier: what takes them is cheap.
        let sides = proptest::sample::select(&SIDES[..9]);
        let shapes = (proptest::sample::select(&BATCHES[..]), sides.clone(), sides);
        while !self.over() && self.taken.len() < KEPT {
            let (n, h, w) = draw(&shapes, runner);
            let options = drawn.some(runner);
            if !self.tries(Setup { options: options.clone(), inputs: images([n, 3, h, w]) }) {
                self.tries(Setup { options, inputs: images([n, 3, h, h]) });
            }
        }
    }

    fn explored(mut self) -> Explored {
        // The cheapest first: drawing shrinks towards them.
        self.taken.sort_by_key(|(cost, _)| *cost);
        self.taken.truncate(KEPT);
        let kept: Vec<Setup> = self.taken.into_iter().map(|(_, setup)| setup).collect();
        let refusal = self.said.unwrap_or_else(|| "nothing was tried".into());
        if kept.is_empty() {
            return Explored { domain: None, refusal, broken: self.broken };
        }
        let inputs: Vec<Inputs> = kept.iter().map(|setup| setup.inputs.clone()).collect();
        let options = Choices::wide(self.subject.options()).strategy();
        let odd_options =
            (options, proptest::sample::select(inputs)).prop_map(|(options, inputs)| Setup { options, inputs });
        let ordinary = proptest::sample::select(kept).boxed();
        let wide = prop_oneof![Domain::of(self.subject).wide, odd_options, ordinary.clone()].boxed();
        Explored { domain: Some(Domain { ordinary, wide }), refusal, broken: self.broken }
    }
}

/// Options that are not fixed already.
struct Drawn {
    required: BoxedStrategy<Vec<NamedOption>>,
    some: BoxedStrategy<Vec<NamedOption>>,
}

impl Drawn {
    fn new(subject: &Subject, fixed: &[NamedOption]) -> Drawn {
        let free = subject.options().iter().filter(|spec| fixed.iter().all(|o| o.name != spec.name));
        let free: Vec<OptionSpec> = free.cloned().collect();
        let required: Vec<OptionSpec> =
            free.iter().filter(|spec| !spec.optional && spec.default.is_none()).cloned().collect();
        Drawn { required: Choices::ordinary(&required).strategy(), some: Choices::ordinary(&free).strategy() }
    }

    fn required(&self, runner: &mut TestRunner) -> Vec<NamedOption> {
        draw(&self.required, runner)
    }

    fn some(&self, runner: &mut TestRunner) -> Vec<NamedOption> {
        draw(&self.some, runner)
    }
}

fn draw<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    // These strategies reject nothing, and only a rejection is an error.
    strategy.new_tree(runner).expect("ranges and words can be drawn").current()
}
