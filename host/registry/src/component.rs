//! A component that can be built, and the library it lives in.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use fer_abi::{
    Attribute, BuildError, BuildRequest, Descriptor, Fragment, Kernel, NamedOption, NamedTensorType, OptionSpec,
    property,
};

use crate::{
    child,
    error::Fault,
    held,
    input::OptionInput,
    load,
    options::{self, OptionError},
    probe::{FileKey, Probe},
};

/// A library that was found good. It is loaded into this process when its kernels are used, or when it builds without a child.
#[derive(Debug)]
pub(crate) struct Library {
    pub file: FileKey,
    probe: Probe,
    module: OnceLock<Result<Table, Fault>>,
}

/// The table, with a `Debug` that shows nothing of it.
#[derive(Clone, Copy)]
struct Table(load::Module);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginModule")
    }
}

impl Library {
    pub(crate) fn new(file: FileKey, probe: Probe) -> Library {
        Library { file, probe, module: OnceLock::new() }
    }

    fn module(&self) -> Result<load::Module, Fault> {
        let file = &self.file;
        let loaded = self.module.get_or_init(|| load::load(&held::path(&file.path, &file.sha256)?).map(Table));
        loaded.clone().map(|table| table.0)
    }
}

/// A component of some library.
#[derive(Clone, Debug)]
pub struct Component {
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) library: Arc<Library>,
}

impl Component {
    /// Lower case letters, digits and `-`; unique among components of its kind.
    pub fn id(&self) -> &str {
        &self.descriptor.id
    }

    /// One of [`fer_abi::kind`].
    pub fn kind(&self) -> &str {
        &self.descriptor.kind
    }

    /// The component's own version.
    pub fn version(&self) -> &str {
        &self.descriptor.version
    }

    /// One line.
    pub fn summary(&self) -> &str {
        &self.descriptor.summary
    }

    /// What it can be told.
    pub fn options(&self) -> &[OptionSpec] {
        &self.descriptor.options
    }

    /// Everything it says of itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The canonical path of its library.
    pub fn library(&self) -> &Path {
        &self.library.file.path
    }

    /// The hash of its library's file, in hexadecimal: what a run's record names.
    pub fn sha256(&self) -> &str {
        &self.library.file.sha256
    }

    /// When its library's file was written, as it was scanned; `None` where the file system does not say.
    pub fn modified(&self) -> Option<SystemTime> {
        self.library.file.modified
    }

    /// The size of its library's file in bytes.
    pub fn length(&self) -> u64 {
        self.library.file.length
    }

    /// The version of the boundary that its library speaks, as it said when it was described.
    pub fn abi(&self) -> &str {
        match self.descriptor.properties.iter().find(|p| p.name == property::ABI).map(|p| &p.value) {
            Some(Attribute::Text(version)) => version,
            _ => "",
        }
    }

    /// Checks values that a user gave: coerced to the schema's kinds, defaults filled in, in the order of the schema.
    pub fn check_options(&self, given: &[(String, OptionInput)]) -> Result<Vec<NamedOption>, OptionError> {
        options::check(&self.descriptor, given)
    }

    /// The request to build this component, without properties.
    pub fn request(&self, options: Vec<NamedOption>, inputs: Vec<NamedTensorType>, training: bool) -> BuildRequest {
        BuildRequest {
            component: self.descriptor.id.clone(),
            kind: self.descriptor.kind.clone(),
            options: options.into(),
            training,
            inputs: inputs.into(),
            properties: Vec::new().into(),
        }
    }

    /// The kernels that its library ships, for all of its components. Where there are any, this loads the library into this
    /// process, since it is here that they run.
    ///
    /// # Errors
    /// A library that cannot be loaded any more, or that says something impossible of a kernel.
    pub fn kernels(&self) -> Result<Vec<Kernel>, Fault> {
        if !self.descriptor.properties.iter().any(|p| p.name == property::KERNEL) {
            return Ok(Vec::new());
        }
        load::kernels(self.library.module()?)
    }

    /// Builds the component: in a child process of its own, or in this one where the registry was scanned with [`Probe::Off`].
    ///
    /// In a child, whatever the plugin does becomes an error: a hang, an abort, a crash, an allocation without end. In this process
    /// only what `export_plugin!` catches does.
    ///
    /// # Errors
    /// The component's own refusal as it gave it; `panicked` is true for whatever else is a fault of the plugin.
    pub fn build(&self, request: &BuildRequest) -> Result<Fragment, BuildError> {
        let library = &self.library;
        match &library.probe {
            Probe::Off => library.module().map_err(|fault| self.broken(fault, false))?.build(request),
            Probe::Child { program, building, .. } => {
                child::build(program, *building, &library.file, request).map_err(|fault| self.broken(fault, true))?
            }
        }
    }

    fn broken(&self, fault: Fault, panicked: bool) -> BuildError {
        BuildError {
            message: format!("the library of {} \"{}\" {}", self.kind(), self.id(), fault.reason).into(),
            option: "".into(),
            help: self.library().display().to_string().into(),
            panicked,
        }
    }
}
