//! Fragments that nobody's exporter would write, and the name of the rule that refuses each.

use fer_abi::{Argument, Attribute, Fragment, NamedAttribute, Node, Output, TensorType, Update};
use fer_graph::{MAX_ARGUMENTS, MAX_INTEGERS, import};

fn ty(dtype: &str, shape: &[u64]) -> TensorType {
    TensorType { dtype: dtype.into(), shape: shape.to_vec().into() }
}

fn argument(name: &str, role: &str, init: &str) -> Argument {
    Argument {
        name: name.into(),
        role: role.into(),
        ty: ty("f", &[2, 3]),
        init: init.into(),
        init_attributes: vec![].into(),
        properties: vec![].into(),
    }
}

fn attribute(name: &str, value: Attribute) -> NamedAttribute {
    NamedAttribute { name: name.into(), value }
}

fn node(op: &str, operands: &[u32], attributes: Vec<NamedAttribute>) -> Node {
    Node {
        op: op.into(),
        version: 1,
        operands: operands.to_vec().into(),
        attributes: attributes.into(),
        scope: "a.b".into(),
    }
}

fn output(name: &str, value: u32) -> Output {
    Output { name: name.into(), value }
}

/// `x` (0), `w` (1), `s` (2); `softmax(x)` (3).
fn sound() -> Fragment {
    Fragment {
        name: "sound".into(),
        definitions: vec![].into(),
        arguments: vec![
            argument("x", "input", ""),
            argument("w", "parameter", "zeros"),
            argument("s", "state", "ones"),
        ]
        .into(),
        nodes: vec![node("softmax", &[0], vec![attribute("axis", Attribute::Int(1))])].into(),
        outputs: vec![output("y", 3), output("inner/probabilities", 3)].into(),
        updates: vec![Update { state: "s".into(), value: 3 }].into(),
    }
}

type Case = (&'static str, &'static str, fn(&mut Fragment));

