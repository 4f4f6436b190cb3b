//! Loads a library into this process and asks what is in it.
//!
//! Libraries are never unloaded: what they handed out (function tables, thread-locals, panic hooks) may live anywhere.

use std::path::Path;

use abi_stable::{
    library::{LibHeader, LibraryError, RootModule, RootModuleError, lib_header_from_path},
    sabi_types::VersionNumber,
};
use fer_abi::{
    Attribute, BuildError, BuildRequest, Descriptor, Fragment, Kernel, NamedAttribute, PluginModule_Ref, property,
};

use crate::{c, error::Fault, kernels, older, validate};

/// A loaded library, whichever version of the table it has.
#[derive(Clone, Copy)]
pub(crate) enum Module {
    Today(PluginModule_Ref),
    /// The frozen table of fer-abi 0.1.
    V0_1(fer_abi_0_1::PluginModule_Ref),
    /// What a library in C or C++ says of itself.
    C(&'static c::Library),
}

impl Module {
    fn descriptors(self) -> Vec<Descriptor> {
        match self {
            Module::Today(table) => table.describe()().into_vec(),
            Module::V0_1(table) => older::v0_1::descriptors(table.describe()()),
            Module::C(library) => library.descriptors(),
        }
    }

    pub(crate) fn build(self, request: &BuildRequest) -> Result<Fragment, BuildError> {
        match self {
            Module::Today(table) => table.build()(request).into_result(),
            Module::V0_1(table) => older::v0_1::built(table.build()(&older::v0_1::request(request))),
            Module::C(library) => library.build(request),
        }
    }

    /// The version of the table.
    fn abi(self) -> String {
        match self {
            Module::Today(_) => fer_abi::VERSION.to_owned(),
            Module::V0_1(_) => fer_abi_0_1::VERSION.to_owned(),
            Module::C(library) => library.version(),
        }
    }

    /// The kernels that the library ships, as it gives them.
    fn kernels(self) -> Vec<Kernel> {
        match self {
            Module::Today(table) => table.kernels()().into_vec(),
            Module::V0_1(_) | Module::C(_) => Vec::new(),
        }
    }
}

/// Loads the library and checks that its table is one this host speaks.
pub(crate) fn load(path: &Path) -> Result<Module, Fault> {
    if let Some(library) = c::load(path)? {
        return Ok(Module::C(library));
    }
    // Not `RootModule::load_from_file`: that answers with the first library for ever.
    let header = lib_header_from_path(path).map_err(|error| fault(&error))?;
    if check_header(header)? {
        return header.init_root_module().map(Module::Today).map_err(|error| fault(&error));
    }
    header.init_root_module().map(Module::V0_1).map_err(|error| fault(&error))
}

/// Asks a loaded library for its components and checks what it says; its kernels are properties of each, and `before_kernels` is called
/// before it is asked for them.
pub(crate) fn describe(module: Module, before_kernels: impl FnOnce()) -> Result<Vec<Descriptor>, Fault> {
    let mut descriptors = module.descriptors();
    validate::check(&descriptors).map_err(Fault::new)?;
    before_kernels();
    let kernels = kernels(module)?;
    for descriptor in &mut descriptors {
        descriptor.properties.retain(|p| p.name != property::KERNEL && p.name != property::ABI);
        descriptor.properties.extend(kernels::properties(&kernels));
        descriptor
            .properties
            .push(NamedAttribute { name: property::ABI.into(), value: Attribute::Text(module.abi().into()) });
    }
    Ok(descriptors)
}

/// Asks a loaded library for its kernels and checks what it says.
pub(crate) fn kernels(module: Module) -> Result<Vec<Kernel>, Fault> {
    let given = module.kernels();
    kernels::check(&given).map_err(Fault::new)?;
    Ok(given)
}

/// What abi_stable would say at length, or not at all. False when the table is that of fer-abi 0.1.
fn check_header(header: &LibHeader) -> Result<bool, Fault> {
    let name = header.root_mod_consts().name();
    if name.as_str() != PluginModule_Ref::NAME {
        return Err(Fault::new(format!("not a fer plugin: its root module is called {:?}", name.as_str())));
    }
    if header.layout().is_none() {
        return Err(Fault::new("does not say how its table is laid out: export it without unsafe_no_layout_constant"));
    }
    let version = |strings| VersionNumber::new(strings).map_err(|error| fault(&error.into()));
    let versions = version(header.version_strings())?;
    let host = version(PluginModule_Ref::VERSION_STRINGS)?;
    let older = version(fer_abi_0_1::PluginModule_Ref::VERSION_STRINGS)?;
    let is = |known: VersionNumber| (versions.major, versions.minor) == (known.major, known.minor);
    // abi_stable takes a newer minor version of 0.x and then compares layouts, at great length.
    if !is(host) && !is(older) {
        return Err(Fault::new(format!(
            "built against fer-abi {versions}, this host speaks {host} and {}.{}: rebuild the plugin with fer-sdk {}.{}",
            older.major, older.minor, host.major, host.minor
        )));
    }
    Ok(is(host))
}

/// abi_stable's error in one line; its layout dumps run to 100 KB and become the detail.
fn fault(error: &LibraryError) -> Fault {
    let version = fer_abi::VERSION;
    let reason = match error {
        LibraryError::OpenError { err, .. } => format!("cannot be loaded: {}", chain(err.as_ref())),
        LibraryError::GetSymbolError { err, .. } => {
            format!("not a plugin: {}", chain(err.as_ref()))
        }
        LibraryError::ParseVersionError(_) => "its fer-abi version cannot be read".to_owned(),
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => format!(
            "built against fer-abi {actual_version}, this host speaks {expected_version}: rebuild the plugin with fer-sdk {}.{}",
            expected_version.major, expected_version.minor
        ),
        LibraryError::RootModule { err: RootModuleError::Unwound, .. } => "panics while being loaded".to_owned(),
        LibraryError::RootModule { err: RootModuleError::Returned(error), .. } => {
            format!("refuses to be loaded: {}", one_line(&error.to_string()))
        }
        LibraryError::AbiInstability(_) => format!(
            "its table is not that of fer-abi {version}, though it says so: rebuild the plugin with this host's fer-sdk"
        ),
        LibraryError::InvalidAbiHeader(_) => {
            format!("built with another abi_stable: rebuild the plugin with this host's fer-sdk ({version})")
        }
        LibraryError::InvalidCAbi { .. } => {
            "built by a compiler with another C calling convention: rebuild the plugin with this host's compiler"
                .to_owned()
        }
        LibraryError::Many(_) => "cannot be loaded for several reasons".to_owned(),
    };
    Fault::with_detail(reason, error.to_string())
}

/// An error and its causes in one line; `dlopen failed` alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = one_line(&error.to_string());
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}

/// The first line that says something, shortened.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match line.char_indices().nth(300) {
        None => line.to_owned(),
        Some((end, _)) => format!("{}...", &line[..end]),
    }
}
