//! The components of this machine, by kind and id.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use fer_abi::Descriptor;

use crate::{
    component::{Component, Library},
    error::{Fault, Problem, RegistryError, RegistryErrorKind, nearest},
    held, image,
    probe::{FileKey, Probe},
    search::{Candidate, SearchPath},
    validate::KINDS,
};

/// No plugin is this large; reading what is would only fill the memory.
const LARGEST_LIBRARY: u64 = 1 << 30;

/// Probes that run at the same time; each is a process.
const MOST_WORKERS: usize = 8;

/// The components that were found, and what was found instead.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    slots: BTreeMap<(String, String), Slot>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    places: Vec<PathBuf>,
}

/// Who answers to a kind and id.
#[derive(Clone, Debug)]
struct Slot {
    component: Component,
    /// Other libraries that offer the same; with any of them, nobody answers.
    rivals: Vec<PathBuf>,
}

/// What became of a candidate.
enum Outcome {
    /// Nothing worth a word.
    Ignored,
    Problem(Fault),
    Library(FileKey, Vec<Descriptor>),
}

impl Registry {
    /// Looks for plugins and lets each describe itself, several at a time. The result does not depend on which is faster.
    pub fn scan(search: &SearchPath, probe: &Probe) -> Registry {
        Registry::scan_admitted(search, probe, &|_| Ok(()))
    }

    /// [`Registry::scan`] of the libraries that somebody vouches for: `admit` is given the SHA-256 of each, in hexadecimal, before any of
    /// its code runs, also in a child. A refusal is what is wrong with the library, in one line.
    pub fn scan_admitted(
        search: &SearchPath,
        probe: &Probe,
        admit: &(dyn Fn(&str) -> Result<(), String> + Sync),
    ) -> Registry {
        let (candidates, notes) = search.candidates();
        let mut registry =
            Registry { places: search.places().map(Path::to_owned).collect(), notes, ..Registry::default() };
        // Hash first, so that a copy of a library is not loaded twice.
        let read = in_parallel(&candidates, |_, candidate| -> Result<Option<FileKey>, Fault> {
            let key = read(candidate)?;
            key.as_ref().map_or(Ok(()), |key| admit(&key.sha256)).map_err(Fault::new)?;
            Ok(key)
        });
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut copies = BTreeSet::new();
        for (index, outcome) in read.iter().enumerate() {
            let Ok(Some(key)) = outcome else { continue };
            match first.get(&key.sha256) {
                None => {
                    first.insert(key.sha256.clone(), index);
                }
                Some(&original) => {
                    copies.insert(index);
                    registry.notes.push(format!(
                        "{}: a copy of {}, which is used",
                        candidates[index].path.display(),
                        candidates[original].path.display()
                    ));
                }
            }
        }
        let outcomes = in_parallel(&read, |index, read| match read {
            Ok(Some(key)) if !copies.contains(&index) => match probe.describe(key) {
                Ok(descriptors) => Outcome::Library(key.clone(), descriptors),
                Err(fault) => Outcome::Problem(fault),
            },
            Ok(_) => Outcome::Ignored,
            Err(fault) => Outcome::Problem(fault.clone()),
        });
        for (candidate, outcome) in candidates.iter().zip(outcomes) {
            match outcome {
                Outcome::Ignored => {}
                Outcome::Problem(fault) => registry.problems.push(Problem { path: candidate.path.clone(), fault }),
                Outcome::Library(file, descriptors) => registry.add(file, descriptors, probe),
            }
        }
        registry.report_rivals();
        registry
    }

