//! The layout of everything that crosses the boundary, as text, held to what is recorded for its version.
//!
//! The walk begins at the table and goes through every type that it can reach. Types of abi_stable stand with their size only: a
//! library that was built with another abi_stable is refused before any of ours is looked at. Recorded are 64-bit machines.
#![cfg(target_pointer_width = "64")]

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    fs,
    path::PathBuf,
};

use fer_abi::abi_stable::{
    StableAbi,
    std_types::utypeid::UTypeId,
    type_layout::{TLData, TLField, TLFunction, TypeLayout},
};

/// What was met, by identity, and what is said of each of our types, by name.
#[derive(Default)]
struct Walk {
    met: HashSet<UTypeId>,
    told: BTreeMap<String, String>,
}

fn text(root: &'static TypeLayout) -> String {
    let mut walk = Walk::default();
    walk.enter(root);
    walk.told.into_values().collect::<Vec<_>>().join("\n")
}

impl Walk {
    fn enter(&mut self, layout: &'static TypeLayout) {
        if !self.met.insert(layout.get_utypeid()) {
            return;
        }
        if layout.package().as_str() == "fer-abi" {
            let name = layout.name().to_owned();
            assert!(self.told.insert(name.clone(), describe(layout)).is_none(), "two types are called {name}");
        }
        for of in layout.shared_vars().type_layouts() {
            self.enter(of());
        }
        for field in layout.get_fields().into_iter().flatten() {
            self.enter(field.layout());
        }
    }
}

/// A type as it is written: what abi_stable calls `RVec` is told with what is in it.
fn name(layout: &'static TypeLayout) -> String {
    let inside = |name_of: &str| -> Vec<String> {
        let fields = layout.get_fields().into_iter().flatten().filter(|f| name_of.is_empty() || f.name() == name_of);
        fields.map(|f| name(f.layout())).collect()
    };
    let pointee = || layout.shared_vars().type_layouts().iter().map(|of| name(of())).collect::<Vec<_>>().join(", ");
    match layout.name() {
        "RVec" => format!("RVec<{}>", inside("buffer").join(", ")),
        "NonNull" => inside("").join(", ").trim_start_matches("*const ").to_owned(),
        kind @ ("ROption" | "RResult") => format!("{kind}<{}>", inside("").join(", ")),
        "MutPtr" | "*mut" => format!("*mut {}", pointee()),
        "ConstPtr" | "*const" => format!("*const {}", pointee()),
        "&" => format!("&{}", pointee()),
        plain => plain.to_owned(),
    }
}

/// What a field holds; of a function its signature.
fn told(field: &TLField) -> String {
    if !field.is_function() {
        let layout = field.layout();
        return format!("{}: {} ({} bytes)", field.name(), name(layout), layout.size());
    }
    let signature = |f: TLFunction| {
        let parameters: Vec<String> = f.param_type_layouts.iter().map(|of| name(of())).collect();
        let result = f.return_type_layout().map_or("()".to_owned(), |of| name(of()));
        let safety = if f.fn_qualifs.is_unsafe() { "unsafe " } else { "" };
        format!("{safety}fn({}) -> {result}", parameters.join(", "))
    };
    format!("{}: {}", field.name(), field.function_range().iter().map(signature).collect::<Vec<_>>().join(", "))
}

fn describe(layout: &'static TypeLayout) -> String {
    let (size, aligned, repr) = (layout.size(), layout.alignment(), layout.repr_attr());
    let mut text = format!("{}: {size} bytes, aligned to {aligned}, {repr:?}\n", layout.name());
    let mut line = |indent: usize, of: String| {
        let _ = writeln!(text, "{:indent$}{of}", "");
    };
    match layout.data() {
        TLData::Struct { fields } | TLData::Union { fields } => fields.iter().for_each(|field| line(2, told(&field))),
        TLData::Enum(of) => {
            let mut fields = of.fields.iter();
            for (variant, &count) in of.variant_names_iter().zip(of.field_count.iter()) {
                line(2, variant.to_owned());
                fields.by_ref().take(count.into()).for_each(|field| line(4, told(&field)));
            }
        }
        TLData::PrefixType(prefix) => {
            line(2, format!("the first {} are always there", prefix.first_suffix_field));
            prefix.fields.iter().for_each(|field| line(2, told(&field)));
        }
        other => line(2, format!("{other:?}")),
    }
    text
}

/// Compares with what is recorded for the version; with `RECORD_LAYOUT=1` records it, for today's.
fn hold(version: &str, root: &'static TypeLayout) {
    let minor: Vec<&str> = version.split('.').take(2).collect();
    let name = format!("tests/layouts/{}.txt", minor.join("."));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&name);
    let found = text(root);
    if version == fer_abi::VERSION && std::env::var_os("RECORD_LAYOUT").is_some_and(|v| v == "1") {
        fs::write(&path, &found).expect("the record can be written");
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    let (mut old, mut new) = (recorded.lines(), found.lines());
    let first = loop {
        match (old.next(), new.next()) {
            (None, None) => return,
            (a, b) if a == b => {}
            (a, b) => break (a.unwrap_or("nothing"), b.unwrap_or("nothing")),
        }
    };
    panic!(
        "what crosses the boundary is not as core/abi/{name} says:\n  recorded: {}\n  found:    {}\n\
         A library of {version} would be misread. If a release with {version} is out, freeze it first and step the version: \
         docs/abi.md, \"To change a type\". If none is, record the change: RECORD_LAYOUT=1 cargo test -p fer-abi@{version} --test layout",
        first.0, first.1
    );
}

#[test]
fn todays_layout_is_the_recorded_one() {
    hold(fer_abi::VERSION, <fer_abi::PluginModule_Ref as StableAbi>::LAYOUT);
}

#[test]
fn the_frozen_layout_of_0_1_is_the_recorded_one() {
    hold(fer_abi_0_1::VERSION, <fer_abi_0_1::PluginModule_Ref as StableAbi>::LAYOUT);
}

#[test]
fn the_walk_sees_everything_that_crosses() {
    let text = text(<fer_abi::PluginModule_Ref as StableAbi>::LAYOUT);
    for name in [
        "Argument",
        "Attribute",
        "BuildError",
        "BuildRequest",
        "Definition",
        "Descriptor",
        "Fragment",
        "Kernel",
        "KernelCall",
        "KernelFunction",
        "KernelInput",
        "KernelOutput",
        "Launch",
        "NamedAttribute",
        "NamedOption",
        "NamedTensorType",
        "Node",
        "Operand",
        "OptionSpec",
        "OptionValue",
        "Output",
        "PluginModule",
        "TensorType",
        "Update",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name}: "))), "{name} is not reached:\n{text}");
    }
}
