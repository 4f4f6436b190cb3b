//! Reads a library's table: its version first, then its components, as the descriptors that plugins in Rust give.

use std::ffi::c_char;

use abi_stable::std_types::{ROption, RString, RVec};
use fer_abi::{Descriptor, OptionSpec, OptionValue, option_kind};
use fer_graph::Attribute;

use super::{
    raw::{self, Build, Choice, Component, Head, Plugin, constant, flag},
    read,
};

/// The most components, and the most options or choices, of a table; the registry's own check allows no more.
const MOST: usize = 1000;
/// The largest entry of a list, in a later version.
const LARGEST: usize = 4096;

/// The components of a table, or one line that says what is wrong with it.
///
/// # Safety
/// `table` is NULL or what `fer_plugin_entry` gives by the header.
pub(super) unsafe fn read(table: *const Plugin) -> Result<Vec<(Descriptor, Build)>, String> {
    let host = format!("{}.{}", raw::MAJOR, raw::MINOR);
    if table.is_null() {
        return Err(format!("refuses fer_plugin.h {host}, which this host speaks"));
    }
    // SAFETY: every version of the table begins with these members.
    let head = unsafe { table.cast::<Head>().read_unaligned() };
    if head.major != raw::MAJOR {
        return Err(format!(
            "built with fer_plugin.h {}.{}, this host speaks {host}: compile the plugin with this host's header",
            head.major, head.minor
        ));
    }
    let least = size_of::<Plugin>();
    if head.struct_size < least {
        return Err(format!(
            "its table has {} bytes, fer_plugin.h {host} has {least}: struct_size must be sizeof(fer_plugin)",
            head.struct_size
        ));
    }
    // SAFETY: the table is at least so large, by its own word.
    let plugin = unsafe { table.read_unaligned() };
    // SAFETY: the list is what the table says.
    let components = unsafe { entries("component", plugin.components, plugin.component_count, plugin.component_size) }?;
    let read = |(index, component): (usize, Component)| {
        // SAFETY: the component is what the table says.
        unsafe { one(&component) }.map_err(|reason| format!("component {}: {reason}", index + 1))
    };
    components.into_iter().enumerate().map(read).collect()
}

/// A list whose entries say their size: those of a later version are longer, and what is behind the known members is ignored.
///
/// # Safety
/// `list` is NULL or leads to `count` entries of `size` bytes, if that is at least the size of `T`; every bit pattern is a `T`.
unsafe fn entries<T: Copy>(what: &str, list: *const T, count: usize, size: usize) -> Result<Vec<T>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MOST {
        return Err(format!("{count} {what}s, at most {MOST} are allowed"));
    }
    if list.is_null() {
        return Err(format!("its {what}s are NULL, and there are {count}"));
    }
    if !(size_of::<T>()..=LARGEST).contains(&size) {
        return Err(format!(
            "its {what}s have {size} bytes each, fer_plugin.h has {}: {what}_size must be sizeof(fer_{what})",
            size_of::<T>()
        ));
    }
    // SAFETY: entry i begins i times the size behind the first.
    Ok((0..count).map(|i| unsafe { list.byte_add(i * size).read_unaligned() }).collect())
}

unsafe fn one(component: &Component) -> Result<(Descriptor, Build), String> {
    // SAFETY: the texts are NULL or texts, by the header.
    let text = |what: &str, given: *const c_char| unsafe { read::text(given) }.map_err(|e| format!("its {what} {e}"));
    // SAFETY: the same.
    let doc = unsafe { read::text_or_empty(component.doc) }.map_err(|e| format!("its doc {e}"))?;
    let build = component.build.ok_or("its build is NULL")?;
    let (count, size) = (component.option_count, component.option_size);
    // SAFETY: the list is what the component says.
    let options = unsafe { entries("option", component.options, count, size) }?;
    let option = |(index, option): (usize, Choice)| {
        // SAFETY: the option is what the component says.
        unsafe { spec(&option) }.map_err(|reason| format!("option {}: {reason}", index + 1))
    };
    let descriptor = Descriptor {
        id: text("id", component.id)?.into(),
        kind: text("kind", component.kind)?.into(),
        version: text("version", component.version)?.into(),
        summary: text("summary", component.summary)?.into(),
        doc: doc.into(),
        options: options.into_iter().enumerate().map(option).collect::<Result<RVec<_>, String>>()?,
        properties: RVec::new(),
    };
    Ok((descriptor, build))
}

unsafe fn spec(option: &Choice) -> Result<OptionSpec, String> {
    // SAFETY: the texts are NULL or texts, by the header.
    let text = |what: &str, given: *const c_char| unsafe { read::text(given) }.map_err(|e| format!("its {what} {e}"));
    let unknown = option.flags & !flag::ALL;
    if unknown != 0 {
        return Err(format!("its flags have {unknown:#x}, which this host does not know"));
    }
    let kind = match option.kind {
        constant::BOOL => option_kind::BOOL,
        constant::INT => option_kind::INT,
        constant::FLOAT => option_kind::FLOAT,
        constant::TEXT => option_kind::TEXT,
        constant::INTS => option_kind::INTS,
        constant::FLOATS => option_kind::FLOATS,
        other => return Err(format!("its kind is {other}; there are 1 (bool) to 6 (floats)")),
    };
    // SAFETY: the list is what the option says.
    let choices = unsafe { read::list(option.choices, option.choice_count, MOST) };
    let choices = choices.map_err(|e| format!("its list of choices {e}"))?;
    let choices = choices.into_iter().map(|word| text("choice", word).map(RString::from));
    // SAFETY: the constant is what the option says.
    let initial = unsafe { read::constant(&option.initial) }.map_err(|e| format!("its default {e}"))?;
    let bound = |which: u32, bound: f64| match option.flags & which {
        0 => ROption::RNone,
        _ => ROption::RSome(bound),
    };
    Ok(OptionSpec {
        name: text("name", option.name)?.into(),
        kind: kind.into(),
        optional: option.flags & flag::OPTIONAL != 0,
        default: initial.map(value).into(),
        min: bound(flag::HAS_MIN, option.min),
        max: bound(flag::HAS_MAX, option.max),
        choices: choices.collect::<Result<RVec<_>, String>>()?,
        doc: text("doc", option.doc)?.into(),
    })
}

fn value(given: Attribute) -> OptionValue {
    match given {
        Attribute::Bool(value) => OptionValue::Bool(value),
        Attribute::Int(value) => OptionValue::Int(value),
        Attribute::Float(value) => OptionValue::Float(value),
        Attribute::Text(value) => OptionValue::Text((*value).into()),
        Attribute::Ints(list) => OptionValue::Ints(list.to_vec().into()),
        Attribute::Floats(list) => OptionValue::Floats(list.to_vec().into()),
    }
}
