//! Relations between the losses: each generalises the one before, and must give its very numbers where it should.

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Subject, component, losses::agree, truth};
use proptest::prelude::*;

fn cross_entropy() -> Subject {
    component!("loss", "cross-entropy", "loss-cross-entropy")
}

fn pdls() -> Subject {
    component!("loss", "pdls", "loss-pdls")
}

fn f_pdls() -> Subject {
    component!("loss", "f-pdls", "loss-f-pdls")
}

fn case(n: usize, classes: usize, seed: u64, options: &[(&str, f64)]) -> Case {
    let options = options.iter().map(|(name, v)| NamedOption { name: (*name).into(), value: OptionValue::Float(*v) });
    Case { options: options.collect(), inputs: truth(n, classes), training: true, seed }
}

/// Cross entropy is PDLS with alpha 1, PDLS is F-PDLS with gamma 0; values and gradients over the logits.
#[test]
fn each_loss_contains_the_simpler_one() {
    let (ce, pdls, focal) = (cross_entropy(), pdls(), f_pdls());
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) };
    proptest!(config, |(n in 1..=6usize, classes in 2..=9usize, seed: u64, alpha in 0.0..=1.0f64)| {
        let of = |options: &[(&str, f64)]| case(n, classes, seed, options);
        let pairs = [
            ((&ce, of(&[])), (&pdls, of(&[("alpha", 1.0)]))),
            ((&ce, of(&[])), (&focal, of(&[("alpha", 1.0), ("gamma", 0.0)]))),
            ((&pdls, of(&[("alpha", alpha)])), (&focal, of(&[("alpha", alpha), ("gamma", 0.0)]))),
        ];
        for ((left, here), (right, there)) in &pairs {
            let agreed = agree((left, here), (right, there));
            prop_assert!(agreed.is_ok(), "{:?}\n{here}\n{there}", agreed);
        }
    });
}

/// The focal factor takes weight from what is sure: with gamma above 0 the loss is smaller.
#[test]
fn focus_lowers_the_loss() {
    let focal = f_pdls();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) };
    proptest!(config, |(n in 1..=6usize, classes in 2..=9usize, seed: u64, gamma in 0.0..4.0f64, more in 0.01..4.0f64)| {
        let loss = |gamma| {
            let case = case(n, classes, seed, &[("gamma", gamma)]);
            fer_contract::Model::initial(&focal, &case).and_then(|model| model.run()).map(|v| v[0])
        };
        let (less, more) = (loss(gamma), loss(gamma + more));
        prop_assert!(matches!((&less, &more), (Ok(a), Ok(b)) if b < a), "{less:?} then {more:?}");
    });
}
