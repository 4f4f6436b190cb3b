//! A failing case as a text that `fer-host trace` runs.

use std::{fmt, path::PathBuf};

use crate::{Case, Failure, Start, resizers, written};

/// One component, what it is told and offered, and what is to be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    /// Where the component lies; `None`: on the plugin path.
    pub library: Option<PathBuf>,
    pub kind: String,
    pub id: String,
    pub case: Case,
    pub start: Start,
    /// The property that breaks.
    pub property: Option<String>,
}

impl Reproduction {
    /// What a failure leaves.
    pub fn of(failure: &Failure, kind: &str, id: &str, library: Option<PathBuf>) -> Reproduction {
        Reproduction {
            library,
            kind: kind.to_owned(),
            id: id.to_owned(),
            case: failure.case.clone(),
            start: start_of(&failure.property),
            property: Some(failure.property.clone()),
        }
    }
}

/// How parameters stand when a property looks at them.
fn start_of(property: &str) -> Start {
    let of_the_start = [
        resizers::KEEPS_CONSTANTS,
        resizers::STARTS_AS_IDENTITY,
        resizers::STARTS_AS_BILINEAR,
        resizers::CONVOLUTIONS_START_AS_TORCH_S,
        crate::laws::INITIAL_DEVIATION,
    ];
    if of_the_start.iter().any(|p| p.name == property) { Start::Initial } else { Start::Moved }
}

/// RON.
impl fmt::Display for Reproduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Reproduction(")?;
        if let Some(library) = &self.library {
            writeln!(f, "    library: {:?},", library.display().to_string())?;
        }
        let options = written::write(&self.case.options);
        let comma = if options.is_empty() { "" } else { ", " };
        writeln!(f, "    {}: (plugin: {:?}{comma}{options}),", self.kind, self.id)?;
        let inputs: Vec<String> = self.case.inputs.iter().map(|(name, ty)| format!("{name}: {:?}", ty.shape)).collect();
        writeln!(f, "    inputs: ({}),", inputs.join(", "))?;
        writeln!(f, "    mode: {},", if self.case.training { "Train" } else { "Eval" })?;
        writeln!(f, "    start: {:?},", self.start)?;
        writeln!(f, "    seed: {},", self.case.seed)?;
        if let Some(property) = &self.property {
            writeln!(f, "    property: {property:?},")?;
        }
        write!(f, ")")
    }
}

#[cfg(test)]
mod tests {
    use fer_abi::{NamedOption, OptionValue};

    use super::*;
    use crate::images;

    #[test]
    fn it_reads_as_a_config_does() {
        let failure = Failure {
            property: "a constant image stays constant".into(),
            component: "resizer \"soft\"".into(),
            message: "it does not".into(),
            case: Case {
                options: vec![NamedOption { name: "scale".into(), value: OptionValue::Float(2.0) }],
                inputs: images([1, 3, 8, 8]),
                training: false,
                seed: 7,
            },
        };
        let text = Reproduction::of(&failure, "resizer", "soft", Some("libsoft.so".into())).to_string();
        let expected = "Reproduction(\n    library: \"libsoft.so\",\n    resizer: (plugin: \"soft\", scale: 2.0),\n    \
            inputs: (images: [1, 3, 8, 8]),\n    mode: Eval,\n    start: Initial,\n    seed: 7,\n    \
            property: \"a constant image stays constant\",\n)";
        assert_eq!(text, expected);
    }
}
