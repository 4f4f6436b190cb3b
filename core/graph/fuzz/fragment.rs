//! A fragment from arbitrary bytes, and what importing it must keep: for the fuzzer and for the tests with random bytes.
//!
//! Bytes decide between few words, small numbers and a few extreme ones, so that a good part of the fragments is nearly right. Those
//! go further than noise.

use arbitrary::{Result, Unstructured};
use fer_abi::{
    Argument, Attribute, Definition, Fragment, NamedAttribute, Node, Operand, Output, TensorType, Update,
    abi_stable::std_types::{RString, RVec},
};
use fer_graph::{AttributeKind, Class, OpDef, PrintOptions, export, import, ops, parse, print, renumber, verify};

const NAMES: [&str; 12] = ["x", "y", "w", "s", "x0", "layers.0", "inner/x", "inner/", "", "a b", "é", "rng"];
const OWN_OPS: [&str; 7] = ["own.op", "own.op/1", "own.two", "own.op_vjp", "own", "Own.op", "own.op.op"];
const DTYPES: [&str; 8] = ["f", "f", "f", "f", "bf16", "i32", "bool", "f64"];
const SCHEMES: [&str; 9] =
    ["zeros", "ones", "constant", "normal", "trunc_normal", "uniform", "eye", "values", "zeroes"];
const PROPERTIES: [&str; 6] = ["decay", "frozen", "layer", "tokens", "distances", "decays"];
const ATTRIBUTES: [&str; 10] =
    ["axis", "axes", "shape", "value", "dtype", "permutation", "wrt", "negative_slope", "size", "axis"];
const TEXTS: [&str; 7] = ["f", "i32", "LT", "EQ", "half_pixel", "", "\u{1b}"];
/// Ops that take whatever is there, as long as it is one shape.
const EASY: [(&str, usize); 7] =
    [("negate", 1), ("tanh", 1), ("gelu", 1), ("add", 2), ("multiply", 2), ("maximum", 2), ("own.op", 1)];
/// Numbers at which arithmetic goes wrong.
const EDGES: [i64; 10] = [-1, 7, 224, 1 << 20, 1 << 31, 1 << 32, 1 << 36, 1 << 40, i64::MAX, i64::MIN];
const FLOATS: [f64; 8] = [0.0, 1.0, -0.0, 0.25, 1e-12, f64::NAN, f64::INFINITY, f64::MAX];

/// The fragment that the bytes decide; where they end, everything is as small as it can be.
pub fn from_bytes(bytes: &[u8]) -> Fragment {
    let mut pen = Pen { bytes: Unstructured::new(bytes) };
    pen.fragment().unwrap_or_else(|_| sound("short"))
}

/// What must hold for any fragment: an error that is short enough to show, or a graph that verifies, prints, parses back, and exports
/// to a fragment that is the same graph again.
///
/// # Errors
/// What did not hold.
pub fn hold(fragment: &Fragment) -> std::result::Result<bool, String> {
    let graph = match import(fragment) {
        Ok(graph) => graph,
        Err(error) => {
            let length = error.to_string().len();
            return if length < 4096 { Ok(false) } else { Err(format!("an error of {length} bytes")) };
        }
    };
    verify(&graph).map_err(|e| format!("accepted, and does not verify: {e}"))?;
    print(&graph, PrintOptions::READABLE);
    let text = print(&graph, PrintOptions::EXACT);
    let parsed = parse(&text).map_err(|e| format!("does not parse back: {e}\n{text}"))?;
    if print(&parsed, PrintOptions::EXACT) != text {
        return Err(format!("parses to another graph:\n{text}"));
    }
    let exported = export(&graph);
    let again = import(&exported).map_err(|e| format!("is not taken again: {e}\n{text}"))?;
    if print(&again, PrintOptions::EXACT) != print(&renumber(&graph), PrintOptions::EXACT) {
        return Err(format!("comes back as another graph:\n{text}"));
    }
    // As text, where a NaN equals itself.
    match format!("{:?}", export(&again)) == format!("{exported:?}") {
        true => Ok(true),
        false => Err(format!("exports to another fragment:\n{text}")),
    }
}

/// `y = -x`.
fn sound(name: &str) -> Fragment {
    Fragment {
        name: name.into(),
        definitions: RVec::new(),
        arguments: vec![argument("x", "input", float(&[2, 3]))].into(),
        nodes: vec![Node {
            op: "negate".into(),
            version: 1,
            operands: vec![0].into(),
            attributes: RVec::new(),
            scope: "".into(),
        }]
        .into(),
        outputs: vec![Output { name: "y".into(), value: 1 }].into(),
        updates: RVec::new(),
    }
}

