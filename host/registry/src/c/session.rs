//! The graphs under construction, by number.
//!
//! A plugin holds a number and no address. One that is kept beyond the end of `build`, or made up, is found in no list and leads
//! nowhere.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use fer_abi::{BuildError, BuildRequest, Fragment};
use fer_graph::{Builder, GraphError, Role, TensorType, Value};

use super::raw::Handle;

/// Why something that a plugin asked cannot be done.
pub type Result<T> = std::result::Result<T, String>;

/// One graph under construction.
pub struct Session {
    pub builder: Builder,
    /// The paths of the scopes that were entered, the innermost last.
    pub scopes: Vec<String>,
    /// How many numbers constants and first values have so far.
    pub numbers: usize,
    /// The first thing that went wrong in a call.
    failed: Option<String>,
    /// What the plugin itself said first.
    said: Option<BuildError>,
}

impl Session {
    /// Every input that the host offers is an argument, in its order, whether the plugin asks for it or not: as it is of plugins in
    /// Rust.
    fn new(request: &BuildRequest) -> Result<Session> {
        let builder = Builder::new(&request.component);
        for input in &request.inputs {
            let shape: Vec<usize> = input.ty.shape.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
            let ty = TensorType::new(input.ty.dtype.parse()?, shape);
            builder.input(&input.name, ty).map_err(|error| error.to_string())?;
        }
        Ok(Session { builder, scopes: Vec::new(), numbers: 0, failed: None, said: None })
    }

    /// An input that the host offers.
    pub fn offered(&self, name: &str) -> Result<Value> {
        self.builder.look(|graph| {
            let offered = || graph.arguments.iter().filter(|a| a.role == Role::Input);
            offered().find(|argument| argument.name == name).map(|argument| argument.value).ok_or_else(|| {
                let known: Vec<&str> = offered().map(|argument| argument.name.as_str()).collect();
                format!("the host offers no input {name:?}; it offers {}", known.join(", "))
            })
        })
    }

    /// The value of that number.
    pub fn value(&self, number: i64) -> Result<Value> {
        let known = self.builder.look(|graph| graph.values.len());
        match usize::try_from(number) {
            Ok(index) if index < known => Ok(Value(index as u32)),
            _ => Err(format!("{number} is no value of this graph, which has {known}")),
        }
    }

    /// The path of the innermost scope.
    pub fn scope(&self) -> &str {
        self.scopes.last().map_or("", String::as_str)
    }

    /// Counts numbers that are kept.
    pub fn count_numbers(&mut self, more: usize) -> Result<()> {
        self.numbers = self.numbers.saturating_add(more);
        match self.numbers > fer_graph::MAX_NUMBERS {
            true => Err(format!("more than {} numbers in constants", fer_graph::MAX_NUMBERS)),
            false => Ok(()),
        }
    }

    /// Keeps what the plugin says first.
    pub fn say(&mut self, message: String, option: String, help: String) {
        let error = BuildError { message: message.into(), option: option.into(), help: help.into(), panicked: false };
        self.said.get_or_insert(error);
    }

    /// What became of the graph.
    fn end(self, answer: i32) -> std::result::Result<Fragment, BuildError> {
        if let Some(error) = self.said {
            return Err(error);
        }
        if let Some(message) = self.failed {
            return Err(failure(message, ""));
        }
        if answer != 0 {
            return Err(failure(
                format!("the plugin gave up with {answer} and did not say why"),
                "this is a fault of the plugin; please report it to its author",
            ));
        }
        let graph = self.builder.finish();
        if graph.outputs.is_empty() {
            return Err(failure("the plugin named no output".to_owned(), "call `output` before build returns"));
        }
        fer_graph::verify(&graph).map_err(|error: GraphError| failure(error.to_string(), ""))?;
        Ok(fer_graph::export(&graph))
    }
}

fn failure(message: String, help: &str) -> BuildError {
    BuildError { message: message.into(), option: "".into(), help: help.into(), panicked: false }
}

static OPEN: Mutex<Option<HashMap<usize, Arc<Mutex<Session>>>>> = Mutex::new(None);
/// From 1, so that no handle is NULL.
static NEXT: AtomicUsize = AtomicUsize::new(1);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside is caught and told; what it left behind is only told of, never used as a graph.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `build` with a new graph, and gives what became of it.
pub fn with_graph(
    request: &BuildRequest,
    build: impl FnOnce(Handle) -> i32,
) -> std::result::Result<Fragment, BuildError> {
    let session = Session::new(request).map_err(|message| failure(message, ""))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    locked(&OPEN).get_or_insert_default().insert(number, Arc::new(Mutex::new(session)));
    let answer = build(std::ptr::without_provenance_mut(number));
    let session = locked(&OPEN).as_mut().and_then(|open| open.remove(&number));
    // A thread of the plugin's may hold it for the length of one call.
    let mut session = session.expect("only this function takes it out");
    let session = loop {
        match Arc::try_unwrap(session) {
            Ok(mutex) => break mutex.into_inner().unwrap_or_else(PoisonError::into_inner),
            Err(shared) => session = shared,
        }
        std::thread::yield_now();
    };
    session.end(answer)
}

/// Does something with the graph of a handle. `None` when there is no such graph, when something went wrong before, or does now;
/// what goes wrong now is kept.
pub fn with<T>(handle: Handle, call: impl FnOnce(&mut Session) -> Result<T>) -> Option<T> {
    let session = locked(&OPEN).as_ref()?.get(&handle.addr())?.clone();
    let mut session = locked(&session);
    if session.failed.is_some() {
        return None;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| call(&mut session)));
    match outcome.unwrap_or_else(|_| Err("the host panicked: please report it with the plugin's source".to_owned())) {
        Ok(answer) => Some(answer),
        Err(message) => {
            session.failed = Some(message);
            None
        }
    }
}

/// Does something with a graph even where something went wrong before.
pub fn with_failed(handle: Handle, call: impl FnOnce(&mut Session)) {
    let session = locked(&OPEN).as_ref().and_then(|open| open.get(&handle.addr()).cloned());
    if let Some(session) = session {
        call(&mut locked(&session));
    }
}
