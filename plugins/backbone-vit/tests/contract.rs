//! The contracts of `vit` and `deit` on models of a few thousand parameters.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Choices, Contract, Domain, Setup, Subject, absent, component, contract, images};
use proptest::prelude::*;

fn int(name: &str, value: usize) -> NamedOption {
    NamedOption { name: name.into(), value: OptionValue::Int(value as i64) }
}

/// One or two blocks, and images that the patches divide; where the side is promised, they are square.
fn tiny(rest: Choices) -> impl Strategy<Value = Setup> {
    let sizes = (1..=4usize, 1..=3usize, 1..=3usize, 1..=2usize, 1..=2usize, 2..=3usize, any::<bool>());
    (1..=2usize, sizes, rest.strategy()).prop_map(
        |(n, (patch, rows, columns, depth, heads, width, promised), mut options)| {
            let [h, w] = [patch * rows, patch * if promised { rows } else { columns }];
            options.extend([int("patch_size", patch), int("depth", depth), int("num_heads", heads)]);
            options.push(int("embed_dim", 2 * width * heads));
            options.extend(promised.then(|| int("img_size", h)));
            Setup { options, inputs: images([n, 3, h, w]) }
        },
    )
}

fn transformer(subject: Subject, but: impl Fn(Choices) -> Choices) -> Contract {
    let sizes = ["img_size", "patch_size", "embed_dim", "depth", "num_heads"];
    let ordinary = sizes.iter().fold(Choices::ordinary(subject.options()), |all, name| all.set(name, absent()));
    let ordinary = but(ordinary.floats("mlp_ratio", 0.5..=3.0));
    // Sides that the default patch divides, and some that it does not.
    let sides = prop::sample::select(vec![1usize, 4, 16, 20, 32, 48, 64]);
    let shapes = (1..=2usize, 1..=4usize, sides.clone(), sides).prop_map(|(n, c, h, w)| images([n, c, h, w]));
    let wide = Choices::wide(subject.options());
    Contract { domain: Domain::new(tiny(ordinary)).with_wide(wide, shapes), subject, laws: vec![] }
}

mod vit {
    use super::*;

    fn vit() -> Contract {
        transformer(component!("backbone", "vit"), |choices| choices)
    }

    contract!(vit);
}

mod deit {
    use super::*;

    fn deit() -> Contract {
        transformer(component!("backbone", "deit"), |choices| choices.set("distilled", absent()))
    }

    contract!(deit);
}

mod distilled_deit {
    use super::*;

    fn distilled_deit() -> Contract {
        transformer(component!("backbone", "deit"), |choices| {
            let distilled = Just(Some(OptionValue::Bool(true)));
            choices.set("distilled", distilled).set("global_pool", absent()).set("fc_norm", absent())
        })
    }

    contract!(distilled_deit);
}
