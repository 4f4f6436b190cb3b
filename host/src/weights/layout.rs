//! The rules by which a component says how other programs spell its weights.

use fer_abi::{Attribute, Descriptor, property};

use crate::compose::Recipe;

/// The layouts of all parts of a model.
pub fn layouts(recipe: &Recipe) -> Vec<Layout> {
    recipe.parts().flat_map(|part| Layout::all(part.component.descriptor())).collect()
}

/// One foreign spelling: rules in order, the first that matches a name renames it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub name: String,
    rules: Vec<(String, String)>,
}

/// What stands for a number in a pattern, with what is added to it in a replacement.
const NUMBERS: [(&str, i64); 3] = [("{i}", 0), ("{i+1}", 1), ("{i-1}", -1)];

impl Layout {
    /// The layouts that a component declares. A rule that is none is left out: it could only match by accident.
    pub fn all(descriptor: &Descriptor) -> Vec<Layout> {
        let declared = descriptor.properties.iter().filter(|p| p.name == property::LAYOUT);
        declared
            .filter_map(|p| match &p.value {
                Attribute::Text(text) => Some(Layout::parse(text)),
                _ => None,
            })
            .collect()
    }

    fn parse(text: &str) -> Layout {
        let mut lines = text.lines();
        let name = lines.next().unwrap_or_default().trim().to_owned();
        let rules = lines.filter_map(|line| line.split_once(" -> "));
        Layout { name, rules: rules.map(|(from, to)| (from.trim().to_owned(), to.trim().to_owned())).collect() }
    }

    /// The component's own name for what this layout calls `name`; `None` where no rule matches.
    pub fn own_name(&self, name: &str) -> Option<String> {
        self.rules.iter().find_map(|(pattern, replacement)| rename(pattern, replacement, name))
    }
}

fn rename(pattern: &str, replacement: &str, name: &str) -> Option<String> {
    let (pattern, rest) = match pattern.strip_suffix('*') {
        Some(head) => (head, true),
        None => (pattern, false),
    };
    let mut number = None;
    let mut left = name;
    if let Some((before, after)) = pattern.split_once("{i}") {
        left = left.strip_prefix(before)?;
        let digits = left.find(|c: char| !c.is_ascii_digit()).unwrap_or(left.len());
        number = Some(left[..digits].parse::<i64>().ok()?);
        left = left[digits..].strip_prefix(after)?;
    } else {
        left = left.strip_prefix(pattern)?;
    }
    if !rest && !left.is_empty() {
        return None;
    }
    let mut own = replacement.replace('*', left);
    for (word, offset) in NUMBERS {
        if own.contains(word) {
            own = own.replace(word, &(number?.checked_add(offset)?).to_string());
        }
    }
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_renamed_by_the_first_rule_that_matches() {
        let layout =
            Layout::parse("old\nlayers.{i}.down.* -> layers.{i+1}.down.*\nclassifier.6.* -> head.fc.*\na -> b");
        let own = |name: &str| layout.own_name(name).unwrap_or_else(|| "-".into());
        assert_eq!(layout.name, "old");
        assert_eq!(own("layers.0.down.norm.weight"), "layers.1.down.norm.weight");
        assert_eq!(own("layers.12.down.x"), "layers.13.down.x");
        assert_eq!(own("classifier.6.bias"), "head.fc.bias");
        assert_eq!(own("a"), "b");
        for other in ["layers.x.down.w", "layers.1.up.w", "ab", "", "layers.99999999999999999999.down.w"] {
            assert_eq!(own(other), "-", "{other}");
        }
    }
}