    /// The usable components, by kind and id.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.slots.values().filter(|slot| slot.rivals.is_empty()).map(|slot| &slot.component)
    }

    /// The usable components of one kind, by id.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Component> {
        self.components().filter(move |component| component.kind() == kind)
    }

    /// Files that look like plugins but cannot be used, in search order.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What is worth knowing and harms nothing: missing folders, copies of a library.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The component of that kind and id, or an error that says what there is instead.
    pub fn get(&self, kind: &str, id: &str) -> Result<&Component, RegistryError> {
        match self.slots.get(&(kind.to_owned(), id.to_owned())) {
            Some(slot) if slot.rivals.is_empty() => Ok(&slot.component),
            Some(slot) => Err(ambiguous(slot)),
            None => Err(self.unknown(kind, id)),
        }
    }

    fn add(&mut self, file: FileKey, descriptors: Vec<Descriptor>, probe: &Probe) {
        let library = Arc::new(Library::new(file, probe.clone()));
        for descriptor in descriptors {
            let key = (descriptor.kind.to_string(), descriptor.id.to_string());
            match self.slots.entry(key) {
                Entry::Vacant(slot) => {
                    slot.insert(Slot {
                        component: Component { descriptor: Arc::new(descriptor), library: library.clone() },
                        rivals: Vec::new(),
                    });
                }
                Entry::Occupied(mut slot) => {
                    slot.get_mut().rivals.push(library.file.path.clone());
                }
            }
        }
    }

    /// Two different libraries that offer the same: whichever won, some user would compute with the other one in mind.
    fn report_rivals(&mut self) {
        for slot in self.slots.values() {
            let (kind, id) = (slot.component.kind(), slot.component.id());
            for rival in &slot.rivals {
                self.problems.push(Problem {
                    path: rival.clone(),
                    fault: Fault::new(format!(
                        "offers {kind} \"{id}\", and so does {}: remove one of them",
                        slot.component.library().display()
                    )),
                });
            }
        }
    }

    fn unknown(&self, kind: &str, id: &str) -> RegistryError {
        if !KINDS.contains(&kind) {
            let near = nearest(kind, KINDS);
            return RegistryError {
                kind: RegistryErrorKind::UnknownKind,
                message: format!("there is no kind of component called \"{kind}\""),
                help: format!("the kinds are {}", KINDS.join(", ")),
                nearest: near.map(str::to_owned),
            };
        }
        let message = format!("no {kind} is called \"{id}\"");
        let unusable = self.unusable(id);
        if self.slots.is_empty() {
            return RegistryError {
                kind: RegistryErrorKind::NoPlugins,
                message: format!("{message}: no plugins were found"),
                help: format!("looked in {}; {} names more folders{unusable}", self.list_places(), crate::PLUGIN_PATH),
                nearest: None,
            };
        }
        let ids: Vec<&str> = self.slots.keys().filter(|(other, _)| other == kind).map(|(_, id)| id.as_str()).collect();
        let list = match ids.as_slice() {
            [] => format!("There are no {} on this machine", plural(kind)),
            ids => format!("{} on this machine: {}", capital(&plural(kind)), ids.join(", ")),
        };
        let elsewhere = self.slots.keys().find(|(_, other)| other == id);
        let near = nearest(id, ids.iter().copied());
        let (error, start) = match (elsewhere, near) {
            (Some((other, _)), _) => (RegistryErrorKind::OtherKind, format!("\"{id}\" is a {other}, not a {kind}. ")),
            (None, Some(near)) => (RegistryErrorKind::Unknown, format!("did you mean \"{near}\"? ")),
            (None, None) => (RegistryErrorKind::Unknown, String::new()),
        };
        RegistryError {
            kind: error,
            message,
            help: format!("{start}{list} (fer-host plugin list){unusable}"),
            nearest: near.map(str::to_owned),
        }
    }

    /// The library that probably holds the wanted component, were it usable.
    fn unusable(&self, id: &str) -> String {
        let id = id.replace('-', "_");
        let named_so = self.problems.iter().find(|problem| {
            let name = problem.path.file_stem().map(|name| name.to_string_lossy());
            !id.is_empty() && name.is_some_and(|name| name.replace('-', "_").contains(&id))
        });
        match (named_so, self.problems.len()) {
            (Some(problem), _) => format!("; {problem}"),
            (None, 0) => String::new(),
            (None, 1) => "; 1 file there cannot be used (fer-host plugin list)".to_owned(),
            (None, count) => {
                format!("; {count} files there cannot be used (fer-host plugin list)")
            }
        }
    }

    fn list_places(&self) -> String {
        let places: Vec<String> = self.places.iter().map(|place| place.display().to_string()).collect();
        match places.as_slice() {
            [] => "no folder at all".to_owned(),
            places => places.join(", "),
        }
    }
}

