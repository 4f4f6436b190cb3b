//! The table a library exports, what it says of its components, and what it is asked.

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::RootModule,
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RResult, RString, RVec},
};

use crate::{Fragment, Kernel, NamedAttribute, NamedOption, OptionSpec, TensorType};

/// The words allowed in [`Descriptor::kind`].
pub mod kind {
    pub const BACKBONE: &str = "backbone";
    pub const RESIZER: &str = "resizer";
    pub const LOSS: &str = "loss";
}

/// The names allowed in [`Descriptor::properties`], beside the claims of [`law`](crate::law); a host ignores those that it does not
/// know.
pub mod property {
    /// Text, may be given several times: how another program spells the component's weights. The first line is that program's
    /// name, every other line a rule `pattern -> replacement`. A pattern is text with at most one `{i}` for a number and a `*` at
    /// its end for the rest; the replacement may use `{i}`, `{i+1}`, `{i-1}` and `*`.
    pub const LAYOUT: &str = "layout";
    /// Text, may be given several times: a kernel of the library, as `cpu focal.terms 1`. The host writes these from what
    /// [`PluginModule::kernels`](crate::PluginModule) gives, and drops what a library says under this name.
    pub const KERNEL: &str = "kernel";
    /// Text: the version of the boundary that the library speaks. The host writes it, as it does kernels.
    pub const ABI: &str = "abi";
}

/// A component as `plugin list` and `plugin show` print it; asking for it builds nothing.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// Lower case letters, digits and `-`; unique among components of its kind.
    pub id: RString,
    /// One of [`kind`].
    pub kind: RString,
    /// The component's own version.
    pub version: RString,
    /// One line.
    pub summary: RString,
    /// Several paragraphs of Markdown: the paper, the equation, shapes.
    pub doc: RString,
    pub options: RVec<OptionSpec>,
    /// Room for what later versions say of a component (`non_negative: true`).
    pub properties: RVec<NamedAttribute>,
}

/// A tensor that the host offers to a component.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct NamedTensorType {
    pub name: RString,
    pub ty: TensorType,
}

/// "Build this component, with these options, for these inputs."
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct BuildRequest {
    pub component: RString,
    /// See [`Descriptor::kind`]: ids are unique within a kind only.
    pub kind: RString,
    pub options: RVec<NamedOption>,
    /// Training (dropout, batch statistics) or evaluation.
    pub training: bool,
    /// Backbone and resizer: `images` `[n, c, h, w]`. Loss: `logits` `[n, k]`, `targets` `[n, k]`, `prior` `[k, k]`, `weights` `[n]`.
    pub inputs: RVec<NamedTensorType>,
    /// Room for what later versions ask.
    pub properties: RVec<NamedAttribute>,
}

/// Why a component could not be built.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct BuildError {
    /// A phrase that fits "error: ...".
    pub message: RString,
    /// The option at fault, or empty.
    pub option: RString,
    /// What the user can do, or empty.
    pub help: RString,
    /// True when the component panicked: a fault of the plugin, not of the user.
    pub panicked: bool,
}

/// The root module of a plugin library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModule_Ref)))]
pub struct PluginModule {
    /// Everything in the library. Cheap: reads no file, allocates only its answer.
    pub describe: extern "C" fn() -> RVec<Descriptor>,
    /// Builds one component. Deterministic: the same request gives the same fragment.
    pub build: extern "C" fn(&BuildRequest) -> RResult<Fragment, BuildError>,
    /// Every kernel in the library, for the ops that its fragments define. Cheap, like `describe`.
    #[sabi(last_prefix_field)]
    pub kernels: extern "C" fn() -> RVec<Kernel>,
}

impl RootModule for PluginModule_Ref {
    declare_root_module_statics! {PluginModule_Ref}
    const BASE_NAME: &'static str = "fer_plugin";
    const NAME: &'static str = "fer_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
