//! What makes a new plugin's crate: `plugins/template`, filled in and written whole or not at all.

mod name;
mod sdk;
mod template;
mod write;

pub use name::Name;
pub use sdk::Sdk;
pub use template::{Kind, files};
pub use write::write_folder;