fn float(shape: &[u64]) -> TensorType {
    TensorType { dtype: "f".into(), shape: shape.to_vec().into() }
}

fn argument(name: &str, role: &str, ty: TensorType) -> Argument {
    Argument {
        name: name.into(),
        role: role.into(),
        ty,
        init: RString::new(),
        init_attributes: RVec::new(),
        properties: RVec::new(),
    }
}

/// Writes one fragment.
struct Pen<'b> {
    bytes: Unstructured<'b>,
}

impl Pen<'_> {
    fn pick<T: Copy>(&mut self, list: &[T]) -> Result<T> {
        self.bytes.choose(list).copied()
    }

    /// One time in `n`, and never when the bytes are used up.
    fn rarely(&mut self, n: u8) -> Result<bool> {
        Ok(self.bytes.int_in_range(1..=n)? == n)
    }

    fn list<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<RVec<T>> {
        let count = self.bytes.int_in_range(0..=most)?;
        (0..count).map(|_| one(self)).collect()
    }

    fn fragment(&mut self) -> Result<Fragment> {
        let mut fragment = sound("fuzzed");
        if self.rarely(2)? {
            fragment.definitions = self.list(2, |pen| pen.definition())?;
        }
        fragment.arguments.extend(self.list(2, |pen| pen.argument())?);
        let mut values = fragment.arguments.len() as u32;
        let count = self.bytes.int_in_range(0..=6)?;
        fragment.nodes = (0..count).map(|_| self.node(&mut values)).collect::<Result<RVec<Node>>>()?;
        fragment.outputs = vec![Output { name: "y".into(), value: self.value(values)? }].into();
        if self.rarely(6)? {
            let more = self.list(2, |pen| Ok(Output { name: pen.pick(&NAMES)?.into(), value: pen.value(values)? }))?;
            fragment.outputs.extend(more);
        }
        if self.rarely(6)? {
            let state = match fragment.arguments.last() {
                Some(last) if !self.rarely(4)? => last.name.clone(),
                _ => self.name()?,
            };
            fragment.updates = vec![Update { state, value: self.value(values)? }].into();
        }
        Ok(fragment)
    }

    /// A value among so many, or now and then one that is not there.
    fn value(&mut self, values: u32) -> Result<u32> {
        match self.rarely(40)? {
            true => self.bytes.arbitrary(),
            false => self.bytes.int_in_range(0..=values.saturating_sub(1)),
        }
    }

    fn name(&mut self) -> Result<RString> {
        match self.rarely(12)? {
            true => Ok(self.pick(&NAMES)?.into()),
            false => Ok(format!("v{}", self.bytes.int_in_range(0..=30)?).into()),
        }
    }

    fn ty(&mut self) -> Result<TensorType> {
        let dtype = self.pick(&DTYPES)?.into();
        if !self.rarely(4)? {
            return Ok(float(&[2, 3]));
        }
        if self.rarely(3)? {
            let shape = self.list(5, |pen| Ok(pen.integer()? as u64))?;
            return Ok(TensorType { dtype, shape });
        }
        // Equal shapes, or hardly two values would fit one another.
        Ok(TensorType { dtype, shape: self.pick(&[&[2, 3][..], &[3], &[], &[1, 2, 4, 4]])?.to_vec().into() })
    }

    fn integer(&mut self) -> Result<i64> {
        match self.rarely(12)? {
            true => self.pick(&EDGES),
            false => self.bytes.int_in_range(0..=4),
        }
    }

    fn argument(&mut self) -> Result<Argument> {
        let role = self.pick(&["input", "parameter", "state", "state", "parameter", "inputs"])?;
        let mut argument = argument(&self.name()?, role, self.ty()?);
        if role != "input" || self.rarely(12)? {
            argument.init = "zeros".into();
            if self.rarely(3)? {
                argument.init = self.pick(&SCHEMES)?.into();
                let count = self.bytes.int_in_range(0..=6)?;
                let numbers: Result<RVec<f64>> = (0..count).map(|_| self.pick(&FLOATS)).collect();
                argument.init_attributes.push(named("numbers", Attribute::Floats(numbers?)));
            }
        }
        if self.rarely(8)? {
            argument.properties = self.list(2, |pen| Ok(named(pen.pick(&PROPERTIES)?, pen.attribute()?)))?;
        }
        Ok(argument)
    }

    fn attribute(&mut self) -> Result<Attribute> {
        Ok(match self.bytes.int_in_range(0..=7)? {
            0 | 1 => Attribute::Int(self.integer()?),
            2 => Attribute::Float(self.pick(&FLOATS)?),
            3 => Attribute::Bool(self.bytes.arbitrary()?),
            4 => Attribute::Text(self.pick(&TEXTS)?.into()),
            5 => Attribute::Floats(self.list(8, |pen| pen.pick(&FLOATS))?),
            _ => Attribute::Ints(self.list(6, |pen| pen.integer())?),
        })
    }

    /// A node on some of the values there are; adds its results to them, one for most ops.
    fn node(&mut self, values: &mut u32) -> Result<Node> {
        let forward = |def: &&OpDef| def.class != Class::Adjoint;
        let index = self.bytes.int_in_range(0..=ops::TABLE.len() - 1)?;
        let def = ops::TABLE[index];
        if !self.rarely(3)? {
            let (op, arity) = self.pick(&EASY)?;
            let operands: Result<RVec<u32>> = (0..arity).map(|_| self.value(*values)).collect();
            *values += 1;
            let (attributes, scope) = (RVec::new(), "a.b".into());
            return Ok(Node { op: op.into(), version: 1, operands: operands?, attributes, scope });
        }
        let own = self.rarely(4)?;
        let known = if forward(&def) { def.name } else { "negate" };
        let op: RString = match self.rarely(60)? {
            _ if own => self.pick(&OWN_OPS)?.into(),
            true => format!("{}_vjp", def.name).into(),
            false => known.into(),
        };
        let (arity, declared) = match own {
            true => (1, &[][..]),
            false if forward(&def) => (def.operands.names.len(), def.attributes),
            false => (1, &[][..]),
        };
        let count = if self.rarely(20)? { self.bytes.int_in_range(0..=5)? } else { arity };
        let mut attributes = RVec::new();
        for attribute in declared {
            if !self.rarely(12)? {
                attributes.push(named(attribute.name, self.fitting(attribute.kind)?));
            }
        }
        if self.rarely(20)? {
            attributes.push(named(self.pick(&ATTRIBUTES)?, self.attribute()?));
        }
        let operands: Result<RVec<u32>> = (0..count).map(|_| self.value(*values)).collect();
        *values += 1;
        let version = if self.rarely(40)? { self.bytes.arbitrary()? } else { 1 };
        let scope = self.pick(&["", "", "a.b", "layers.0", "a b"])?;
        let scope = if self.rarely(30)? { scope } else { "a.b" };
        Ok(Node { op, version, operands: operands?, attributes, scope: scope.into() })
    }

    /// An attribute of the kind that is wanted, mostly.
    fn fitting(&mut self, kind: AttributeKind) -> Result<Attribute> {
        if self.rarely(20)? {
            return self.attribute();
        }
        Ok(match kind {
            AttributeKind::Int => Attribute::Int(self.integer()?),
            AttributeKind::Float => Attribute::Float(self.pick(&FLOATS)?),
            AttributeKind::Bool => Attribute::Bool(self.bytes.arbitrary()?),
            AttributeKind::Text => Attribute::Text(self.pick(&TEXTS)?.into()),
            AttributeKind::Floats => Attribute::Floats(self.list(8, |pen| pen.pick(&FLOATS))?),
            AttributeKind::Ints => match self.rarely(2)? {
                true => Attribute::Ints(self.list(4, |pen| pen.integer())?),
                false => Attribute::Ints(self.pick(&[&[2, 3][..], &[0], &[1, 0], &[], &[0, 1]])?.to_vec().into()),
            },
        })
    }

    fn definition(&mut self) -> Result<Definition> {
        let operands = match self.rarely(4)? {
            true => self.list(3, |pen| Ok(Operand { name: pen.name()?, ty: pen.ty()? }))?,
            false => vec![Operand { name: "x".into(), ty: float(&[2, 3]) }].into(),
        };
        let mut values = operands.len() as u32;
        let count = self.bytes.int_in_range(0..=4)?;
        let nodes: Result<RVec<Node>> = (0..count).map(|_| self.node(&mut values)).collect();
        let result = self.value(values)?;
        let mut results = RVec::from(vec![result]);
        results.extend(self.list(1, |pen| pen.value(values))?);
        let name = if self.rarely(4)? { self.pick(&OWN_OPS)? } else { "own.op" };
        let version = self.bytes.int_in_range(0..=2)?.max(u32::from(!self.rarely(20)?));
        Ok(Definition { name: name.into(), version, operands, nodes: nodes?, results })
    }
}

fn named(name: &str, value: Attribute) -> NamedAttribute {
    NamedAttribute { name: name.into(), value }
}
