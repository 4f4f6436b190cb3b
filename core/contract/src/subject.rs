//! A component under test, wherever it comes from.

use fer_abi::{
    BuildError, BuildRequest, Descriptor, Fragment, NamedAttribute, NamedOption, NamedTensorType, OptionSpec,
    TensorType as AbiType,
};
use fer_engine::kernel::{CustomKernel, Kernels};
use fer_graph::{Graph, import};

use crate::{Case, Outcome, Trouble};

type Build = Box<dyn Fn(&BuildRequest) -> Result<Fragment, BuildError> + Send + Sync>;

/// A component: what it says of itself, and a way to build it.
pub struct Subject {
    descriptor: Descriptor,
    build: Build,
    kernels: Kernels,
}

impl Subject {
    pub fn new(
        descriptor: Descriptor,
        build: impl Fn(&BuildRequest) -> Result<Fragment, BuildError> + Send + Sync + 'static,
    ) -> Subject {
        Subject { descriptor, build: Box::new(build), kernels: Kernels::default() }
    }

    /// The same component with the kernels that its library brings for ops of its own.
    #[must_use]
    pub fn with_kernels(mut self, library: &str, kernels: &[fer_abi::Kernel]) -> Subject {
        self.kernels = Kernels::new(kernels.iter().filter_map(|k| CustomKernel::of_library(library, k)).collect());
        self
    }

    /// The kernels for the CPU.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// All that it says of itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// One of [`fer_abi::kind`].
    pub fn kind(&self) -> &str {
        &self.descriptor.kind
    }

    pub fn id(&self) -> &str {
        &self.descriptor.id
    }

    /// What it can be told.
    pub fn options(&self) -> &[OptionSpec] {
        &self.descriptor.options
    }

    /// What it says of itself besides: claims, how its weights are spelled.
    pub fn properties(&self) -> &[NamedAttribute] {
        &self.descriptor.properties
    }

    /// The name of the result that its kind promises.
    pub fn output(&self) -> &'static str {
        match self.kind() {
            fer_abi::kind::BACKBONE => "features",
            fer_abi::kind::LOSS => "loss",
            _ => "images",
        }
    }

    /// What the host would ask. Defaults of the options that the case leaves open are filled in, as the host does.
    pub fn request(&self, case: &Case) -> BuildRequest {
        let mut options = vec![];
        for spec in self.options() {
            let value = case.options.iter().find(|o| o.name == spec.name).map(|o| o.value.clone());
            if let Some(value) = value.or_else(|| spec.default.clone().into_option()) {
                options.push(NamedOption { name: spec.name.clone(), value });
            }
        }
        // What the schema does not know stays, so that the component can refuse it.
        let unknown = |o: &&NamedOption| self.options().iter().all(|spec| spec.name != o.name);
        options.extend(case.options.iter().filter(unknown).cloned());
        self.request_with(case, options)
    }

    /// A request with these very options, and a case's inputs and mode.
    pub fn request_with(&self, case: &Case, options: Vec<NamedOption>) -> BuildRequest {
        let inputs = case.inputs.iter().map(|(name, ty)| NamedTensorType {
            name: name.as_str().into(),
            ty: AbiType { dtype: ty.dtype.name().into(), shape: ty.shape.iter().map(|&d| d as u64).collect() },
        });
        BuildRequest {
            component: self.descriptor.id.clone(),
            kind: self.descriptor.kind.clone(),
            options: options.into(),
            training: case.training,
            inputs: inputs.collect::<Vec<_>>().into(),
            properties: vec![].into(),
        }
    }

    /// A case's options without those that may be left out.
    pub fn required(&self, case: &Case) -> Vec<NamedOption> {
        let required = |o: &&NamedOption| {
            let spec = self.options().iter().find(|spec| spec.name == o.name);
            spec.is_some_and(|spec| !spec.optional && spec.default.is_none())
        };
        case.options.iter().filter(required).cloned().collect()
    }

    /// Asks for a fragment, whatever the request says.
    ///
    /// # Errors
    /// The component's refusal.
    pub fn ask(&self, request: &BuildRequest) -> Result<Fragment, BuildError> {
        (self.build)(request)
    }

    /// The component's graph for a case.
    ///
    /// # Errors
    /// [`Trouble::Skipped`] for a clear refusal; [`Trouble::Broken`] for a panic, a refusal without a word, or a fragment that
    /// the graph crate does not accept.
    pub fn graph(&self, case: &Case) -> Outcome<Graph> {
        self.graph_of(&self.request(case))
    }

    /// [`Subject::graph`] of a request that was made by hand.
    ///
    /// # Errors
    /// See [`Subject::graph`].
    pub fn graph_of(&self, request: &BuildRequest) -> Outcome<Graph> {
        match self.ask(request) {
            Ok(fragment) => {
                import(&fragment).map_err(|e| Trouble::Broken(format!("gives a fragment that is not well formed: {e}")))
            }
            Err(error) if error.panicked => Err(Trouble::Broken(error.message.to_string())),
            Err(error) if error.message.trim().is_empty() => {
                Err(Trouble::Broken("refuses without saying why: the message is empty".into()))
            }
            Err(error) => Err(Trouble::Skipped(error.message.to_string())),
        }
    }
}
