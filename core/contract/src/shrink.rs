//! Makes a failing case simpler than drawing alone does: fewer options, a smaller batch, evaluation.

use std::time::{Duration, Instant};

use crate::{Case, Property, Subject, Trouble};

/// No longer than this.
const TIME: Duration = Duration::from_secs(10);

/// The simplest case that is found by one change at a time and still breaks the property, with what was found there.
pub(crate) fn simplest(
    subject: &Subject,
    property: &Property<'_>,
    case: Case,
    message: String,
    begins: &dyn Fn(&Case),
) -> (Case, String) {
    let started = Instant::now();
    let mut best = (case, message);
    'again: loop {
        for simpler in simpler(subject, &best.0) {
            if started.elapsed() > TIME {
                return best;
            }
            begins(&simpler);
            if let Err(Trouble::Broken(message)) = (property.check)(subject, &simpler) {
                best = (simpler, message);
                continue 'again;
            }
        }
        return best;
    }
}

/// Each one step simpler; none is as complex as the case, so that the search ends.
fn simpler(subject: &Subject, case: &Case) -> Vec<Case> {
    let mut all = vec![];
    if case.training {
        all.push(case.in_mode(false));
    }
    let required = subject.required(case);
    if required.len() < case.options.len() {
        all.push(Case { options: required.clone(), ..case.clone() });
    }
    for option in case.options.iter().filter(|o| !required.contains(o)) {
        let mut fewer = case.clone();
        fewer.options.retain(|o| o.name != option.name);
        all.push(fewer);
    }
    all.extend((1..case.batch()).map(|n| case.with_batch(n)));
    all
}

#[cfg(test)]
mod tests {
    use fer_abi::{NamedOption, OptionValue};

    use super::*;
    use crate::{images, property::tests::nobody};

    #[test]
    fn what_does_not_matter_is_left_out() {
        let option = |name: &str, v| NamedOption { name: name.into(), value: OptionValue::Int(v) };
        let case = Case {
            options: vec![option("a", 1), option("b", 2), option("c", 3)],
            inputs: images([4, 3, 8, 8]),
            training: true,
            seed: 5,
        };
        let fails = |_: &Subject, case: &Case| match (case.int("b"), case.batch()) {
            (Some(2), 2..) => Err(Trouble::Broken(format!("batch {}", case.batch()))),
            _ => Ok(()),
        };
        let property = Property { name: "p", cases: 1, wide: false, check: &fails };
        let (found, message) = simplest(&nobody(), &property, case, "at first".into(), &|_| {});
        assert_eq!((found.options, found.inputs), (vec![option("b", 2)], images([2, 3, 8, 8])));
        assert_eq!((found.training, found.seed, message.as_str()), (false, 5, "batch 2"));
    }
}
