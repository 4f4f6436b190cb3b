//! A property, and drawing cases until it fails or has held often enough.

use std::{
    cell::{Cell, RefCell},
    fmt,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

use crate::{Case, Domain, Outcome, Subject, Trouble, shrink::simplest};

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
    /// The smallest case that shows it.
    pub case: Case,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} breaks \"{}\": {}\n  {}", self.component, self.property, self.message, self.case)
    }
}

/// What came of looking at one property.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// In that many cases.
    Held(u32),
    Broken(Box<Failure>),
    /// The component refused (nearly) every case, the last time with these words.
    Refused(String),
    /// The property has nothing to look at in this component.
    Idle(String),
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
    /// The properties that have nothing to look at in this component, and why.
    pub idle: Vec<(String, String)>,
}

/// How much is spent on a property.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Share of a property's cases; one is looked at in any case.
    pub share: f64,
    /// After this no further case is begun.
    pub time: Option<Duration>,
    /// Which cases are drawn; the environment's `PROPTEST_RNG_SEED`, or always the same ones.
    pub seed: Option<u64>,
}

impl Effort {
    /// All cases, however long they take.
    pub const ALL: Effort = Effort { share: 1.0, time: None, seed: None };
}

/// Looks at every property in turn. The same cases every time, unless `PROPTEST_RNG_SEED` says otherwise.
pub fn check(subject: &Subject, domain: &Domain, properties: &[Property<'_>]) -> Report {
    let mut report = Report::default();
    for property in properties {
        let name = property.name.to_owned();
        match look(subject, domain, property, &Effort::ALL, &|_| {}) {
            Verdict::Held(cases) => report.held.push((name, cases)),
            Verdict::Broken(failure) => report.failures.push(*failure),
            Verdict::Refused(said) => report.unexamined.push((name, said)),
            Verdict::Idle(why) => report.idle.push((name, why)),
        }
    }
    report
}

/// Cases that may be refused for each one that is looked at.
const REFUSALS: u32 = 24;
/// How long a failing case is made smaller, at most.
const SHRINKING: Duration = Duration::from_secs(20);

fn config(property: &Property<'_>, effort: &Effort) -> Config {
    // `Config::default` has read the environment; its own numbers suit cheaper problems than these.
    let mut config = Config { failure_persistence: None, max_shrink_iters: 512, ..Config::default() };
    config.max_shrink_time = SHRINKING.as_millis() as u32;
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = ((f64::from(property.cases) * effort.share).ceil() as u32).max(1);
    }
    match effort.seed {
        Some(seed) => config.rng_seed = RngSeed::Fixed(seed),
        None if config.rng_seed == RngSeed::Random => config.rng_seed = RngSeed::Fixed(1111),
        None => {}
    }
    config.max_global_rejects = config.cases.saturating_mul(REFUSALS);
    config
}

/// Looks at one property; `begins` hears of each case before it is looked at.
pub fn look(
    subject: &Subject,
    domain: &Domain,
    property: &Property<'_>,
    effort: &Effort,
    begins: &dyn Fn(&Case),
) -> Verdict {
    let setups = if property.wide { &domain.wide } else { &domain.ordinary };
    // A smaller seed is no simpler problem.
    let cases = (setups.clone(), any::<bool>(), any::<u64>().no_shrink()).prop_map(|(setup, training, seed)| Case {
        options: setup.options,
        inputs: setup.inputs,
        training,
        seed,
    });
    let (looked, failed) = (Cell::new(0u32), Cell::new(false));
    let (refusal, idle) = (RefCell::new(String::new()), RefCell::new(None));
    let started = Instant::now();
    let late = || looked.get() > 0 && effort.time.is_some_and(|most| started.elapsed() > most);
    let outcome = TestRunner::new(config(property, effort)).run(&cases, |case| {
        // A failing case is still made smaller.
        if !failed.get() && late() {
            return Ok(());
        }
        begins(&case);
        match (property.check)(subject, &case) {
            Ok(()) => {
                looked.set(looked.get() + 1);
                Ok(())
            }
            Err(Trouble::Idle(why)) => {
                idle.replace(Some(why));
                Ok(())
            }
            Err(Trouble::Broken(message)) => {
                failed.set(true);
                Err(TestCaseError::fail(message))
            }
            Err(Trouble::Skipped(message)) => {
                refusal.replace(message);
                Err(TestCaseError::reject("refused"))
            }
        }
    });
    match outcome {
        Ok(()) => match idle.into_inner() {
            Some(why) if looked.get() == 0 => Verdict::Idle(why),
            _ => Verdict::Held(looked.get()),
        },
        Err(TestError::Fail(reason, case)) => {
            let (case, message) = simplest(subject, property, case, reason.message().to_owned(), begins);
            Verdict::Broken(Box::new(Failure {
                property: property.name.to_owned(),
                component: format!("{} {:?}", subject.kind(), subject.id()),
                message,
                case,
            }))
        }
        // Refused more often than looked at, yet it was looked at.
        Err(TestError::Abort(_)) if effort.time.is_some() && looked.get() > 0 => Verdict::Held(looked.get()),
        Err(TestError::Abort(_)) => Verdict::Refused(refusal.into_inner()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use fer_abi::{BuildError, Descriptor, kind};

    use super::*;
    use crate::{Setup, images};

    /// A component that refuses everything.
    pub(crate) fn nobody() -> Subject {
        let descriptor = Descriptor {
            id: "nobody".into(),
            kind: kind::RESIZER.into(),
            version: "0".into(),
            summary: "".into(),
            doc: "".into(),
            options: vec![].into(),
            properties: vec![].into(),
        };
        Subject::new(descriptor, |_| {
            Err(BuildError { message: "no".into(), option: "".into(), help: "".into(), panicked: false })
        })
    }

    fn verdict(cases: u32, effort: &Effort, check: &(dyn Fn(&Subject, &Case) -> Outcome + Sync)) -> Verdict {
        let domain = Domain::new(Just(Setup { options: vec![], inputs: images([1, 3, 8, 8]) }));
        look(&nobody(), &domain, &Property { name: "p", cases, wide: false, check }, effort, &|_| {})
    }

    #[test]
    fn what_examines_nothing_does_not_hold() {
        assert_eq!(verdict(4, &Effort::ALL, &|_, _| Ok(())), Verdict::Held(4));
        assert_eq!(verdict(4, &Effort::ALL, &|s, c| s.graph(c).map(|_| ())), Verdict::Refused("no".into()));
        assert_eq!(verdict(4, &Effort::ALL, &|_, _| Err(Trouble::Idle("empty".into()))), Verdict::Idle("empty".into()));
    }

    #[test]
    fn time_ends_the_drawing_but_not_before_the_first_case() {
        let hurry = Effort { share: 0.5, time: Some(Duration::ZERO), seed: Some(3) };
        let slow = |_: &Subject, _: &Case| {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        assert_eq!(verdict(100, &hurry, &slow), Verdict::Held(1));
        assert!(matches!(verdict(2, &hurry, &|_, _| Err(Trouble::Broken("x".into()))), Verdict::Broken(_)));
    }
}
