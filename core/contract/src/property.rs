//! A property, and drawing cases until it fails or has held often enough.

use std::{cell::RefCell, fmt};

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

use crate::{Case, Domain, Outcome, Subject, Trouble};

/// A statement about components and how it is looked at in one case.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    /// Short; a failure starts with it.
    pub name: &'a str,
    /// How many cases are looked at, unless `PROPTEST_CASES` says otherwise.
    pub cases: u32,
    /// Whether cases come from [`Domain::wide`].
    pub wide: bool,
    pub check: &'a (dyn Fn(&Subject, &Case) -> Outcome + Sync),
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub property: String,
    /// `resizer "ltr"`.
    pub component: String,
    /// What was found.
    pub message: String,
    /// The smallest case that shows it, as text.
    pub reproduction: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} breaks \"{}\": {}\n  {}", self.component, self.property, self.message, self.reproduction)
    }
}

/// What came of checking a component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The properties that held, with how many cases were looked at.
    pub held: Vec<(String, u32)>,
    pub failures: Vec<Failure>,
    /// The properties of which nothing can be said, since nearly every case was refused: the domain does not suit the component.
    /// With the last refusal.
    pub unexamined: Vec<(String, String)>,
}

/// Cases that may be refused for each one that is looked at.
const REFUSALS: u32 = 24;

/// Looks at every property in turn. The same cases every time, unless `PROPTEST_RNG_SEED` says otherwise.
pub fn check(subject: &Subject, domain: &Domain, properties: &[Property<'_>]) -> Report {
    let mut report = Report::default();
    for property in properties {
        let config = config(property);
        let cases = config.cases;
        match run(subject, domain, property, config) {
            Finding::Held => report.held.push((property.name.to_owned(), cases)),
            Finding::Broken(failure) => report.failures.push(failure),
            Finding::Unexamined(refusal) => report.unexamined.push((property.name.to_owned(), refusal)),
        }
    }
    report
}

fn config(property: &Property<'_>) -> Config {
    // `Config::default` has read the environment; its own numbers suit cheaper problems than these.
    let mut config = Config { failure_persistence: None, max_shrink_iters: 512, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = property.cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1111);
    }
    config.max_global_rejects = config.cases.saturating_mul(REFUSALS);
    config
}

enum Finding {
    Held,
    Broken(Failure),
    Unexamined(String),
}

fn run(subject: &Subject, domain: &Domain, property: &Property<'_>, config: Config) -> Finding {
    let setups = if property.wide { &domain.wide } else { &domain.ordinary };
    // A smaller seed is no simpler problem.
    let cases = (setups.clone(), any::<bool>(), any::<u64>().no_shrink()).prop_map(|(setup, training, seed)| Case {
        options: setup.options,
        inputs: setup.inputs,
        training,
        seed,
    });
    let refusal = RefCell::new(String::new());
    let outcome = TestRunner::new(config).run(&cases, |case| match (property.check)(subject, &case) {
        Ok(()) => Ok(()),
        Err(Trouble::Broken(message)) => Err(TestCaseError::fail(message)),
        Err(Trouble::Skipped(message)) => {
            refusal.replace(message);
            Err(TestCaseError::reject("refused"))
        }
    });
    match outcome {
        Ok(()) => Finding::Held,
        Err(TestError::Fail(reason, case)) => Finding::Broken(Failure {
            property: property.name.to_owned(),
            component: format!("{} {:?}", subject.kind(), subject.id()),
            message: reason.message().to_owned(),
            reproduction: case.to_string(),
        }),
        Err(TestError::Abort(_)) => Finding::Unexamined(refusal.into_inner()),
    }
}
