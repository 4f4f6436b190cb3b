//! `plugins/template`, which this program carries, and what is filled into it.

use clap::ValueEnum;

use super::{Name, Sdk};

/// The kinds of component that a template is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Loss,
    Resizer,
    Backbone,
}

const MANIFEST: &str = include_str!("../../../plugins/template/manifest.toml");
const README: &str = include_str!("../../../plugins/template/README.md");
const IGNORE: &str = include_str!("../../../plugins/template/gitignore");

impl Kind {
    /// One of [`fer_abi::kind`].
    pub fn name(self) -> &'static str {
        match self {
            Kind::Loss => fer_abi::kind::LOSS,
            Kind::Resizer => fer_abi::kind::RESIZER,
            Kind::Backbone => fer_abi::kind::BACKBONE,
        }
    }

    /// `src/lib.rs` and `tests/contract.rs`.
    fn sources(self) -> [&'static str; 2] {
        match self {
            Kind::Loss => [
                include_str!("../../../plugins/template/loss/src/lib.rs"),
                include_str!("../../../plugins/template/loss/tests/contract.rs"),
            ],
            Kind::Resizer => [
                include_str!("../../../plugins/template/resizer/src/lib.rs"),
                include_str!("../../../plugins/template/resizer/tests/contract.rs"),
            ],
            Kind::Backbone => [
                include_str!("../../../plugins/template/backbone/src/lib.rs"),
                include_str!("../../../plugins/template/backbone/tests/contract.rs"),
            ],
        }
    }

    /// What the template does, as its source says.
    fn summary(self) -> &'static str {
        match self {
            Kind::Loss => "cross entropy with smoothed labels",
            Kind::Resizer => "bilinear interpolation plus a learned detail",
            Kind::Backbone => "stages of one convolution each",
        }
    }

    /// How a config names it.
    fn usage(self) -> &'static str {
        match self {
            Kind::Loss => "loss: (plugin: \"plugin-name\", smoothing: 0.2),",
            Kind::Resizer => "model: (resizers: [(plugin: \"plugin-name\", size: 48)]),",
            Kind::Backbone => "model: (backbone: (plugin: \"plugin-name\", depth: 3)),",
        }
    }
}

/// The files of a new crate: path from its folder, text.
pub fn files(name: &Name, kind: Kind, sdk: &Sdk) -> Vec<(&'static str, String)> {
    let filled = |text: &str| {
        [
            ("{summary}", kind.summary()),
            ("{kind}", kind.name()),
            ("{config}", kind.usage()),
            ("{rust-version}", env!("CARGO_PKG_RUST_VERSION")),
            ("{library}", &name.file()),
            ("{sdk}", &sdk.dependency("fer-sdk")),
            ("{contract}", &sdk.dependency("fer-contract")),
            ("{registry}", &sdk.dependency("fer-registry")),
        ]
        .iter()
        .fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    let named = |text: &str| {
        let words = [("plugin-name", &name.id), ("plugin_name", &name.library), ("PluginName", &name.ty)];
        words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    };
    let [source, contract] = kind.sources();
    vec![
        // Named first: a path that is filled in may hold any words.
        ("Cargo.toml", filled(&named(MANIFEST))),
        ("README.md", filled(&named(README)).replace("plugin-name", &name.id)),
        (".gitignore", IGNORE.to_owned()),
        ("src/lib.rs", named(source)),
        ("tests/contract.rs", named(contract)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for kind in Kind::value_variants() {
            assert!(kind.sources()[0].contains(kind.summary()), "{kind:?} says another summary");
            let sdk = Sdk::Version("0.1".into());
            for (path, text) in files(&Name::new("my-own").unwrap(), *kind, &sdk) {
                for word in ["plugin-name", "plugin_name", "PluginName", "{summary}", "{sdk}", "{config}"] {
                    assert!(!text.contains(word), "{kind:?}: {word} is left in {path}:\n{text}");
                }
            }
        }
    }
}
