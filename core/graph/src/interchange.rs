//! A graph as the plain data that crosses the plugin boundary, and back.
//!
//! Values are numbered: arguments first (inputs, then parameters and states), then every node's results in order. An
//! initialisation crosses as its name and one attribute `numbers`. `decay` and `frozen` cross as properties where they differ
//! from the rule (decay what has several axes, freeze nothing). The names of inner values ([`Graph::names`]) cross as outputs
//! under the reserved prefix [`INNER`]. Ops that a plugin brings along stand before everything else, each before its use.
//!
//! A fragment comes from someone else's code: [`import`] takes nothing for granted, and gives a verified graph or says which rule
//! is broken.

use fer_abi::{
    Fragment, NamedAttribute,
    abi_stable::std_types::{RString, RVec},
    role,
};

use crate::{
    Argument, Attribute, Attributes, Builder, Class, DType, Graph, GraphError, Init, Node, Op, Positions, Result, Role,
    TensorType, Value,
    assemble::{Declaration, Declared, MAX_NAME, add_attribute, default_decay, did_you_mean, find_op, quoted},
    custom::{Definitions, define},
    numbering::{canonical_numbers, ordered_arguments},
    verify,
};

/// An output `inner/features` is no result: it names an inner value `features` for whoever wants to look at it.
pub const INNER: &str = "inner/";

/// The most nodes, and the most outputs and updates together, of a fragment.
pub const MAX_NODES: usize = 1_000_000;
/// The most arguments of a fragment.
pub const MAX_ARGUMENTS: usize = 100_000;
/// The most definitions of a fragment.
pub const MAX_DEFINITIONS: usize = 1000;
/// The most numbers in all constants and initial values of a fragment.
pub const MAX_NUMBERS: usize = 1 << 28;
/// The most integers in one attribute: these list axes and sizes.
pub const MAX_INTEGERS: usize = 1024;

const NUMBERS: &str = "numbers";
const DECAY: &str = "decay";
const FROZEN: &str = "frozen";
const LAYER: &str = "layer";
const TOKENS: &str = "tokens";
const DISTANCES: &str = "distances";

/// A verified graph as plain data. Values are renumbered, see [`renumber`](crate::renumber).
pub fn export(graph: &Graph) -> Fragment {
    let to = canonical_numbers(graph);
    let defined = Definitions::used(graph);
    let inner = graph.names.iter().map(|(name, value)| (format!("{INNER}{name}"), *value));
    Fragment {
        name: graph.name.as_str().into(),
        definitions: defined.ops().map(|op| export_definition(op, &defined)).collect(),
        arguments: ordered_arguments(graph).map(|a| export_argument(a, graph.ty(a.value))).collect(),
        nodes: graph.nodes.iter().map(|node| export_node(node, &to, &defined)).collect(),
        outputs: graph
            .outputs
            .iter()
            .cloned()
            .chain(inner)
            .map(|(name, value)| fer_abi::Output { name: name.into(), value: to[value.index()].0 })
            .collect(),
        updates: graph
            .updates
            .iter()
            .map(|(state, value)| fer_abi::Update { state: state.as_str().into(), value: to[value.index()].0 })
            .collect(),
    }
}

fn export_definition(op: Op, defined: &Definitions) -> fer_abi::Definition {
    let graph = &op.body().expect("only plugins' ops are defined").graph;
    let to = canonical_numbers(graph);
    fer_abi::Definition {
        name: op.def.name.into(),
        version: op.def.version,
        operands: ordered_arguments(graph)
            .map(|a| fer_abi::Operand { name: a.name.as_str().into(), ty: export_type(graph.ty(a.value)) })
            .collect(),
        nodes: graph.nodes.iter().map(|node| export_node(node, &to, defined)).collect(),
        results: graph.outputs.iter().map(|(_, value)| to[value.index()].0).collect(),
    }
}

fn export_type(ty: &TensorType) -> fer_abi::TensorType {
    fer_abi::TensorType { dtype: ty.dtype.name().into(), shape: ty.shape.iter().map(|&d| d as u64).collect() }
}

