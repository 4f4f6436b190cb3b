//! What `export_plugin!` expands to: lowers components to the boundary's tables and keeps panics on this side of it.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
};

use fer_abi::{
    Attribute, BuildError, BuildRequest, Descriptor, Fragment, Kernel, NamedAttribute,
    abi_stable::std_types::{RErr, ROk, RResult, RVec},
    kind, property,
};
use fer_graph::{Graph, TensorType, Value};

use crate::{Backbone, Error, GraphBuilder, Law, Layout, Loss, LossInputs, Resizer, Result, options::Options};

pub use fer_abi::{PluginModule, PluginModule_Ref, abi_stable};

/// A component behind two plain functions.
pub struct Entry {
    /// The descriptor, but for the version, which is the plugin crate's and known to the macro alone.
    pub descriptor: fn() -> Descriptor,
    pub build: fn(&BuildRequest) -> Result<Graph, BuildError>,
}

/// Stands for a component type while `export_plugin!` finds out which kind it is.
pub struct Component<T>(PhantomData<T>);

impl<T> Component<T> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Component(PhantomData)
    }
}

// Method lookup tries `Component<T>`, `&Component<T>`, `&&Component<T>` in turn, so that one macro takes all three kinds and
// a type that is none of them fails with "no method `entry`".

pub trait LossEntry {
    fn entry(&self) -> Entry;
}
pub trait ResizerEntry {
    fn entry(&self) -> Entry;
}
pub trait BackboneEntry {
    fn entry(&self) -> Entry;
}

impl<T: Loss> LossEntry for &&Component<T> {
    fn entry(&self) -> Entry {
        Entry {
            descriptor: || descriptor::<T>(T::ID, kind::LOSS, T::SUMMARY, T::DOC, &[], T::LAWS),
            build: build_loss::<T>,
        }
    }
}

impl<T: Resizer> ResizerEntry for &Component<T> {
    fn entry(&self) -> Entry {
        Entry {
            descriptor: || descriptor::<T>(T::ID, kind::RESIZER, T::SUMMARY, T::DOC, &[], T::LAWS),
            build: |request| build_images::<T>(request, "images", |c, g, x| c.build(g, x)),
        }
    }
}

impl<T: Backbone> BackboneEntry for Component<T> {
    fn entry(&self) -> Entry {
        Entry {
            descriptor: || descriptor::<T>(T::ID, kind::BACKBONE, T::SUMMARY, T::DOC, T::LAYOUTS, T::LAWS),
            build: |request| build_images::<T>(request, "features", |c, g, x| c.build(g, x)),
        }
    }
}

fn descriptor<T: Options>(
    id: &str,
    kind: &str,
    summary: &str,
    doc: &str,
    layouts: &[Layout],
    laws: &[Law],
) -> Descriptor {
    let layout = |l: &Layout| NamedAttribute { name: property::LAYOUT.into(), value: Attribute::Text(l.text().into()) };
    Descriptor {
        id: id.into(),
        kind: kind.into(),
        version: "".into(),
        summary: summary.into(),
        doc: doc.into(),
        options: T::schema().into(),
        properties: layouts.iter().map(layout).chain(laws.iter().map(Law::property)).collect(),
    }
}

fn offered(request: &BuildRequest, name: &str) -> Result<TensorType> {
    let input = request
        .inputs
        .iter()
        .find(|i| i.name == name)
        .ok_or_else(|| Error::new(format!("the host offers no input {name:?}")))?;
    let dtype = input.ty.dtype.as_str().parse().map_err(Error::new)?;
    let shape = input.ty.shape.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect::<Vec<_>>();
    Ok(TensorType::new(dtype, shape))
}

fn build_images<T: Options>(
    request: &BuildRequest,
    output: &str,
    build: impl Fn(&T, &GraphBuilder, Value) -> Result<Value>,
) -> Result<Graph, BuildError> {
    let component = T::from_values(&request.options)?;
    let g = GraphBuilder::new(&request.component, request.training);
    let images = offered(request, "images").and_then(|ty| Ok(g.input("images", ty)?))?;
    let result = build(&component, &g, images)?;
    g.output(output, result);
    Ok(g.finish())
}

fn build_loss<T: Loss>(request: &BuildRequest) -> Result<Graph, BuildError> {
    let component = T::from_values(&request.options)?;
    let g = GraphBuilder::new(&request.component, request.training);
    let input = |name: &str| -> Result<Value> { Ok(g.input(name, offered(request, name)?)?) };
    let logits = input("logits")?;
    let [_, classes] = g.dims::<2>(logits).map_err(Error::from)?;
    let batch =
        LossInputs { logits, targets: input("targets")?, prior: input("prior")?, weights: input("weights")?, classes };
    let loss = component.build(&g, &batch)?;
    g.output("loss", loss);
    Ok(g.finish())
}

