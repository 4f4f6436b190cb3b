//! The contract of `cross-entropy`, and where it is least.

use fer_contract::{Choices, Contract, Domain, Property, Setup, check, component, contract, losses, truth};
use proptest::prelude::*;

fn small() -> impl Strategy<Value = fer_contract::Inputs> {
    (1..=5usize, 2..=9usize).prop_map(|(n, classes)| truth(n, classes))
}

fn cross_entropy() -> Contract {
    let subject = component!("loss", "cross-entropy");
    let domain = Domain::product(Choices::wide(subject.options()), small());
    Contract { subject, domain, laws: vec![] }
}

contract!(cross_entropy);

#[test]
fn is_least_at_the_truth() {
    let domain = Domain::new(small().prop_map(|inputs| Setup { options: vec![], inputs }));
    let least = Property { name: "least at the truth", cases: 24, wide: false, check: &losses::least_at_the_truth };
    let report = check(&cross_entropy().subject, &domain, &[least]);
    assert_eq!((report.failures, report.unexamined), (vec![], vec![]));
}