fn export_argument(argument: &Argument, ty: &TensorType) -> fer_abi::Argument {
    let named = |name: &str, value| NamedAttribute { name: name.into(), value };
    let mut properties = RVec::new();
    if argument.decay != default_decay(ty) {
        properties.push(named(DECAY, fer_abi::Attribute::Bool(argument.decay)));
    }
    if argument.frozen {
        properties.push(named(FROZEN, fer_abi::Attribute::Bool(true)));
    }
    if let Some(layer) = argument.layer {
        properties.push(named(LAYER, fer_abi::Attribute::Int(i64::from(layer))));
    }
    if let Some(positions) = argument.positions {
        let sizes: Vec<i64> = positions.sizes().into_iter().map(|n| n as i64).collect();
        properties.push(named(positions.name(), fer_abi::Attribute::Ints(sizes.into())));
    }
    let numbers = argument.init.as_ref().map(Init::numbers).unwrap_or_default();
    let mut init_attributes = RVec::new();
    if !numbers.is_empty() {
        init_attributes.push(named(NUMBERS, fer_abi::Attribute::Floats(numbers.into())));
    }
    fer_abi::Argument {
        name: argument.name.as_str().into(),
        role: match argument.role {
            Role::Input => role::INPUT,
            Role::Parameter => role::PARAMETER,
            Role::State => role::STATE,
        }
        .into(),
        ty: export_type(ty),
        init: argument.init.as_ref().map_or("", Init::name).into(),
        init_attributes,
        properties,
    }
}

fn export_node(node: &Node, to: &[Value], defined: &Definitions) -> fer_abi::Node {
    fer_abi::Node {
        op: defined.name_of(node.op).into(),
        version: node.op.def.version,
        operands: node.operands.iter().map(|v| to[v.index()].0).collect(),
        attributes: node
            .attributes
            .iter()
            .map(|(name, value)| NamedAttribute { name: name.into(), value: export_value(value) })
            .collect(),
        scope: RString::from(&*node.scope),
    }
}

fn export_value(value: &Attribute) -> fer_abi::Attribute {
    match value {
        Attribute::Int(v) => fer_abi::Attribute::Int(*v),
        Attribute::Float(v) => fer_abi::Attribute::Float(*v),
        Attribute::Bool(v) => fer_abi::Attribute::Bool(*v),
        Attribute::Text(v) => fer_abi::Attribute::Text(RString::from(&**v)),
        Attribute::Ints(v) => fer_abi::Attribute::Ints(v.to_vec().into()),
        Attribute::Floats(v) => fer_abi::Attribute::Floats(v.to_vec().into()),
    }
}

fn import_value(value: &fer_abi::Attribute) -> Attribute {
    match value {
        fer_abi::Attribute::Int(v) => Attribute::Int(*v),
        fer_abi::Attribute::Float(v) => Attribute::Float(*v),
        fer_abi::Attribute::Bool(v) => Attribute::Bool(*v),
        fer_abi::Attribute::Text(v) => Attribute::Text(v.as_str().into()),
        fer_abi::Attribute::Ints(v) => Attribute::Ints(v.as_slice().into()),
        fer_abi::Attribute::Floats(v) => Attribute::Floats(v.as_slice().into()),
    }
}

/// The graph a fragment describes, verified.
///
/// # Errors
/// [`GraphError::Constraint`] when an op does not accept its operands or attributes, else [`GraphError::Malformed`] with one of:
/// `limit` (more than [`MAX_NODES`], [`MAX_ARGUMENTS`], [`MAX_DEFINITIONS`], [`MAX_NUMBERS`] or [`MAX_INTEGERS`] allow), `bad_name`, `duplicate_name`,
/// `role`, `dtype`, `shape`, `init`, `positions`, `property`, `unknown_op`, `op_version`, `adjoint_from_plugin`, `order` (an operand that is
/// not defined before its use), `no_outputs`, `output`, `update`; of a plugin's own op those of [`define`] besides.
pub fn import(fragment: &Fragment) -> Result<Graph> {
    let reader = Reader { name: &quoted(&fragment.name).replace('"', "") };
    reader.limits(fragment)?;
    reader.name("the fragment", &fragment.name)?;
    let mut ops = Definitions::default();
    for definition in &fragment.definitions {
        let op = reader.definition(definition, &ops)?;
        ops.add(op);
    }
    let mut declared = Declared::new(&fragment.name);
    for argument in &fragment.arguments {
        let declaration = reader.declaration(argument)?;
        declared.declare(declaration).map_err(|(code, message)| reader.fail(code, message))?;
    }
    let mut graph = reader.nodes(declared.graph, &fragment.nodes, &ops)?;
    let inlined = graph.nodes.iter().fold(0usize, |n, node| n.saturating_add(node.op.body().map_or(1, |b| b.nodes)));
    if inlined > MAX_NODES {
        return Err(reader.fail("limit", format!("stands for {inlined} nodes, {MAX_NODES} are allowed")));
    }
    reader.results(fragment, &mut graph)?;
    verify(&graph)?;
    Ok(graph)
}

