//! The graph: arguments, nodes in order of execution, named outputs, state updates.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Attributes, Init, Op, Positions, TensorType};

/// A value of a graph: an argument or one result of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where an argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Given anew at every step.
    Input,
    /// Trained.
    Parameter,
    /// Kept between steps and changed by updates (running statistics, optimiser moments).
    State,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Input => "input",
            Role::Parameter => "parameter",
            Role::State => "state",
        }
    }
}

/// A value that comes from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// Unique in the graph. Parameters and states carry state-dict keys.
    pub name: String,
    pub role: Role,
    pub value: Value,
    /// How it starts; `None` for inputs.
    pub init: Option<Init>,
    /// False where weight decay must leave a parameter alone (biases, norms, position tables).
    pub decay: bool,
    /// True where a component holds a parameter fixed.
    pub frozen: bool,
    /// How many layers of a backbone lie before this one (0: the stem); `None` for what follows them all. Layer-wise learning rates
    /// go by it.
    pub layer: Option<u32>,
    /// What the entries of a position table stand for.
    pub positions: Option<Positions>,
}

/// One operation. Its operands are defined before it; its results are consecutive values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Op,
    pub operands: Vec<Value>,
    pub attributes: Attributes,
    pub results: Vec<Value>,
    /// Dotted path, named like the parameters it holds.
    pub scope: Arc<str>,
}

/// Who defines a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    Argument(usize),
    /// Node index, result index.
    Node(usize, usize),
}

/// A single-assignment graph with concrete shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub name: String,
    pub arguments: Vec<Argument>,
    pub nodes: Vec<Node>,
    /// Type and definition of every value, by index.
    pub values: Vec<(TensorType, Definition)>,
    pub outputs: Vec<(String, Value)>,
    /// `(state or parameter, new value)`: takes effect when the whole step is done.
    pub updates: Vec<(String, Value)>,
    /// Names of inner values that a user may ask for (`features`, `resizers.0`).
    pub names: BTreeMap<String, Value>,
}

impl Graph {
    pub fn empty(name: &str) -> Graph {
        Graph {
            name: name.to_owned(),
            arguments: vec![],
            nodes: vec![],
            values: vec![],
            outputs: vec![],
            updates: vec![],
            names: BTreeMap::new(),
        }
    }

    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.index()].0
    }

    pub fn shape(&self, value: Value) -> &[usize] {
        &self.ty(value).shape
    }

    pub fn definition(&self, value: Value) -> Definition {
        self.values[value.index()].1
    }

    pub fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|a| a.name == name)
    }

    pub fn output(&self, name: &str) -> Option<Value> {
        self.outputs.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    pub fn by_role(&self, role: Role) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().filter(move |a| a.role == role)
    }

    /// Types of a node's operands.
    pub fn operand_types(&self, node: &Node) -> Vec<&TensorType> {
        node.operands.iter().map(|&v| self.ty(v)).collect()
    }

    /// Floating-point operations of a node.
    pub fn flops(&self, node: &Node) -> u64 {
        node.op.flops(&self.operand_types(node), &node.attributes)
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.by_role(Role::Parameter).map(|a| self.ty(a.value).elements()).sum()
    }
}
