//! Deliberately wrong components, as a check meets them: each is caught by the property that is about its fault, and by no other
//! one before it; its sound twin passes. The table stands in docs/plugin-check.md. Mutants that need a library of their own (a
//! hang, an abort, memory that fills up) are in tests/mutants.

mod fakes;

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU32, Ordering},
};

use fakes::{Body, cross_entropy, descriptor, fragment, honest, refusal};
use fer_abi::{
    Attribute, Descriptor, NamedAttribute, OptionSpec, OptionValue,
    abi_stable::std_types::{RSome, RVec},
    kind, law, option_kind,
};
use fer_contract::{Case, Family, Subject, Thoroughness, Verdict, Watch, examine};
use fer_graph::{Builder, Init, Result, Value};

fn claim(name: &str, text: &str) -> NamedAttribute {
    let value = if text.is_empty() { Attribute::Bool(true) } else { Attribute::Text(text.into()) };
    NamedAttribute { name: name.into(), value }
}

fn component(kind: &str, claims: &[(&str, &str)], body: Body) -> Subject {
    let output = match kind {
        kind::LOSS => "loss",
        kind::BACKBONE => "features",
        _ => "images",
    };
    let properties: Vec<NamedAttribute> = claims.iter().map(|(name, text)| claim(name, text)).collect();
    let descriptor = Descriptor { properties: properties.into(), ..descriptor(kind) };
    Subject::new(descriptor, move |request| fragment(request, output, body))
}

/// What a check finds, in its order: properties that do not hold, and those that could not be looked at.
#[derive(Default)]
struct Found {
    failed: RefCell<Vec<String>>,
    refused: RefCell<Vec<String>>,
}

impl Watch for Found {
    fn begins(&self, _: Family, _: &str) {}

    fn case(&self, _: &Case) {}

    fn ends(&self, _: Family, property: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Broken(failure) => self.failed.borrow_mut().push(format!("{property}: {}", failure.message)),
            Verdict::Refused(said) => self.refused.borrow_mut().push(format!("{property}: {said}")),
            Verdict::Held(_) | Verdict::Idle(_) => {}
        }
    }
}

fn found(subject: &Subject) -> (Vec<String>, Vec<String>) {
    let found = Found::default();
    examine(subject, &Thoroughness::quick(1111), &found);
    (found.failed.into_inner(), found.refused.into_inner())
}

#[track_caller]
fn passes(name: &str, subject: &Subject) {
    assert_eq!(found(subject), (vec![], vec![]), "the sound {name}");
}

/// The first property that fails is the one that is about the fault.
#[track_caller]
fn caught(name: &str, subject: &Subject, by: &str) {
    let (failed, _) = found(subject);
    let first = failed.first().map_or("nothing", String::as_str);
    assert!(first.starts_with(&format!("{by}: ")), "{name} should be caught by {by:?} and is by {failed:#?}");
}

fn identity(b: &Builder, x: &[Value], _: bool) -> Result<Value> {
    b.scale(x[0], 1.0)
}

/// Adds the sum of a parameter's numbers, times something small, to a value.
fn with_parameter(b: &Builder, x: Value, name: &str, shape: &[usize], init: Init) -> Result<Value> {
    let axes: Vec<usize> = (0..shape.len()).collect();
    let sum = b.reduce_sum(b.parameter(name, shape, init)?, &axes)?;
    b.add(x, b.broadcast_in_dim(b.scale(sum, 1e-3)?, &b.shape(x), &[])?)
}

const SOFTMAX_LOSS: &[(&str, &str)] =
    &[(law::NON_NEGATIVE, ""), (law::SHIFT_INVARIANT, ""), (law::CLASS_SYMMETRIC, ""), (law::LEAST_AT_TRUTH, "")];
const SAME: &[(&str, &str)] = &[
    (law::OUTPUT_SIZE, "same"),
    (law::KEEPS_CONSTANTS, ""),
    (law::STARTS_AS_IDENTITY, ""),
    (law::STARTS_AS_BILINEAR, ""),
];
const TORCH: &[(&str, &str)] = &[(law::TORCH_CONVOLUTIONS, ""), (law::INITIAL_DEVIATION, "*.table 0.02")];

