//! Ops that a plugin brings along: composites whose meaning is a graph for operands of fixed types.
//!
//! A definition is an [`OpDef`] like those of the table, so nobody downstream tells them apart. It is kept for the life of the
//! process, once for each content: [`Op`] is a copy of a reference, and a run builds a handful of graphs, each with the same few.

use std::{collections::BTreeMap, sync::Mutex};

use crate::{
    Attributes, Builder, Call, Class, Graph, GraphError, MAX_NODES, Meaning, Op, OpDef, Operands, Result, Role,
    TensorType, Value, assemble::MAX_NAME, numbering::renumber, op::ADJOINT_SUFFIX, verify,
};

/// How deep definitions may stand in definitions: inlining goes through them one by one.
pub const MAX_DEPTH: usize = 16;

/// The meaning of a definition.
#[derive(Debug)]
pub struct Body {
    /// The operands as inputs, the results as outputs `0`, `1` ...
    pub graph: Graph,
    /// Nodes when every definition in it is inlined.
    pub nodes: usize,
    depth: usize,
    flops: u64,
}

impl Body {
    /// Copies the body's nodes to where the builder stands.
    pub(crate) fn inline(&self, b: &Builder, operands: &[Value]) -> Result<Vec<Value>> {
        let mut given = operands.iter();
        let map = b.inline(&self.graph, |b, argument, _| {
            given.next().copied().ok_or_else(|| b.malformed("arity", format!("{:?} is not given", argument.name)))
        })?;
        Ok(self.graph.outputs.iter().map(|(_, value)| map[value.index()]).collect())
    }
}

impl Op {
    /// The graph that a plugin's op stands for; `None` for the ops of the table.
    pub fn body(self) -> Option<&'static Body> {
        match self.def.meaning {
            Meaning::Custom(body) => Some(body),
            _ => None,
        }
    }
}

/// Whether a name is one for a plugin's op: two words with one dot between them, which no op of the table has.
pub fn is_custom_name(name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    name.len() <= MAX_NAME / 8
        && name.split_once('.').is_some_and(|(space, op)| word(space) && word(op) && !op.ends_with(ADJOINT_SUFFIX))
}

/// The op that means this graph, whose inputs are its operands in order and whose outputs are its results.
///
/// # Errors
/// `bad_name`, `op_version` (from 1), `definition_argument` (a parameter or state, or no operand), `definition_result` (none, or an
/// update), `definition_random` (random numbers: two uses would draw the same), `adjoint_from_plugin`, `limit` (deeper than
/// [`MAX_DEPTH`], or more than [`MAX_NODES`] nodes when inlined), and those of [`verify`].
pub fn define(name: &str, version: u32, body: &Graph) -> Result<Op> {
    let fail = |code, message| GraphError::Malformed { graph: body.name.clone(), code, message };
    if !is_custom_name(name) {
        let message = format!(
            "an op of a plugin has a name like \"focal.terms\": two words of lower case letters, digits and _, with one dot \
             between them, and not the ending {ADJOINT_SUFFIX}; found {name:?}"
        );
        return Err(fail("bad_name", message));
    }
    if version == 0 {
        return Err(fail("op_version", format!("versions of {name} count from 1")));
    }
    if let Some(argument) = body.arguments.iter().find(|a| a.role != Role::Input) {
        let message = format!(
            "the body of {name} has the {} {:?}: declare it outside and give it as an operand",
            argument.role.name(),
            argument.name
        );
        return Err(fail("definition_argument", message));
    }
    if body.arguments.is_empty() {
        return Err(fail("definition_argument", format!("{name} has no operand")));
    }
    if body.outputs.is_empty() || !body.updates.is_empty() {
        return Err(fail("definition_result", format!("{name} must give results and update nothing")));
    }
    verify(body)?;
    let (mut nodes, mut depth, mut flops) = (0usize, 1usize, 0u64);
    for node in &body.nodes {
        if node.op.class() == Class::Adjoint {
            let message =
                format!("{:?} is for differentiation alone; the body of {name} is a forward computation", node.op);
            return Err(fail("adjoint_from_plugin", message));
        }
        if node.op.attribute_defs().any(|a| a.name == "stream") {
            let message = format!(
                "{:?} in the body of {name} draws random numbers: draw them outside and give them as an operand",
                node.op
            );
            return Err(fail("definition_random", message));
        }
        nodes = nodes.saturating_add(node.op.body().map_or(1, |b| b.nodes));
        depth = depth.max(node.op.body().map_or(1, |b| b.depth + 1));
        flops = flops.saturating_add(body.flops(node));
    }
    if nodes > MAX_NODES {
        return Err(fail("limit", format!("{name} stands for {nodes} nodes, {MAX_NODES} are allowed")));
    }
    if depth > MAX_DEPTH {
        return Err(fail("limit", format!("{name} is {depth} definitions deep, {MAX_DEPTH} are allowed")));
    }
    let mut graph = renumber(body);
    graph.name = name.to_owned();
    graph.names.clear();
    for (i, output) in graph.outputs.iter_mut().enumerate() {
        output.0 = i.to_string();
    }
    Ok(intern(name, version, Body { graph, nodes, depth, flops }))
}

