//! `fer-host resolve CONFIG`: the whole experiment, and where each value comes from.

use serde_json::json;

use super::output::{print, print_json};
use crate::{
    failure::Result,
    session::{ConfigArguments, Session},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print the resolved RON alone, as a run folder keeps it
    #[arg(long)]
    plain: bool,
    /// Print settings, values and origins as JSON
    #[arg(long, conflicts_with = "plain")]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::open(arguments.config.resolve()?)?;
    let resolved = &session.resolved;
    if arguments.plain {
        return print(&resolved.text);
    }
    let rows = resolved.provenance();
    if arguments.json {
        let rows: Vec<_> =
            rows.iter().map(|r| json!({ "path": r.path, "value": r.value, "origin": r.origin.to_string() })).collect();
        return print_json(&rows);
    }
    let width = rows.iter().map(|r| r.path.chars().count() + r.value.chars().count()).max().unwrap_or(0).min(70);
    let lines = rows.iter().map(|r| {
        let pad = width.saturating_sub(r.path.chars().count() + r.value.chars().count());
        format!("{} = {}{}   # {}", r.path, r.value, " ".repeat(pad), r.origin)
    });
    print(&lines.collect::<Vec<_>>().join("\n"))
}
