//! What goes between the host and a child that builds: a request and a fragment as bytes, checked on the way in.
//!
//! A fragment is its structure, in postcard, and behind it all numbers of its lists, eight bytes each. So constants cost what they
//! weigh, and what the structure unpacks to is bounded by its own, smaller limit. Whoever reads takes nothing for granted: the child
//! ran foreign code, which may have written anything.

use abi_stable::std_types::{RString, RVec};
use fer_abi::{
    Argument, Attribute, BuildRequest, Definition, Fragment, NamedAttribute, NamedOption, NamedTensorType, Node,
    Operand, OptionValue, Output, TensorType, Update,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Changes with everything below: the program may have been replaced by a newer one since it was started.
const FORMAT: [u8; 4] = *b"fer1";
const HEADER: usize = FORMAT.len() + size_of::<u64>();

/// Bytes of a fragment without its numbers: a million nodes with short scopes, or fewer with long ones. A forged structure of empty nodes
/// takes some twenty times as much when it is unpacked, before `fer_graph::import` counts them.
const LONGEST_STRUCTURE: usize = 1 << 26;
/// Numbers in all constants and initial values together, as `fer_graph::import` allows.
const MOST_NUMBERS: usize = 1 << 28;

/// Bytes of the largest fragment.
pub(crate) const LONGEST: usize = HEADER + LONGEST_STRUCTURE + MOST_NUMBERS * size_of::<f64>();

#[derive(Serialize, Deserialize)]
struct WireRequest {
    component: String,
    kind: String,
    options: Vec<Named>,
    training: bool,
    inputs: Vec<(String, Type)>,
    properties: Vec<Named>,
}

#[derive(Serialize, Deserialize)]
struct WireFragment {
    name: String,
    definitions: Vec<WireDefinition>,
    arguments: Vec<WireArgument>,
    nodes: Vec<WireNode>,
    outputs: Vec<(String, u32)>,
    updates: Vec<(String, u32)>,
}

#[derive(Serialize, Deserialize)]
struct WireDefinition {
    name: String,
    version: u32,
    operands: Vec<(String, Type)>,
    nodes: Vec<WireNode>,
    results: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireArgument {
    name: String,
    role: String,
    ty: Type,
    init: String,
    init_attributes: Vec<Named>,
    properties: Vec<Named>,
}

#[derive(Serialize, Deserialize)]
struct WireNode {
    op: String,
    version: u32,
    operands: Vec<u32>,
    attributes: Vec<Named>,
    scope: String,
}

#[derive(Serialize, Deserialize)]
struct Type {
    dtype: String,
    shape: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    value: Value,
}

/// The value of an attribute or an option.
#[derive(Serialize, Deserialize)]
enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Ints(Vec<i64>),
    /// So many of the numbers behind the structure, in order.
    Floats(u64),
}

type Result<T, E = String> = std::result::Result<T, E>;

/// A request as bytes.
///
/// # Errors
/// A phrase: a text that is not UTF-8.
pub(crate) fn request(request: &BuildRequest) -> Result<Vec<u8>> {
    let request = request.clone();
    let mut pack = Pack::default();
    let plain = WireRequest {
        component: text(request.component)?,
        kind: text(request.kind)?,
        options: each(request.options, |o| Ok(Named { name: text(o.name)?, value: pack.option(o.value)? }))?,
        training: request.training,
        inputs: each(request.inputs, |i| Ok((text(i.name)?, ty(i.ty)?)))?,
        properties: each(request.properties, |p| pack.named(p))?,
    };
    pack.finish(&plain)
}

/// The request that the bytes are.
///
/// # Errors
/// A phrase that says what is wrong with the bytes.
pub(crate) fn read_request(bytes: &[u8]) -> Result<BuildRequest> {
    let (plain, mut unpack) = Unpack::begin::<WireRequest>(bytes)?;
    let request = BuildRequest {
        component: plain.component.into(),
        kind: plain.kind.into(),
        options: back(plain.options, |o| Ok(NamedOption { name: o.name.into(), value: unpack.option(o.value)? }))?,
        training: plain.training,
        inputs: back(plain.inputs, |(name, ty)| Ok(NamedTensorType { name: name.into(), ty: ty.into() }))?,
        properties: back(plain.properties, |p| unpack.named(p))?,
    };
    unpack.finish()?;
    Ok(request)
}

/// A fragment as bytes.
///
/// # Errors
/// A phrase: a text that is not UTF-8, or more than can be read back.
pub(crate) fn fragment(fragment: Fragment) -> Result<Vec<u8>> {
    let mut pack = Pack::default();
    let plain = WireFragment {
        name: text(fragment.name)?,
        definitions: each(fragment.definitions, |d| pack.definition(d))?,
        arguments: each(fragment.arguments, |a| {
            Ok(WireArgument {
                name: text(a.name)?,
                role: text(a.role)?,
                ty: ty(a.ty)?,
                init: text(a.init)?,
                init_attributes: each(a.init_attributes, |p| pack.named(p))?,
                properties: each(a.properties, |p| pack.named(p))?,
            })
        })?,
        nodes: each(fragment.nodes, |n| pack.node(n))?,
        outputs: each(fragment.outputs, |o| Ok((text(o.name)?, o.value)))?,
        updates: each(fragment.updates, |u| Ok((text(u.state)?, u.value)))?,
    };
    pack.finish(&plain)
}

/// The fragment that the bytes are. Whether it is a sound one is for `fer_graph::import` to say.
///
/// # Errors
/// A phrase that says what is wrong with the bytes.
pub(crate) fn read_fragment(bytes: &[u8]) -> Result<Fragment> {
    let (plain, mut unpack) = Unpack::begin::<WireFragment>(bytes)?;
    let fragment = Fragment {
        name: plain.name.into(),
        definitions: back(plain.definitions, |d| unpack.definition(d))?,
        arguments: back(plain.arguments, |a| {
            Ok(Argument {
                name: a.name.into(),
                role: a.role.into(),
                ty: a.ty.into(),
                init: a.init.into(),
                init_attributes: back(a.init_attributes, |p| unpack.named(p))?,
                properties: back(a.properties, |p| unpack.named(p))?,
            })
        })?,
        nodes: back(plain.nodes, |n| unpack.node(n))?,
        outputs: back(plain.outputs, |(name, value)| Ok(Output { name: name.into(), value }))?,
        updates: back(plain.updates, |(state, value)| Ok(Update { state: state.into(), value }))?,
    };
    unpack.finish()?;
    Ok(fragment)
}

fn each<T, R>(list: RVec<T>, convert: impl FnMut(T) -> Result<R>) -> Result<Vec<R>> {
    list.into_iter().map(convert).collect()
}

fn back<T, R>(list: Vec<T>, convert: impl FnMut(T) -> Result<R>) -> Result<RVec<R>> {
    list.into_iter().map(convert).collect()
}

/// Foreign code may have made a "string" of anything.
fn text(text: RString) -> Result<String> {
    String::from_utf8(text.into_bytes().into_vec()).map_err(|_| "a text that is not UTF-8".to_owned())
}

fn ty(ty: TensorType) -> Result<Type> {
    Ok(Type { dtype: text(ty.dtype)?, shape: ty.shape.into_vec() })
}

impl From<Type> for TensorType {
    fn from(ty: Type) -> TensorType {
        TensorType { dtype: ty.dtype.into(), shape: ty.shape.into() }
    }
}

/// Puts numbers aside while a structure is made.
#[derive(Default)]
struct Pack {
    numbers: Vec<RVec<f64>>,
    count: usize,
}

impl Pack {
    fn floats(&mut self, list: RVec<f64>) -> Result<Value> {
        let length = list.len();
        self.count = self.count.saturating_add(length);
        if self.count > MOST_NUMBERS {
            return Err(format!("more than {MOST_NUMBERS} numbers in its constants"));
        }
        self.numbers.push(list);
        Ok(Value::Floats(length as u64))
    }

    fn option(&mut self, value: OptionValue) -> Result<Value> {
        Ok(match value {
            OptionValue::Bool(v) => Value::Bool(v),
            OptionValue::Int(v) => Value::Int(v),
            OptionValue::Float(v) => Value::Float(v),
            OptionValue::Text(v) => Value::Text(text(v)?),
            OptionValue::Ints(v) => Value::Ints(v.into_vec()),
            OptionValue::Floats(v) => self.floats(v)?,
        })
    }

    fn named(&mut self, attribute: NamedAttribute) -> Result<Named> {
        let value = match attribute.value {
            Attribute::Int(v) => Value::Int(v),
            Attribute::Float(v) => Value::Float(v),
            Attribute::Bool(v) => Value::Bool(v),
            Attribute::Text(v) => Value::Text(text(v)?),
            Attribute::Ints(v) => Value::Ints(v.into_vec()),
            Attribute::Floats(v) => self.floats(v)?,
        };
        Ok(Named { name: text(attribute.name)?, value })
    }

    fn node(&mut self, node: Node) -> Result<WireNode> {
        Ok(WireNode {
            op: text(node.op)?,
            version: node.version,
            operands: node.operands.into_vec(),
            attributes: each(node.attributes, |a| self.named(a))?,
            scope: text(node.scope)?,
        })
    }

    fn definition(&mut self, definition: Definition) -> Result<WireDefinition> {
        Ok(WireDefinition {
            name: text(definition.name)?,
            version: definition.version,
            operands: each(definition.operands, |o| Ok((text(o.name)?, ty(o.ty)?)))?,
            nodes: each(definition.nodes, |n| self.node(n))?,
            results: definition.results.into_vec(),
        })
    }

    fn finish(self, plain: &impl Serialize) -> Result<Vec<u8>> {
        let mut bytes = FORMAT.to_vec();
        bytes.extend([0; size_of::<u64>()]);
        let mut bytes = postcard::to_extend(plain, bytes).map_err(|error| error.to_string().to_lowercase())?;
        let structure = bytes.len() - HEADER;
        if structure > LONGEST_STRUCTURE {
            return Err(format!("{structure} bytes of names and nodes, at most {LONGEST_STRUCTURE} are allowed"));
        }
        bytes[FORMAT.len()..HEADER].copy_from_slice(&(structure as u64).to_le_bytes());
        bytes.reserve_exact(self.count * size_of::<f64>());
        // One list after the other is let go, so that a large one is not there twice for long.
        for list in self.numbers {
            bytes.extend(list.iter().flat_map(|number| number.to_le_bytes()));
        }
        Ok(bytes)
    }
}

/// Hands out the numbers that were put aside.
struct Unpack<'a> {
    numbers: &'a [u8],
}