/// Every definition there is, by name.
static KNOWN: Mutex<BTreeMap<String, Vec<&'static OpDef>>> = Mutex::new(BTreeMap::new());

fn intern(name: &str, version: u32, body: Body) -> Op {
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let same_name = known.entry(name.to_owned()).or_default();
    let equal = |def: &&&'static OpDef| {
        def.version == version && Op::from(**def).body().is_some_and(|b| same(&b.graph, &body.graph))
    };
    if let Some(def) = same_name.iter().find(equal) {
        return Op::from(*def);
    }
    let names: Vec<&'static str> = body.graph.arguments.iter().map(|a| &*a.name.clone().leak()).collect();
    let required = names.len();
    let def: &'static OpDef = Box::leak(Box::new(OpDef {
        name: name.to_owned().leak(),
        version,
        class: Class::Composite,
        summary: "an op of a plugin",
        operands: Operands { names: names.leak(), required, variadic: false },
        attributes: &[],
        constraints: &[("c1", "every operand has the type that the definition gives it")],
        infer,
        meaning: Meaning::Custom(Box::leak(Box::new(body))),
        flops: |call, _| Op::from(call.op).body().map_or(0, |b| b.flops),
    }));
    same_name.push(def);
    Op::from(def)
}

/// Equality to the bit: a NaN equals itself, 0.0 and -0.0 differ.
fn same(a: &Graph, b: &Graph) -> bool {
    a.arguments == b.arguments
        && a.outputs == b.outputs
        && a.values == b.values
        && a.nodes.len() == b.nodes.len()
        && a.nodes.iter().zip(&b.nodes).all(|(n, m)| {
            n.op == m.op
                && n.operands == m.operands
                && n.results == m.results
                && n.scope == m.scope
                && n.attributes.same(&m.attributes)
        })
}

fn infer(call: &Call<'_>) -> Result<Vec<TensorType>> {
    let body = Op::from(call.op).body().expect("only a plugin's op is checked by this rule");
    for (i, argument) in body.graph.arguments.iter().enumerate() {
        let expected = body.graph.ty(argument.value);
        call.require(call.ty(i) == expected, "c1", || {
            format!("{} must be {expected}, found {}", argument.name, call.ty(i))
        })?;
    }
    Ok(body.graph.outputs.iter().map(|(_, value)| body.graph.ty(*value).clone()).collect())
}

/// The plugins' ops of one text or fragment, each under the name that stands there: `focal.terms`; where several share it, the
/// second is `focal.terms/1`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definitions(Vec<(String, Op)>);

impl Definitions {
    /// What a graph uses, what they use before them.
    pub fn used(graph: &Graph) -> Definitions {
        let mut found = Definitions::default();
        found.collect(graph);
        found
    }

    fn collect(&mut self, graph: &Graph) {
        for node in &graph.nodes {
            if let Some(body) = node.op.body()
                && !self.0.iter().any(|(_, op)| std::ptr::eq(op.def, node.op.def))
            {
                self.collect(&body.graph);
                self.add(Op::from(node.op.def));
            }
        }
    }

    pub fn add(&mut self, op: Op) {
        let earlier = self.0.iter().filter(|(_, o)| o.def.name == op.def.name).count();
        let name = if earlier == 0 { op.def.name.to_owned() } else { format!("{}/{earlier}", op.def.name) };
        self.0.push((name, op));
    }

