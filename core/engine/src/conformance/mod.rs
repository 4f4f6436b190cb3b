//! The problems every engine must pass, written once.
//!
//! For each op of the table there is a family of random problems (shapes, axes, attributes and numbers drawn by proptest, which
//! shrinks what fails) and a list of fixed edge cases. The truth is [`reference`]: every primitive in plain f64 loops, composites
//! by their decomposition (that a decomposition means what it should is shown by answers worked out by hand, in the tests of the
//! reference engine). An engine's gradients are held against the same reference; that the gradients themselves are right is shown
//! once, by central differences on an f64 engine ([`check_gradient`]).
//!
//! An engine's tests are one line, which makes one test for each group of families:
//!
//! ```text
//! fer_engine::conformance_tests!(MyEngine::new(Precision::F32), 64);
//! ```
//!
//! Runs are the same each time: proptest's numbers come from a fixed seed.

mod check;
mod families;
mod gradient;
mod naive;
mod problem;
pub mod steps;

use std::fmt;

use proptest::{
    strategy::{BoxedStrategy, Strategy},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

pub use check::{answer, check, check_against, compare};
pub use families::{GROUPS, Group};
pub use gradient::check_gradient;
pub use naive::reference;
pub use problem::{Draft, Draw, Problem, Random, Tolerance};

use crate::Engine;

/// The problems of one op.
pub struct Family {
    pub op: &'static str,
    pub random: BoxedStrategy<Problem>,
    pub edges: Vec<Problem>,
}

/// What was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub families: usize,
    pub problems: usize,
}

/// The smallest problem that was found to fail.
#[derive(Clone, Debug)]
pub struct Failure {
    pub op: &'static str,
    pub reason: String,
    pub problem: Problem,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n{:?}", self.op, self.reason, self.problem)
    }
}

impl std::error::Error for Failure {}

/// Runs every family on an engine: all edge cases and `cases` random problems of each.
///
/// # Errors
/// The first [`Failure`], shrunk.
pub fn run_all(engine: &dyn Engine, cases: u32) -> Result<Summary, Box<Failure>> {
    let mut summary = Summary::default();
    for (name, _) in GROUPS {
        let part = run_group(engine, name, cases)?;
        summary.families += part.families;
        summary.problems += part.problems;
    }
    Ok(summary)
}

/// Runs the families of one group of [`GROUPS`] on an engine.
///
/// # Errors
/// The first [`Failure`], shrunk.
///
/// # Panics
/// When there is no such group.
pub fn run_group(engine: &dyn Engine, group: &str, cases: u32) -> Result<Summary, Box<Failure>> {
    run_group_within(engine, group, cases, |tolerance| tolerance)
}

/// [`run_group`] with other tolerances, for an engine that rounds more than its precision does.
///
/// # Errors
/// The first [`Failure`], shrunk.
///
/// # Panics
/// When there is no such group.
pub fn run_group_within(
    engine: &dyn Engine,
    group: &str,
    cases: u32,
    within: impl Fn(Tolerance) -> Tolerance,
) -> Result<Summary, Box<Failure>> {
    let check = |problem: &Problem| check(engine, &Problem { tolerance: within(problem.tolerance), ..problem.clone() });
    let mut summary = Summary::default();
    for family in group_of(group) {
        for problem in &family.edges {
            check(problem).map_err(|reason| Box::new(Failure { op: family.op, reason, problem: problem.clone() }))?;
        }
        run_random(&family, cases, check)?;
        summary.families += 1;
        summary.problems += family.edges.len() + cases as usize;
    }
    Ok(summary)
}

/// Holds the gradients of one group's random problems against central differences. The engine must compute in f64.
///
/// # Errors
/// The first [`Failure`], shrunk.
///
/// # Panics
/// When there is no such group.
pub fn run_gradients(engine: &dyn Engine, group: &str, cases: u32) -> Result<Summary, Box<Failure>> {
    let mut summary = Summary::default();
    for family in group_of(group) {
        run_random(
            &family,
            cases,
            |problem| {
                if problem.wrt.is_empty() { Ok(()) } else { check_gradient(engine, problem) }
            },
        )?;
        summary.families += 1;
        summary.problems += cases as usize;
    }
    Ok(summary)
}

fn group_of(name: &str) -> Vec<Family> {
    match GROUPS.iter().find(|(group, _)| *group == name) {
        Some((_, families)) => families(),
        None => panic!("there is no group {name:?} of conformance problems"),
    }
}

fn run_random(family: &Family, cases: u32, check: impl Fn(&Problem) -> Result<(), String>) -> Result<(), Box<Failure>> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&family.random, |problem| check(&problem).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, problem)) => {
            Err(Box::new(Failure { op: family.op, reason: reason.to_string(), problem }))
        }
        Err(TestError::Abort(reason)) => panic!("{}: {reason}", family.op),
    }
}

impl Family {
    fn new<S>(op: &'static str, random: S, edges: Vec<Result<Problem, fer_graph::GraphError>>) -> Family
    where
        S: Strategy<Value = Result<Problem, fer_graph::GraphError>> + 'static,
    {
        let valid = move |problem: Result<Problem, fer_graph::GraphError>| {
            problem.unwrap_or_else(|e| panic!("a family of {op} draws what the op refuses: {e}"))
        };
        Family { op, random: random.prop_map(valid).boxed(), edges: edges.into_iter().map(valid).collect() }
    }
}

/// One `#[test]` for each group of families: `conformance_tests!(engine, cases)`.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:expr, $cases:expr) => {
        $crate::conformance_tests!(@each $engine, $cases;
            source elementwise movement reduction product convolution pooling indexing activation
            normalisation attention image optimiser);
    };
    (@each $engine:expr, $cases:expr; $($group:ident)*) => {
        $(#[test]
        fn $group() {
            if let Err(failure) = $crate::conformance::run_group(&$engine, stringify!($group), $cases) {
                panic!("{failure}");
            }
        })*
    };
}

#[cfg(test)]
mod tests;