impl<'a> Unpack<'a> {
    fn begin<T: DeserializeOwned>(bytes: &'a [u8]) -> Result<(T, Unpack<'a>)> {
        let rest = bytes.strip_prefix(&FORMAT).ok_or("it is of another format: was the program replaced meanwhile?")?;
        let (length, rest) = rest.split_first_chunk().ok_or("it ends in its header")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > LONGEST_STRUCTURE {
            return Err(format!("its structure would have {length} bytes, at most {LONGEST_STRUCTURE} are allowed"));
        }
        let (structure, numbers) = rest.split_at_checked(length).ok_or("it ends in its structure")?;
        let (plain, left) = postcard::take_from_bytes(structure).map_err(|error| error.to_string().to_lowercase())?;
        match left {
            [] => Ok((plain, Unpack { numbers })),
            left => Err(format!("{} bytes too many in its structure", left.len())),
        }
    }

    fn floats(&mut self, count: u64) -> Result<RVec<f64>> {
        let length = usize::try_from(count).ok().and_then(|n| n.checked_mul(size_of::<f64>()));
        let (list, rest) = length.and_then(|n| self.numbers.split_at_checked(n)).ok_or("it ends in its numbers")?;
        self.numbers = rest;
        let (numbers, _) = list.as_chunks();
        Ok(numbers.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
    }

    fn option(&mut self, value: Value) -> Result<OptionValue> {
        Ok(match value {
            Value::Bool(v) => OptionValue::Bool(v),
            Value::Int(v) => OptionValue::Int(v),
            Value::Float(v) => OptionValue::Float(v),
            Value::Text(v) => OptionValue::Text(v.into()),
            Value::Ints(v) => OptionValue::Ints(v.into()),
            Value::Floats(count) => OptionValue::Floats(self.floats(count)?),
        })
    }

    fn named(&mut self, named: Named) -> Result<NamedAttribute> {
        let value = match named.value {
            Value::Int(v) => Attribute::Int(v),
            Value::Float(v) => Attribute::Float(v),
            Value::Bool(v) => Attribute::Bool(v),
            Value::Text(v) => Attribute::Text(v.into()),
            Value::Ints(v) => Attribute::Ints(v.into()),
            Value::Floats(count) => Attribute::Floats(self.floats(count)?),
        };
        Ok(NamedAttribute { name: named.name.into(), value })
    }

    fn node(&mut self, node: WireNode) -> Result<Node> {
        Ok(Node {
            op: node.op.into(),
            version: node.version,
            operands: node.operands.into(),
            attributes: back(node.attributes, |a| self.named(a))?,
            scope: node.scope.into(),
        })
    }

    fn definition(&mut self, definition: WireDefinition) -> Result<Definition> {
        Ok(Definition {
            name: definition.name.into(),
            version: definition.version,
            operands: back(definition.operands, |(name, ty)| Ok(Operand { name: name.into(), ty: ty.into() }))?,
            nodes: back(definition.nodes, |n| self.node(n))?,
            results: definition.results.into(),
        })
    }

    fn finish(self) -> Result<()> {
        match self.numbers {
            [] => Ok(()),
            left => Err(format!("{} bytes too many behind its numbers", left.len())),
        }
    }
}

#[cfg(test)]
#[path = "../../../core/graph/fuzz/fragment.rs"]
#[allow(dead_code)]
mod fragments;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::{fragments::from_bytes, *};