    /// The op that a name stands for, adjoints included.
    pub fn find(&self, name: &str) -> Option<Op> {
        let find = |name: &str| self.0.iter().find(|(n, _)| n == name).map(|(_, op)| *op);
        find(name).or_else(|| Some(Op { adjoint: true, ..find(name.strip_suffix(ADJOINT_SUFFIX)?)? }))
    }

    /// What an op is called here.
    pub fn name_of(&self, op: Op) -> String {
        match self.0.iter().find(|(_, o)| std::ptr::eq(o.def, op.def)) {
            Some((name, _)) if op.adjoint => format!("{name}{ADJOINT_SUFFIX}"),
            Some((name, _)) => name.clone(),
            None => op.name(),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub fn ops(&self) -> impl Iterator<Item = Op> {
        self.0.iter().map(|(_, op)| *op)
    }
}

/// The body of an op while it is written, see [`Builder::open_body`].
pub struct OpenBody {
    /// Builds the body.
    pub builder: Builder,
    /// The operands, as the body sees them.
    pub operands: Vec<Value>,
    given: Vec<Value>,
    /// How many values the outer builder had: the body knows them only to say that they are outside.
    outside: usize,
}

impl Builder {
    /// Begins the body of a plugin's op on these operands. It is closed by [`Builder::close_body`].
    ///
    /// # Errors
    /// None that a caller can cause; those of [`Builder::argument`].
    pub fn open_body(&self, name: &str, operands: &[Value]) -> Result<OpenBody> {
        let builder = Builder::new(name);
        let types: Vec<TensorType> = self.look(|g| g.values.iter().map(|(ty, _)| ty.clone()).collect());
        // The values outside get the same numbers inside, so that one which is used by mistake is known for what it is.
        for (i, ty) in types.iter().enumerate() {
            builder.input(&format!("outside {i}"), ty.clone())?;
        }
        let inside = operands.iter().enumerate();
        let inside: Result<Vec<Value>> = inside.map(|(i, &v)| builder.input(&format!("x{i}"), self.ty(v))).collect();
        Ok(OpenBody { builder, operands: inside?, given: operands.to_vec(), outside: types.len() })
    }

    /// Emits one node that means the body, and gives its results.
    ///
    /// # Errors
    /// `definition_outside` when the body uses a value from outside that is not among its operands; those of [`define`].
    pub fn close_body(&self, name: &str, version: u32, body: OpenBody, results: &[Value]) -> Result<Vec<Value>> {
        let OpenBody { builder, operands: _, given, outside } = body;
        let written = builder.finish();
        let stray = |v: &&Value| v.index() < outside;
        let used = written.nodes.iter().flat_map(|n| n.operands.iter()).chain(results).find(stray);
        if let Some(value) = used {
            let message =
                format!("the body of {name} uses a value from outside ({}): give it as an operand", written.ty(*value));
            return Err(self.malformed("definition_outside", message));
        }
        let b = Builder::new(name);
        let mut map = vec![Value(u32::MAX); written.values.len()];
        for argument in &written.arguments[outside..] {
            map[argument.value.index()] = b.argument_like(&argument.name, argument, written.ty(argument.value))?;
        }
        for node in &written.nodes {
            let _scope = b.absolute_scope(&node.scope);
            let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
            let new = b.emit(node.op, &operands, node.attributes.clone())?;
            for (&old, new) in node.results.iter().zip(new) {
                map[old.index()] = new;
            }
        }
        for (i, value) in results.iter().enumerate() {
            b.output(&i.to_string(), map[value.index()]);
        }
        let op = define(name, version, &b.finish())?;
        self.emit(op, &given, Attributes::new())
    }

    /// One node of a plugin's own op, whose meaning `build` writes once: it is given a builder and the operands as they are called
    /// inside, and gives the results.
    ///
    /// # Errors
    /// Those of `build` and [`Builder::close_body`].
    pub fn composite<E: From<GraphError>>(
        &self,
        name: &str,
        version: u32,
        operands: &[Value],
        build: impl FnOnce(&Builder, &[Value]) -> Result<Vec<Value>, E>,
    ) -> Result<Vec<Value>, E> {
        let body = self.open_body(name, operands)?;
        let results = build(&body.builder, &body.operands)?;
        Ok(self.close_body(name, version, body, &results)?)
    }
}
