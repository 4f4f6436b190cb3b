//! The weights that a config's components start from: found, read, fitted to the graph, and told.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use fer_config::{Component, Normalise, Pretrained as Source};
use fer_engine::{Store, Tensor};
use fer_graph::{Graph, Role};
use fer_weights::{Fetched, HubName, ModelCard, WeightError, cached, fetch, read};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    adapt::{Fates, Place, adapt},
    layout::Layout,
    matching::counted,
};
use crate::{
    compose::RecipePart,
    failure::{Failure, Result},
    session::Session,
};

/// Where a component's weights came from and what became of them, as a run keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainedRecord {
    /// `model.backbone`
    pub path: String,
    /// `timm/swin_small_patch4_window7_224.ms_in1k@revision`, or the file's path.
    pub source: String,
    pub sha256: String,
    #[serde(flatten)]
    pub fates: Fates,
}

/// All weights that an experiment starts from, and nothing where it starts from its seed alone.
#[derive(Debug, Default)]
pub struct Pretrained {
    pub records: Vec<PretrainedRecord>,
    /// What the user should know besides.
    pub notices: Vec<String>,
    tensors: BTreeMap<String, Tensor>,
}

/// Whether weights that are not on this machine are fetched.
#[derive(Clone, Copy)]
pub enum Network<'n> {
    /// With what is called while a file comes in: its name, the bytes that are there, and all of them.
    Allowed(&'n dyn Fn(&str, u64, u64)),
    /// What is not there is told in a notice.
    Unused,
}

impl Pretrained {
    /// Finds, reads and fits the weights of every component that asks for some.
    ///
    /// # Errors
    /// Weights that are not to be had, cannot be read, or do not fit, at the place in the config that asks for them.
    pub fn gather(session: &Session, graph: &Graph, network: Network<'_>) -> Result<Pretrained> {
        let model = &session.resolved.experiment.model;
        let resizers = model.resizers.iter().zip(&session.recipe.resizers);
        let parts = resizers.map(|(named, part)| (named, part, part.path.trim_start_matches("model.").to_owned()));
        let parts = parts.chain([(&model.backbone, &session.recipe.backbone, "backbone".to_owned())]);
        let loss = (&session.resolved.experiment.loss, &session.recipe.loss, "loss".to_owned());
        let mut all = Pretrained::default();
        for (named, part, scope) in parts.chain([loss]) {
            if let Some(source) = &named.pretrained {
                all.part(session, graph, Asked { named, part, source, scope: &scope }, network)?;
            }
        }
        Ok(all)
    }

    /// Writes them where parameters are kept; what they do not hold is drawn from the seed afterwards.
    pub fn write(&self, store: &mut dyn Store) {
        self.tensors.iter().for_each(|(name, tensor)| store.write(name, tensor));
    }

    /// What happened, as lines: one a component, and one for each kind of thing that was not simply loaded.
    pub fn report(&self) -> Vec<String> {
        let mut lines = vec![];
        for PretrainedRecord { path, source, sha256, fates } in &self.records {
            let spelt = fates.layout.as_ref().map(|l| format!(", as {l} spells them")).unwrap_or_default();
            lines.push(format!(
                "weights of {path}: {source} (sha256 {sha256:.12}): {} loaded{spelt}",
                fates.loaded.len()
            ));
            let resized: Vec<String> =
                fates.resized.iter().map(|r| format!("{} {:?} -> {:?}", r.name, r.from, r.to)).collect();
            for (what, names) in [
                ("resized", &resized),
                ("started anew", &fates.started_anew),
                ("missing, drawn from the seed", &fates.missing),
                ("ignored", &fates.ignored),
            ] {
                if !names.is_empty() {
                    lines.push(format!("  {what}: {}", counted(names)));
                }
            }
        }
        lines
    }

