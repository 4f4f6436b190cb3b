//! The contract of `sr`, the size it promises, and its start.

use fer_contract::{Choices, Contract, Domain, Property, component, contract, images, resizers};
use proptest::prelude::*;

const PROMISED: Property<'static> = Property {
    name: "enlarges by 2, 4 or 8",
    cases: 24,
    wide: true,
    check: &|subject, case| {
        resizers::size_is(subject, case, |case, [h, w]| {
            let scale = case.int("scale").unwrap_or(2);
            [2, 4, 8].contains(&scale).then_some([h * scale, w * scale])
        })
    },
};

fn sr() -> Contract {
    let subject = component!("resizer", "sr");
    let ordinary = Choices::ordinary(subject.options()).ints("channels", 1..=6).ints("blocks", 0..=2);
    // Most integers are no scale, which the wide domain tries.
    let ordinary =
        ordinary.set("scale", fer_contract::given(prop::sample::select(vec![2, 4]), fer_abi::OptionValue::Int));
    let shapes = (1..=3usize, 1..=3usize, 4..=8usize, 4..=8usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let domain = Domain::product(ordinary, shapes.clone()).with_wide(Choices::wide(subject.options()), shapes);
    Contract { subject, domain, laws: vec![PROMISED] }
}

contract!(sr);
