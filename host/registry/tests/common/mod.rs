//! Compiles libraries in C and C++ with the system's compilers, as their authors do.

use std::{
    env,
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    path::{Path, PathBuf},
    process::Command,
};

use fer_contract::Subject;
use fer_registry::{Probe, Registry, SearchPath};

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A library from one source, with every warning an error. `name` must be this test's own: tests run at the same time.
pub fn compile(source: &Path, name: &str, definitions: &[&str]) -> PathBuf {
    let plus = source.extension().is_some_and(|extension| extension == "cpp");
    let (variable, usual, standard) = if plus { ("CXX", "c++", "-std=c++11") } else { ("CC", "cc", "-std=c99") };
    let compiler = env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = folder.join(format!("{DLL_PREFIX}{name}.{}{DLL_SUFFIX}", std::process::id()));
    let mut command = Command::new(&compiler);
    command.arg(standard).args(["-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    command.args(definitions.iter().map(|definition| format!("-D{definition}")));
    command.arg("-I").arg(repository().join("core/abi/include")).arg(source).arg("-o").arg(&made);
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "{compiler} cannot be run ({error}): install a C and C++ compiler (apt-get install g++), or set {variable}"
        )
    });
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    // Complete before it has its name, for whoever compiled the same meanwhile.
    let library = folder.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    std::fs::rename(&made, &library).expect("renamed");
    library
}

/// A component of a library as the contract takes it.
pub fn subject(library: &Path, kind: &str, id: &str) -> Subject {
    let registry = Registry::scan(&SearchPath::of([library]), &Probe::Off);
    let found = registry.get(kind, id);
    let component = found.unwrap_or_else(|e| panic!("{e}; problems: {:?}", registry.problems())).clone();
    Subject::new(component.descriptor().clone(), move |request| component.build(request))
}
