//! `fer-host data check NAME ROOT`: what a data set on disk really holds.

use std::path::PathBuf;

use fer_data::spec::{BuiltinSpec, DataSpec, LabelMode, VoteSource};

use super::output::{print, print_json};
use crate::{
    failure::{Failure, Result},
    run::progress::counter,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Audit a data set: splits, classes, missing, unreadable and duplicate images, label map
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub struct Check {
    /// ferplus, fer2013, raf-db, affectnet, ck-plus, image-folder or builtin
    name: String,
    /// Where it lies; not needed for builtin
    root: Option<PathBuf>,
    /// FERPlus: where the votes come from
    #[arg(long, value_enum, default_value = "image-lists")]
    votes: Votes,
    /// FERPlus: how votes become labels
    #[arg(long, value_enum, default_value = "majority")]
    labels: Labels,
    /// AffectNet: 8 or 7 classes
    #[arg(long, default_value_t = 8)]
    classes: usize,
    /// Seed of the hold-outs that are not published
    #[arg(long, default_value_t = 1111)]
    seed: u64,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Votes {
    ImageLists,
    NewCsv,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Labels {
    Majority,
    Probability,
    MultiTarget,
}

const NAMES: [&str; 7] = ["ferplus", "fer2013", "raf-db", "affectnet", "ck-plus", "image-folder", "builtin"];

pub fn run(command: &Command) -> Result<()> {
    let Command::Check(check) = command;
    let spec = spec(check)?;
    let bar = counter("reading images");
    let audit = fer_data::audit(&spec, check.seed, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if check.json {
        print_json(&audit)?
    } else {
        print(&audit.to_string())?
    }
    if audit.is_sound() {
        return Ok(());
    }
    Err(Failure::new("the data set is not sound: see above"))
}

fn spec(check: &Check) -> Result<DataSpec> {
    // Names are compared without their dashes, so that RAF-DB, raf_db and rafdb all do.
    let plain = |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let name = NAMES.into_iter().find(|n| plain(n) == plain(&check.name));
    let Some(name) = name else {
        let failure = Failure::new(format!("no data set is called {:?}", check.name))
            .note(format!("data sets: {}", NAMES.join(", ")));
        return Err(match fer_config::nearest(&check.name, NAMES) {
            Some(near) => failure.help(format!("did you mean {near:?}?")),
            None => failure,
        });
    };
    if name == "builtin" {
        return Ok(DataSpec::Builtin(BuiltinSpec::default()));
    }
    let Some(root) = check.root.clone() else {
        return Err(Failure::new(format!("data check {name} needs the folder where the data set lies"))
            .help(format!("fer-host data check {name} ROOT")));
    };
    let (validation, test) = (0.1, 0.2);
    Ok(match name {
        "ferplus" => DataSpec::FerPlus {
            root,
            votes: match check.votes {
                Votes::ImageLists => VoteSource::ImageLists,
                Votes::NewCsv => VoteSource::NewCsv,
            },
            labels: match check.labels {
                Labels::Majority => LabelMode::Majority,
                Labels::Probability => LabelMode::Probability,
                Labels::MultiTarget => LabelMode::MultiTarget,
            },
            otherwise: None,
        },
        "fer2013" => DataSpec::Fer2013 { root, otherwise: None },
        "raf-db" => DataSpec::RafDb { root, validation, otherwise: None },
        "affectnet" => DataSpec::AffectNet { root, classes: check.classes, validation, otherwise: None },
        "ck-plus" => DataSpec::CkPlus { root, validation, test, otherwise: None },
        _ => DataSpec::ImageFolder { root, validation, test, otherwise: None },
    })
}
