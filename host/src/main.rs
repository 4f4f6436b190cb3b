//! `fer-host`: see `fer-host help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A plugin is first loaded in a child of this program, which is asked here whether it is that child.
    if let Some(code) = fer_registry::probe_main(std::env::args_os()) {
        return code;
    }
    fer_host::cli::main()
}
