//! What a file of the hub is called here.

use std::{fmt, str::FromStr};

use crate::error::{Result, WeightError, WeightErrorKind};

/// A repository of the hub, and where they are said, a revision and a file in it.
///
/// | text | means |
/// |---|---|
/// | `owner/name` | the weights of the branch `main` |
/// | `owner/name@revision` | those of a branch, a tag or a commit |
/// | `owner/name:file.safetensors` | a certain file; folders are divided by `/` |
/// | `owner/name@revision:file.safetensors` | both |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubName {
    pub owner: String,
    pub name: String,
    /// Branch, tag or commit; `main` where none is said.
    pub revision: Option<String>,
    /// A file's path in the repository; where none is said, `model.safetensors` or else `pytorch_model.bin`.
    pub file: Option<String>,
}

const FORMS: &str = "write owner/name, owner/name@revision, owner/name:file or owner/name@revision:file, \
                     for example timm/vit_small_patch16_224.augreg_in21k_ft_in1k";

impl HubName {
    /// `owner/name`.
    pub fn repo(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The revision, or the default branch.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

impl FromStr for HubName {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<HubName> {
        let refuse = |why: &str| {
            WeightError::new(WeightErrorKind::Name, format!("{text:?} is no name of the hub: {why}")).help(FORMS)
        };
        if text.contains("://") {
            return Err(refuse("it is an address"));
        }
        let (repository, file) = match text.split_once(':') {
            Some((repository, file)) => (repository, Some(file)),
            None => (text, None),
        };
        let (repo, revision) = match repository.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (repository, None),
        };
        let Some((owner, name)) = repo.split_once('/') else { return Err(refuse("it has no owner")) };
        for part in [owner, name] {
            if !is_repository_part(part) {
                return Err(refuse(&format!("{part:?} cannot be an owner's or a repository's name")));
            }
        }
        if let Some(revision) = revision
            && !is_revision(revision)
        {
            return Err(refuse(&format!("{revision:?} cannot be a revision")));
        }
        if let Some(file) = file {
            if file.contains('@') {
                return Err(refuse("the revision stands before the file"));
            }
            if !is_file(file) {
                return Err(refuse(&format!("{file:?} cannot be a file in a repository")));
            }
        }
        Ok(HubName {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }
}

/// The hub's own rule: letters, digits, `-`, `_` and `.`, neither first nor last a dash or a dot, and never two of them
/// together, which the cache could not tell from its own dividers.
fn is_repository_part(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| matches!(c, '-' | '.');
    (1..=96).contains(&part.len())
        && part.chars().all(allowed)
        && !part.starts_with(edge)
        && !part.ends_with(edge)
        && !part.contains("--")
        && !part.contains("..")
}

/// Becomes a path below `refs`, so that it may not leave it.
fn is_revision(revision: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    revision.len() <= 200 && revision.chars().all(allowed) && revision.split('/').all(is_folder_or_file)
}

/// Becomes a path below `snapshots`, so that it may not leave it.
fn is_file(file: &str) -> bool {
    let allowed = |c: char| !c.is_control() && !matches!(c, '\\' | ':');
    file.len() <= 500 && file.chars().all(allowed) && file.split('/').all(is_folder_or_file)
}

fn is_folder_or_file(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written() {
        for text in [
            "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "a/b@main",
            "a/b@refs/pr/3",
            "a/b:model.safetensors",
            "a/b@0123456789012345678901234567890123456789:weights/best model.pth",
        ] {
            assert_eq!(text.parse::<HubName>().unwrap().to_string(), text);
        }
        let name: HubName = "timm/x@v1.0:sub/w.bin".parse().unwrap();
        assert_eq!(
            (name.repo().as_str(), name.revision(), name.file.as_deref()),
            ("timm/x", "v1.0", Some("sub/w.bin"))
        );
        assert_eq!("a/b".parse::<HubName>().unwrap().revision(), "main");
    }

    #[test]
    fn what_is_no_name_is_told_why() {
        for (text, why) in [
            ("", "it has no owner"),
            ("resnet50", "it has no owner"),
            ("a/b/c", "cannot be an owner's"),
            ("/b", "cannot be an owner's"),
            ("a/", "cannot be an owner's"),
            ("a/..", "cannot be an owner's"),
            ("a/b--c", "cannot be an owner's"),
            ("a b/c", "cannot be an owner's"),
            ("https://hub/a/b", "it is an address"),
            ("a/b@", "cannot be a revision"),
            ("a/b@../../x", "cannot be a revision"),
            ("a/b:", "cannot be a file"),
            ("a/b:/etc/passwd", "cannot be a file"),
            ("a/b:x/../y", "cannot be a file"),
            ("a/b:x\\y", "cannot be a file"),
            ("a/b:w.bin@main", "the revision stands before the file"),
        ] {
            let error = text.parse::<HubName>().unwrap_err();
            assert!(error.message.contains(why), "{text:?}: {error}");
            assert!(error.help.unwrap().contains("owner/name@revision"));
        }
    }
}