fn ambiguous(slot: &Slot) -> RegistryError {
    let (kind, id) = (slot.component.kind(), slot.component.id());
    let mut paths = vec![slot.component.library().display().to_string()];
    paths.extend(slot.rivals.iter().map(|path| path.display().to_string()));
    RegistryError {
        kind: RegistryErrorKind::Ambiguous,
        message: format!("{} different libraries offer a {kind} called \"{id}\"", paths.len()),
        help: format!("keep one of {}, or take the other's folder out of {}", paths.join(", "), crate::PLUGIN_PATH),
        nearest: None,
    }
}

fn plural(kind: &str) -> String {
    match kind {
        "loss" => "losses".to_owned(),
        other => format!("{other}s"),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// Checks a candidate's bytes and hashes them; `None` when it is none of our business.
fn read(candidate: &Candidate) -> Result<Option<FileKey>, Fault> {
    let unreadable = |error: std::io::Error| Fault::new(format!("cannot be read: {error}"));
    let silent = |fault: Fault| match candidate.expected {
        true => Err(fault),
        false => Ok(None),
    };
    let metadata = match std::fs::metadata(&candidate.path).map_err(unreadable) {
        Ok(metadata) => metadata,
        Err(fault) => return silent(fault),
    };
    if metadata.len() > LARGEST_LIBRARY {
        return silent(Fault::new(format!("too large for a plugin: {} bytes", metadata.len())));
    }
    let bytes = match std::fs::read(&candidate.path).map_err(unreadable) {
        Ok(bytes) => bytes,
        Err(fault) => return silent(fault),
    };
    if let Err(error) = image::check(&bytes) {
        // A whole library without the entry point mentions it nowhere else either.
        let meant = candidate.expected || (error != image::ImageError::NoEntry && image::mentions_entry(&bytes));
        return match meant {
            true => Err(Fault::new(error.to_string())),
            false => Ok(None),
        };
    }
    Ok(Some(FileKey {
        path: candidate.path.clone(),
        length: bytes.len() as u64,
        modified: metadata.modified().ok(),
        sha256: held::hash(&bytes),
    }))
}

/// `work` on every item by a few threads; the results in the items' order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = cores.clamp(2, MOST_WORKERS).min(items.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(index, item);
                    // Poisoned only by a panic in `push`, which the scope passes on anyway.
                    if let Ok(mut done) = done.lock() {
                        done.push((index, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_results_keep_their_order() {
        let items: Vec<usize> = (0..100).collect();
        let results = in_parallel(&items, |index, item| index + item);
        assert_eq!(results, (0..100).map(|item| 2 * item).collect::<Vec<_>>());
        assert_eq!(in_parallel(&[] as &[usize], |index, _| index), Vec::<usize>::new());
    }

    #[test]
    fn an_empty_registry_says_where_it_looked() {
        let registry = Registry::scan(&SearchPath::of(["/no/such/folder"]), &Probe::Off);
        let error = registry.get("resizer", "ltr").expect_err("nothing is there");
        assert_eq!(error.kind, RegistryErrorKind::NoPlugins);
        assert_eq!(error.message, "no resizer is called \"ltr\": no plugins were found");
        assert_eq!(error.help, "looked in /no/such/folder; FER_PLUGIN_PATH names more folders");
        assert_eq!(registry.notes().len(), 1);
        let error = registry.get("reszier", "ltr").expect_err("no such kind");
        assert_eq!(error.nearest.as_deref(), Some("resizer"));
    }
}
