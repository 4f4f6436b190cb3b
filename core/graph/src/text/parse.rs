//! Reads a graph from text.

use std::{collections::HashMap, sync::Arc};

use super::scan::{Place, Scanner};
use crate::{
    Attribute, AttributeKind, Attributes, Builder, DType, Graph, GraphError, Init, MAX_RANK, Op, Positions, Result,
    Role, TensorType, Value,
    assemble::{Declaration, Declared, add_attribute, did_you_mean, find_attribute, find_op, quoted},
    custom::{Definitions, define},
    verify,
};

/// The graph a text describes, verified. Its values are in canonical order, see [`renumber`](crate::renumber).
///
/// # Errors
/// [`GraphError::Syntax`] with line and column where the text does not read as a graph, [`GraphError::Constraint`] where an op
/// does not accept what it is given, [`GraphError::Malformed`] where the whole breaks a rule of [`verify`].
pub fn parse(text: &str) -> Result<Graph> {
    let mut scan = Scanner::new(text);
    let mut ops = Definitions::default();
    while scan.peek_word() == "op" {
        let op = definition(&mut scan, &ops)?;
        ops.add(op);
    }
    keyword(&mut scan, "graph")?;
    let name = scan.name("a graph's name")?;
    let graph = block(&mut scan, &name, &ops)?;
    if !scan.is_at_end() {
        return Err(scan.expected("nothing after the graph"));
    }
    verify(&graph)?;
    Ok(graph)
}

/// `op focal.terms version 1(x0: f[8,7]) { ... }`, by the ops before it.
fn definition(scan: &mut Scanner<'_>, ops: &Definitions) -> Result<Op> {
    let place = scan.place();
    keyword(scan, "op")?;
    let name = scan.word("an op's name")?;
    keyword(scan, "version")?;
    let version = scan.number("a version")?;
    let graph = block(scan, name, ops)?;
    define(name, version, &graph).map_err(|error| scan.located(place, error))
}

/// `(inputs) { ... }`
fn block(scan: &mut Scanner<'_>, name: &str, ops: &Definitions) -> Result<Graph> {
    let declared = header(scan, name)?;
    let arguments = declared.graph.values.len();
    let mut body = Body {
        scan,
        ops,
        builder: Builder::resume(declared.graph),
        by_name: declared.by_name,
        scope: String::new(),
        arguments,
        defined: 0,
    };
    let mut ends = Ends::default();
    while body.statement(&mut ends)? {}
    let mut graph = body.builder.finish();
    graph.outputs = ends.outputs;
    graph.updates = ends.updates;
    graph.names = ends.names;
    Ok(graph)
}

/// `(inputs) {` and the parameters and states.
fn header(scan: &mut Scanner<'_>, name: &str) -> Result<Declared> {
    let mut declared = Declared::new(name);
    scan.expect("(")?;
    let mut first = true;
    while !scan.take(")") {
        if !first {
            scan.expect(",")?;
        }
        first = false;
        argument(scan, Role::Input, &mut declared)?;
    }
    scan.expect("{")?;
    loop {
        let role = match scan.peek_word() {
            "parameter" => Role::Parameter,
            "state" => Role::State,
            _ => return Ok(declared),
        };
        scan.word("a role")?;
        argument(scan, role, &mut declared)?;
    }
}

fn keyword(scan: &mut Scanner<'_>, word: &str) -> Result<()> {
    if scan.peek_word() == word { scan.word(word).map(|_| ()) } else { Err(scan.expected(&format!("`{word}`"))) }
}

/// `name: f[1,50,16] = zeros frozen layer(0) tokens(1, 7, 7)`.
fn argument(scan: &mut Scanner<'_>, role: Role, declared: &mut Declared) -> Result<()> {
    let place = scan.place();
    let name = scan.name("an argument's name")?;
    scan.expect(":")?;
    let ty = tensor_type(scan)?;
    let init = if scan.take("=") { Some(init(scan)?) } else { None };
    let (mut decay, mut frozen, mut layer, mut positions) = (None, false, None, None);
    loop {
        let here = scan.place();
        match scan.peek_word() {
            "decay" if decay.is_none() => decay = Some(true),
            "no_decay" if decay.is_none() => decay = Some(false),
            "frozen" if !frozen => frozen = true,
            "layer" if layer.is_none() => {
                scan.word("a flag")?;
                scan.expect("(")?;
                layer = Some(scan.number("a layer's number")?);
                scan.expect(")")?;
                continue;
            }
            word @ ("tokens" | "distances") if positions.is_none() => {
                scan.word("a flag")?;
                scan.expect("(")?;
                let sizes: Vec<usize> = list(scan, ")", |scan| scan.number("a size"))?;
                positions = Some(Positions::from_parts(word, &sizes).map_err(|message| scan.error(here, message))?);
                continue;
            }
            _ => break,
        }
        scan.word("a flag")?;
    }
    let declaration = Declaration { name, role, ty, init, decay, frozen, layer, positions };
    declared.declare(declaration).map_err(|(_, message)| scan.error(place, message))
}