const CASES: &[Case] = &[
    // Ids.
    ("itself as operand", "order", |f| f.nodes[0].operands[0] = 3),
    ("a later value as operand", "order", |f| {
        f.nodes[0].operands[0] = 4;
        f.nodes.push(node("negate", &[3], vec![]));
    }),
    ("two nodes that use each other", "order", |f| {
        f.nodes = vec![node("negate", &[4], vec![]), node("negate", &[3], vec![])].into();
    }),
    ("no such operand", "order", |f| f.nodes[0].operands[0] = u32::MAX),
    ("no such output", "output", |f| f.outputs[0].value = 4),
    ("no such inner value", "output", |f| f.outputs[1].value = u32::MAX),
    ("no such update", "update", |f| f.updates[0].value = 4),
    ("no output but an inner one", "no_outputs", |f| {
        f.outputs.remove(0);
    }),
    // Names.
    ("an argument twice", "duplicate_name", |f| f.arguments[1].name = "x".into()),
    ("an output twice", "duplicate_name", |f| f.outputs.push(output("y", 0))),
    ("an inner value twice", "duplicate_name", |f| f.outputs.push(output("inner/probabilities", 0))),
    ("an empty name", "bad_name", |f| f.arguments[0].name = "".into()),
    ("a blank in a name", "bad_name", |f| f.arguments[0].name = "a b".into()),
    ("a line end in a scope", "bad_name", |f| f.nodes[0].scope = "a\nb".into()),
    ("an escape sequence in an output", "bad_name", |f| f.outputs[0].name = "\u{1b}[31m".into()),
    ("a name of a megabyte", "bad_name", |f| f.arguments[0].name = "a".repeat(1 << 20).into()),
    ("a prefix and nothing more", "bad_name", |f| f.outputs[1].name = "inner/".into()),
    ("a fragment without a name", "bad_name", |f| f.name = "".into()),
    ("a name that is not ASCII", "bad_name", |f| f.updates[0].state = "zustand-ä".into()),
    // Arguments.
    ("an unknown role", "role", |f| f.arguments[0].role = "inputs".into()),
    ("an unknown element type", "dtype", |f| f.arguments[0].ty.dtype = "f64".into()),
    ("an empty axis", "shape", |f| f.arguments[0].ty.shape[0] = 0),
    ("2^40 elements", "shape", |f| f.arguments[0].ty.shape[0] = 1 << 40),
    ("more elements than can be counted", "shape", |f| f.arguments[0].ty = ty("f", &[u64::MAX, u64::MAX])),
    ("9 axes", "shape", |f| f.arguments[0].ty = ty("f", &[1; 9])),
    ("a million axes", "shape", |f| f.arguments[0].ty = ty("f", &[1; 1 << 20])),
    ("an input with an initialisation", "init", |f| f.arguments[0].init = "zeros".into()),
    ("a parameter without", "init", |f| f.arguments[1].init = "".into()),
    ("an unknown initialisation", "init", |f| f.arguments[1].init = "zeroes".into()),
    ("numbers that it does not take", "init", |f| {
        f.arguments[1].init_attributes.push(attribute("numbers", Attribute::Floats(vec![1.0].into())));
    }),
    ("numbers that are integers", "init", |f| {
        f.arguments[1].init = "constant".into();
        f.arguments[1].init_attributes.push(attribute("numbers", Attribute::Ints(vec![1].into())));
    }),
    ("numbers under another name", "init", |f| {
        f.arguments[1].init = "constant".into();
        f.arguments[1].init_attributes.push(attribute("value", Attribute::Floats(vec![1.0].into())));
    }),
    ("numbers that are none", "init", |f| {
        f.arguments[1].init = "values".into();
        f.arguments[1].init_attributes.push(attribute("numbers", Attribute::Floats(vec![f64::NAN; 6].into())));
    }),
    ("five values for six elements", "init", |f| {
        f.arguments[1].init = "values".into();
        f.arguments[1].init_attributes.push(attribute("numbers", Attribute::Floats(vec![1.0; 5].into())));
    }),
    ("a truncated normal that would be drawn for ever", "init", |f| {
        f.arguments[1].init = "trunc_normal".into();
        let numbers = Attribute::Floats(vec![0.0, 1.0, 90.0, 91.0].into());
        f.arguments[1].init_attributes.push(attribute("numbers", numbers));
    }),
    ("an unknown property", "property", |f| {
        f.arguments[1].properties.push(attribute("decays", Attribute::Bool(true)));
    }),
    ("a property of another type", "property", |f| {
        f.arguments[1].properties.push(attribute("decay", Attribute::Int(1)))
    }),
    ("a property twice", "property", |f| {
        f.arguments[1].properties = vec![attribute("frozen", Attribute::Bool(true)); 2].into();
    }),
    ("a layer below the stem", "property", |f| f.arguments[1].properties.push(attribute("layer", Attribute::Int(-1)))),
    ("positions of too few sizes", "property", |f| {
        f.arguments[1].properties.push(attribute("tokens", Attribute::Ints(vec![1].into())));
    }),
    ("positions that the table does not hold", "positions", |f| {
        f.arguments[1].properties.push(attribute("tokens", Attribute::Ints(vec![1, i64::MAX, 4].into())));
    }),
    ("two kinds of positions", "property", |f| {
        f.arguments[1].properties.push(attribute("tokens", Attribute::Ints(vec![0, 1, 1].into())));
        f.arguments[1].properties.push(attribute("distances", Attribute::Ints(vec![1, 1].into())));
    }),
    // Updates.
    ("an update of an input", "update", |f| f.updates[0].state = "x".into()),
    ("an update of nothing", "update", |f| f.updates[0].state = "t".into()),
    ("an update of another type", "update", |f| f.arguments[2].ty = ty("f", &[3, 2])),
    ("two updates of one state", "update", |f| f.updates.push(Update { state: "s".into(), value: 0 })),
    // Ops.
    ("an unknown op", "unknown_op", |f| f.nodes[0].op = "softmaxx".into()),
    ("an op of a later version", "op_version", |f| f.nodes[0].version = 2),
    ("an adjoint op", "adjoint_from_plugin", |f| f.nodes[0].op = "scatter_add".into()),
    ("the adjoint of a composite", "adjoint_from_plugin", |f| f.nodes[0].op = "softmax_vjp".into()),
    ("too many operands", "softmax_arity", |f| f.nodes[0].operands.push(0)),
    ("no operand", "softmax_arity", |f| f.nodes[0].operands.clear()),
    ("an unknown attribute", "softmax_attribute", |f| f.nodes[0].attributes[0].name = "axes".into()),
    ("an attribute twice", "softmax_attribute", |f| f.nodes[0].attributes.push(attribute("axis", Attribute::Int(1)))),
    ("no attribute", "softmax_attribute", |f| f.nodes[0].attributes.clear()),
    ("a float for an integer", "softmax_attribute", |f| f.nodes[0].attributes[0].value = Attribute::Float(1.0)),
    ("a list for an integer", "softmax_attribute", |f| {
        f.nodes[0].attributes[0].value = Attribute::Ints(vec![1].into())
    }),
    ("an axis that is not there", "softmax_c2", |f| f.nodes[0].attributes[0].value = Attribute::Int(2)),
    ("an axis from the end", "softmax_c2", |f| f.nodes[0].attributes[0].value = Attribute::Int(i64::MIN)),
    ("an integer that no float is", "leaky_relu_attribute", |f| {
        f.nodes[0] = node("leaky_relu", &[0], vec![attribute("negative_slope", Attribute::Int(i64::MAX))]);
    }),
    ("integers for floats", "constant_attribute", |f| {
        let shape = attribute("shape", Attribute::Ints(vec![].into()));
        f.nodes[0] = node("constant", &[], vec![attribute("value", Attribute::Ints(vec![1].into())), shape]);
    }),
    ("a text of a megabyte", "convert_attribute", |f| {
        let word = Attribute::Text("f".repeat(1 << 20).into());
        f.nodes[0] = node("convert", &[0], vec![attribute("dtype", word)]);
    }),
    ("a constant of 2^40 elements", "constant_size", |f| {
        let shape = Attribute::Ints(vec![1 << 20, 1 << 20].into());
        let value = Attribute::Floats(vec![0.0].into());
        f.nodes[0] = node("constant", &[], vec![attribute("value", value), attribute("shape", shape)]);
    }),
    // Limits.
    ("too many integers", "limit", |f| {
        f.nodes[0].attributes[0].value = Attribute::Ints(vec![0; MAX_INTEGERS + 1].into());
    }),
    ("too many arguments", "limit", |f| {
        f.arguments = (0..=MAX_ARGUMENTS).map(|i| argument(&format!("x{i}"), "input", "")).collect();
    }),
];

