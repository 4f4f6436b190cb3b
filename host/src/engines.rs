//! Which engine computes an experiment, and with which kernels of plugins.

use std::path::Path;

use fer_config::{Engine as Name, Precision as Floats, Resolved, nearest};
use fer_engine::{
    Engine, Precision,
    kernel::{CustomKernel, Kernels},
};
use fer_engine_cpu::{CpuEngine, Factors, Options};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::ADJOINT_SUFFIX;

use crate::{
    compose::Recipe,
    failure::{Failure, Result},
};

/// Opens the engine that the experiment asks for. `auto`: `cpu`, and for f64 the reference, which alone has it.
///
/// # Errors
/// An engine that this build lacks, one that does not compute in the precision asked for, an op that `no_fuse` names wrongly, and
/// those of [`kernels`].
pub fn open(resolved: &Resolved, recipe: &Recipe) -> Result<Box<dyn Engine>> {
    let experiment = &resolved.experiment;
    let refuse = |path: &str, message: &str, help: &str| {
        Err(resolved.error_at(path, message, "asked for here", Some(help)).into())
    };
    let kernels = kernels(recipe, &experiment.no_fuse)?;
    for name in &experiment.no_fuse {
        let op = name.strip_suffix(ADJOINT_SUFFIX).unwrap_or(name);
        let own: Vec<String> = kernels.iter().map(|k| k.op.clone()).collect();
        if !fer_engine_cpu::can_switch_off(name) && !own.iter().any(|o| o == op) {
            let mut known = fer_engine_cpu::switches();
            known.extend(own);
            known.dedup();
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
        (Name::Auto | Name::Cpu, Floats::F32) => Ok(cpu(Factors::F32, &experiment.no_fuse, kernels)),
        (Name::Auto | Name::Cpu, Floats::Bf16) => Ok(cpu(Factors::Bf16, &experiment.no_fuse, kernels)),
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

fn cpu(factors: Factors, no_fuse: &[String], kernels: Vec<CustomKernel>) -> Box<dyn Engine> {
    let (no_fuse, kernels) = (no_fuse.iter().cloned().collect(), Kernels::new(kernels));
    Box::new(CpuEngine::new(Options { factors, no_fuse, kernels, ..Options::default() }))
}

/// The kernels for the CPU that the libraries of an experiment bring.
///
/// # Errors
/// A library that cannot be loaded, and two that bring a kernel for the same op.
fn kernels(recipe: &Recipe, no_fuse: &[String]) -> Result<Vec<CustomKernel>> {
    let mut found: Vec<CustomKernel> = vec![];
    let mut seen: Vec<&Path> = vec![];
    for component in recipe.parts().map(|part| &part.component) {
        let library = component.library();
        if seen.contains(&library) {
            continue;
        }
        seen.push(library);
        let name = library.display().to_string();
        let given = component.kernels().map_err(|fault| {
            let help = format!("its kernels are asked for because {} {:?} is used", component.kind(), component.id());
            Failure::new(format!("{name}: {fault}")).help(help)
        })?;
        for kernel in given.iter().filter_map(|kernel| CustomKernel::of_library(&name, kernel)) {
            let same =
                |k: &&CustomKernel| (&k.op, k.version, k.adjoint) == (&kernel.op, kernel.version, kernel.adjoint);
            match found.iter().find(same) {
                Some(other) if !no_fuse.iter().any(|off| *off == kernel.op || off == "all") => {
                    let message = format!("two libraries of this experiment bring a kernel for {}", kernel.op);
                    let help = format!(
                        "name the op differently in one of the plugins, or compute it by what it means: --no-fuse {}",
                        kernel.op
                    );
                    return Err(Failure::new(message).note(other.library.clone()).note(name).help(help));
                }
                _ => found.push(kernel),
            }
        }
    }
    Ok(found)
}