fn started(b: &Builder, x: &[Value], convolution: Init, table: Init) -> Result<Value> {
    let y = with_parameter(b, x[0], "conv.weight", &[8, 3, 3, 3], convolution)?;
    with_parameter(b, y, "a.table", &[16, 16], table)
}

#[test]
fn sound_twins_pass() {
    passes("backbone", &component(kind::BACKBONE, &[], honest));
    passes("loss", &component(kind::LOSS, SOFTMAX_LOSS, cross_entropy));
    passes("resizer", &component(kind::RESIZER, SAME, identity));
    let torch: Body = |b, x, _| started(b, x, Init::torch_default(27), Init::trunc_normal(0.02));
    passes("start", &component(kind::RESIZER, TORCH, torch));
}

#[test]
fn wrong_backbones_are_caught() {
    let mutants: [(&str, &str, Body); 8] = [
        ("a gradient that is stopped", "gradients are those of differences", |b, x, t| {
            let y = honest(b, x, t)?;
            b.multiply(y, b.stop_gradient(y)?)
        }),
        ("a parameter that does nothing", "every parameter is trained or frozen", |b, x, t| {
            b.parameter("spare", &[2], Init::Zeros)?;
            honest(b, x, t)
        }),
        ("batch statistics in evaluation", "a batch gives what its samples give alone", |b, x, t| {
            let y = honest(b, x, t)?;
            b.subtract(y, b.broadcast_in_dim(b.mean(y, &[0])?, &b.shape(y), &[1])?)
        }),
        ("features that are a map", "the signature is that of its kind", |b, x, _| b.reduce_sum(x[0], &[2])),
        ("features that are summed over the batch", "the signature is that of its kind", |b, x, t| {
            let sum = b.reduce_sum(honest(b, x, t)?, &[0])?;
            b.broadcast_in_dim(sum, &[1, b.shape(sum)[0]], &[1])
        }),
        ("a logarithm of what may be negative", "inferred shapes are executed shapes, of finite numbers", |b, x, t| {
            b.log(honest(b, x, t)?)
        }),
        ("a difference of large numbers", "f32 agrees with f64", |b, x, t| {
            b.add_scalar(b.add_scalar(honest(b, x, t)?, 1e7)?, -1e7)
        }),
        ("a parameter of training alone", "modes and batch sizes share their parameters", |b, x, training| {
            let y = honest(b, x, training)?;
            if training { b.multiply(y, b.parameter("extra", &[3], Init::Ones)?) } else { Ok(y) }
        }),
    ];
    for (name, by, body) in mutants {
        caught(name, &component(kind::BACKBONE, &[], body), by);
    }
}

