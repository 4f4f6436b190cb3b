//! Being built: any request gets a well-formed fragment or a clear refusal, and always the same one.

use fer_abi::{BuildRequest, NamedOption, OptionSpec, OptionValue, option_kind};
use fer_graph::{DType, PrintOptions, TensorType, export, import, parse, print, renumber};

use crate::{
    Case, Outcome, Property, Subject, Trouble,
    case::{images, truth},
    ensure, laws, written,
};

/// The first of all: the others build too.
pub const TOTAL: Property<'static> = Property { name: "building is total", cases: 128, wide: true, check: &total };

pub const PROPERTIES: &[Property<'static>] = &[
    TOTAL,
    Property { name: "the same request gives the same answer", cases: 24, wide: true, check: &deterministic },
    Property { name: "what the schema forbids is refused", cases: 4, wide: false, check: &forbidden },
    Property { name: "malformed inputs do no harm", cases: 4, wide: false, check: &malformed },
    Property { name: "options keep their meaning", cases: 24, wide: false, check: &options_keep_their_meaning },
    Property { name: "defaults build, or the user is told what to give", cases: 1, wide: false, check: &defaults },
    Property { name: "a graph survives text and the plugin boundary", cases: 16, wide: false, check: &round_trips },
    laws::CLAIMS,
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
        Err(other) => Err(other),
    }
}

/// In turn, and from several threads at a time: a library may be called from any.
fn deterministic(subject: &Subject, case: &Case) -> Outcome {
    let request = &subject.request(case);
    let (one, two) = (subject.ask(request), subject.ask(request));
    ensure(one == two, || "two answers to one request differ".into())?;
    let together = std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| subject.ask(request)));
        threads.map(|thread| thread.join().ok())
    });
    ensure(together.into_iter().all(|answer| answer.as_ref() == Some(&one)), || {
        "asked by several threads at a time, it answers otherwise".into()
    })
}

/// Written as a config has them and read again, in another order, or left to the component's own defaults, options mean the same.
fn options_keep_their_meaning(subject: &Subject, case: &Case) -> Outcome {
    if subject.options().is_empty() {
        return Err(Trouble::Idle("it has no options".into()));
    }
    let request = subject.request(case);
    let text = written::write(&request.options);
    let read = written::read(subject.options(), &text).map_err(Trouble::Broken)?;
    ensure(read == request.options.to_vec(), || format!("({text}) are other options when they are read again"))?;
    let Ok(answer) = subject.ask(&request) else {
        return subject.graph_of(&request).map(|_| ());
    };
    let reversed = subject.ask(&subject.request_with(case, read.into_iter().rev().collect()));
    ensure(reversed.as_ref() == Ok(&answer), || format!("the order of its options changes its answer: ({text})"))?;
    // Who leaves an option out may be told so; who is answered must get what the schema says.
    match subject.ask(&subject.request_with(case, case.options.clone())) {
        Ok(own) => ensure(own == answer, || {
            "an option that is left out does not have the default that the schema says".to_owned()
        }),
        Err(_) => Ok(()),
    }
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

/// Whether a value is within its own option's bounds and words.
fn within(spec: &OptionSpec, value: &OptionValue) -> bool {
    let bounds = spec.min.unwrap_or(f64::NEG_INFINITY)..=spec.max.unwrap_or(f64::INFINITY);
    match (spec.kind.as_str(), value) {
        (option_kind::BOOL, OptionValue::Bool(_)) => true,
        (option_kind::INT, OptionValue::Int(v)) => bounds.contains(&(*v as f64)),
        (option_kind::FLOAT, OptionValue::Float(v)) => bounds.contains(v),
        (option_kind::INTS, OptionValue::Ints(v)) => v.iter().all(|&v| bounds.contains(&(v as f64))),
        (option_kind::FLOATS, OptionValue::Floats(v)) => v.iter().all(|v| bounds.contains(v)),
        (option_kind::TEXT, OptionValue::Text(v)) => spec.choices.is_empty() || spec.choices.contains(v),
        _ => false,
    }
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
            other => other,
        })?;
    }
    Ok(())
}

/// What a first try looks like: nothing but what must be given.
fn defaults(subject: &Subject, case: &Case) -> Outcome {
    for spec in subject.options() {
        let default = spec.default.as_ref().into_option();
        ensure(default.is_none_or(|value| within(spec, value)), || {
            format!(
                "the default of {:?}, {}, is not among the values that its schema allows",
                spec.name,
                default.map_or_else(String::new, written::value)
            )
        })?;
    }
    let options = subject.required(case);
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