/// `trunc_normal(0.0, 0.02, -2.0, 2.0)`.
fn init(scan: &mut Scanner<'_>) -> Result<Init> {
    let place = scan.place();
    let scheme = scan.word("an initialisation")?;
    let numbers = if scan.take("(") { numbers(scan, ")")? } else { vec![] };
    Init::from_parts(scheme, &numbers).map_err(|message| scan.error(place, message))
}

/// `f[8,16]`.
fn tensor_type(scan: &mut Scanner<'_>) -> Result<TensorType> {
    let place = scan.place();
    let word = scan.word("an element type")?;
    let dtype: DType = word.parse().map_err(|_| {
        let known = DType::ALL.map(DType::name);
        let hint = did_you_mean(word, known.into_iter());
        let message = format!("expected an element type ({}), found {}{hint}", known.join(", "), quoted(word));
        scan.error(place, message)
    })?;
    scan.expect("[")?;
    let shape: Vec<usize> = list(scan, "]", |scan| scan.number("a size"))?;
    let ty = TensorType::new(dtype, shape);
    if ty.rank() > MAX_RANK {
        return Err(scan.error(place, format!("a tensor has at most {MAX_RANK} axes, found {}", ty.rank())));
    }
    if !ty.is_sane() {
        return Err(scan.error(place, format!("{ty} is empty or too large")));
    }
    Ok(ty)
}

/// Items with commas between them, up to and with the closing sign.
fn list<'t, T>(
    scan: &mut Scanner<'t>,
    close: &str,
    mut item: impl FnMut(&mut Scanner<'t>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut items = vec![];
    if scan.take(close) {
        return Ok(items);
    }
    loop {
        items.push(item(scan)?);
        if scan.take(close) {
            return Ok(items);
        }
        if !scan.take(",") {
            return Err(scan.expected(&format!("`,` or `{close}`")));
        }
    }
}

fn numbers(scan: &mut Scanner<'_>, close: &str) -> Result<Vec<f64>> {
    let place = scan.place();
    if scan.peek_word() == "..." {
        return Err(
            scan.error(place, "the numbers were left out when this was printed; print it with all of them".into())
        );
    }
    list(scan, close, |scan| scan.number("a number"))
}

/// What stands after the nodes.
#[derive(Default)]
struct Ends {
    outputs: Vec<(String, Value)>,
    updates: Vec<(String, Value)>,
    names: std::collections::BTreeMap<String, Value>,
}

/// The nodes and what follows them.
struct Body<'s, 't> {
    scan: &'s mut Scanner<'t>,
    ops: &'s Definitions,
    builder: Builder,
    by_name: HashMap<String, Value>,
    scope: String,
    arguments: usize,
    /// Results so far: the next is `%defined`.
    defined: usize,
}

impl Body<'_, '_> {
    /// Reads one statement; false at the closing brace.
    fn statement(&mut self, ends: &mut Ends) -> Result<bool> {
        let place = self.scan.place();
        if self.scan.take("}") {
            return Ok(false);
        }
        if self.scan.take("%") {
            let results = self.result_numbers()?;
            self.node(place, results)?;
            return Ok(true);
        }
        match self.scan.peek_word() {
            "_" => {
                self.scan.word("_")?;
                self.node(place, 0)?;
            }
            "scope" => {
                self.scan.word("scope")?;
                self.scope = self.scan.name("a scope's path")?;
            }
            word @ ("output" | "update" | "name") => {
                self.scan.word(word)?;
                let name = self.scan.name("a name")?;
                self.scan.expect("=")?;
                let value = self.reference()?;
                match word {
                    "output" => ends.outputs.push((name, value)),
                    "update" => ends.updates.push((name, value)),
                    _ => {
                        if ends.names.insert(name.clone(), value).is_some() {
                            return Err(self.scan.error(place, format!("{} is named twice", quoted(&name))));
                        }
                    }
                }
            }
            word => {
                let known = ["scope", "output", "update", "name", "parameter", "state"];
                let hint = match word {
                    "parameter" | "state" => "; parameters and states come before the first node".to_owned(),
                    _ => did_you_mean(word, known.into_iter()),
                };
                return Err(match self.scan.expected("a node (`%0 = ...`), scope, output, update, name or `}`") {
                    GraphError::Syntax { line, column, message } => {
                        GraphError::Syntax { line, column, message: message + &hint }
                    }
                    other => other,
                });
            }
        }
        Ok(true)
    }

