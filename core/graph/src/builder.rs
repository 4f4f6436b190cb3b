//! Builds a graph node by node; every call checks types where the author wrote it.
//!
//! Methods take `&self`, so that calls nest: `g.negate(g.reduce_sum(x, &[1])?)`. The method of an op lives beside the op, in `ops/`.

use std::{cell::RefCell, sync::Arc};

use crate::{
    Argument, Attribute, Attributes, DType, Definition, Graph, GraphError, Init, Node, Op, Positions, Result, Role,
    TensorType, Value, assemble::misplaced,
};

/// A graph under construction.
pub struct Builder {
    inner: RefCell<Inner>,
}

struct Inner {
    graph: Graph,
    scope: String,
    /// The layer that parameters are declared in.
    layer: Option<u32>,
    /// How many random streams each scope has drawn, so that streams do not depend on unrelated code.
    streams: std::collections::HashMap<String, u32>,
}

/// Ends a scope when dropped.
pub struct ScopeGuard<'b> {
    builder: &'b Builder,
    outer: String,
}

impl Drop for ScopeGuard<'_> {
    fn drop(&mut self) {
        self.builder.inner.borrow_mut().scope = std::mem::take(&mut self.outer);
    }
}

/// Ends a layer when dropped.
pub struct LayerGuard<'b> {
    builder: &'b Builder,
    outer: Option<u32>,
}

impl Drop for LayerGuard<'_> {
    fn drop(&mut self) {
        self.builder.inner.borrow_mut().layer = self.outer;
    }
}

impl Builder {
    pub fn new(name: &str) -> Builder {
        Builder::resume(Graph::empty(name))
    }

    /// Continues a finished graph: its values keep their numbers.
    pub fn resume(graph: Graph) -> Builder {
        Builder { inner: RefCell::new(Inner { graph, scope: String::new(), layer: None, streams: Default::default() }) }
    }

    pub fn finish(self) -> Graph {
        self.inner.into_inner().graph
    }

    /// Looks at the graph as it stands. The closure must not call the builder.
    pub fn look<T>(&self, see: impl FnOnce(&Graph) -> T) -> T {
        see(&self.inner.borrow().graph)
    }