#[test]
fn a_sound_fragment_is_taken() {
    let graph = import(&sound()).unwrap();
    assert_eq!(graph.outputs.len(), 1);
    assert!(graph.names.contains_key("probabilities"));
}

#[test]
fn hostile_fragments_are_refused_by_name() {
    for (case, code, damage) in CASES {
        let mut fragment = sound();
        damage(&mut fragment);
        let error = import(&fragment).expect_err(case);
        assert_eq!(error.code(), *code, "{case}: {error}");
        assert!(error.to_string().len() < 2048, "{case}: the message has {} bytes", error.to_string().len());
    }
}

#[test]
fn errors_name_what_was_meant() {
    let message = |damage: fn(&mut Fragment)| {
        let mut fragment = sound();
        damage(&mut fragment);
        import(&fragment).unwrap_err().to_string()
    };
    assert_eq!(
        message(|f| f.nodes[0].op = "softmaxx".into()),
        "graph \"sound\": node 0 in a.b: no op is called \"softmaxx\"; did you mean \"softmax\"? (unknown_op)"
    );
    assert_eq!(
        message(|f| f.nodes[0].attributes[0].name = "axes".into()),
        "softmax in a.b: has no attribute \"axes\"; did you mean \"axis\"?; it has [axis] (softmax_attribute)"
    );
    assert_eq!(
        message(|f| f.nodes[0].operands[0] = 9),
        "graph \"sound\": node 0 in a.b: softmax uses value 9; before it only 0 to 2 are defined (order)"
    );
}

#[test]
fn an_integer_stands_for_the_number_it_is() {
    let mut fragment = sound();
    fragment.nodes[0] = node("leaky_relu", &[0], vec![attribute("negative_slope", Attribute::Int(0))]);
    let graph = import(&fragment).unwrap();
    assert_eq!(graph.nodes[0].attributes.float("negative_slope").to_bits(), 0.0f64.to_bits());
}

#[test]
fn many_updates_are_verified_in_time() {
    let mut fragment = sound();
    let count = 50_000;
    fragment.arguments = (0..count).map(|i| argument(&format!("s{i}"), "state", "zeros")).collect();
    fragment.nodes.clear();
    fragment.outputs = vec![output("y", 0)].into();
    fragment.updates = (0..count).map(|i| Update { state: format!("s{i}").into(), value: i }).collect();
    assert!(import(&fragment).is_ok());
}