/// The `describe` of a library. A panic gives an empty list: the host then reports a library without components.
pub fn describe(entries: &[Entry], version: &str) -> RVec<Descriptor> {
    let describe = || entries.iter().map(|e| Descriptor { version: version.into(), ..(e.descriptor)() }).collect();
    catch_unwind(AssertUnwindSafe(describe)).unwrap_or_default()
}

/// The `build` of a library.
pub fn build(entries: &[Entry], request: &BuildRequest) -> RResult<Fragment, BuildError> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let entry = entries.iter().find(|e| {
            let d = (e.descriptor)();
            d.id == request.component && d.kind == request.kind
        });
        let Some(entry) = entry else {
            return Err(Error::new(format!("the library has no {} {:?}", request.kind, request.component)).into());
        };
        (entry.build)(request).map(|graph| fer_graph::export(&graph))
    }));
    match outcome {
        Ok(Ok(fragment)) => ROk(fragment),
        Ok(Err(error)) => RErr(error),
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            RErr(BuildError {
                message: format!("{} {:?} panicked: {said}", request.kind, request.component).into(),
                option: "".into(),
                help: "this is a fault of the plugin; please report it to its author".into(),
                panicked: true,
            })
        }
    }
}

/// The `kernels` of a library. A panic gives none: the ops are then computed by what they mean.
pub fn kernels(list: impl Fn() -> Vec<Kernel>) -> RVec<Kernel> {
    catch_unwind(AssertUnwindSafe(list)).map(RVec::from).unwrap_or_default()
}

/// Exports components as a plugin library: `export_plugin!(FocalPdls);` or several, `export_plugin!(Pdls, FocalPdls);`.
///
/// Kernels for ops of the plugin's own come after a semicolon, see [`kernel`](crate::kernel):
/// `export_plugin!(SoftFocal; kernels: [kernel::cpu::<Terms>("focal.terms")]);`
///
/// Once a crate, in a crate of type `cdylib`.
#[macro_export]
macro_rules! export_plugin {
    ($($component:ty),+ $(,)?) => {
        $crate::export_plugin!($($component),+; kernels: []);
    };
    ($($component:ty),+ $(,)?; kernels: [$($kernel:expr),* $(,)?] $(,)?) => {
        const _: () = {
            use $crate::export::{BackboneEntry as _, LossEntry as _, ResizerEntry as _};

            fn entries() -> ::std::vec::Vec<$crate::export::Entry> {
                ::std::vec![$((&&&$crate::export::Component::<$component>::new()).entry()),+]
            }

            extern "C" fn describe() -> $crate::export::abi_stable::std_types::RVec<$crate::abi::Descriptor> {
                // Absent where a plugin is compiled without Cargo.
                $crate::export::describe(&entries(), ::core::option_env!("CARGO_PKG_VERSION").unwrap_or("0.0.0"))
            }

            extern "C" fn build(
                request: &$crate::abi::BuildRequest,
            ) -> $crate::export::abi_stable::std_types::RResult<$crate::abi::Fragment, $crate::abi::BuildError> {
                $crate::export::build(&entries(), request)
            }

            extern "C" fn kernels() -> $crate::export::abi_stable::std_types::RVec<$crate::abi::Kernel> {
                $crate::export::kernels(|| ::std::vec![$($kernel),*])
            }

            fn module() -> $crate::export::PluginModule_Ref {
                use $crate::export::abi_stable::prefix_type::PrefixTypeTrait as _;
                $crate::export::PluginModule { describe, build, kernels }.leak_into_prefix()
            }

            extern "C" fn constructor() -> $crate::export::abi_stable::library::RootModuleResult {
                $crate::export::abi_stable::library::__call_root_module_loader(module)
            }

            // abi_stable's own attribute writes `::abi_stable` paths, which would make every plugin depend on it directly.
            // SAFETY: the name is the one abi_stable's loader looks up (`root_module_symbol` below tests it), the type is the
            // one it expects there, and nothing else in the library has this name.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            #[allow(non_upper_case_globals)]
            pub static _fer_plugin_header: $crate::export::abi_stable::library::LibHeader = {
                // SAFETY: `constructor` gives the erased reference of a `PluginModule_Ref`, the type named here.
                unsafe {
                    $crate::export::abi_stable::library::LibHeader::from_constructor::<$crate::export::PluginModule_Ref>(
                        constructor,
                        $crate::export::abi_stable::library::CheckTypeLayout::Yes,
                    )
                }
            };
        };
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn root_module_symbol() {
        let name = super::abi_stable::library::ROOT_MODULE_LOADER_NAME;
        assert_eq!(name, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}
