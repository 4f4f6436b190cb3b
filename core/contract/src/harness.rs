//! What a plugin's test file is made with: its own built library, and a test for each family of properties.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    path::PathBuf,
};

use crate::{Domain, Family, Property, Subject, check, laws};

/// A component, the cases to try, and the laws that its test claims besides those of its kind and its own
/// ([`laws::declared`]).
pub struct Contract {
    pub subject: Subject,
    pub domain: Domain,
    pub laws: Vec<Property<'static>>,
}

/// Fails the test that calls it when a property of the family does not hold or could not be examined; the family of the kind
/// includes the claims.
///
/// # Panics
/// With every failure's property and reproduction.
pub fn assert_family(contract: &Contract, family: Family) {
    let mut properties = family.properties(contract.subject.kind()).to_vec();
    if family == Family::Kind {
        let claims = laws::declared(&contract.subject).into_iter().chain(contract.laws.iter().copied());
        for claim in claims {
            if properties.iter().all(|known| known.name != claim.name) {
                properties.push(claim);
            }
        }
    }
    let report = check(&contract.subject, &contract.domain, &properties);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(report.unexamined.is_empty(), "the domain does not suit the component: {:?}", report.unexamined);
}

/// The library of a package of this workspace, where cargo puts it beside the running test. Cargo builds it for the package's own
/// tests, and for packages that have it as a dev-dependency, if its crate types include `rlib`.
///
/// # Panics
/// When it is not there.
pub fn built_library(package: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a test runs from a file");
    // Not the copy in target/<profile>: only `cargo build` renews that one.
    let name = format!("{DLL_PREFIX}{}{DLL_SUFFIX}", package.replace('-', "_"));
    let library = program.with_file_name(name);
    assert!(library.is_file(), "{} is not built; is {package} of type cdylib and rlib?", library.display());
    library
}

/// The component of a kind and id in the library of this package, or of the named one.
///
/// The calling crate depends on `fer-registry`; this one does not, so that the host may use it.
#[macro_export]
macro_rules! component {
    ($kind:expr, $id:expr) => {
        $crate::component!($kind, $id, env!("CARGO_PKG_NAME"))
    };
    ($kind:expr, $id:expr, $package:expr) => {{
        let library = $crate::built_library($package);
        let search = ::fer_registry::SearchPath::of([library]);
        let registry = ::fer_registry::Registry::scan(&search, &::fer_registry::Probe::Off);
        let found = registry.get($kind, $id);
        let component = found.unwrap_or_else(|e| panic!("{e}; problems: {:?}", registry.problems())).clone();
        let kernels = component.kernels().unwrap_or_else(|fault| panic!("{fault}"));
        let library = component.library().display().to_string();
        $crate::Subject::new(component.descriptor().clone(), move |request| component.build(request))
            .with_kernels(&library, &kernels)
    }};
}

/// The tests of a component, one a family, from a function that gives its [`Contract`].
#[macro_export]
macro_rules! contract {
    ($contract:path) => {
        #[test]
        fn building() {
            $crate::assert_family(&$contract(), $crate::Family::Building);
        }

        #[test]
        fn execution() {
            $crate::assert_family(&$contract(), $crate::Family::Execution);
        }

        #[test]
        fn gradients() {
            $crate::assert_family(&$contract(), $crate::Family::Gradients);
        }

        #[test]
        fn batch() {
            $crate::assert_family(&$contract(), $crate::Family::Batch);
        }

        #[test]
        fn kind() {
            $crate::assert_family(&$contract(), $crate::Family::Kind);
        }
    };
}
