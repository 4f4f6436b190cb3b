//! The contract of `stn`, its start, and its number of parameters.

use fer_contract::{Case, Choices, Contract, Domain, Property, component, contract, images, resizers};
use proptest::prelude::*;

const PROMISED: Property<'static> = Property {
    name: "keeps the size, from 20 x 20 on",
    cases: 24,
    wide: true,
    check: &|subject, case| resizers::size_is(subject, case, |_, [h, w]| (h.min(w) >= 20).then_some([h, w])),
};

fn stn() -> Contract {
    let subject = component!("resizer", "stn");
    let shapes = |sides: std::ops::RangeInclusive<usize>| {
        (1..=2usize, 1..=3usize, sides.clone(), sides).prop_map(|(n, c, h, w)| images([n, c, h, w]))
    };
    let ordinary = Choices::ordinary(subject.options()).ints("hidden", 1..=8);
    let domain = Domain::product(ordinary, shapes(20..=26)).with_wide(Choices::wide(subject.options()), shapes(1..=40));
    Contract { subject, domain, laws: vec![PROMISED] }
}

contract!(stn);

/// PyTorch's tutorial network on 384 x 384 pixels.
#[test]
fn has_the_tutorial_s_number_of_parameters() {
    let case = Case { options: vec![], inputs: images([1, 3, 384, 384]), training: false, seed: 0 };
    assert_eq!(stn().subject.graph(&case).unwrap().parameter_count(), 2_711_904);
}
