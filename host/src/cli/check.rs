//! `fer-host plugin check LIB`: the contract of a built library.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{print, print_json};
use crate::{
    check::{Limits, Request, check, inside, text},
    failure::{Failure, Result},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The built library; it need not lie where plugins are looked for
    #[arg(value_name = "LIB")]
    library: PathBuf,
    /// Fewer and smaller cases: seconds instead of minutes
    #[arg(long)]
    quick: bool,
    /// The findings as JSON
    #[arg(long)]
    json: bool,
    /// Other cases; the same seed tries the same ones
    #[arg(long, value_name = "N", default_value_t = 1111)]
    seed: u64,
    /// Only this component of the library
    #[arg(long, value_name = "ID")]
    component: Option<String>,
    /// How long one case may take before the component counts as hanging
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// How much memory checking a component may take
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(64..))]
    memory: u64,
    /// This process is the child that checks the component of that kind
    #[arg(long, value_name = "KIND", hide = true)]
    inside: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let request = Request {
        quick: arguments.quick,
        seed: arguments.seed,
        component: arguments.component.clone(),
        limits: Limits { time: Duration::from_secs(arguments.limit), memory: arguments.memory },
    };
    if let (Some(kind), Some(id)) = (&arguments.inside, &arguments.component) {
        return inside(&arguments.library, kind, id, &request);
    }
    let moving = moving();
    let report = check(&arguments.library, &request, &|what| {
        if let Some(moving) = &moving {
            moving.set_message(what.to_owned());
        }
    })?;
    if let Some(moving) = moving {
        moving.finish_and_clear();
    }
    if arguments.json {
        print_json(&report)?;
    } else {
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&text(&report, coloured))?;
    }
    let (failed, unexamined) = (report.failed(), report.unexamined());
    let number = |n: usize| if n == 1 { "1 property".to_owned() } else { format!("{n} properties") };
    match report.exit() {
        0 => Ok(()),
        1 => Err(Failure::new(format!("{}: {} failed", arguments.library.display(), number(failed)))),
        exit => {
            let message = format!("{}: {} could not be examined", arguments.library.display(), number(unexamined));
            let help = "claim a small problem that the component takes: docs/plugin-check.md, `takes`";
            Err(Failure { exit, ..Failure::new(message).help(help) })
        }
    }
}

/// What is being looked at, where somebody sees it.
fn moving() -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    Some(bar)
}