    /// As text, where a NaN equals itself.
    fn shown(fragment: &Fragment) -> String {
        format!("{fragment:?}")
    }

    #[test]
    fn numbers_come_back_to_the_bit() {
        let numbers = [0.0, -0.0, f64::NAN, f64::from_bits(0x7ff8_0000_dead_beef), f64::MIN_POSITIVE, f64::INFINITY];
        let option = |name: &str, value| NamedOption { name: name.into(), value };
        let asked = BuildRequest {
            component: "swin".into(),
            kind: "backbone".into(),
            options: vec![
                option("floats", OptionValue::Floats(numbers.to_vec().into())),
                option("ints", OptionValue::Ints(vec![i64::MIN, -1, i64::MAX].into())),
                option("none", OptionValue::Floats(RVec::new())),
            ]
            .into(),
            training: true,
            inputs: vec![NamedTensorType {
                name: "images".into(),
                ty: TensorType { dtype: "f".into(), shape: vec![u64::MAX, 0].into() },
            }]
            .into(),
            properties: RVec::new(),
        };
        let back = read_request(&request(&asked).expect("packs")).expect("reads");
        assert_eq!((&back.inputs, &back.options[1..]), (&asked.inputs, &asked.options[1..]));
        let OptionValue::Floats(back) = &back.options[0].value else { panic!("{:?}", back.options[0]) };
        assert!(back.iter().zip(numbers).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let bytes = fragment(from_bytes(&[])).expect("packs");
        let reason = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            read_fragment(&bytes).expect_err("damaged")
        };
        assert!(reason(&|b| b[3] = b'2').contains("another format"));
        assert!(reason(&|b| b.truncate(7)).contains("ends in its header"));
        assert!(reason(&|b| b.truncate(20)).contains("ends in its structure"));
        assert!(reason(&|b| b[11] = 0xff).contains("at most 67108864"));
        assert_eq!(reason(&|b| b.push(0)), "1 bytes too many behind its numbers");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_fragment_comes_back_and_damage_never_panics(
            seed in vec(any::<u8>(), 0..600),
            flips in vec((any::<Index>(), any::<u8>()), 1..8),
            cut in any::<Option<Index>>(),
        ) {
            let whole = from_bytes(&seed);
            let mut bytes = fragment(whole.clone()).expect("packs");
            prop_assert_eq!(shown(&read_fragment(&bytes).expect("reads")), shown(&whole));
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            // What reads all the same is handed to the import, as a run does.
            if let Ok(read) = read_fragment(&bytes) {
                let _ = fer_graph::import(&read);
            }
            let _ = read_request(&bytes);
        }

        #[test]
        fn nor_do_bytes_of_any_kind(tail in vec(any::<u8>(), 0..400), length in 0_u64..400) {
            let bytes = [&FORMAT[..], &length.to_le_bytes(), &tail].concat();
            let _ = read_fragment(&bytes);
            let _ = read_fragment(&tail);
            let _ = read_request(&bytes);
        }
    }
}