    /// `5, %6`, behind the first sign; gives how many there are.
    fn result_numbers(&mut self) -> Result<usize> {
        let mut results = 0;
        loop {
            let at = self.scan.place();
            let found: usize = self.scan.number("a number")?;
            let next = self.defined + results;
            if found != next {
                let message = format!("results are numbered in order: expected %{next}, found %{found}");
                return Err(self.scan.error(at, message));
            }
            results += 1;
            if !self.scan.take(",") {
                return Ok(results);
            }
            self.scan.expect("%")?;
        }
    }

    /// `= op(operands) {attributes} : types`, for results whose numbers were read.
    fn node(&mut self, place: Place, results: usize) -> Result<()> {
        self.scan.expect("=")?;
        let at = self.scan.place();
        let op = find_op(self.scan.word("an op")?, self.ops).map_err(|message| self.scan.error(at, message))?;
        self.scan.expect("(")?;
        let operands = self.operands()?;
        let attributes = self.attributes(op)?;
        self.scan.expect(":")?;
        let types_at = self.scan.place();
        let stated = self.types()?;
        let _scope = self.builder.absolute_scope(&self.scope);
        let values = self.builder.emit(op, &operands, attributes).map_err(|e| self.scan.located(at, e))?;
        let inferred: Vec<TensorType> = values.iter().map(|&v| self.builder.ty(v)).collect();
        if inferred.len() != results {
            let message = format!("{} gives {} results, {results} are numbered", op.name(), inferred.len());
            return Err(self.scan.error(place, message));
        }
        if inferred != stated {
            let tell = |types: &[TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("{} gives {}, the text says {}", op.name(), tell(&inferred), tell(&stated));
            return Err(self.scan.error(types_at, message));
        }
        self.defined += results;
        Ok(())
    }

    fn operands(&mut self) -> Result<Vec<Value>> {
        let mut operands = vec![];
        if self.scan.take(")") {
            return Ok(operands);
        }
        loop {
            operands.push(self.reference()?);
            if self.scan.take(")") {
                return Ok(operands);
            }
            if !self.scan.take(",") {
                return Err(self.scan.expected("`,` or `)`"));
            }
        }
    }

    /// `%14`, or an argument's name.
    fn reference(&mut self) -> Result<Value> {
        let place = self.scan.place();
        if self.scan.take("%") {
            let number: usize = self.scan.number("a number")?;
            if number >= self.defined {
                return Err(self.scan.error(place, format!("%{number} is used before it is defined")));
            }
            return Ok(Value((self.arguments + number) as u32));
        }
        let name = self.scan.name("a value (%0, or an argument's name)")?;
        self.by_name.get(&name).copied().ok_or_else(|| {
            let hint = did_you_mean(&name, self.by_name.keys().map(String::as_str));
            self.scan.error(place, format!("no argument is called {}{hint}", quoted(&name)))
        })
    }

    fn attributes(&mut self, op: Op) -> Result<Attributes> {
        let mut attributes = Attributes::new();
        if !self.scan.take("{") || self.scan.take("}") {
            return Ok(attributes);
        }
        loop {
            let place = self.scan.place();
            let name = self.scan.word("an attribute's name")?;
            let (_, kind) = find_attribute(op, name)
                .map_err(|message| self.scan.error(place, format!("{} {message}", op.name())))?;
            self.scan.expect(":")?;
            let value = self.value(kind)?;
            attributes = add_attribute(op, attributes, name, value)
                .map_err(|message| self.scan.error(place, format!("{} {message}", op.name())))?;
            if self.scan.take("}") {
                return Ok(attributes);
            }
            if !self.scan.take(",") {
                return Err(self.scan.expected("`,` or `}`"));
            }
        }
    }

    /// A value of the kind that the op declares.
    fn value(&mut self, kind: AttributeKind) -> Result<Attribute> {
        let scan = &mut *self.scan;
        Ok(match kind {
            AttributeKind::Int => Attribute::Int(scan.number("an integer")?),
            AttributeKind::Float => Attribute::Float(scan.number("a number")?),
            AttributeKind::Text => Attribute::Text(scan.quoted()?.into()),
            AttributeKind::Bool => match scan.peek_word() {
                word @ ("true" | "false") => {
                    scan.word(word)?;
                    Attribute::Bool(word == "true")
                }
                _ => return Err(scan.expected("true or false")),
            },
            AttributeKind::Ints => {
                scan.expect("[")?;
                Attribute::Ints(list(scan, "]", |scan| scan.number("an integer"))?.into())
            }
            AttributeKind::Floats => {
                scan.expect("[")?;
                Attribute::Floats(Arc::from(numbers(scan, "]")?))
            }
        })
    }

    fn types(&mut self) -> Result<Vec<TensorType>> {
        if self.scan.peek_word() == "_" {
            self.scan.word("_")?;
            return Ok(vec![]);
        }
        let mut types = vec![tensor_type(self.scan)?];
        while self.scan.take(",") {
            types.push(tensor_type(self.scan)?);
        }
        Ok(types)
    }
}
