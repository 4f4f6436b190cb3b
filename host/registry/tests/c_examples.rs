//! The examples in C and C++, compiled as their authors would, held to the contract of their kinds and to plain loops.

mod common;

use std::{path::PathBuf, sync::LazyLock};

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{
    Case, Choices, Contract, Domain, Model, Property, Subject, Trouble, contract, images, losses, resizers, truth,
};
use proptest::prelude::*;

static LOSS: LazyLock<PathBuf> = LazyLock::new(|| example("loss_sce.c", "example_loss_sce"));
static RESIZER: LazyLock<PathBuf> = LazyLock::new(|| example("resizer_strided.cpp", "example_resizer_strided"));

fn example(file: &str, name: &str) -> PathBuf {
    common::compile(&common::repository().join("plugins/examples-c").join(file), name, &[])
}

fn sce() -> Subject {
    common::subject(&LOSS, "loss", "sce")
}

fn strided() -> Subject {
    common::subject(&RESIZER, "resizer", "strided")
}

fn option(name: &str, value: OptionValue) -> NamedOption {
    NamedOption { name: name.into(), value }
}

mod loss {
    use super::*;

    fn subject() -> Contract {
        let subject = sce();
        Contract { domain: Domain::of(&subject), subject, laws: losses::LAWS.to_vec() }
    }

    contract!(subject);
}

mod resizer {
    use super::*;

    const PROMISED: Property<'static> = Property {
        name: "gives the images a whole number of times smaller, or refuses",
        cases: 48,
        wide: true,
        check: &|subject, case| {
            resizers::size_is(subject, case, |case, [height, width]| {
                let factor = case.int("factor").unwrap_or(2);
                (factor <= height.min(width)).then(|| [height / factor, width / factor])
            })
        },
    };

    fn subject() -> Contract {
        let subject = strided();
        let shapes = || (1..=3usize, 1..=3usize, 4..=9usize, 4..=9usize).prop_map(|(n, c, h, w)| images([n, c, h, w]));
        let ordinary = Choices::ordinary(subject.options()).ints("factor", 1..=4);
        let domain = Domain::product(ordinary, shapes()).with_wide(Choices::wide(subject.options()), shapes());
        Contract { domain, subject, laws: vec![PROMISED] }
    }

    contract!(subject);
}

/// The paper's formula in f64, from the same numbers.
fn symmetric(values: &fer_contract::Values, [n, k]: [usize; 2], [alpha, beta, log_zero]: [f64; 3]) -> f64 {
    let of = |name: &str| values[name].to_f64();
    let (logits, targets, weights) = (of("logits"), of("targets"), of("weights"));
    let mut total = 0.0;
    for i in 0..n {
        let row = &logits[i * k..(i + 1) * k];
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = most + row.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
        for (c, x) in row.iter().enumerate() {
            let (log_p, t) = (x - log_sum, targets[i * k + c]);
            let log_t = if t > 0.0 { t.ln().max(log_zero) } else { log_zero };
            total -= weights[i] * (alpha * t * log_p + beta * log_p.exp() * log_t);
        }
    }
    total / n as f64
}

#[test]
fn the_loss_is_the_paper_s() {
    let subject = sce();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) };
    proptest!(config, |(n in 1..=6usize, k in 2..=9usize, seed: u64, alpha in 0.0..6.0f64, beta in 0.01..2.0f64,
                        log_zero in -30.0..-1.0f64)| {
        let float = |name, value| option(name, OptionValue::Float(value));
        let options = vec![float("alpha", alpha), float("beta", beta), float("log_zero", log_zero)];
        let model = Model::initial(&subject, &Case { options, inputs: truth(n, k), training: true, seed });
        let model = model.expect("builds");
        let expected = symmetric(&model.values, [n, k], [alpha, beta, log_zero]);
        let found = model.run().expect("runs")[0];
        // Both are f64 and differ in the order of at most 54 sums.
        prop_assert!((found - expected).abs() <= 1e-12 * (1.0 + expected.abs()), "{found} and not {expected}");
    });
}

