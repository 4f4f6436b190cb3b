//! The whole contract of a component that nobody wrote tests for, property by property, for somebody who watches.

use std::time::Duration;

use crate::{
    Case, Domain, Effort, Failure, Family, Property, Subject, Verdict, building,
    explore::{Explored, Reach, explore},
    laws, look,
};

/// Who hears what is being looked at, before it is, so that a component that ends the program can be told what for.
pub trait Watch {
    fn begins(&self, family: Family, property: &str);
    fn case(&self, case: &Case);
    fn ends(&self, family: Family, property: &str, verdict: &Verdict);
}

/// How thorough a check is.
#[derive(Clone, Debug)]
pub struct Thoroughness {
    effort: Effort,
    reach: Reach,
}

impl Thoroughness {
    /// As many cases as a component's own tests look at, small ones, and half a second for each property: seconds.
    pub fn quick(seed: u64) -> Thoroughness {
        Thoroughness {
            effort: Effort { share: 1.0, time: Some(Duration::from_millis(500)), seed: Some(seed) },
            reach: Reach { tries: 150, time: Duration::from_secs(5), flops: 2_000_000, numbers: 200_000 },
        }
    }

    /// Ten times as many, and larger ones: minutes.
    pub fn full(seed: u64) -> Thoroughness {
        Thoroughness {
            effort: Effort { share: 10.0, time: Some(Duration::from_secs(5)), seed: Some(seed) },
            reach: Reach { tries: 600, time: Duration::from_secs(30), flops: 20_000_000, numbers: 2_000_000 },
        }
    }
}

/// What will be looked at, in order.
pub fn plan(subject: &Subject) -> Vec<(Family, Property<'static>)> {
    let has_kernels = subject.properties().iter().any(|p| p.name == fer_abi::property::KERNEL);
    let of = |family: Family| {
        let all = match family {
            Family::Kernels if !has_kernels => vec![],
            Family::Claims => laws::declared(subject),
            _ => family.properties(subject.kind()).to_vec(),
        };
        all.into_iter().map(move |property| (family, property))
    };
    Family::ALL.into_iter().flat_map(of).collect()
}

/// Looks at everything in the [`plan`].
pub fn examine(subject: &Subject, how: &Thoroughness, watch: &dyn Watch) {
    let seed = how.effort.seed.unwrap_or_default();
    let mut explored = None;
    for (family, property) in plan(subject) {
        watch.begins(family, property.name);
        let verdict = if property.name == building::TOTAL.name {
            let (verdict, found) = total(subject, &property, how, seed, watch);
            explored = Some(found);
            verdict
        } else {
            let found = explored.get_or_insert_with(|| explore(subject, &how.reach, seed, &|case| watch.case(case)));
            match (&found.domain, family) {
                (Some(domain), _) => look(subject, domain, &property, &how.effort, &|case| watch.case(case)),
                // Most of these want a refusal.
                (None, Family::Building) => {
                    look(subject, &Domain::of(subject), &property, &how.effort, &|case| watch.case(case))
                }
                (None, _) => Verdict::Refused(found.refusal.clone()),
            }
        };
        watch.ends(family, property.name, &verdict);
    }
}

/// Anything within the schema first, and then, in looking for what can be run, what is likely to be taken.
fn total(
    subject: &Subject,
    property: &Property<'_>,
    how: &Thoroughness,
    seed: u64,
    watch: &dyn Watch,
) -> (Verdict, Explored) {
    let begins = |case: &Case| watch.case(case);
    let verdict = look(subject, &Domain::of(subject), property, &how.effort, &begins);
    let explored = explore(subject, &how.reach, seed, &begins);
    let broken: Option<Failure> = explored.broken.clone();
    match (verdict, broken) {
        (Verdict::Broken(failure), _) => (Verdict::Broken(failure), explored),
        (_, Some(failure)) => (Verdict::Broken(Box::new(failure)), explored),
        (verdict, None) => (verdict, explored),
    }
}
