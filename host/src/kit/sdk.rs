//! Where a new plugin takes the SDK from: a checkout of fer-host, or a registry.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// The crates that a plugin and its tests depend on, and where a checkout has them.
const CRATES: [(&str, &str); 3] =
    [("fer-sdk", "core/sdk"), ("fer-contract", "core/contract"), ("fer-registry", "host/registry")];

/// The version of these crates, which is that of the boundary: the SDK that this host loads for certain.
const VERSION: &str = fer_abi::VERSION;

/// Where the SDK's crates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// The root of a checkout, absolute.
    Path(PathBuf),
    /// A version requirement, for cargo to find in its registry.
    Version(String),
}

impl Sdk {
    /// The SDK that suits this program: of the checkout it was built in, else of its own version.
    pub fn of_this_program() -> Sdk {
        let program = std::env::current_exe().and_then(std::fs::canonicalize).ok();
        let above = program.iter().flat_map(|program| program.ancestors().skip(1));
        match above.take(4).find(|folder| is_checkout(folder)) {
            Some(root) => Sdk::Path(root.to_owned()),
            None => Sdk::Version(VERSION.to_owned()),
        }
    }

    /// A checkout, or its folder `core/sdk`.
    ///
    /// # Errors
    /// A folder that holds neither, or whose path a manifest cannot hold.
    pub fn path(given: &Path) -> Result<Sdk> {
        let missing = |what: String| {
            Failure::new(what).help("--sdk-path takes the folder of fer-host's sources, or core/sdk in it")
        };
        let folder = std::fs::canonicalize(given)
            .map_err(|error| missing(format!("cannot open the SDK's folder {}: {error}", given.display())))?;
        let root = [Some(folder.as_path()), folder.parent().and_then(Path::parent)];
        let Some(root) = root.into_iter().flatten().find(|root| is_checkout(root)) else {
            let first = CRATES.map(|(_, place)| place).into_iter().find(|place| !folder.join(place).exists());
            let first = first.unwrap_or("Cargo.toml");
            return Err(missing(format!("{} does not hold fer-host's sources: there is no {first}", folder.display())));
        };
        match root.to_str() {
            Some(_) => Ok(Sdk::Path(root.to_owned())),
            None => Err(Failure::new(format!("the path {} is not UTF-8, which a manifest must be", root.display()))),
        }
    }

    /// A version, or a requirement as cargo understands it.
    ///
    /// # Errors
    /// What is none.
    pub fn version(given: &str) -> Result<Sdk> {
        match semver::VersionReq::parse(given) {
            Ok(_) => Ok(Sdk::Version(given.trim().to_owned())),
            Err(error) => Err(Failure::new(format!("--sdk-version {given:?} is not a version: {error}"))
                .help(format!("this host's SDK is {}", VERSION))),
        }
    }

    /// What is worth a word: a version that this host may refuse to load.
    pub fn warning(&self) -> Option<String> {
        let Sdk::Version(text) = self else { return None };
        let (wanted, own) = (semver::VersionReq::parse(text).ok()?, VERSION);
        let suits = semver::Version::parse(own).is_ok_and(|own| wanted.matches(&own));
        (!suits).then(|| format!("this host has fer-sdk {own}: it may refuse a library built with fer-sdk {text}"))
    }

    /// The value of `NAME = ...` in a manifest.
    pub fn dependency(&self, name: &str) -> String {
        match self {
            Sdk::Version(text) => quoted(text),
            Sdk::Path(root) => {
                let place = CRATES.iter().find(|(known, _)| *known == name).map_or(name, |(_, place)| place);
                format!("{{ path = {} }}", quoted(&root.join(place).to_string_lossy()))
            }
        }
    }
}

/// As it is told: `fer-sdk at /src/fer-host/core/sdk`.
impl std::fmt::Display for Sdk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sdk::Path(root) => write!(f, "fer-sdk at {}", root.join(CRATES[0].1).display()),
            Sdk::Version(text) => write!(f, "fer-sdk {text} of cargo's registry"),
        }
    }
}

fn is_checkout(folder: &Path) -> bool {
    CRATES.iter().all(|(_, place)| folder.join(place).join("Cargo.toml").is_file())
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ if letter.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_found_by_its_root_and_by_its_sdk() {
        let root = std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let found = Sdk::path(&root).unwrap();
        assert_eq!(found, Sdk::Path(root.clone()));
        assert_eq!(Sdk::path(&root.join("core/sdk")).unwrap(), found);
        assert_eq!(found.dependency("fer-registry"), format!("{{ path = \"{}/host/registry\" }}", root.display()));
        let failure = Sdk::path(&root.join("docs")).unwrap_err();
        assert!(failure.error.message().ends_with("there is no core/sdk"), "{failure:?}");
        assert!(Sdk::path(&root.join("no such folder")).is_err());
    }

    #[test]
    fn versions_are_cargos() {
        assert_eq!(Sdk::version("0.1").unwrap().dependency("fer-sdk"), "\"0.1\"");
        assert_eq!(Sdk::version(VERSION).unwrap().warning(), None);
        assert!(Sdk::version("7").unwrap().warning().is_some());
        for text in ["", "newest", "0.1\"", "1..2"] {
            assert!(Sdk::version(text).is_err(), "{text}");
        }
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(quoted("a \"b\"\\\n"), r#""a \"b\"\\\u000A""#);
    }
}
