//! The C door: a library with `fer_plugin_entry` becomes components like any other.
//!
//! The header is `core/abi/include/fer_plugin.h`. What a library's table says is copied into [`Library`] when it is loaded, and its
//! memory is not looked at again; a build hands the plugin a table of callbacks and the number of a graph, and gives the same
//! fragment that a plugin in Rust gives.

mod callbacks;
pub(crate) mod raw;
mod read;
mod session;
mod table;

use std::{
    ffi::{CString, c_char},
    mem::size_of,
    path::Path,
};

use fer_abi::{BuildError, BuildRequest, Descriptor, Fragment, NamedOption, OptionValue};

use crate::{error::Fault, image, spec::fits};

/// What a library of the C door has.
pub(crate) struct Library {
    components: Vec<(Descriptor, raw::Build)>,
}

impl Library {
    /// The version of the header that this host speaks, a major version that the library shares.
    pub(crate) fn version(&self) -> String {
        format!("C {}.{}", raw::MAJOR, raw::MINOR)
    }
}

/// Opens a library that has the C entry point and not the other one; `None` for any other, or none.
pub(crate) fn load(path: &Path) -> Result<Option<&'static Library>, Fault> {
    // SAFETY: the library's constructors run; that is what loading a plugin is, and a child process tried it before.
    let Ok(library) = (unsafe { libloading::Library::new(path) }) else {
        // The other door says why.
        return Ok(None);
    };
    // Libraries are never unloaded.
    let library = std::mem::ManuallyDrop::new(library);
    // SAFETY: only whether the symbol is there is asked.
    let rust = unsafe { library.get::<*const u8>(image::ENTRY) }.is_ok();
    // SAFETY: the header gives the function of this name this type.
    let entry = unsafe { library.get::<raw::Entry>(image::C_ENTRY) };
    let Ok(entry) = entry.as_deref().copied() else {
        return Ok(None);
    };
    if rust {
        return Ok(None);
    }
    // SAFETY: the entry is called as the header says; its table lives as long as the library, which is for ever.
    let components = unsafe { table::read(entry(raw::MAJOR, raw::MINOR)) }.map_err(Fault::new)?;
    Ok(Some(Box::leak(Box::new(Library { components }))))
}

impl Library {
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        self.components.iter().map(|(descriptor, _)| descriptor.clone()).collect()
    }

    pub(crate) fn build(&self, request: &BuildRequest) -> Result<Fragment, BuildError> {
        let wanted = |d: &Descriptor| d.id == request.component && d.kind == request.kind;
        let Some((descriptor, build)) = self.components.iter().find(|(descriptor, _)| wanted(descriptor)) else {
            return Err(error(format!("the library has no {} {:?}", request.kind, request.component.as_str())));
        };
        let given = Given::new(request, &checked(descriptor, request)?)?;
        let options: Vec<raw::Named> = given.options.iter().map(GivenOption::raw).collect();
        let asked = raw::Request {
            struct_size: size_of::<raw::Request>(),
            component: given.component.as_ptr(),
            kind: given.kind.as_ptr(),
            options: options.as_ptr(),
            option_count: options.len(),
            training: i32::from(request.training),
            reserved: 0,
        };
        // SAFETY: the function has this type by the header, and everything it is given lives until it returns.
        session::with_graph(request, |graph| unsafe { build(&raw const callbacks::HOST, graph, &raw const asked) })
    }
}

/// The options in the order of the schema, defaults filled in. A plugin in C looks at the member that the schema promises, and finds
/// every option that is not optional; so what somebody else asks for is held to the schema here too.
fn checked(descriptor: &Descriptor, request: &BuildRequest) -> Result<Vec<NamedOption>, BuildError> {
    let refusal = |name: &str, message: String| BuildError { option: name.into(), ..error(message) };
    let unknown = |given: &&NamedOption| descriptor.options.iter().all(|spec| spec.name != given.name);
    if let Some(given) = request.options.iter().find(unknown) {
        return Err(refusal(&given.name, format!("{} has no option {:?}", descriptor.id, given.name.as_str())));
    }
    let mut options = Vec::new();
    for spec in &descriptor.options {
        let given = request.options.iter().find(|given| given.name == spec.name).map(|given| &given.value);
        match given.or(spec.default.as_ref().into_option()) {
            Some(value) => {
                let expected = |expected| refusal(&spec.name, format!("{} must be {expected}", spec.name));
                fits(spec, value).map_err(expected)?;
                options.push(NamedOption { name: spec.name.clone(), value: value.clone() });
            }
            None if spec.optional => {}
            None => return Err(refusal(&spec.name, format!("{} is missing", spec.name))),
        }
    }
    Ok(options)
}

/// A request's texts and lists, kept while a plugin looks at them.
struct Given {
    component: CString,
    kind: CString,
    options: Vec<GivenOption>,
}

struct GivenOption {
    name: CString,
    text: CString,
    value: OptionValue,
}

impl Given {
    fn new(request: &BuildRequest, options: &[NamedOption]) -> Result<Given, BuildError> {
        let option = |option: &NamedOption| {
            let text = match &option.value {
                OptionValue::Text(text) => text.as_str(),
                _ => "",
            };
            let text = CString::new(text).map_err(|_| BuildError {
                option: option.name.clone(),
                ..error(format!("{} has a NUL inside, which a plugin in C cannot be given", option.name))
            })?;
            Ok(GivenOption { name: word(&option.name)?, text, value: option.value.clone() })
        };
        Ok(Given {
            component: word(&request.component)?,
            kind: word(&request.kind)?,
            options: options.iter().map(option).collect::<Result<_, BuildError>>()?,
        })
    }
}

impl GivenOption {
    fn raw(&self) -> raw::Named {
        let mut named = raw::Named {
            name: self.name.as_ptr(),
            kind: raw::constant::NONE,
            reserved: 0,
            integer: 0,
            number: 0.0,
            text: std::ptr::null::<c_char>(),
            integers: std::ptr::null(),
            numbers: std::ptr::null(),
            count: 0,
        };
        match &self.value {
            OptionValue::Bool(value) => (named.kind, named.integer) = (raw::constant::BOOL, i64::from(*value)),
            OptionValue::Int(value) => (named.kind, named.integer) = (raw::constant::INT, *value),
            OptionValue::Float(value) => (named.kind, named.number) = (raw::constant::FLOAT, *value),
            OptionValue::Text(_) => (named.kind, named.text) = (raw::constant::TEXT, self.text.as_ptr()),
            OptionValue::Ints(list) => {
                (named.kind, named.integers, named.count) = (raw::constant::INTS, list.as_ptr(), list.len());
            }
            OptionValue::Floats(list) => {
                (named.kind, named.numbers, named.count) = (raw::constant::FLOATS, list.as_ptr(), list.len());
            }
        }
        named
    }
}

fn word(text: &str) -> Result<CString, BuildError> {
    CString::new(text).map_err(|_| error(format!("{text:?} has a NUL inside")))
}

fn error(message: String) -> BuildError {
    BuildError { message: message.into(), option: "".into(), help: "".into(), panicked: false }
}