/// What is said of an argument beside its type.
#[derive(Default)]
struct Properties {
    decay: Option<bool>,
    frozen: Option<bool>,
    layer: Option<u32>,
    positions: Option<Positions>,
}

/// Reads the parts of one fragment.
struct Reader<'a> {
    name: &'a str,
}

impl Reader<'_> {
    fn fail(&self, code: &'static str, message: String) -> GraphError {
        GraphError::Malformed { graph: self.name.to_owned(), code, message }
    }

    /// Counts before anything is copied.
    fn limits(&self, fragment: &Fragment) -> Result<()> {
        let limit = |what: &str, found: usize, most: usize| {
            if found <= most {
                return Ok(());
            }
            Err(self.fail("limit", format!("has {found} {what}, {most} are allowed")))
        };
        limit("nodes", fragment.nodes.len(), MAX_NODES)?;
        limit("arguments", fragment.arguments.len(), MAX_ARGUMENTS)?;
        limit("definitions", fragment.definitions.len(), MAX_DEFINITIONS)?;
        let inner = fragment.definitions.iter().map(|d| d.nodes.len().saturating_add(d.operands.len()));
        limit("nodes and operands in definitions", inner.fold(0, usize::saturating_add), MAX_NODES)?;
        limit("outputs and updates", fragment.outputs.len().saturating_add(fragment.updates.len()), MAX_NODES)?;
        let lists = fragment.arguments.iter().flat_map(|a| a.init_attributes.iter());
        let mut numbers = 0usize;
        let nodes = fragment.definitions.iter().flat_map(|d| d.nodes.iter()).chain(fragment.nodes.iter());
        for attribute in lists.chain(nodes.flat_map(|n| n.attributes.iter())) {
            match &attribute.value {
                fer_abi::Attribute::Floats(v) => numbers = numbers.saturating_add(v.len()),
                fer_abi::Attribute::Ints(v) => limit("integers in one attribute", v.len(), MAX_INTEGERS)?,
                _ => {}
            }
        }
        limit("numbers in constants", numbers, MAX_NUMBERS)
    }

    /// A name that can stand in a file, a message and a state dict.
    fn name<'n>(&self, what: &str, name: &'n RString) -> Result<&'n str> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-/".contains(&b);
        if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(allowed) {
            return Ok(name);
        }
        let message = format!(
            "{what} is named {}; a name is 1 to {MAX_NAME} letters, digits and characters of \"_.-/\"",
            quoted(name)
        );
        Err(self.fail("bad_name", message))
    }

    fn declaration(&self, argument: &fer_abi::Argument) -> Result<Declaration> {
        let name = self.name("an argument", &argument.name)?;
        let role = match self.name("a role", &argument.role)? {
            role::INPUT => Role::Input,
            role::PARAMETER => Role::Parameter,
            role::STATE => Role::State,
            other => {
                let hint = did_you_mean(other, [role::INPUT, role::PARAMETER, role::STATE].into_iter());
                return Err(self.fail("role", format!("{name:?} has no role {other:?}{hint}")));
            }
        };
        let ty = self.tensor_type(name, &argument.ty)?;
        let Properties { decay, frozen, layer, positions } = self.properties(name, &argument.properties)?;
        let init = self.init(name, argument)?;
        let name = name.to_owned();
        Ok(Declaration { name, role, ty, init, decay, frozen: frozen.unwrap_or(false), layer, positions })
    }

    fn tensor_type(&self, of: &str, ty: &fer_abi::TensorType) -> Result<TensorType> {
        let dtype: DType = self
            .name("an element type", &ty.dtype)?
            .parse()
            .map_err(|message| self.fail("dtype", format!("{of:?}: {message}")))?;
        if ty.shape.len() > MAX_INTEGERS {
            return Err(self.fail("shape", format!("{of:?} has {} axes", ty.shape.len())));
        }
        // A size beyond usize is beyond MAX_ELEMENTS too, and refused as such.
        let shape: Vec<usize> = ty.shape.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
        Ok(TensorType::new(dtype, shape))
    }

    /// A plugin's own op, by those defined before it. So none can contain itself.
    fn definition(&self, definition: &fer_abi::Definition, ops: &Definitions) -> Result<Op> {
        let name = self.name("an op", &definition.name)?;
        let inside = Reader { name: &format!("{}, op {name}", self.name) };
        let mut declared = Declared::new(inside.name);
        for operand in &definition.operands {
            let of = inside.name("an operand", &operand.name)?;
            let declaration = Declaration {
                name: of.to_owned(),
                role: Role::Input,
                ty: inside.tensor_type(of, &operand.ty)?,
                init: None,
                decay: None,
                frozen: false,
                layer: None,
                positions: None,
            };
            declared.declare(declaration).map_err(|(code, message)| inside.fail(code, message))?;
        }
        let mut graph = inside.nodes(declared.graph, &definition.nodes, ops)?;
        if definition.results.len() > MAX_INTEGERS {
            return Err(inside.fail("limit", format!("has {} results", definition.results.len())));
        }
        graph.outputs = definition.results.iter().enumerate().map(|(i, &v)| (i.to_string(), Value(v))).collect();
        define(name, definition.version, &graph)
    }

    /// Adds nodes to a graph of arguments.
    fn nodes(&self, arguments: Graph, nodes: &[fer_abi::Node], ops: &Definitions) -> Result<Graph> {
        let mut defined = arguments.arguments.len();
        let builder = Builder::resume(arguments);
        for (i, node) in nodes.iter().enumerate() {
            defined += self.node(&builder, i, node, defined, ops)?;
        }
        Ok(builder.finish())
    }

    fn init(&self, name: &str, argument: &fer_abi::Argument) -> Result<Option<Init>> {
        let fail = |message: String| self.fail("init", format!("{name:?}: {message}"));
        let numbers = match argument.init_attributes.as_slice() {
            [] => &[][..],
            [NamedAttribute { name, value: fer_abi::Attribute::Floats(numbers) }] if name.as_str() == NUMBERS => {
                numbers.as_slice()
            }
            _ => {
                let message = format!("an initialisation has one attribute at most, {NUMBERS:?}, a list of numbers");
                return Err(fail(message));
            }
        };
        if argument.init.is_empty() {
            return if numbers.is_empty() { Ok(None) } else { Err(fail("numbers without an initialisation".into())) };
        }
        let scheme = self.name("an initialisation", &argument.init)?;
        // The message quotes the numbers, which are many for no scheme but `values`.
        if scheme != "values" && numbers.len() > 4 {
            return Err(fail(format!("initialisation {scheme:?} does not take {} numbers", numbers.len())));
        }
        if scheme == "values" && numbers.iter().any(|v| !v.is_finite()) {
            return Err(fail("initial values must be finite".into()));
        }
        Init::from_parts(scheme, numbers).map(Some).map_err(fail)
    }

    fn properties(&self, of: &str, given: &[NamedAttribute]) -> Result<Properties> {
        use fer_abi::Attribute::{Bool, Int, Ints};
        let mut found = Properties::default();
        for NamedAttribute { name, value } in given {
            let name = self.name("a property", name)?;
            let twice = match (name, value) {
                (DECAY, &Bool(value)) => found.decay.replace(value).is_some(),
                (FROZEN, &Bool(value)) => found.frozen.replace(value).is_some(),
                (LAYER, &Int(value)) if u32::try_from(value).is_ok() => found.layer.replace(value as u32).is_some(),
                (TOKENS | DISTANCES, Ints(sizes)) => {
                    // A negative size is beyond every table, and refused as such.
                    let sizes: Vec<usize> = sizes.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
                    let positions = Positions::from_parts(name, &sizes)
                        .map_err(|message| self.fail("property", format!("{of:?}: {message}")))?;
                    found.positions.replace(positions).is_some()
                }
                (DECAY | FROZEN, _) => {
                    return Err(self.fail("property", format!("{name} of {of:?} must be true or false")));
                }
                (LAYER, _) => return Err(self.fail("property", format!("layer of {of:?} must be a number from 0"))),
                (TOKENS | DISTANCES, _) => {
                    return Err(self.fail("property", format!("{name} of {of:?} must be a list of sizes")));
                }
                _ => {
                    let hint = did_you_mean(name, [DECAY, FROZEN, LAYER, TOKENS, DISTANCES].into_iter());
                    return Err(self.fail("property", format!("{of:?} has an unknown property {name:?}{hint}")));
                }
            };
            if twice {
                return Err(self.fail("property", format!("{name} of {of:?} is given twice")));
            }
        }
        Ok(found)
    }

    /// Adds node `i`; values below `defined` may be its operands. Gives the number of its results.
    fn node(
        &self,
        builder: &Builder,
        i: usize,
        node: &fer_abi::Node,
        defined: usize,
        ops: &Definitions,
    ) -> Result<usize> {
        let scope = if node.scope.is_empty() { "" } else { self.name("a scope", &node.scope)? };
        let at = |message: String| {
            let place = if scope.is_empty() { String::new() } else { format!(" in {scope}") };
            format!("node {i}{place}: {message}")
        };
        let op = find_op(self.name("an op", &node.op)?, ops).map_err(|m| self.fail("unknown_op", at(m)))?;
        if op.class() == Class::Adjoint {
            let message =
                format!("{:?} is for differentiation alone; a plugin gives its forward computation", op.name());
            return Err(self.fail("adjoint_from_plugin", at(message)));
        }
        if node.version != op.def.version {
            let message = format!("{:?} of version {} is asked, this host has {}", op, node.version, op.def.version);
            return Err(self.fail("op_version", at(message)));
        }
        let attributes = self.attributes(op, &node.attributes, scope)?;
        let mut operands = Vec::with_capacity(node.operands.len());
        for &id in &node.operands {
            if id as usize >= defined {
                let message = format!("{op:?} uses value {id}; before it only 0 to {} are defined", defined as i64 - 1);
                return Err(self.fail("order", at(message)));
            }
            operands.push(Value(id));
        }
        let _scope = builder.absolute_scope(scope);
        Ok(builder.emit(op, &operands, attributes)?.len())
    }

    fn attributes(&self, op: Op, given: &[NamedAttribute], scope: &str) -> Result<Attributes> {
        given.iter().try_fold(Attributes::new(), |attributes, NamedAttribute { name, value }| {
            add_attribute(op, attributes, name, import_value(value)).map_err(|message| GraphError::Constraint {
                op: op.name(),
                constraint: format!("{}_attribute", op.name()),
                message,
                scope: scope.to_owned(),
            })
        })
    }

    /// Outputs, names of inner values, and updates; that they are unique and fit is verified afterwards.
    fn results(&self, fragment: &Fragment, graph: &mut Graph) -> Result<()> {
        for output in &fragment.outputs {
            let name = self.name("an output", &output.name)?;
            match name.strip_prefix(INNER) {
                None => graph.outputs.push((name.to_owned(), Value(output.value))),
                Some("") => return Err(self.fail("bad_name", format!("an output is named {name:?} and nothing more"))),
                Some(inner) => {
                    if graph.names.insert(inner.to_owned(), Value(output.value)).is_some() {
                        return Err(self.fail("duplicate_name", format!("output {name:?} is given twice")));
                    }
                }
            }
        }
        if graph.outputs.is_empty() {
            return Err(self.fail("no_outputs", "gives nothing: it has no output".into()));
        }
        for update in &fragment.updates {
            let state = self.name("an update", &update.state)?;
            graph.updates.push((state.to_owned(), Value(update.value)));
        }
        Ok(())
    }
}
