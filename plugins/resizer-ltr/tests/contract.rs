//! The contract of `ltr`, the size it promises, and its number of parameters.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Choices, Contract, Domain, Property, component, contract, images, resizers};
use proptest::prelude::*;

const PROMISED: Property<'static> = Property {
    name: "gives the asked size, or refuses two",
    cases: 48,
    wide: true,
    check: &|subject, case| {
        resizers::size_is(subject, case, |case, sides| match (case.int("size"), case.float("scale")) {
            (Some(size), None) => Some([size; 2]),
            (None, Some(scale)) => {
                let sides = sides.map(|side| (side as f64 * scale).floor() as usize);
                sides.iter().all(|&side| side > 0).then_some(sides)
            }
            _ => None,
        })
    },
};

fn ltr() -> Contract {
    let subject = component!("resizer", "ltr");
    let free = || Choices::ordinary(subject.options()).ints("channels", 1..=4).ints("blocks", 0..=2);
    let by_size = free().ints("size", 2..=12).set("scale", fer_contract::absent());
    let by_scale = free().floats("scale", 0.3..=1.5).set("size", fer_contract::absent());
    let shapes = (2..=3usize, 1..=3usize, 8..=12usize, 8..=12usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let domain = |options: Choices| Domain::product(options, shapes.clone()).ordinary;
    let ordinary = Domain::new(prop_oneof![domain(by_size), domain(by_scale)]);
    let domain = ordinary.with_wide(Choices::wide(subject.options()), shapes.clone());
    Contract { subject, domain, laws: vec![PROMISED] }
}

contract!(ltr);

/// Talebi & Milanfar's public implementation with r = 1, n = 16.
#[test]
fn has_the_paper_s_number_of_parameters() {
    let options = vec![NamedOption { name: "size".into(), value: OptionValue::Int(224) }];
    let case = Case { options, inputs: images([1, 3, 384, 384]), training: false, seed: 0 };
    assert_eq!(ltr().subject.graph(&case).unwrap().parameter_count(), 12_083);
}