#[test]
fn wrong_losses_are_caught() {
    let mutants: [(&str, &str, Body); 8] = [
        ("a loss that may be negative", "the loss is not negative", |b, x, t| {
            b.subtract(cross_entropy(b, x, t)?, b.scale(b.mean(x[3], &[0])?, 3.0)?)
        }),
        ("softmax without its maximum", "value and gradient are finite for logits within 1e4", |b, x, _| {
            let e = b.exponential(x[0])?;
            let sum = b.unreduce(b.reduce_sum(e, &[1])?, &b.shape(e), &[1])?;
            let terms = b.reduce_sum(b.multiply(x[1], b.log(b.divide(e, sum)?)?)?, &[1])?;
            b.negate(b.mean(b.multiply(terms, x[3])?, &[0])?)
        }),
        ("weights that are applied twice", "the loss is linear in the sample weights", |b, x, _| {
            let terms = b.reduce_sum(b.multiply(x[1], b.log_softmax(x[0], -1)?)?, &[1])?;
            b.negate(b.mean(b.multiply(b.multiply(terms, x[3])?, x[3])?, &[0])?)
        }),
        ("weights that are ignored", "the loss is linear in the sample weights", |b, x, _| {
            let terms = b.reduce_sum(b.multiply(x[1], b.log_softmax(x[0], -1)?)?, &[1])?;
            b.negate(b.mean(terms, &[0])?)
        }),
        ("a sum instead of a mean", "a batch gives what its samples give alone", |b, x, _| {
            let terms = b.reduce_sum(b.multiply(x[1], b.log_softmax(x[0], -1)?)?, &[1])?;
            b.negate(b.reduce_sum(b.multiply(terms, x[3])?, &[0])?)
        }),
        ("logits that are squared", "the loss sees logits through softmax alone", |b, x, t| {
            let size = b.reduce_sum(b.multiply(x[0], x[0])?, &[1])?;
            b.add(cross_entropy(b, x, t)?, b.mean(b.multiply(b.scale(size, 1e-6)?, x[3])?, &[0])?)
        }),
        ("classes with costs", "no class is special", |b, x, _| {
            let classes = b.shape(x[0])[1];
            let cost = b.constant(&[classes], (0..classes).map(|c| 1.0 + c as f64).collect::<Vec<_>>())?;
            let t = b.multiply(x[1], b.broadcast_in_dim(cost, &b.shape(x[1]), &[1])?)?;
            let terms = b.reduce_sum(b.multiply(t, b.log_softmax(x[0], -1)?)?, &[1])?;
            b.negate(b.mean(b.multiply(terms, x[3])?, &[0])?)
        }),
        ("a focal factor", "the loss is least at the truth", |b, x, _| {
            let log_p = b.log_softmax(x[0], -1)?;
            let rest = b.add_scalar(b.negate(b.exponential(log_p)?)?, 1.0)?;
            let terms = b.reduce_sum(b.multiply(b.multiply(x[1], log_p)?, b.multiply(rest, rest)?)?, &[1])?;
            b.negate(b.mean(b.multiply(terms, x[3])?, &[0])?)
        }),
    ];
    for (name, by, body) in mutants {
        caught(name, &component(kind::LOSS, SOFTMAX_LOSS, body), by);
    }
}

#[test]
fn wrong_resizers_are_caught() {
    let other_size: Body = |b, x, _| {
        let [h, w] = [b.shape(x[0])[2], b.shape(x[0])[3]];
        b.resize(x[0], [h + 1, w])
    };
    caught("another size", &component(kind::RESIZER, SAME, other_size), "gives the size it promises");
    let brighter: Body = |b, x, _| b.scale(x[0], 1.0 + 1e-6);
    caught("a constant that changes", &component(kind::RESIZER, SAME, brighter), "a constant image stays constant");
    let blurred: Body = |b, x, _| {
        b.resize(b.resize(x[0], [b.shape(x[0])[2] / 2, b.shape(x[0])[3] / 2])?, [b.shape(x[0])[2], b.shape(x[0])[3]])
    };
    caught("a blur", &component(kind::RESIZER, SAME, blurred), "starts as the identity");
    let wild: Body = |b, x, _| started(b, x, Init::Normal { mean: 0.0, std: 1.0 }, Init::trunc_normal(0.02));
    caught("wild convolutions", &component(kind::RESIZER, TORCH, wild), "convolutions start as PyTorch's");
    let narrow: Body = |b, x, _| started(b, x, Init::torch_default(27), Init::trunc_normal(0.01));
    caught("a narrow table", &component(kind::RESIZER, TORCH, narrow), "parameters start with the deviation it claims");
    let takes = component(kind::RESIZER, &[(law::TAKES, "1x3x8x8 with depth: 2")], identity);
    caught("a claim of an option that is not there", &takes, "its claims can be read");
    let strict: Body = |b, x, _| if b.shape(x[0])[0] == 7 { b.reduce_sum(x[0], &[9]) } else { b.scale(x[0], 1.0) };
    let takes = component(kind::RESIZER, &[(law::TAKES, "7x3x8x8")], strict);
    caught("a refusal of what it claims to take", &takes, "takes what it claims to take");
    let other_kind = component(kind::RESIZER, &[(law::NON_NEGATIVE, "")], identity);
    caught("a claim of another kind", &other_kind, "its claims can be read");
}