    fn part(&mut self, session: &Session, graph: &Graph, asked: Asked<'_>, network: Network<'_>) -> Result<()> {
        let at = format!("{}.pretrained", asked.part.path);
        let refuse = |message: &str, notes: &[String], help: Option<&str>| -> Failure {
            let error = session.resolved.error_at(&at, message, "asked for here", help);
            notes.iter().cloned().fold(error, |e, note| e.note(note)).into()
        };
        let failed = |e: WeightError| refuse(&e.message, &e.notes, e.help.as_deref());
        let prefix = format!("{}.", asked.scope);
        let trained = graph.arguments.iter().any(|a| a.role != Role::Input && a.name.starts_with(&prefix));
        if !trained {
            let message = format!("{} {:?} has no parameters to load", asked.kind(), asked.id());
            return Err(refuse(&message, &[], Some("leave pretrained out")));
        }
        let Some(found) = find(asked.source, network).map_err(failed)? else {
            if let Source::Hub(name) = asked.source {
                self.notices.push(format!("{at}: {name} is not on this machine yet; a run will fetch it"));
            }
            return Ok(());
        };
        let file = read(&found.path).map_err(failed)?;
        let lenient = lenient(session, &asked)?;
        let layouts = Layout::all(asked.part.component.descriptor());
        let place = Place { prefix: &prefix, heads: asked.scope == "backbone" };
        let adapted = adapt(graph, place, &file.tensors, &layouts, &lenient).map_err(|complaints| {
            let message = format!("the weights do not fit {} {:?}: {}", asked.kind(), asked.id(), found.source);
            let help = "choose the variant and options that the weights were made with; \
                pretrained_ignore: [\"pattern\", ...] names what need not fit";
            refuse(&message, &complaints, Some(help))
        })?;
        let card = found.card.filter(|_| place.heads);
        self.notices.extend(file.notes.into_iter().map(|note| format!("{}: {note}", found.source)));
        self.notices.extend(card.and_then(|card| other_colours(&card, &session.resolved.experiment.normalise)));
        self.tensors.extend(adapted.tensors);
        let (path, source, sha256) = (asked.part.path.clone(), found.source, found.sha256);
        self.records.push(PretrainedRecord { path, source, sha256, fates: adapted.fates });
        Ok(())
    }
}

/// A component that asks for weights.
struct Asked<'a> {
    named: &'a Component,
    part: &'a RecipePart,
    source: &'a Source,
    /// Where its parameters stand in the graph: `resizers.1`.
    scope: &'a str,
}

impl Asked<'_> {
    fn kind(&self) -> &str {
        self.part.component.kind()
    }

    fn id(&self) -> &str {
        self.part.component.id()
    }
}

/// A weight file on this machine.
struct Found {
    path: PathBuf,
    source: String,
    sha256: String,
    card: Option<ModelCard>,
}

fn find(source: &Source, network: Network<'_>) -> Result<Option<Found>, WeightError> {
    let name: HubName = match source {
        Source::File(path) => {
            // Reading says better than hashing what is wrong with a file.
            let sha256 = sha256(path).unwrap_or_default();
            return Ok(Some(Found { path: path.clone(), source: path.display().to_string(), sha256, card: None }));
        }
        Source::Hub(name) => name.parse()?,
    };
    let fetched = match network {
        Network::Allowed(progress) => Some(fetch(&name, &|bytes, total| progress(&name.repo(), bytes, total))?),
        Network::Unused => cached(&name)?,
    };
    Ok(fetched.map(|Fetched { path, repo, revision, sha256, card, .. }| {
        let source = format!("{repo}@{revision:.12}");
        Found { path, source, sha256, card }
    }))
}

fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => hasher.update(&piece[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn lenient(session: &Session, asked: &Asked<'_>) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for (i, pattern) in asked.named.pretrained_ignore.iter().enumerate() {
        set.add(Glob::new(pattern).map_err(|e| {
            let at = format!("{}.pretrained_ignore.{i}", asked.part.path);
            session.resolved.error_at(&at, &format!("{pattern:?} is no pattern: {}", e.kind()), "found here", None)
        })?);
    }
    set.build().map_err(|e| Failure::new(format!("the patterns of pretrained_ignore are too large: {e}")))
}

/// A warning where the images that the weights were trained on were normalised otherwise.
fn other_colours(card: &ModelCard, normalise: &Normalise) -> Option<String> {
    let (mean, std) = (card.mean.as_ref()?, card.std.as_ref()?);
    let (ours_mean, ours_std) = crate::compose::colours(normalise);
    let near = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    if near(mean, &ours_mean) && near(std, &ours_std) {
        return None;
    }
    let tuple = |v: &[f64]| v.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
    Some(format!(
        "these weights were trained on images of mean ({}) and deviation ({}), the experiment's normalise gives ({}) and ({})",
        tuple(mean),
        tuple(std),
        tuple(&ours_mean),
        tuple(&ours_std)
    ))
}
