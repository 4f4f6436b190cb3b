//! Which engine computes an experiment.

use fer_config::{Engine as Name, Precision as Floats, Resolved, nearest};
use fer_engine::{Engine, Precision};
use fer_engine_cpu::{CpuEngine, Factors, Options};
use fer_engine_dfdx::DfdxEngine;

use crate::failure::Result;

/// Opens the engine that the experiment asks for. `auto`: `cpu`, and for f64 the reference, which alone has it.
///
/// # Errors
/// An engine that this build lacks, one that does not compute in the precision asked for, an op that `no_fuse` names wrongly.
pub fn open(resolved: &Resolved) -> Result<Box<dyn Engine>> {
    let experiment = &resolved.experiment;
    let refuse = |path: &str, message: &str, help: &str| {
        Err(resolved.error_at(path, message, "asked for here", Some(help)).into())
    };
    for name in &experiment.no_fuse {
        if !fer_engine_cpu::can_switch_off(name) {
            let known = fer_engine_cpu::switches();
            let near = nearest(name, known.iter().map(String::as_str));
            let meant = near.map_or_else(String::new, |n| format!("did you mean {n:?}? "));
            let message = format!("there is no kernel {name:?} to switch off");
            return refuse("no_fuse", &message, &format!("{meant}Kernels: {}", known.join(", ")));
        }
    }
    match (experiment.engine, experiment.precision) {
        (Name::Auto | Name::Dfdx, Floats::F64) => Ok(Box::new(DfdxEngine::new(Precision::F64))),
        (Name::Dfdx, Floats::F32) => Ok(Box::new(DfdxEngine::new(Precision::F32))),
        (Name::Dfdx, Floats::Bf16) => refuse(
            "precision",
            "the engine \"dfdx\" does not compute in bf16",
            "it has f32 and f64; --engine cpu has bf16",
        ),
        (Name::Auto | Name::Cpu, Floats::F32) => Ok(cpu(Factors::F32, &experiment.no_fuse)),
        (Name::Auto | Name::Cpu, Floats::Bf16) => Ok(cpu(Factors::Bf16, &experiment.no_fuse)),
        (Name::Cpu, Floats::F64) => refuse(
            "precision",
            "the engine \"cpu\" does not compute in f64",
            "it has f32 and bf16; --engine dfdx has f64",
        ),
        (Name::Cuda, _) => refuse(
            "engine",
            "this build of fer-host has no engine \"cuda\"",
            "engines in this build: cpu, and dfdx (the reference); auto takes cpu",
        ),
    }
}

fn cpu(factors: Factors, no_fuse: &[String]) -> Box<dyn Engine> {
    let no_fuse = no_fuse.iter().cloned().collect();
    Box::new(CpuEngine::new(Options { factors, no_fuse, ..Options::default() }))
}
