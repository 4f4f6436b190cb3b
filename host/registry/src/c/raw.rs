//! `fer_plugin.h` in Rust, member by member. A test below compares sizes and places with a C compiler's.

use std::ffi::{c_char, c_void};

/// The type of a function that the other side calls, or is called by.
macro_rules! function {
    // SAFETY: a type alone; whoever calls such a function says why it may.
    ($($argument:ty),* => $answer:ty) => { unsafe extern "C" fn($($argument),*) -> $answer };
}

/// `FER_PLUGIN_MAJOR` and `FER_PLUGIN_MINOR`.
pub const MAJOR: u32 = 1;
pub const MINOR: u32 = 0;

/// The kinds of a constant.
pub mod constant {
    pub const NONE: u32 = 0;
    pub const BOOL: u32 = 1;
    pub const INT: u32 = 2;
    pub const FLOAT: u32 = 3;
    pub const TEXT: u32 = 4;
    pub const INTS: u32 = 5;
    pub const FLOATS: u32 = 6;
}

/// The flags of an option.
pub mod flag {
    pub const HAS_MIN: u32 = 1;
    pub const HAS_MAX: u32 = 2;
    pub const OPTIONAL: u32 = 4;
    pub const ALL: u32 = HAS_MIN | HAS_MAX | OPTIONAL;
}

/// `FER_ERROR`, for every number that a callback gives.
pub const ERROR: i64 = -1;

/// `fer_named`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Named {
    pub name: *const c_char,
    pub kind: u32,
    pub reserved: u32,
    pub integer: i64,
    pub number: f64,
    pub text: *const c_char,
    pub integers: *const i64,
    pub numbers: *const f64,
    pub count: usize,
}

/// `fer_option`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Choice {
    pub name: *const c_char,
    pub kind: u32,
    pub flags: u32,
    pub initial: Named,
    pub min: f64,
    pub max: f64,
    pub choices: *const *const c_char,
    pub choice_count: usize,
    pub doc: *const c_char,
}

/// `fer_graph *`: a number that stands for a graph, never an address.
pub type Handle = *mut c_void;

/// `fer_build`.
pub type Build = function!(*const Host, Handle, *const Request => i32);

/// `fer_component`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Component {
    pub id: *const c_char,
    pub kind: *const c_char,
    pub version: *const c_char,
    pub summary: *const c_char,
    pub doc: *const c_char,
    pub option_size: usize,
    pub option_count: usize,
    pub options: *const Choice,
    pub build: Option<Build>,
}

/// The first members of `fer_plugin`, which every version has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head {
    pub struct_size: usize,
    pub major: u32,
    pub minor: u32,
}

/// `fer_plugin`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plugin {
    pub head: Head,
    pub component_size: usize,
    pub component_count: usize,
    pub components: *const Component,
}

/// `fer_plugin_entry`.
pub type Entry = function!(u32, u32 => *const Plugin);

/// `fer_request`.
#[repr(C)]
pub struct Request {
    pub struct_size: usize,
    pub component: *const c_char,
    pub kind: *const c_char,
    pub options: *const Named,
    pub option_count: usize,
    pub training: i32,
    pub reserved: i32,
}

/// What `parameter` and `state` are.
pub type Declare = function!(Handle, *const c_char, *const i64, usize, *const c_char, *const f64, usize => i64);

/// `fer_host`.
#[repr(C)]
pub struct Host {
    pub struct_size: usize,
    pub major: u32,
    pub minor: u32,
    pub input: function!(Handle, *const c_char => i64),
    pub parameter: Declare,
    pub state: Declare,
    pub op: function!(Handle, *const c_char, u32, *const i64, usize, *const Named, usize, *mut i64, usize => i64),
    pub output: function!(Handle, *const c_char, i64 => i32),
    pub update: function!(Handle, i64, i64 => i32),
    pub has_op: function!(*const c_char, u32 => i32),
    pub rank: function!(Handle, i64 => i64),
    pub size: function!(Handle, i64, i64 => i64),
    pub dtype: function!(Handle, i64 => *const c_char),
    pub enter: function!(Handle, *const c_char => i32),
    pub leave: function!(Handle => i32),
    pub stream: function!(Handle => i64),
    pub error: function!(Handle, *const c_char, *const c_char, *const c_char => i32),
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write, mem::offset_of, process::Command};

    use super::*;

    /// Every member's place, as the C compiler has it and as Rust has it.
    #[test]
    fn the_header_and_this_file_agree() {
        let mut program = "#include <stdio.h>\n#include \"fer_plugin.h\"\nint main(void) {\n".to_owned();
        let mut ours = String::new();
        macro_rules! table {
            ($here:ident, $there:literal: $($member:ident $name:literal),+) => {
                _ = writeln!(program, "printf(\"{0} %zu\\n\", sizeof({0}));", $there);
                _ = writeln!(ours, "{} {}", $there, size_of::<$here>());
                $(
                    _ = writeln!(program, "printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));", $there, $name);
                    _ = writeln!(ours, "{}.{} {}", $there, $name, offset_of!($here, $member));
                )+
            };
        }
        table!(Named, "fer_named": name "name", kind "kind", reserved "reserved", integer "integer", number "number", text "text",
            integers "integers", numbers "numbers", count "count");
        table!(Choice, "fer_option": name "name", kind "kind", flags "flags", initial "initial", min "min", max "max",
            choices "choices", choice_count "choice_count", doc "doc");
        table!(Component, "fer_component": id "id", kind "kind", version "version", summary "summary", doc "doc",
            option_size "option_size", option_count "option_count", options "options", build "build");
        table!(Plugin, "fer_plugin": head "struct_size", component_size "component_size",
            component_count "component_count", components "components");
        table!(Head, "fer_head": struct_size "struct_size", major "major", minor "minor");
        table!(Request, "fer_request": struct_size "struct_size", component "component", kind "kind", options "options",
            option_count "option_count", training "training", reserved "reserved");
        table!(Host, "fer_host": struct_size "struct_size", major "major", minor "minor", input "input", parameter "parameter",
            state "state", op "op", output "output", update "update", has_op "has_op", rank "rank", size "size",
            dtype "dtype", enter "enter", leave "leave", stream "stream", error "error");
        for (name, value) in
            [("FER_PLUGIN_MAJOR", MAJOR), ("FER_PLUGIN_MINOR", MINOR), ("FER_FLOATS", constant::FLOATS)]
        {
            _ = writeln!(program, "printf(\"{name} %u\\n\", {name});");
            _ = writeln!(ours, "{name} {value}");
        }
        program.push_str("return 0;\n}\n");
        // The head is the beginning of the table, which has no type of its own in C.
        let head =
            "typedef struct fer_head { size_t struct_size; uint32_t major; uint32_t minor; } fer_head;\nint main";
        let program = program.replace("int main", head);

        let folder = tempfile::tempdir().expect("a temporary folder");
        let (source, made) = (folder.path().join("layout.c"), folder.path().join("layout"));
        std::fs::write(&source, program).expect("written");
        let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/abi/include");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let compiled =
            Command::new(&compiler).args(["-std=c99", "-I", include]).arg(&source).arg("-o").arg(&made).output();
        let compiled = compiled.unwrap_or_else(|error| {
            panic!("{compiler} cannot be run ({error}): install a C compiler (apt-get install gcc), or set CC")
        });
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let theirs = Command::new(made).output().expect("runs").stdout;
        assert_eq!(String::from_utf8_lossy(&theirs), ours);
    }
}
