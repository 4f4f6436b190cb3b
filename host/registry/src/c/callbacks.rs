//! What a C plugin may call while it builds: checks everything it is given, then drives a [`fer_graph::Builder`].

use std::{
    ffi::{CStr, c_char},
    mem::size_of,
    panic::catch_unwind,
};

use fer_graph::{Attribute, DType, GraphError, Init, MAX_ARGUMENTS, MAX_NODES, MAX_NUMBERS, MAX_RANK, Value};

use super::{
    raw::{self, ERROR, Handle, Host, Named},
    read,
    session::{Result, Session, with, with_failed},
};

/// The table that every build is given.
pub static HOST: Host = Host {
    struct_size: size_of::<Host>(),
    major: raw::MAJOR,
    minor: raw::MINOR,
    input,
    parameter,
    state,
    op,
    output,
    update,
    has_op,
    rank,
    size,
    dtype,
    enter,
    leave,
    stream,
    error,
};

/// The most operands or attributes of one call, and the most scopes in each other.
const LONGEST_CALL: usize = 4096;
const DEEPEST: usize = 100;
/// The most bytes of a name or path.
const LONGEST_NAME: usize = 512;

// SAFETY of every function below: the header asks of a plugin that its pointers are NULL or lead to what it says; each is
// checked for NULL and copied before anything else happens. A handle is a number, looked up.

/// A text that is a name, told with what it names.
fn name(what: &str, given: *const c_char) -> Result<String> {
    // SAFETY: see above.
    let name = unsafe { read::text(given) }.map_err(|reason| format!("the name of {what} {reason}"))?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-/".contains(&b);
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(allowed) {
        return Ok(name);
    }
    let start: String = name.chars().take(60).collect();
    Err(format!("{what} is named {start:?}; a name is 1 to {LONGEST_NAME} letters, digits and characters of \"_.-/\""))
}

fn told<T>(result: std::result::Result<T, GraphError>) -> Result<T> {
    result.map_err(|error| error.to_string())
}

