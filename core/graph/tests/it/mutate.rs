//! Graphs that were damaged on the way: reading them gives an error or a graph that verifies, and never a panic.

use fer_abi::{
    Attribute, Fragment, NamedAttribute, Node,
    abi_stable::std_types::{RString, RVec},
};
use fer_graph::{PrintOptions, export, import, parse, print, renumber, verify};
use proptest::{prelude::*, sample::Index};

use crate::{
    constraints::is_declared,
    generate::{Options, graphs},
};

/// Numbers at which arithmetic goes wrong.
const EDGES: &[i64] = &[-1, 0, 1, 2, 3, 7, 1 << 31, 1 << 32, 1 << 36, 1 << 40, i64::MAX, i64::MIN];
const WORDS: &[&str] = &[
    "",
    "x",
    "a0",
    "a1",
    "out.0",
    "f",
    "i32",
    "f64",
    "state",
    "input",
    "parameter",
    "zeros",
    "values",
    "axis",
    "shape",
    "softmax",
    "softmx",
    "gather",
    "scatter_add",
    "gelu_vjp",
    "linear",
    "inner/",
    "inner/a",
    "a b",
    "é",
    "half_pixel",
    "LT",
];

/// One damage.
#[derive(Clone, Debug)]
struct Damage {
    what: usize,
    at: [Index; 4],
    edge: i64,
    word: &'static str,
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let one = (0..DAMAGES.len(), any::<[Index; 4]>(), prop::sample::select(EDGES), prop::sample::select(WORDS))
        .prop_map(|(what, at, edge, word)| Damage { what, at, edge, word });
    prop::collection::vec(one, 1..4)
}

impl Damage {
    fn of<'a, T>(&self, i: usize, list: &'a mut RVec<T>) -> Option<&'a mut T> {
        let length = list.len();
        if length == 0 { None } else { list.get_mut(self.at[i].index(length)) }
    }

    fn value(&self) -> Attribute {
        let edge = self.edge;
        match self.at[3].index(8) {
            0 => Attribute::Int(edge),
            1 => Attribute::Float(edge as f64 / 3.0),
            2 => Attribute::Float(f64::NAN),
            3 => Attribute::Bool(edge > 0),
            4 => Attribute::Text(self.word.into()),
            5 => Attribute::Ints(vec![edge; self.at[2].index(10)].into()),
            6 => Attribute::Floats(vec![edge as f64; self.at[2].index(10)].into()),
            _ => Attribute::Ints(vec![1; self.at[2].index(10)].into()),
        }
    }
}

type Change = fn(&Damage, &mut Fragment) -> Option<()>;