#[test]
fn the_resizer_is_a_strided_convolution_that_begins_as_a_mean() {
    let subject = strided();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) };
    proptest!(config, |(n in 1..=2usize, channels in 1..=3usize, h in 3..=8usize, w in 3..=8usize, f in 1..=3usize,
                        mixed: bool, moved: bool, seed: u64)| {
        let colours = if mixed { "mixed" } else { "separate" };
        let options = vec![option("factor", OptionValue::Int(f as i64)), option("colours", OptionValue::Text(colours.into()))];
        let case = Case { options, inputs: images([n, channels, h, w]), training: false, seed };
        let model = if moved { Model::moved(&subject, &case) } else { Model::initial(&subject, &case) };
        let model = model.expect("builds");
        let (x, kernel) = (model.values["images"].to_f64(), model.values["conv.weight"].to_f64());
        let found = model.run().expect("runs");
        let (rows, columns) = (h / f, w / f);
        prop_assert_eq!(found.len(), n * channels * rows * columns);
        let fan = if mixed { channels } else { 1 };
        for (at, &found) in found.iter().enumerate() {
            let (column, row) = (at % columns, at / columns % rows);
            let (to, image) = (at / columns / rows % channels, at / columns / rows / channels);
            let (mut sum, mut mean) = (0.0, 0.0);
            for from in 0..fan {
                let channel = if mixed { from } else { to };
                for tap in 0..f * f {
                    let pixel = x[((image * channels + channel) * h + row * f + tap / f) * w + column * f + tap % f];
                    sum += pixel * kernel[(to * fan + from) * f * f + tap];
                    mean += if channel == to { pixel / (f * f) as f64 } else { 0.0 };
                }
            }
            // Both are f64 and differ in the order of at most 27 sums of numbers near 1.
            prop_assert!((found - sum).abs() <= 1e-12 * (1.0 + sum.abs()), "{found} and not {sum}");
            // First values are kept in f32: 1 / 9 is wrong by up to 2^-24 of it.
            prop_assert!(moved || (found - mean).abs() <= 1e-6 * (1.0 + mean.abs()), "{found} and not the mean {mean}");
        }
    });
}

#[test]
fn what_a_schema_cannot_say_names_the_option() {
    let refusal = |subject: &Subject, options, inputs| {
        let case = Case { options, inputs, training: true, seed: 0 };
        assert!(matches!(subject.graph(&case), Err(Trouble::Skipped(_))));
        subject.ask(&subject.request(&case)).expect_err("refused")
    };
    let zero = |name| option(name, OptionValue::Float(0.0));
    let error = refusal(&sce(), vec![zero("alpha"), zero("beta")], truth(2, 3));
    assert_eq!((error.option.as_str(), error.help.as_str(), error.panicked), ("beta", "beta: 1.0", false));
    let error = refusal(&strided(), vec![option("factor", OptionValue::Int(9))], images([1, 3, 4, 12]));
    assert_eq!(error.message, "factor is 9, and the images are 4 x 12");
    assert_eq!((error.option.as_str(), error.help.as_str()), ("factor", "a factor of at most 4"));
    // Past the schema, which the host checks before it asks: a plugin in C need not expect it.
    for (given, part) in [
        (option("alpha", OptionValue::Text("a".into())), "alpha must be a number, 0 or more"),
        (option("gamma", OptionValue::Float(1.0)), "sce has no option \"gamma\""),
    ] {
        let error = refusal(&sce(), vec![given.clone()], truth(2, 3));
        assert_eq!((error.message.as_str(), error.option.as_str()), (part, given.name.as_str()));
    }
}

#[test]
fn the_schema_is_what_a_plugin_in_rust_would_declare() {
    let (loss, resizer) = (sce(), strided());
    let [alpha, beta, log_zero] = loss.options() else { panic!("three options") };
    assert_eq!((alpha.name.as_str(), beta.kind.as_str()), ("alpha", "float"));
    assert_eq!((alpha.min.into_option(), alpha.max.into_option(), alpha.optional), (Some(0.0), None, false));
    assert_eq!((log_zero.min.into_option(), log_zero.max.into_option()), (Some(-60.0), Some(-1.0)));
    assert_eq!(log_zero.default.clone().into_option(), Some(OptionValue::Float(-4.0)));
    let [factor, colours] = resizer.options() else { panic!("two options") };
    assert_eq!(factor.default.clone().into_option(), Some(OptionValue::Int(2)));
    assert_eq!(colours.choices.iter().map(|word| word.as_str()).collect::<Vec<_>>(), ["separate", "mixed"]);
    assert!(colours.min.is_none() && !colours.doc.is_empty());
}

/// The page's first file, compiled as it stands there, gives what it says.
#[test]
fn the_page_s_plugin_works() {
    let page = std::fs::read_to_string(common::repository().join("docs/c-plugins.md")).expect("the page");
    let (_, rest) = page.split_once("```c\n").expect("a block of C");
    let (code, _) = rest.split_once("```").expect("its end");
    let source = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page_half.c");
    std::fs::write(&source, code).expect("written");
    let half = common::subject(&common::compile(&source, "page_half", &[]), "resizer", "half");
    let case = Case { options: vec![], inputs: images([1, 1, 2, 4]), training: false, seed: 7 };
    let model = Model::initial(&half, &case).expect("builds");
    let x = model.values["images"].to_f64();
    let mean = |first: usize| (x[first] + x[first + 1] + x[first + 4] + x[first + 5]) / 4.0;
    for (found, expected) in model.run().expect("runs").into_iter().zip([mean(0), mean(2)]) {
        // Four sums in f64.
        assert!((found - expected).abs() <= 1e-14, "{found} and not {expected}");
    }
}
