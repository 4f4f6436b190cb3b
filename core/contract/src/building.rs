//! Being built: any request gets a well-formed fragment or a clear refusal, and always the same one.

use fer_abi::{BuildRequest, NamedOption, OptionSpec, OptionValue, option_kind};
use fer_graph::{DType, PrintOptions, TensorType, export, import, parse, print, renumber};

use crate::{
    Case, Outcome, Property, Subject, Trouble,
    case::{images, truth},
    ensure,
};

pub const PROPERTIES: &[Property<'static>] = &[
    Property { name: "building is total", cases: 128, wide: true, check: &total },
    Property { name: "the same request gives the same answer", cases: 24, wide: true, check: &deterministic },
    Property { name: "what the schema forbids is refused", cases: 4, wide: false, check: &forbidden },
    Property { name: "malformed inputs do no harm", cases: 4, wide: false, check: &malformed },
    Property { name: "defaults build, or the user is told what to give", cases: 1, wide: false, check: &defaults },
    Property { name: "a graph survives text and the plugin boundary", cases: 16, wide: false, check: &round_trips },
];

/// A refusal is as good as a graph; both have been looked at by [`Subject::graph`].
fn total(subject: &Subject, case: &Case) -> Outcome {
    clear(subject, &subject.request(case)).map(|_| ())
}

/// Whether the component accepts. A panic, a refusal without a word or a broken fragment is trouble.
fn clear(subject: &Subject, request: &BuildRequest) -> Outcome<bool> {
    match subject.graph_of(request) {
        Ok(_) => Ok(true),
        Err(Trouble::Skipped(_)) => Ok(false),
        Err(broken) => Err(broken),
    }
}

fn deterministic(subject: &Subject, case: &Case) -> Outcome {
    let request = subject.request(case);
    let (one, two) = (subject.ask(&request), subject.ask(&request));
    ensure(one == two, || "two answers to one request differ".into())
}

/// An unknown option, a number outside its bounds, another kind of value: each must be refused, by the option's name.
fn forbidden(subject: &Subject, case: &Case) -> Outcome {
    let mut odd = vec![NamedOption { name: "no-such-option".into(), value: OptionValue::Int(1) }];
    for spec in subject.options() {
        odd.extend(beyond(spec).into_iter().map(|value| NamedOption { name: spec.name.clone(), value }));
    }
    for option in odd {
        let mut case = case.clone();
        case.options.retain(|o| o.name != option.name);
        case.options.push(option.clone());
        let what = format!("{} = {:?}", option.name, option.value);
        match subject.ask(&subject.request(&case)) {
            Ok(_) => return Err(Trouble::Broken(format!("accepts {what}"))),
            Err(e) if e.panicked => return Err(Trouble::Broken(format!("{what}: {}", e.message))),
            Err(e) => ensure(e.option == option.name && !e.message.is_empty(), || {
                format!("{what} is refused with {:?}, blaming the option {:?}", e.message, e.option)
            })?,
        }
    }
    Ok(())
}

/// Values that the schema does not allow.
fn beyond(spec: &OptionSpec) -> Vec<OptionValue> {
    let outside = [spec.min.into_option().map(|v| v - 1.0), spec.max.into_option().map(|v| v + 1.0)];
    let outside = outside.into_iter().flatten();
    let mut odd: Vec<OptionValue> = match spec.kind.as_str() {
        option_kind::INT => outside.map(|v| OptionValue::Int(v as i64)).collect(),
        option_kind::FLOAT => outside.chain([f64::NAN, f64::INFINITY]).map(OptionValue::Float).collect(),
        option_kind::INTS => outside.map(|v| OptionValue::Ints(vec![v as i64].into())).collect(),
        option_kind::FLOATS => outside.map(|v| OptionValue::Floats(vec![v].into())).collect(),
        option_kind::TEXT if !spec.choices.is_empty() => vec![OptionValue::Text("no such word".into())],
        _ => vec![],
    };
    let number = matches!(spec.kind.as_str(), option_kind::INT | option_kind::FLOAT);
    odd.push(if number { OptionValue::Bool(true) } else { OptionValue::Float(0.5) });
    odd
}

/// Input types that no host would offer: a refusal or a well-formed graph, never a panic.
fn malformed(subject: &Subject, case: &Case) -> Outcome {
    let mut odd: Vec<Case> = vec![Case { inputs: vec![], ..case.clone() }];
    for i in 0..case.inputs.len() {
        let mut variants: Vec<TensorType> = vec![];
        let ty = &case.inputs[i].1;
        variants
            .extend([DType::I32, DType::U8, DType::Bool, DType::Bf16].map(|d| TensorType::new(d, ty.shape.clone())));
        variants.push(TensorType::float([]));
        variants.push(TensorType::float(ty.shape[1..].to_vec()));
        variants.push(TensorType::float([ty.shape.as_slice(), &[2]].concat()));
        for axis in 0..ty.rank() {
            for size in [0, 1, ty.shape[axis] + 1, usize::MAX] {
                let mut shape = ty.shape.clone();
                shape[axis] = size;
                variants.push(TensorType::float(shape));
            }
        }
        for variant in variants {
            let mut case = case.clone();
            case.inputs[i].1 = variant;
            odd.push(case);
        }
    }
    for case in odd {
        clear(subject, &subject.request(&case)).map_err(|trouble| match trouble {
            Trouble::Broken(message) => Trouble::Broken(format!("with {case}: {message}")),
            skipped => skipped,
        })?;
    }
    Ok(())
}

/// What a first try looks like: nothing but what must be given.
fn defaults(subject: &Subject, case: &Case) -> Outcome {
    let required = |o: &&NamedOption| {
        let spec = subject.options().iter().find(|spec| spec.name == o.name);
        spec.is_some_and(|spec| !spec.optional && spec.default.is_none())
    };
    let options: Vec<NamedOption> = case.options.iter().filter(required).cloned().collect();
    let standard = [images([2, 3, 32, 32]), images([2, 3, 48, 48]), images([2, 3, 224, 224]), truth(2, 7), truth(4, 8)];
    let mut refusals = vec![];
    for inputs in standard.into_iter().filter(|i| i[0].0 == case.inputs[0].0) {
        let request = subject.request(&Case { options: options.clone(), inputs, ..case.clone() });
        match subject.ask(&request) {
            Ok(_) => return Ok(()),
            Err(error) => refusals.push(error),
        }
    }
    // "Give size or scale" is an answer; a bare refusal is not.
    ensure(refusals.iter().any(|e| !e.option.is_empty() && !e.help.is_empty()), || {
        format!("no standard input can be taken, and no refusal names an option and gives help: {refusals:?}")
    })
}

fn round_trips(subject: &Subject, case: &Case) -> Outcome {
    let graph = renumber(&subject.graph(case)?);
    ensure(import(&export(&graph))? == graph, || "export and import change the graph".into())?;
    let text = print(&graph, PrintOptions::EXACT);
    let read = parse(&text)?;
    ensure(renumber(&read) == graph, || "printing and parsing change the graph".into())?;
    ensure(print(&read, PrintOptions::EXACT) == text, || "the text changes when it is read and printed again".into())
}
