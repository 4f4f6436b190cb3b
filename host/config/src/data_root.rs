//! `--data`: other data for the same experiment, as an edit of the tree like any `--set`.

use std::path::Path;

use crate::error::ConfigError;
use crate::resolve::Resolved;
use crate::source::{Source, Span};
use crate::tree::{Field, Name, Node, Value};

impl Resolved {
    /// The experiment on other data. `builtin` takes the built-in faces: those that stand in for the data set where the
    /// config says so, the default ones otherwise. Anything else is the folder of the data set; where the config has
    /// built-in faces, the folder must be seen to hold FERPlus.
    pub fn with_data_root(self, argument: &str) -> Result<Self, ConfigError> {
        let source = Source::argument(format!("--data {argument}"));
        let span = Span::new(&source, "--data ".len(), source.text().len());
        let (mut tree, files) = self.into_tree();
        let Value::Group { fields, .. } = &mut tree.value else {
            return Err(ConfigError::new("an experiment is a group of keys"));
        };
        let Some(data) = fields.iter_mut().find(|field| field.key == "data").map(|field| &mut field.node) else {
            return Err(ConfigError::new("the experiment has no `data`"));
        };
        let builtin = data.name() == Some("Builtin");
        match (argument, builtin) {
            ("builtin", true) => {}
            ("builtin", false) => *data = stand_in(data, &span),
            (root, true) => *data = ferplus(root, &span)?,
            (root, false) => set_root(data, root, &span),
        }
        Self::new(tree, files)
    }
}

fn variant(name: &str, span: &Span, fields: Vec<Field>) -> Node {
    let name = Name { text: name.into(), span: span.clone() };
    Node::new(Value::Group { name: Some(name), fields }, span.clone())
}

fn field(key: &str, value: Value, span: &Span) -> Field {
    Field { key: key.into(), key_span: span.clone(), node: Node::new(value, span.clone()) }
}

/// What `otherwise` says, as the data itself.
fn stand_in(data: &Node, span: &Span) -> Node {
    let fields = data.inner().field("otherwise").map_or(&[][..], |field| field.node.inner().fields());
    variant("Builtin", span, fields.to_vec())
}

fn set_root(data: &mut Node, root: &str, span: &Span) {
    let root = field("root", Value::Text(root.into()), span);
    if let Value::Group { fields, .. } = &mut data.inner_mut().value {
        match fields.iter_mut().find(|field| field.key == "root") {
            Some(slot) => *slot = root,
            None => fields.insert(0, root),
        }
    }
}

/// The FERPlus set in a folder, if it is one.
fn ferplus(root: &str, span: &Span) -> Result<Node, ConfigError> {
    let folder = Path::new(root);
    let lists = folder.join("data/FER2013Train").is_dir();
    let table = folder.join("fer2013new.csv").is_file();
    if !lists && !table {
        let what = if folder.is_dir() { "does not look like FERPlus" } else { "is not a folder" };
        return Err(ConfigError::new(format!("{root} {what}, and the config names no data set"))
            .label(span, "which data set is this?")
            .note("FERPlus has fer2013new.csv or data/FER2013Train")
            .help(format!(
                "name the set: --set 'data=RafDb(root: {root:?})' (or FerPlus, Fer2013, AffectNet, CkPlus, ImageFolder)"
            )));
    }
    let mut fields = vec![field("root", Value::Text(root.into()), span)];
    if !lists {
        // The default votes are those of the image lists, which are not here.
        fields.push(field("votes", Value::Word("NewCsv".into()), span));
    }
    Ok(variant("FerPlus", span, fields))
}