const DAMAGES: &[Change] = &[
    |d, f| {
        let id = d.of(1, &mut d.of(0, &mut f.nodes)?.operands)?;
        *id = if d.edge < 0 { u32::MAX } else { d.at[2].index(40) as u32 };
        Some(())
    },
    |d, f| {
        let node = d.of(0, &mut f.nodes)?;
        node.operands.push(d.at[1].index(40) as u32);
        Some(())
    },
    |d, f| d.of(0, &mut f.nodes)?.operands.pop().map(|_| ()),
    |d, f| {
        d.of(1, &mut d.of(0, &mut f.nodes)?.attributes)?.value = d.value();
        Some(())
    },
    // One number of a list: damage that keeps its form gets further.
    |d, f| {
        match &mut d.of(1, &mut d.of(0, &mut f.nodes)?.attributes)?.value {
            Attribute::Ints(v) => *d.of(2, v)? = d.edge,
            Attribute::Floats(v) => *d.of(2, v)? = d.edge as f64,
            Attribute::Int(v) => *v = d.edge,
            Attribute::Float(v) => *v = d.edge as f64,
            _ => {}
        }
        Some(())
    },
    |d, f| {
        d.of(1, &mut d.of(0, &mut f.nodes)?.attributes)?.name = d.word.into();
        Some(())
    },
    |d, f| {
        let attribute = NamedAttribute { name: d.word.into(), value: d.value() };
        d.of(0, &mut f.nodes)?.attributes.push(attribute);
        Some(())
    },
    |d, f| {
        let attributes = &mut d.of(0, &mut f.nodes)?.attributes;
        let copy = d.of(1, attributes)?.clone();
        attributes.push(copy);
        Some(())
    },
    |d, f| d.of(0, &mut f.nodes)?.attributes.pop().map(|_| ()),
    |d, f| {
        d.of(0, &mut f.nodes)?.op = d.word.into();
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.nodes)?.version = d.edge as u32;
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.nodes)?.scope = d.word.into();
        Some(())
    },
    |d, f| {
        let (i, j) = (d.at[0].index(f.nodes.len().max(1)), d.at[1].index(f.nodes.len().max(1)));
        if !f.nodes.is_empty() {
            f.nodes.swap(i, j);
        }
        Some(())
    },
    |d, f| {
        if !f.nodes.is_empty() {
            f.nodes.remove(d.at[0].index(f.nodes.len()));
        }
        Some(())
    },
    |d, f| {
        let node: Node = d.of(0, &mut f.nodes)?.clone();
        f.nodes.push(node);
        Some(())
    },
    |d, f| {
        *d.of(1, &mut d.of(0, &mut f.arguments)?.ty.shape)? = d.edge as u64;
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.arguments)?.ty.shape.push(d.edge as u64);
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.arguments)?.ty.dtype = d.word.into();
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.arguments)?.name = d.word.into();
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.arguments)?.role = d.word.into();
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.arguments)?.init = d.word.into();
        Some(())
    },
    |d, f| {
        let attribute = NamedAttribute { name: if d.edge > 2 { "numbers" } else { d.word }.into(), value: d.value() };
        d.of(0, &mut f.arguments)?.init_attributes = vec![attribute].into();
        Some(())
    },
    |d, f| {
        let name: RString = if d.edge > 2 { "decay" } else { d.word }.into();
        d.of(0, &mut f.arguments)?.properties.push(NamedAttribute { name, value: d.value() });
        Some(())
    },
    |d, f| {
        if !f.arguments.is_empty() {
            f.arguments.remove(d.at[0].index(f.arguments.len()));
        }
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.outputs)?.value = d.edge as u32;
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.outputs)?.name = d.word.into();
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.updates)?.value = d.edge as u32;
        Some(())
    },
    |d, f| {
        d.of(0, &mut f.updates)?.state = d.word.into();
        Some(())
    },
    |d, f| {
        f.name = d.word.into();
        Some(())
    },
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_fragments_are_refused_or_whole(graph in graphs(Options { adjoints: false }), damages in damages()) {
        let mut fragment = export(&graph);
        for damage in &damages {
            // Nothing happens where the graph has no such part.
            let _ = DAMAGES[damage.what](damage, &mut fragment);
        }
        match import(&fragment) {
            Ok(graph) => {
                prop_assert_eq!(verify(&graph), Ok(()));
                // Costs and comments of odd shapes, and a text that reads back, are part of being whole.
                print(&graph, PrintOptions::READABLE);
                let text = print(&graph, PrintOptions::EXACT);
                prop_assert_eq!(print(&parse(&text)?, PrintOptions::EXACT), text);
                prop_assert_eq!(print(&import(&export(&graph))?, PrintOptions::EXACT), print(&renumber(&graph), PrintOptions::EXACT));
            }
            Err(error) => {
                prop_assert!(is_declared(&error), "{}", error);
                prop_assert!(error.to_string().len() < 4096, "{}", error);
            }
        }
    }

    #[test]
    fn damaged_text_is_refused_or_whole(
        graph in graphs(Options { adjoints: true }),
        cuts in prop::collection::vec((any::<Index>(), 0..6usize, prop::sample::select(PIECES)), 1..4),
    ) {
        let mut text: Vec<char> = print(&graph, PrintOptions::EXACT).chars().collect();
        for (at, length, piece) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(graph) => prop_assert_eq!(verify(&graph), Ok(())),
            Err(error) => prop_assert!(is_declared(&error), "{}", error),
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), words in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let _ = parse(&text);
        let _ = parse(&words.concat());
        let _ = parse(&format!("graph g(x: f[2]) {{ {} }}", words.join(" ")));
    }
}

const PIECES: &[&str] = &[
    "",
    " ",
    "\n",
    "#",
    "\"",
    "\\u{",
    "}",
    "{",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "%",
    "%0",
    "%1",
    "x",
    "_",
    "...",
    "-",
    "1",
    "0",
    "99999999999999999999",
    "1099511627776",
    "-9223372036854775808",
    "NaN",
    "inf",
    "f[2]",
    "i32[]",
    "graph",
    "scope",
    "output",
    "update",
    "name",
    "state",
    "parameter",
    "frozen",
    "layer(1)",
    "tokens(1, 2, 2)",
    "distances(",
    "negate(x)",
    "softmax(x) {axis: 0}",
    "softmax_vjp",
    "é",
];
