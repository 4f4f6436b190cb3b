//! Components with one fault each: the property that is about it must say so, and honest ones must pass.

mod fakes;

use std::sync::atomic::{AtomicU32, Ordering};

use fakes::{Body, cross_entropy, descriptor, fragment, honest, refusal};
use fer_abi::{BuildError, kind};
use fer_contract::{Domain, Failure, Family, Property, Subject, check, losses, resizers};
use fer_graph::Init;

fn fake(kind: &str, body: Body) -> Subject {
    let output = if kind == kind::LOSS { "loss" } else { "images" };
    let output = if kind == kind::BACKBONE { "features" } else { output };
    Subject::new(descriptor(kind), move |request| fragment(request, output, body))
}

fn failures(subject: &Subject, laws: &[Property<'static>]) -> Vec<Failure> {
    let mut properties: Vec<_> = Family::ALL.iter().flat_map(|f| f.properties(subject.kind())).copied().collect();
    properties.extend(laws);
    check(subject, &Domain::of(subject), &properties).failures
}

/// The names of the properties that a component breaks.
fn broken(subject: &Subject, laws: &[Property<'static>]) -> Vec<String> {
    failures(subject, laws).into_iter().map(|f| f.property).collect()
}

#[test]
fn honest_components_pass() {
    assert_eq!(failures(&fake(kind::BACKBONE, honest), &[]), []);
    assert_eq!(failures(&fake(kind::LOSS, cross_entropy), &losses::LAWS), []);
    let identity = fake(kind::RESIZER, |b, x, _| b.scale(x[0], 1.0));
    assert_eq!(
        failures(&identity, &[resizers::STARTS_AS_IDENTITY, resizers::STARTS_AS_BILINEAR, resizers::KEEPS_CONSTANTS]),
        []
    );
}

#[test]
fn faults_of_models_are_named() {
    let table: [(&str, Body); 9] = [
        // Off by a ten-thousandth.
        ("gradients are those of differences", |b, x, t| {
            let y = honest(b, x, t)?;
            b.add(y, b.scale(b.multiply(y, b.stop_gradient(y)?)?, 1e-4)?)
        }),
        ("every parameter is trained or frozen", |b, x, t| {
            b.parameter("spare", &[2], Init::Zeros)?;
            honest(b, x, t)
        }),
        ("a batch gives what its samples give alone", |b, x, t| {
            let y = honest(b, x, t)?;
            b.subtract(y, b.broadcast_in_dim(b.mean(y, &[0])?, &b.shape(y), &[1])?)
        }),
        ("the signature is that of its kind", |b, x, _| b.reduce_sum(x[0], &[2])),
        ("inferred shapes are executed shapes, of finite numbers", |b, x, t| b.log(honest(b, x, t)?)),
        ("f32 agrees with f64", |b, x, t| b.add_scalar(b.add_scalar(honest(b, x, t)?, 1e7)?, -1e7)),
        ("modes and batch sizes share their parameters", |b, x, training| {
            let y = honest(b, x, training)?;
            if training { b.multiply(y, b.parameter("extra", &[3], Init::Ones)?) } else { Ok(y) }
        }),
        ("the signature is that of its kind", |b, x, t| {
            let count = b.state("count", &[], Init::Zeros)?;
            b.update(count, b.add_scalar(count, 1.0)?)?;
            honest(b, x, t)
        }),
        ("the signature is that of its kind", |b, x, t| {
            let second = b.input("second", b.ty(x[0]))?;
            honest(b, &[b.add(x[0], second)?], t)
        }),
    ];
    for (property, body) in table {
        let found = broken(&fake(kind::BACKBONE, body), &[]);
        assert!(found.contains(&property.to_owned()), "{property:?} is not among {found:?}");
    }
}

#[test]
fn a_place_in_the_batch_is_no_feature() {
    let body: Body = |b, x, t| {
        let y = honest(b, x, t)?;
        let n = b.shape(y)[0];
        let places = b.constant(&[n, 1], (0..n).map(|i| i as f64).collect::<Vec<_>>())?;
        b.add(y, places)
    };
    let found = broken(&fake(kind::BACKBONE, body), &[]);
    assert!(found.contains(&"permuting the batch permutes the result".to_owned()), "{found:?}");
}

#[test]
fn a_frozen_parameter_needs_no_gradient() {
    let body: Body = |b, x, t| {
        let spare = b.parameter("spare", &[2], Init::Zeros)?;
        b.edit_argument(spare, |a| a.frozen = true);
        honest(b, x, t)
    };
    assert_eq!(broken(&fake(kind::BACKBONE, body), &[]), Vec::<String>::new());
}

#[test]
fn faults_of_losses_are_named() {
    let table: [(&str, Body); 6] = [
        ("value and gradient are finite for logits within 1e4", |b, x, _| {
            // Softmax without subtracting the maximum.
            let e = b.exponential(x[0])?;
            let sum = b.unreduce(b.reduce_sum(e, &[1])?, &b.shape(e), &[1])?;
            let terms = b.reduce_sum(b.multiply(x[1], b.log(b.divide(e, sum)?)?)?, &[1])?;
            b.negate(b.mean(b.multiply(terms, x[3])?, &[0])?)
        }),
        ("the loss is linear in the sample weights", |b, x, t| {
            b.multiply(cross_entropy(b, x, t)?, b.mean(x[3], &[0])?)
        }),
        ("a batch gives what its samples give alone", |b, x, t| b.divide(cross_entropy(b, x, t)?, b.mean(x[3], &[0])?)),
        ("the loss is not negative", |b, x, t| b.negate(cross_entropy(b, x, t)?)),
        ("the loss sees logits through softmax alone", |b, x, t| {
            let size = b.reduce_sum(b.multiply(x[0], x[0])?, &[1])?;
            b.add(cross_entropy(b, x, t)?, b.mean(b.multiply(b.scale(size, 1e-6)?, x[3])?, &[0])?)
        }),
        ("no class is special", |b, x, _| {
            let classes = b.shape(x[0])[1];
            let cost = b.constant(&[classes], (0..classes).map(|c| 1.0 + c as f64).collect::<Vec<_>>())?;
            let terms = b.multiply(b.multiply(x[1], b.log_softmax(x[0], -1)?)?, cost)?;
            b.negate(b.mean(b.multiply(b.reduce_sum(terms, &[1])?, x[3])?, &[0])?)
        }),
    ];
    for (property, body) in table {
        let found = broken(&fake(kind::LOSS, body), &losses::LAWS);
        assert!(found.contains(&property.to_owned()), "{property:?} is not among {found:?}");
    }
}

#[test]
fn a_resizer_that_moves_brightness_is_none_of_the_laws() {
    let laws = [resizers::KEEPS_CONSTANTS, resizers::STARTS_AS_IDENTITY, resizers::STARTS_AS_BILINEAR];
    let found = broken(&fake(kind::RESIZER, |b, x, _| b.scale(x[0], 1.0 + 1e-9)), &laws);
    assert_eq!(found, laws.map(|law| law.name));
}

#[test]
fn answers_that_differ_panic_or_say_nothing_are_caught() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let fickle = Subject::new(descriptor(kind::BACKBONE), |request| {
        let mut fragment = fragment(request, "features", honest)?;
        fragment.name = format!("fake{}", COUNT.fetch_add(1, Ordering::Relaxed)).into();
        Ok(fragment)
    });
    assert_eq!(broken(&fickle, &[]), ["the same request gives the same answer"]);

    let careless = Subject::new(descriptor(kind::BACKBONE), |request| {
        let mut request = request.clone();
        request.options = vec![].into();
        fragment(&request, "features", honest)
    });
    assert_eq!(broken(&careless, &[]), ["what the schema forbids is refused"]);

    let refuses = |error: BuildError| {
        let subject = Subject::new(descriptor(kind::BACKBONE), move |_| Err(error.clone()));
        failures(&subject, &[]).swap_remove(0).message
    };
    assert_eq!(refuses(refusal("", "")), "refuses without saying why: the message is empty");
    assert_eq!(refuses(BuildError { panicked: true, ..refusal("index 3", "") }), "index 3");
    assert!(refuses(refusal("not today", "")).contains("no-such-option"), "a blanket refusal blames no option");

    let stubborn = Subject::new(descriptor(kind::BACKBONE), |_| Err(refusal("not today", "")));
    let report = check(&stubborn, &Domain::of(&stubborn), Family::Gradients.properties(kind::BACKBONE));
    assert_eq!(report.unexamined[0].1, "not today");
}

/// The report names the component, the property, and the smallest case.
#[test]
fn a_failure_reads_as_a_reproduction() {
    let found = failures(&fake(kind::RESIZER, |b, x, _| b.log(x[0])), &[]);
    let text = found.iter().map(ToString::to_string).find(|t| t.contains("finite numbers")).expect("log of a negative");
    let (head, case) = text.split_once('\n').expect("a case below the message");
    assert_eq!(
        head,
        "resizer \"fake\" breaks \"inferred shapes are executed shapes, of finite numbers\": \"images\" holds NaN for ordinary inputs"
    );
    assert!(
        case.starts_with("  options ()\n  inputs  (images: f[1,3,16,16])\n  mode    evaluation\n  seed "),
        "{case}"
    );
}
