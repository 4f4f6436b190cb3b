//! The contract of `bilinear`, and the size it promises.

use fer_contract::{Choices, Contract, Domain, Property, component, contract, images, resizers};
use proptest::prelude::*;

const PROMISED: Property<'static> = Property {
    name: "gives a square of the asked size",
    cases: 24,
    wide: true,
    check: &|subject, case| resizers::size_is(subject, case, |case, _| case.int("size").map(|side| [side; 2])),
};

fn bilinear() -> Contract {
    let subject = component!("resizer", "bilinear");
    let shapes = (1..=3usize, 1..=3usize, 1..=16usize, 1..=16usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let ordinary = Choices::ordinary(subject.options()).ints("size", 1..=24);
    let domain = Domain::product(ordinary, shapes.clone()).with_wide(Choices::wide(subject.options()), shapes);
    Contract { subject, domain, laws: vec![PROMISED] }
}

contract!(bilinear);
