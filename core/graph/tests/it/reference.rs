//! The op reference says everything that the table says.

use fer_graph::{Class, example, ops::TABLE, reference_markdown};

#[test]
fn every_op_has_its_section() {
    let text = reference_markdown();
    let mut at = 0;
    for def in TABLE {
        let heading = format!("\n## {}\n", def.name);
        let found = text[at..].find(&heading).unwrap_or_else(|| panic!("{} is missing or out of order", def.name));
        at += found + heading.len();
        let section = &text[at..text[at..].find("\n## ").map_or(text.len(), |end| at + end)];
        for attribute in def.attributes {
            assert!(section.contains(&format!("`{}`", attribute.name)), "{}: {}", def.name, attribute.name);
        }
        for (label, _) in def.constraints {
            assert!(section.contains(&format!("`{}_{label}`", def.name)), "{}: {label}", def.name);
        }
        assert_eq!(section.contains("The example means:"), def.class == Class::Composite, "{}", def.name);
    }
}

#[test]
fn every_example_is_its_op() {
    for def in TABLE {
        let graph = example(def.name).unwrap_or_else(|| panic!("{} has no example", def.name));
        assert!(graph.nodes.len() == 1 && graph.nodes[0].op.is(def.name), "{}", def.name);
        assert_eq!(graph.outputs.len(), graph.nodes[0].results.len(), "{}", def.name);
    }
    assert!(example("nothing").is_none());
}
