//! Ops that a plugin brings along: what is refused of them, from text, from a fragment and from a builder.

use fer_abi::{Attribute, Definition, Fragment, NamedAttribute, Node, Operand, TensorType as AbiType};
use fer_graph::{
    Builder, Graph, Init, MAX_DEFINITIONS, MAX_DEPTH, PrintOptions, Result, TensorType, Value, export, import, parse,
    print,
};

/// `(log p) t`, summed over classes: two nodes.
fn terms(b: &Builder, v: &[Value]) -> Result<Vec<Value>> {
    Ok(vec![b.reduce_sum(b.multiply(v[0], v[1])?, &[1])?])
}

fn loss() -> Graph {
    let b = Builder::new("loss");
    let input = |name: &str, shape: &[usize]| b.input(name, TensorType::float(shape)).unwrap();
    let (p, t, q, u) = (input("p", &[4, 3]), input("t", &[4, 3]), input("q", &[2, 3]), input("u", &[2, 3]));
    let first = b.composite("focal.terms", 1, &[p, t], terms).unwrap()[0];
    let again = b.composite("focal.terms", 1, &[t, p], terms).unwrap()[0];
    let other = b.composite("focal.terms", 1, &[q, u], terms).unwrap()[0];
    b.output("first", first);
    b.output("again", again);
    b.output("other", other);
    b.finish()
}

const TEXT: &str = "\
op focal.terms version 1(x0: f[4,3], x1: f[4,3]) {
  %0 = multiply(x0, x1) : f[4,3]
  %1 = reduce_sum(%0) {axes: [1]} : f[4]
  output 0 = %1
}
op focal.terms version 1(x0: f[2,3], x1: f[2,3]) {
  %0 = multiply(x0, x1) : f[2,3]
  %1 = reduce_sum(%0) {axes: [1]} : f[2]
  output 0 = %1
}
graph loss(p: f[4,3], t: f[4,3], q: f[2,3], u: f[2,3]) {
  %0 = focal.terms(p, t) : f[4]
  %1 = focal.terms(t, p) : f[4]
  %2 = focal.terms/1(q, u) : f[2]
  output first = %0
  output again = %1
  output other = %2
}
";

#[test]
fn a_definition_is_one_for_each_content() {
    let graph = loss();
    assert_eq!(graph.nodes[0].op, graph.nodes[1].op);
    assert_ne!(graph.nodes[0].op, graph.nodes[2].op);
    assert_eq!(graph, loss());
    // A multiplication and an addition an element, and what a sum costs.
    assert_eq!(graph.flops(&graph.nodes[0]), 12 + 12);
}

#[test]
fn definitions_stand_before_the_graph_in_text() {
    assert_eq!(print(&loss(), PrintOptions::EXACT), TEXT);
    assert_eq!(parse(TEXT).unwrap(), loss());
    assert_eq!(import(&export(&loss())).unwrap(), loss());
}

#[test]
fn zeros_of_both_signs_and_nan_are_told_apart() {
    let constant = |number: f64| {
        let b = Builder::new("t");
        let x = b.input("x", TensorType::float([2])).unwrap();
        let y = b.composite("a.b", 1, &[x], |b, v| {
            Ok::<_, fer_graph::GraphError>(vec![b.add(v[0], b.full(&[2], number)?)?])
        });
        b.output("y", y.unwrap()[0]);
        b.finish().nodes[0].op
    };
    assert_ne!(constant(0.0), constant(-0.0));
    assert_eq!(constant(f64::NAN), constant(f64::NAN));
}

#[test]
fn operands_of_other_types_are_refused() {
    let graph = loss();
    let b = Builder::new("t");
    let x = b.input("x", TensorType::float([4, 3])).unwrap();
    let y = b.input("y", TensorType::float([4, 2])).unwrap();
    let error = b.emit(graph.nodes[0].op, &[x, y], Default::default()).unwrap_err();
    assert_eq!(error.to_string(), "focal.terms: x1 must be f[4,3], found f[4,2] (focal.terms_c1)");
    let error = b.emit(graph.nodes[0].op, &[x], Default::default()).unwrap_err();
    assert_eq!(error.code(), "focal.terms_arity");
}