    /// Enters a scope below the current one until the guard is dropped: `let _scope = g.scope("attn");`
    pub fn scope(&self, name: &str) -> ScopeGuard<'_> {
        let mut inner = self.inner.borrow_mut();
        let outer = inner.scope.clone();
        inner.scope = join(&outer, name);
        drop(inner);
        ScopeGuard { builder: self, outer }
    }

    /// Enters a scope given from the root, whatever the current one is.
    pub fn absolute_scope(&self, path: &str) -> ScopeGuard<'_> {
        let outer = std::mem::replace(&mut self.inner.borrow_mut().scope, path.to_owned());
        ScopeGuard { builder: self, outer }
    }

    /// Declares parameters as those of a layer until the guard is dropped; 0 is the stem: `let _layer = g.layer(i + 1);`
    ///
    /// timm counts the final norm to the last block; what follows it belongs to no layer.
    pub fn layer(&self, index: usize) -> LayerGuard<'_> {
        let layer = Some(u32::try_from(index).unwrap_or(u32::MAX));
        let outer = std::mem::replace(&mut self.inner.borrow_mut().layer, layer);
        LayerGuard { builder: self, outer }
    }

    /// The current scope's path.
    pub fn scope_path(&self) -> String {
        self.inner.borrow().scope.clone()
    }

    pub fn ty(&self, value: Value) -> TensorType {
        self.inner.borrow().graph.ty(value).clone()
    }

    pub fn shape(&self, value: Value) -> Vec<usize> {
        self.inner.borrow().graph.shape(value).to_vec()
    }

    pub fn rank(&self, value: Value) -> usize {
        self.inner.borrow().graph.ty(value).rank()
    }

    pub fn dtype(&self, value: Value) -> DType {
        self.inner.borrow().graph.ty(value).dtype
    }

    /// The shape as a fixed number of sizes.
    ///
    /// # Errors
    /// `rank` when the value has another number of axes.
    pub fn dims<const N: usize>(&self, value: Value) -> Result<[usize; N]> {
        let ty = self.ty(value);
        ty.shape.clone().try_into().map_err(|_| self.malformed("rank", format!("expected {N} axes, found {ty}")))
    }

    /// A malformed-graph error that names this graph and scope.
    pub fn malformed(&self, code: &'static str, message: String) -> GraphError {
        let inner = self.inner.borrow();
        let place = if inner.scope.is_empty() { String::new() } else { format!("in {}: ", inner.scope) };
        GraphError::Malformed { graph: inner.graph.name.clone(), code, message: format!("{place}{message}") }
    }

    /// An argument whose name is taken as it is.
    ///
    /// # Errors
    /// `duplicate_name` when the name is taken, `shape` when the type is empty or too large.
    pub fn argument(&self, name: &str, role: Role, ty: TensorType, init: Option<Init>) -> Result<Value> {
        if self.inner.borrow().graph.argument(name).is_some() {
            return Err(self.malformed("duplicate_name", format!("{name:?} is declared twice")));
        }
        if !ty.is_sane() {
            return Err(self.malformed("shape", format!("{name:?} would be {ty}, which is empty or too large")));
        }
        if let Some(Init::Values(values)) = &init
            && values.len() != ty.elements()
        {
            let message = format!("{name:?} is {ty} and starts from {} values", values.len());
            return Err(self.malformed("init", message));
        }
        let mut inner = self.inner.borrow_mut();
        let value = Value(inner.graph.values.len() as u32);
        let definition = Definition::Argument(inner.graph.arguments.len());
        // timm's rule: what has one axis or fewer is not decayed.
        let decay = ty.rank() > 1;
        inner.graph.values.push((ty, definition));
        let layer = inner.layer.filter(|_| role == Role::Parameter);
        let argument =
            Argument { name: name.to_owned(), role, value, init, decay, frozen: false, layer, positions: None };
        inner.graph.arguments.push(argument);
        Ok(value)
    }

    /// An argument like that of another graph, under a name of its own.
    ///
    /// # Errors
    /// See [`Builder::argument`].
    pub fn argument_like(&self, name: &str, like: &Argument, ty: &TensorType) -> Result<Value> {
        let value = self.argument(name, like.role, ty.clone(), like.init.clone())?;
        self.edit_argument(value, |a| {
            a.decay = like.decay;
            a.frozen = like.frozen;
            a.layer = like.layer;
            a.positions = like.positions;
        });
        Ok(value)
    }

    /// An input of the whole graph, named from the root.
    ///
    /// # Errors
    /// See [`Builder::argument`].
    pub fn input(&self, name: &str, ty: TensorType) -> Result<Value> {
        self.argument(name, Role::Input, ty, None)
    }

    /// The input of that name, declared at its first use.
    ///
    /// # Errors
    /// `duplicate_name` when it exists with another type or role.
    pub fn shared_input(&self, name: &str, ty: TensorType) -> Result<Value> {
        let known = self.look(|g| g.argument(name).map(|a| (a.value, a.role, g.ty(a.value).clone())));
        match known {
            Some((value, Role::Input, found)) if found == ty => Ok(value),
            Some((_, _, found)) => {
                Err(self.malformed("duplicate_name", format!("{name:?} is {found} already, now asked as {ty}")))
            }
            None => self.input(name, ty),
        }
    }

    /// A trained parameter, named below the current scope.
    ///
    /// # Errors
    /// See [`Builder::argument`].
    pub fn parameter(&self, name: &str, shape: &[usize], init: Init) -> Result<Value> {
        self.argument(&self.full_name(name), Role::Parameter, TensorType::float(shape), Some(init))
    }

    /// A parameter that weight decay leaves alone although it has several axes (position tables, tokens).
    ///
    /// # Errors
    /// See [`Builder::argument`].
    pub fn parameter_without_decay(&self, name: &str, shape: &[usize], init: Init) -> Result<Value> {
        let value = self.parameter(name, shape, init)?;
        self.edit_argument(value, |a| a.decay = false);
        Ok(value)
    }

    /// A table over positions, never decayed. A weight file made for another image size is resampled to it.
    ///
    /// # Errors
    /// See [`Builder::argument`]; `positions` when the shape does not hold these positions.
    pub fn position_table(&self, name: &str, shape: &[usize], positions: Positions, init: Init) -> Result<Value> {
        let ty = TensorType::float(shape);
        if !positions.fit(&ty) {
            return Err(self.malformed("positions", misplaced(name, &ty, positions)));
        }
        let value = self.parameter_without_decay(name, shape, init)?;
        self.edit_argument(value, |a| a.positions = Some(positions));
        Ok(value)
    }

    /// A state, named below the current scope.
    ///
    /// # Errors
    /// See [`Builder::argument`].
    pub fn state(&self, name: &str, shape: &[usize], init: Init) -> Result<Value> {
        self.argument(&self.full_name(name), Role::State, TensorType::float(shape), Some(init))
    }

    /// Changes what is said of an argument.
    pub fn edit_argument(&self, value: Value, edit: impl FnOnce(&mut Argument)) {
        if let Some(argument) = self.inner.borrow_mut().graph.arguments.iter_mut().find(|a| a.value == value) {
            edit(argument);
        }
    }

    /// The name of something below the current scope.
    pub fn full_name(&self, name: &str) -> String {
        join(&self.inner.borrow().scope, name)
    }

    /// Names a result of the graph.
    pub fn output(&self, name: &str, value: Value) {
        self.inner.borrow_mut().graph.outputs.push((name.to_owned(), value));
    }

    /// Names an inner value, below the current scope, for whoever wants to look at it.
    pub fn name(&self, name: &str, value: Value) {
        let name = self.full_name(name);
        self.inner.borrow_mut().graph.names.insert(name, value);
    }

    /// Gives a state (or parameter) its value for the next step.
    ///
    /// # Errors
    /// `update` when the value's type differs, or `state` is no state or parameter, or it is updated already.
    pub fn update(&self, state: Value, value: Value) -> Result<()> {
        let (old, new) = (self.ty(state), self.ty(value));
        let name = self
            .look(|g| g.arguments.iter().find(|a| a.value == state && a.role != Role::Input).map(|a| a.name.clone()));
        let Some(name) = name else {
            return Err(self.malformed("update", "only states and parameters can be updated".into()));
        };
        if old != new {
            return Err(self.malformed("update", format!("{name:?} is {old}, its update {new}")));
        }
        if self.look(|g| g.updates.iter().any(|(n, _)| *n == name)) {
            return Err(self.malformed("update", format!("{name:?} is updated twice")));
        }
        self.inner.borrow_mut().graph.updates.push((name, value));
        Ok(())
    }

    /// Adds one operation and gives its results.
    ///
    /// # Errors
    /// [`GraphError::Constraint`] when the op does not accept these operands or attributes.
    pub fn emit(&self, op: impl Into<Op>, operands: &[Value], attributes: Attributes) -> Result<Vec<Value>> {
        let op = op.into();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let types: Vec<&TensorType> = operands.iter().map(|&v| inner.graph.ty(v)).collect();
        let results = op.infer(&types, &attributes).map_err(|e| e.in_scope(&inner.scope))?;
        let scope: Arc<str> = match inner.graph.nodes.last() {
            Some(last) if *last.scope == *inner.scope => last.scope.clone(),
            _ => inner.scope.as_str().into(),
        };
        let node = inner.graph.nodes.len();
        let mut values = Vec::with_capacity(results.len());
        for (i, ty) in results.into_iter().enumerate() {
            values.push(Value(inner.graph.values.len() as u32));
            inner.graph.values.push((ty, Definition::Node(node, i)));
        }
        let attributes = canonical(op, attributes);
        inner.graph.nodes.push(Node { op, operands: operands.to_vec(), attributes, results: values.clone(), scope });
        Ok(values)
    }

    /// Adds a single-result operation.
    ///
    /// # Errors
    /// See [`Builder::emit`].
    pub fn emit1(&self, op: impl Into<Op>, operands: &[Value], attributes: Attributes) -> Result<Value> {
        Ok(self.emit(op, operands, attributes)?[0])
    }

    /// A number for a random stream, from the scope's path and how many streams it drew before.
    pub fn next_stream(&self) -> i64 {
        let mut inner = self.inner.borrow_mut();
        let scope = inner.scope.clone();
        let count = inner.streams.entry(scope.clone()).or_insert(0);
        let ordinal = *count;
        *count += 1;
        stream(&scope, &ordinal.to_le_bytes())
    }

    /// Copies another graph's nodes in here, below the current scope. `bind` gives the value for each of its arguments.
    /// Returns where each of its values went.
    ///
    /// # Errors
    /// Those of `bind`, and of a node that does not accept what it is bound to.
    pub fn inline(
        &self,
        other: &Graph,
        mut bind: impl FnMut(&Builder, &Argument, &TensorType) -> Result<Value>,
    ) -> Result<Vec<Value>> {
        let mut map = vec![Value(u32::MAX); other.values.len()];
        for argument in &other.arguments {
            map[argument.value.index()] = bind(self, argument, other.ty(argument.value))?;
        }
        let base = self.scope_path();
        for node in &other.nodes {
            let _scope = self.absolute_scope(&join(&base, &node.scope));
            let operands: Vec<Value> = node.operands.iter().map(|v| map[v.index()]).collect();
            let results = self.emit(node.op, &operands, own_stream(&node.attributes, &base))?;
            for (&old, new) in node.results.iter().zip(results) {
                map[old.index()] = new;
            }
        }
        for (name, value) in &other.names {
            self.name(name, map[value.index()]);
        }
        Ok(map)
    }
}

/// FNV-1a of a scope and a distinction within it, 31 bits: streams only need to differ.
fn stream(scope: &str, within: &[u8]) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in scope.as_bytes().iter().chain(within) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    ((hash ^ (hash >> 32)) & 0x7fff_ffff) as i64
}

/// The attributes of a node that is copied below `base`: the same component in two places draws different numbers.
fn own_stream(attributes: &Attributes, base: &str) -> Attributes {
    match attributes.get("stream") {
        Some(Attribute::Int(old)) if !base.is_empty() => {
            attributes.clone().with("stream", stream(base, &old.to_le_bytes()))
        }
        _ => attributes.clone(),
    }
}

fn join(scope: &str, name: &str) -> String {
    match (scope.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => scope.to_owned(),
        _ => format!("{scope}.{name}"),
    }
}

/// Attributes in the order of their declaration, so that equal nodes are equal.
fn canonical(op: Op, attributes: Attributes) -> Attributes {
    let mut ordered = Attributes::new();
    for def in op.attribute_defs() {
        if let Some(value) = attributes.get(def.name) {
            ordered = ordered.with(def.name, value.clone());
        }
    }
    ordered
}
