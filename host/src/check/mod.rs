//! The whole contract of a built library, component by component.
//!
//! Everything of a library runs in a child process ([`inside`]), which says what it is about to do before it does it; so a hang, a
//! crash or a memory that fills up becomes the failure of the property it happened in ([`watch`]). One child a component: the
//! others are still checked.

mod advice;
mod finding;
mod inside;
mod report;
mod watch;

use std::path::{Path, PathBuf};

use fer_contract::{Subject, Thoroughness, plan};
use fer_registry::{Component, Probe, Registry, SearchPath};

pub use finding::{Checked, Failed, Finding, Outcome};
pub use inside::inside;
pub use report::{LibraryReport, text};
pub use watch::Limits;

use crate::failure::{Failure, Result};

/// What to check, and how.
#[derive(Clone, Debug)]
pub struct Request {
    pub quick: bool,
    pub seed: u64,
    /// Only the component of that id.
    pub component: Option<String>,
    pub limits: Limits,
}

impl Request {
    fn how(&self) -> Thoroughness {
        if self.quick { Thoroughness::quick(self.seed) } else { Thoroughness::full(self.seed) }
    }
}

/// A library's components, each having described itself in a child process.
///
/// # Errors
/// A library that cannot be used, and why; with exit code 2, since nothing could be checked.
pub fn components(library: &Path) -> Result<Vec<Component>> {
    let shown = library.display();
    if !library.is_file() {
        let found = if library.is_dir() { "it is a folder" } else { "there is no such file" };
        return Err(uncheckable(
            Failure::new(format!("{shown} is no library: {found}"))
                .help("name the built library, as in target/release/libloss_gce.so"),
        ));
    }
    let probe = Probe::this_program()
        .map_err(|e| Failure::new(format!("cannot find this program's own file to try plugins with: {e}")))?;
    let registry = Registry::scan(&SearchPath::of([library]), &probe);
    if let Some(problem) = registry.problems().first() {
        let failure = Failure::new(format!("{shown} cannot be used: {}", problem.fault.reason));
        return Err(uncheckable(match &problem.fault.detail {
            Some(detail) => failure.note(excerpt(detail)),
            None => failure,
        }));
    }
    Ok(registry.components().cloned().collect())
}

/// The first lines: a dump of two layouts has thousands.
fn excerpt(detail: &str) -> String {
    detail.lines().filter(|line| !line.trim().is_empty()).take(8).collect::<Vec<_>>().join("\n")
}

fn uncheckable(failure: Failure) -> Failure {
    Failure { exit: 2, ..failure }
}

/// Checks a library; `progress` hears what is being looked at.
///
/// # Errors
/// See [`components`]; a component that is asked for and not there.
pub fn check(library: &Path, request: &Request, progress: &dyn Fn(&str)) -> Result<LibraryReport> {
    let started = std::time::Instant::now();
    let all = components(library)?;
    let wanted: Vec<&Component> =
        all.iter().filter(|c| request.component.as_ref().is_none_or(|id| c.id() == id)).collect();
    if let (true, Some(id)) = (wanted.is_empty(), &request.component) {
        let ids: Vec<&str> = all.iter().map(Component::id).collect();
        let failure = Failure::new(format!("{} has no component {id:?}", library.display()));
        let there = format!("it has: {}", ids.join(", "));
        return Err(uncheckable(match fer_config::nearest(id, ids.iter().copied()) {
            Some(near) => failure.help(format!("did you mean {near:?}? {there}")),
            None => failure.help(there),
        }));
    }
    let path: PathBuf = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let mut checked = vec![];
    for component in wanted {
        checked.push(watch::watched(&path, component, request, progress)?);
    }
    Ok(LibraryReport {
        library: path,
        quick: request.quick,
        seed: request.seed,
        components: checked,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The component for the contract; building runs in this process.
fn subject(component: &Component) -> Subject {
    let builder = component.clone();
    Subject::new(component.descriptor().clone(), move |request| builder.build(request))
}

/// Every property that will be looked at, by family.
fn planned(component: &Component) -> Vec<(String, String)> {
    plan(&subject(component)).into_iter().map(|(f, p)| (f.name().to_owned(), p.name.to_owned())).collect()
}