#[test]
fn texts_with_bad_definitions_say_where() {
    let wrong = |from: &str, to: &str| parse(&TEXT.replacen(from, to, 1)).unwrap_err().to_string();
    for (found, expected) in [
        (wrong("op focal.terms", "op focal"), "line 1, column 1: an op of a plugin has a name like \"focal.terms\""),
        (wrong("version 1", "version 0"), "line 1, column 1: versions of focal.terms count from 1"),
        (wrong("  output 0 = %1\n", ""), "line 1, column 1: focal.terms must give results"),
        (
            wrong("= focal.terms(p", "= focal.term(p"),
            "line 12, column 8: \"focal.term\" is not defined before this: an op is made of ops that stand earlier, never of itself; did you \
             mean \"focal.terms\"?",
        ),
        (wrong("focal.terms/1(q", "focal.terms(q"), "x0 must be f[4,3], found f[2,3] (line 14, column 8)"),
        (
            wrong("multiply(x0, x1)", "focal.terms(x0, x1)"),
            "line 2, column 8: \"focal.terms\" is not defined before this",
        ),
        (wrong("op focal.terms version 1(x0: f[4,3]", "op focal.terms version 1(x0: f[4,4]"), "multiply"),
        (wrong("graph", "opus"), "expected `graph`"),
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

/// What writes a body.
type Write<'a> = dyn Fn(&Builder, &[Value]) -> Result<Vec<Value>> + 'a;

#[test]
fn a_body_depends_on_its_operands_alone() {
    let b = Builder::new("t");
    let x = b.input("x", TensorType::float([2, 3])).unwrap();
    let y = b.input("y", TensorType::float([2, 3])).unwrap();
    let code = |build: &Write<'_>| {
        let error = b.composite("a.b", 1, &[x], build).unwrap_err();
        (error.code().to_owned(), error.to_string())
    };
    let (stray, message) = code(&|b, v| Ok(vec![b.add(v[0], y)?]));
    assert_eq!(stray, "definition_outside");
    assert!(message.contains("the body of a.b uses a value from outside (f[2,3]): give it as an operand"), "{message}");
    assert_eq!(code(&|_, _| Ok(vec![y])).0, "definition_outside");
    assert_eq!(
        code(&|b, v| Ok(vec![b.multiply(v[0], b.parameter("w", &[2, 3], Init::Ones)?)?])).0,
        "definition_argument"
    );
    assert_eq!(code(&|b, v| Ok(vec![b.dropout(v[0], 0.5)?])).0, "definition_random");
    assert_eq!(code(&|_, _| Ok(vec![])).0, "definition_result");
    for name in ["a", "a.b.c", "A.b", "a.b_vjp", ".b", "a.", "a.b c", "1a.b", &"a.b".repeat(100)] {
        let error = b.composite(name, 1, &[x], |_, v| Ok::<_, fer_graph::GraphError>(vec![v[0]])).unwrap_err();
        assert_eq!(error.code(), "bad_name", "{name}");
    }
    // A body that computes nothing is one still.
    let same = b.composite("a.b", 1, &[x], |_, v| Ok::<_, fer_graph::GraphError>(vec![v[0], v[0]])).unwrap();
    assert_eq!(same.len(), 2);
}

fn ty(shape: &[u64]) -> AbiType {
    AbiType { dtype: "f".into(), shape: shape.to_vec().into() }
}

fn node(op: &str, operands: &[u32]) -> Node {
    Node { op: op.into(), version: 1, operands: operands.to_vec().into(), attributes: vec![].into(), scope: "".into() }
}

fn definition(name: &str, nodes: Vec<Node>, results: &[u32]) -> Definition {
    Definition {
        name: name.into(),
        version: 1,
        operands: vec![Operand { name: "x".into(), ty: ty(&[2, 3]) }].into(),
        nodes: nodes.into(),
        results: results.to_vec().into(),
    }
}

/// `y = b.two(x)`, which is `a.one` twice, which is `tanh`.
fn sound() -> Fragment {
    let argument = fer_abi::Argument {
        name: "x".into(),
        role: "input".into(),
        ty: ty(&[2, 3]),
        init: "".into(),
        init_attributes: vec![].into(),
        properties: vec![].into(),
    };
    Fragment {
        name: "sound".into(),
        definitions: vec![
            definition("a.one", vec![node("tanh", &[0])], &[1]),
            definition("b.two", vec![node("a.one", &[0]), node("a.one", &[1])], &[2]),
        ]
        .into(),
        arguments: vec![argument].into(),
        nodes: vec![node("b.two", &[0])].into(),
        outputs: vec![fer_abi::Output { name: "y".into(), value: 1 }].into(),
        updates: vec![].into(),
    }
}

type Case = (&'static str, &'static str, fn(&mut Fragment));

const CASES: &[Case] = &[
    ("an op in itself", "unknown_op", |f| f.definitions[0].nodes[0].op = "a.one".into()),
    ("two ops in each other", "unknown_op", |f| f.definitions[0].nodes[0].op = "b.two".into()),
    ("an op that nobody defines", "unknown_op", |f| f.nodes[0].op = "c.three".into()),
    ("a table op's name", "bad_name", |f| f.definitions[0].name = "softmax".into()),
    ("a name of two dots", "bad_name", |f| f.definitions[0].name = "a.b.c".into()),
    ("an escape sequence for a name", "bad_name", |f| f.definitions[0].name = "a.\u{1b}b".into()),
    ("a name of a megabyte", "bad_name", |f| f.definitions[0].name = format!("a.{}", "b".repeat(1 << 20)).into()),
    ("another version", "op_version", |f| f.nodes[0].version = 2),
    ("version 0", "op_version", |f| f.definitions[1].version = 0),
    ("no operand", "definition_argument", |f| {
        f.definitions[0] = definition("a.one", vec![], &[]);
        f.definitions[0].operands.clear();
    }),
    ("an operand twice", "duplicate_name", |f| {
        let twice = f.definitions[0].operands[0].clone();
        f.definitions[0].operands.push(twice);
    }),
    ("an empty operand", "shape", |f| f.definitions[0].operands[0].ty = ty(&[0])),
    ("an operand of 2^60 elements", "shape", |f| f.definitions[0].operands[0].ty = ty(&[1 << 30, 1 << 30])),
    ("an unknown element type", "dtype", |f| f.definitions[0].operands[0].ty.dtype = "f64".into()),
    ("no result", "definition_result", |f| f.definitions[0].results.clear()),
    ("a result that is not there", "output", |f| f.definitions[0].results[0] = 7),
    ("a million results", "limit", |f| f.definitions[0].results = vec![0; 1 << 20].into()),
    ("a value that is not there", "order", |f| f.definitions[1].nodes[0].operands[0] = 1),
    ("an adjoint within", "adjoint_from_plugin", |f| f.definitions[1].nodes[0].op = "a.one_vjp".into()),
    ("an adjoint", "adjoint_from_plugin", |f| f.nodes[0].op = "b.two_vjp".into()),
    ("an attribute", "b.two_attribute", |f| {
        f.nodes[0].attributes.push(NamedAttribute { name: "alpha".into(), value: Attribute::Float(0.5) });
    }),
    ("random numbers", "definition_random", |f| {
        let named = |name: &str, value| NamedAttribute { name: name.into(), value };
        let mut draw = node("rng_uniform", &[0]);
        draw.attributes =
            vec![named("shape", Attribute::Ints(vec![2].into())), named("stream", Attribute::Int(1))].into();
        f.definitions[0] = definition("a.one", vec![draw], &[1]);
        f.definitions[0].operands[0].ty = AbiType { dtype: "i32".into(), shape: vec![3].into() };
    }),
    ("operands of other types", "b.two_c1", |f| f.arguments[0].ty = ty(&[3, 2])),
    ("too many definitions", "limit", |f| {
        f.definitions = vec![f.definitions[0].clone(); MAX_DEFINITIONS + 1].into();
    }),
    ("too deep", "limit", |f| {
        let chain = |i: usize| definition(&format!("a.d{i}"), vec![node(&format!("a.d{}", i - 1), &[0])], &[1]);
        f.definitions = (0..=MAX_DEPTH)
            .map(|i| if i == 0 { definition("a.d0", vec![node("tanh", &[0])], &[1]) } else { chain(i) })
            .collect();
    }),
    ("a doubling in each of ten", "limit", |f| {
        // Ten uses of the one before, seven levels: ten million nodes from seventy.
        let level = |i: usize| {
            let op = if i == 0 { "tanh".to_owned() } else { format!("a.d{}", i - 1) };
            definition(&format!("a.d{i}"), (0..10).map(|n| node(&op, &[n])).collect(), &[10])
        };
        f.definitions = (0..7).map(level).collect();
    }),
    ("a large definition, often", "limit", |f| {
        let level = |i: usize| {
            let op = if i == 0 { "tanh".to_owned() } else { format!("a.d{}", i - 1) };
            definition(&format!("a.d{i}"), (0..10).map(|n| node(&op, &[n])).collect(), &[10])
        };
        f.definitions = (0..5).map(level).collect();
        f.nodes = (0..11).map(|n| node("a.d4", &[n])).collect();
    }),
];

#[test]
fn sound_definitions_are_taken() {
    let graph = import(&sound()).unwrap();
    assert_eq!(graph.nodes[0].op.body().map(|b| b.nodes), Some(2));
}

#[test]
fn hostile_definitions_are_refused_by_name() {
    for (case, code, damage) in CASES {
        let mut fragment = sound();
        damage(&mut fragment);
        let error = import(&fragment).expect_err(case);
        assert_eq!(error.code(), *code, "{case}: {error}");
        assert!(error.to_string().len() < 2048, "{case}: the message has {} bytes", error.to_string().len());
    }
}

#[test]
fn an_op_in_itself_is_explained() {
    let mut fragment = sound();
    fragment.definitions[0].nodes[0].op = "a.one".into();
    assert_eq!(
        import(&fragment).unwrap_err().to_string(),
        "graph \"sound, op a.one\": node 0: \"a.one\" is not defined before this: an op is made of ops that stand earlier, never of itself \
         (unknown_op)"
    );
}
