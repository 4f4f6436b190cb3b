//! From the experiment's words to a data set: reads the root, or says plainly that something stands in for it.

use std::path::Path;

use crate::affectnet;
use crate::builtin;
use crate::ckplus;
use crate::dataset::Dataset;
use crate::error::{DataError, Result};
use crate::fer2013;
use crate::ferplus;
use crate::holdout::Shares;
use crate::image_folder;
use crate::rafdb;
use crate::spec::{DataSpec, Otherwise};

/// What a root should look like and where to get it.
struct Source {
    name: &'static str,
    layout: &'static str,
    get: &'static str,
}

fn source(spec: &DataSpec) -> Source {
    let (name, layout, get) = match spec {
        DataSpec::FerPlus { .. } => (
            "FERPlus",
            "fer2013new.csv or data/FER2013{Train,Valid,Test}/label.csv, and the images in those folders or as fer2013.csv",
            "Get the labels from github.com/microsoft/FERPlus and fer2013.csv from the Kaggle challenge \"Facial Expression Recognition\" (2013).",
        ),
        DataSpec::Fer2013 { .. } => (
            "FER2013",
            "fer2013.csv or icml_face_data.csv",
            "Get it from the Kaggle challenge \"Facial Expression Recognition\" (2013).",
        ),
        DataSpec::RafDb { .. } => (
            "RAF-DB",
            "EmoLabel/list_patition_label.txt and Image/aligned/*_aligned.jpg",
            "Ask its authors for the basic set: whdeng.cn/RAF/model1.html.",
        ),
        DataSpec::AffectNet { .. } => (
            "AffectNet",
            "{train_set,val_set}/{images,annotations} or training.csv and validation.csv",
            "Ask its authors: mohammadmahoor.com/affectnet.",
        ),
        DataSpec::CkPlus { .. } => (
            "CK+48",
            "one folder a class with files named S<subject>_<sequence>_<frame>.png",
            "Ask the Affect Analysis Group (Pittsburgh) for CK+ and crop the last three frames of each sequence.",
        ),
        DataSpec::ImageFolder { .. } => {
            ("ImageFolder", "{train,validation,test}/<class>/<images>, or <class>/<images>", "Put your images there.")
        }
        DataSpec::Builtin(_) => ("Built-in faces", "nothing", ""),
    };
    Source { name, layout, get }
}

fn root_of(spec: &DataSpec) -> Option<(&Path, Option<&Otherwise>)> {
    match spec {
        DataSpec::FerPlus { root, otherwise, .. }
        | DataSpec::Fer2013 { root, otherwise }
        | DataSpec::RafDb { root, otherwise, .. }
        | DataSpec::AffectNet { root, otherwise, .. }
        | DataSpec::CkPlus { root, otherwise, .. }
        | DataSpec::ImageFolder { root, otherwise, .. } => Some((root, otherwise.as_ref())),
        DataSpec::Builtin(_) => None,
    }
}

/// Opens the data set that `spec` names; `seed` decides the hold-outs of sets that publish no split.
///
/// Where the root folder is absent and `otherwise` is given, the built-in faces are returned with `substitute_for` and
/// `notice` set. A root that exists but is incomplete is an error, never substituted. All listed files are looked up:
/// the first missing one is an error that counts the others.
pub fn open(spec: &DataSpec, seed: u64) -> Result<Dataset> {
    let mut set = read(spec, seed)?;
    let missing = set.look_up_files();
    if let [first, others @ ..] = missing.as_slice() {
        return Err(DataError::MissingImages { dataset: set.name, first: first.clone(), others: others.len() });
    }
    set.check_filled()?;
    Ok(set)
}

/// As [`open`], without looking up the listed files or asking that splits be filled.
pub(crate) fn read(spec: &DataSpec, seed: u64) -> Result<Dataset> {
    if let Some((root, otherwise)) = root_of(spec)
        && !root.is_dir()
    {
        let Source { name, layout, get } = source(spec);
        let Some(Otherwise::Builtin(faces)) = otherwise else {
            return Err(DataError::RootMissing { dataset: name, root: root.into(), layout, get });
        };
        let mut set = builtin::read(faces)?;
        set.substitute_for = Some(format!("{name} ({} not found)", root.display()));
        set.notice = Some(format!(
            "{name} root {} not found: using built-in drawn faces instead, whose results say nothing about {name}. \
             Expected {layout}. {get}",
            root.display()
        ));
        return Ok(set);
    }
    match spec {
        DataSpec::FerPlus { root, votes, labels, .. } => ferplus::read(root, *votes, *labels),
        DataSpec::Fer2013 { root, .. } => fer2013::read(root),
        DataSpec::RafDb { root, validation, .. } => rafdb::read(root, Shares::new(*validation, 0.0)?, seed),
        DataSpec::AffectNet { root, classes, validation, .. } => {
            affectnet::read(root, *classes, Shares::new(*validation, 0.0)?, seed)
        }
        DataSpec::CkPlus { root, validation, test, .. } => ckplus::read(root, Shares::new(*validation, *test)?, seed),
        DataSpec::ImageFolder { root, validation, test, .. } => image_folder::read(root, *validation, *test, seed),
        DataSpec::Builtin(faces) => builtin::read(faces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{BuiltinSpec, LabelMode, VoteSource};

    fn absent(otherwise: Option<Otherwise>) -> DataSpec {
        DataSpec::FerPlus {
            root: "no/such/folder".into(),
            votes: VoteSource::ImageLists,
            labels: LabelMode::Majority,
            otherwise,
        }
    }

    #[test]
    fn an_absent_root_is_an_error_that_says_how_to_get_it() {
        let message = open(&absent(None), 1).unwrap_err().to_string();
        for part in ["FERPlus", "no/such/folder", "label.csv", "github.com", "otherwise"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn a_stand_in_is_announced() {
        let faces = BuiltinSpec { train: 16, validation: 8, test: 8, ..Default::default() };
        let set = open(&absent(Some(Otherwise::Builtin(faces))), 1).unwrap();
        assert_eq!(set.train.len(), 16);
        assert_eq!(set.substitute_for.as_deref(), Some("FERPlus (no/such/folder not found)"));
        let notice = set.notice.unwrap();
        assert!(notice.contains("not found") && notice.contains("github.com"), "{notice}");
        assert!(!notice.contains('\n'));
    }
}