fn room_for_arguments(session: &Session) -> Result<()> {
    match session.builder.look(|graph| graph.arguments.len()) < MAX_ARGUMENTS {
        true => Ok(()),
        false => Err(format!("more than {MAX_ARGUMENTS} inputs, parameters and states")),
    }
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn input(graph: Handle, given: *const c_char) -> i64 {
    number(with(graph, |session| session.offered(&name("an input", given)?)))
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn parameter(
    graph: Handle,
    given: *const c_char,
    shape: *const i64,
    rank: usize,
    start: *const c_char,
    numbers: *const f64,
    count: usize,
) -> i64 {
    let answer = with(graph, |session| {
        let (name, shape, init) = declaration("a parameter", session, given, (shape, rank), start, (numbers, count))?;
        let _scope = session.builder.absolute_scope(session.scope());
        told(session.builder.parameter(&name, &shape, init))
    });
    number(answer)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn state(
    graph: Handle,
    given: *const c_char,
    shape: *const i64,
    rank: usize,
    start: *const c_char,
    numbers: *const f64,
    count: usize,
) -> i64 {
    let answer = with(graph, |session| {
        let (name, shape, init) = declaration("a state", session, given, (shape, rank), start, (numbers, count))?;
        let _scope = session.builder.absolute_scope(session.scope());
        told(session.builder.state(&name, &shape, init))
    });
    number(answer)
}

/// What `parameter` and `state` are given: name, shape and first values.
fn declaration(
    what: &str,
    session: &mut Session,
    given: *const c_char,
    (shape, rank): (*const i64, usize),
    start: *const c_char,
    (numbers, count): (*const f64, usize),
) -> Result<(String, Vec<usize>, Init)> {
    room_for_arguments(session)?;
    let name = name(what, given)?;
    // SAFETY: see above.
    let shape = unsafe { read::list(shape, rank, MAX_RANK) }.map_err(|e| format!("the shape of {name:?} {e}"))?;
    let sizes: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sizes = sizes.ok_or_else(|| format!("the shape of {name:?} is {shape:?}"))?;
    // SAFETY: see above.
    let start = unsafe { read::text(start) }.map_err(|reason| format!("the start of {name:?} {reason}"))?;
    session.count_numbers(count.min(MAX_NUMBERS + 1))?;
    // SAFETY: see above.
    let numbers = unsafe { read::list(numbers, count, MAX_NUMBERS) };
    let numbers = numbers.map_err(|e| format!("the list of numbers of {name:?} {e}"))?;
    // The message quotes the numbers, which are many for no scheme but `values`.
    if start != "values" && numbers.len() > 4 {
        return Err(format!("{name:?}: initialisation {start:?} does not take {} numbers", numbers.len()));
    }
    if start == "values" && numbers.iter().any(|v| !v.is_finite()) {
        return Err(format!("{name:?}: initial values must be finite"));
    }
    let init = Init::from_parts(&start, &numbers).map_err(|message| format!("{name:?}: {message}"))?;
    Ok((name, sizes, init))
}

// SAFETY: a plugin calls it by the header; see above.
#[allow(clippy::too_many_arguments)]
unsafe extern "C" fn op(
    graph: Handle,
    given: *const c_char,
    version: u32,
    operands: *const i64,
    operand_count: usize,
    attributes: *const Named,
    attribute_count: usize,
    results: *mut i64,
    result_count: usize,
) -> i64 {
    let answer = with(graph, |session| {
        let op = name("an op", given)?;
        let at = |message: String| match session.scope() {
            "" => format!("{op}: {message}"),
            scope => format!("{op} in {scope}: {message}"),
        };
        // SAFETY: see above.
        let operands = unsafe { read::list(operands, operand_count, LONGEST_CALL) };
        let operands = operands.map_err(|e| at(format!("its list of operands {e}")))?;
        let operands: Result<Vec<Value>> = operands.into_iter().map(|number| session.value(number)).collect();
        let operands = operands.map_err(at)?;
        // SAFETY: see above; every member of a `Named` may have any bits.
        let attributes = unsafe { read::list(attributes, attribute_count, LONGEST_CALL) };
        let attributes = attributes.map_err(|e| at(format!("its list of attributes {e}")))?;
        let attributes: Result<Vec<_>> = attributes.iter().map(attribute).collect();
        let attributes = attributes.map_err(at)?;
        if session.builder.look(|graph| graph.nodes.len()) >= MAX_NODES {
            return Err(at(format!("more than {MAX_NODES} ops")));
        }
        let constants = attributes.iter().map(|(_, value)| match value {
            Attribute::Floats(list) => list.len(),
            _ => 0,
        });
        let constants = constants.sum();
        session.count_numbers(constants)?;
        let scope = session.builder.absolute_scope(session.scope());
        let values = told(session.builder.emit_named(&op, version, &operands, &attributes))?;
        drop(scope);
        if result_count != values.len() && (result_count != 0 || !results.is_null()) {
            return Err(format!("{op} has {} results, room for {result_count} was given", values.len()));
        }
        if result_count > 0 && results.is_null() {
            return Err(format!("the list of results of {op} is NULL and has {result_count} entries"));
        }
        Ok(values)
    });
    let Some(values) = answer else {
        return ERROR;
    };
    for (i, value) in values.iter().enumerate().take(result_count) {
        // SAFETY: the plugin gave room for `result_count` numbers, and the list is not NULL.
        unsafe { results.add(i).write_unaligned(i64::from(value.0)) };
    }
    number(values.first().copied())
}

fn attribute(given: &Named) -> Result<(String, Attribute)> {
    let name = name("an attribute", given.name)?;
    // SAFETY: see above.
    match unsafe { read::constant(given) } {
        Ok(Some(value)) => Ok((name, value)),
        Ok(None) => Err(format!("attribute {name:?} has no value")),
        Err(reason) => Err(format!("attribute {name:?} {reason}")),
    }
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn output(graph: Handle, given: *const c_char, value: i64) -> i32 {
    let answer = with(graph, |session| {
        let name = name("an output", given)?;
        let value = session.value(value).map_err(|message| format!("output {name:?}: {message}"))?;
        let outputs = session.builder.look(|graph| {
            (graph.outputs.len() < MAX_ARGUMENTS).then(|| graph.outputs.iter().any(|(known, _)| *known == name))
        });
        match outputs {
            None => return Err(format!("more than {MAX_ARGUMENTS} outputs")),
            Some(true) => return Err(format!("output {name:?} is given twice")),
            Some(false) => session.builder.output(&name, value),
        }
        Ok(())
    });
    done(answer)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn update(graph: Handle, state: i64, value: i64) -> i32 {
    let answer = with(graph, |session| {
        let (state, value) = (session.value(state)?, session.value(value)?);
        told(session.builder.update(state, value))
    });
    done(answer)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn has_op(given: *const c_char, version: u32) -> i32 {
    // SAFETY: see above.
    let known = catch_unwind(|| unsafe { read::text(given) }.is_ok_and(|name| fer_graph::has_op(&name, version)));
    i32::from(known.unwrap_or(false))
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn rank(graph: Handle, value: i64) -> i64 {
    with(graph, |session| Ok(session.builder.rank(session.value(value)?) as i64)).unwrap_or(ERROR)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn size(graph: Handle, value: i64, axis: i64) -> i64 {
    let answer = with(graph, |session| {
        let shape = session.builder.shape(session.value(value)?);
        let from_start = if axis < 0 { axis.saturating_add(shape.len() as i64) } else { axis };
        let found = usize::try_from(from_start).ok().and_then(|axis| shape.get(axis).copied());
        found.map(|size| size as i64).ok_or_else(|| format!("value {value} has the shape {shape:?} and no axis {axis}"))
    });
    answer.unwrap_or(ERROR)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn dtype(graph: Handle, value: i64) -> *const c_char {
    let answer = with(graph, |session| Ok(session.builder.dtype(session.value(value)?)));
    answer.map_or(std::ptr::null(), |dtype| word(dtype).as_ptr())
}

/// [`DType::name`] as C has texts.
fn word(dtype: DType) -> &'static CStr {
    match dtype {
        DType::Float => c"f",
        DType::Bf16 => c"bf16",
        DType::I32 => c"i32",
        DType::U8 => c"u8",
        DType::Bool => c"bool",
    }
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn enter(graph: Handle, given: *const c_char) -> i32 {
    let answer = with(graph, |session| {
        let name = name("a scope", given)?;
        let path = if session.scope().is_empty() { name } else { format!("{}.{name}", session.scope()) };
        if session.scopes.len() >= DEEPEST || path.len() > LONGEST_NAME {
            return Err(format!(
                "more than {DEEPEST} scopes in each other, or a path of more than {LONGEST_NAME} bytes"
            ));
        }
        session.scopes.push(path);
        Ok(())
    });
    done(answer)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn leave(graph: Handle) -> i32 {
    done(with(graph, |session| match session.scopes.pop() {
        Some(_) => Ok(()),
        None => Err("a scope is left that was not entered".to_owned()),
    }))
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn stream(graph: Handle) -> i64 {
    let answer = with(graph, |session| {
        let _scope = session.builder.absolute_scope(session.scope());
        Ok(session.builder.next_stream())
    });
    answer.unwrap_or(ERROR)
}

// SAFETY: a plugin calls it by the header; see above.
unsafe extern "C" fn error(graph: Handle, message: *const c_char, option: *const c_char, help: *const c_char) -> i32 {
    with_failed(graph, |session| {
        // SAFETY: see above.
        let texts = unsafe { (read::text(message), read::text_or_empty(option), read::text_or_empty(help)) };
        let (message, option, help) = texts;
        let message = match message {
            Ok(text) if text.trim().is_empty() => "the plugin gave up with an empty message".to_owned(),
            Ok(text) => text,
            Err(reason) => format!("the message of the plugin's error {reason}"),
        };
        session.say(message, option.unwrap_or_default(), help.unwrap_or_default());
    });
    1
}

fn number(answer: Option<Value>) -> i64 {
    answer.map_or(ERROR, |value| i64::from(value.0))
}

fn done(answer: Option<()>) -> i32 {
    if answer.is_some() { 0 } else { ERROR as i32 }
}