fn option(default: i64, max: f64) -> OptionSpec {
    OptionSpec {
        name: "level".into(),
        kind: option_kind::INT.into(),
        optional: false,
        default: RSome(OptionValue::Int(default)),
        min: RSome(1.0),
        max: RSome(max),
        choices: RVec::new(),
        doc: "".into(),
    }
}

/// A component whose option scales its features; `read` says what the request's options mean.
fn with_option(
    spec: OptionSpec,
    read: impl Fn(&[fer_abi::NamedOption]) -> std::result::Result<i64, fer_abi::BuildError> + Send + Sync + 'static,
) -> Subject {
    let descriptor = Descriptor { options: vec![spec].into(), ..descriptor(kind::BACKBONE) };
    Subject::new(descriptor, move |request| {
        let level = read(&request.options)?;
        let plain = fer_abi::BuildRequest { options: vec![].into(), ..request.clone() };
        let mut fragment = fragment(&plain, "features", honest)?;
        fragment.name = format!("level{level}").into();
        Ok(fragment)
    })
}

/// As `#[derive(Options)]` reads it.
fn strictly(options: &[fer_abi::NamedOption], own: i64) -> std::result::Result<i64, fer_abi::BuildError> {
    let mut level = own;
    for option in options {
        match &option.value {
            OptionValue::Int(v) if option.name == "level" && (1..=9).contains(v) => level = *v,
            _ => {
                return Err(fer_abi::BuildError {
                    help: "give level".into(),
                    ..refusal("not from 1 to 9", &option.name)
                });
            }
        }
    }
    Ok(level)
}

#[test]
fn wrong_answers_to_options_are_caught() {
    passes("option", &with_option(option(2, 9.0), |options| strictly(options, 2)));
    let own_default = with_option(option(2, 9.0), |options| strictly(options, 3));
    caught("another default than the schema's", &own_default, "options keep their meaning");
    let careless = with_option(option(2, 9.0), |_| Ok(1));
    caught("options that are not looked at", &careless, "what the schema forbids is refused");
    let refused_default = with_option(option(12, 9.0), |options| strictly(options, 2));
    caught("a default out of its own range", &refused_default, "defaults build, or the user is told what to give");
    let panics = with_option(option(2, 9.0), |options| match strictly(options, 2)? {
        9 => Err(fer_abi::BuildError { panicked: true, ..refusal("index out of bounds", "") }),
        level => Ok(level),
    });
    caught("a panic at the largest value", &panics, "building is total");
    let last: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
    let counts = with_option(option(2, 9.0), move |options| {
        strictly(options, 2)?;
        Ok(i64::from(last.fetch_add(1, Ordering::Relaxed)))
    });
    caught("a counter", &counts, "the same request gives the same answer");
}

/// Fast when asked in turn, wrong when asked together.
#[test]
fn state_between_threads_is_caught() {
    let inside: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
    let shared = with_option(option(2, 9.0), move |options| {
        let level = strictly(options, 2)?;
        let others = inside.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(2));
        inside.fetch_sub(1, Ordering::SeqCst);
        Ok(level + i64::from(others))
    });
    caught("a shared buffer", &shared, "the same request gives the same answer");
}

/// What nobody could look at is not said to hold.
#[test]
fn a_component_that_refuses_everything_is_not_examined() {
    let stubborn = Subject::new(descriptor(kind::BACKBONE), |_| Err(refusal("not today", "")));
    let (_, refused) = found(&stubborn);
    assert!(refused.contains(&"gradients are those of differences: not today".to_owned()), "{refused:?}");
    let huge: Body = |b, x, _| {
        let n = b.shape(x[0])[0];
        let weight = b.parameter("weight", &[3, 100_000], Init::Zeros)?;
        b.matmul(b.reshape(b.mean(x[0], &[2, 3])?, &[n, 3])?, weight)
    };
    let (failed, refused) = found(&component(kind::BACKBONE, &[], huge));
    let gradients = refused.iter().find(|said| said.starts_with("gradients are those")).expect("it is too large");
    assert!(failed.is_empty() && gradients.contains("too large to be run here"), "{failed:?} {gradients}");
}
