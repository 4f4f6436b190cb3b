//! The command line: one file a command.

mod bench;
mod check;
mod data;
mod devices;
mod eval;
mod export;
mod graph;
mod lock;
mod new;
pub mod output;
mod parameters;
mod plugin;
mod predict;
mod profile;
mod resolve;
mod run;
mod trace;
mod weights;

use std::{io::IsTerminal, process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Result};

/// Research on facial-expression recognition: experiments made of plugins, trained as one graph
#[derive(Debug, Parser)]
#[command(name = "fer-host", version, propagate_version = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train an experiment, choose its best epoch, report it on test; or resume a run
    Run(run::Arguments),
    /// Measure a run's weights on a split
    Eval(eval::Arguments),
    /// Name the expressions on images with a run's weights
    Predict(predict::Arguments),
    /// Print the resolved config and where each value comes from
    Resolve(resolve::Arguments),
    /// Show the composed graph: parameters, FLOPs and activations by scope, or the graph itself
    Graph(graph::Arguments),
    /// Run one forward (and backward) pass on given tensors, to compare with another framework
    Trace(trace::Arguments),
    /// Write what another framework needs to train the same experiment: first weights, images, their order
    Export(export::Arguments),
    /// Measure how fast an engine runs the experiment
    Bench(bench::Arguments),
    /// Show where the time of a step goes, by op and by place in the model
    Profile(profile::Arguments),
    /// Show what can compute here: processor, cards, and if cuda cannot be used, why
    Devices(devices::Arguments),
    /// List, describe and make plugins
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Audit data sets
    #[command(subcommand)]
    Data(data::Command),
    /// Inspect, convert and fetch weight files
    #[command(subcommand)]
    Weights(weights::Command),
}

/// Parses the arguments, runs the command, shows what went wrong.
pub fn main() -> ExitCode {
    let started = Instant::now();
    let arguments = Arguments::parse();
    let level = ["warn", "info", "debug"][usize::from(arguments.verbose.min(2))];
    // The hub's library logs as errors what is tried again here, and told when it fails for good.
    let filter = EnvFilter::try_from_env("FER_LOG").unwrap_or_else(|_| EnvFilter::new(format!("{level},hf_hub=off")));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    match run(arguments.command, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            show(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

fn run(command: Command, started: Instant) -> Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments, started),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Resolve(arguments) => resolve::run(&arguments),
        Command::Graph(arguments) => graph::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Plugin(command) => plugin::run(&command),
        Command::Data(command) => data::run(&command),
        Command::Weights(command) => weights::run(&command),
    }
}

fn show(failure: &Failure) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text =
        if colour { fer_config::render_coloured(&failure.error) } else { fer_config::render_plain(&failure.error) };
    eprintln!("{}", text.trim_end());
}
