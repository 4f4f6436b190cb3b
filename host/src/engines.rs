//! Which engine computes an experiment, and with which kernels of plugins.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use fer_abi::Kernel;
use fer_config::{Engine as Name, Precision as Floats, Resolved, nearest};
use fer_engine::{
    Engine, Precision,
    kernel::{Code, CustomKernel, Kernels},
};
use fer_engine_cpu::{CpuEngine, Factors, Options};
use fer_engine_cuda::{
    CudaEngine, Precision as CudaPrecision,
    cuda::{self, Card, CudaDevice, NoCuda},
};
use fer_engine_dfdx::DfdxEngine;
use fer_graph::ADJOINT_SUFFIX;

use crate::{
    compose::Recipe,
    failure::{Failure, Result},
};

/// Opens the engine that the experiment asks for. `auto`: `cuda` where a card can be used, else `cpu`; for f64 the reference, which
/// alone has it.
///
/// # Errors
/// An engine that this machine lacks, one that does not compute in the precision asked for, an op that `no_fuse` names wrongly, and
/// those of [`brought`] and [`kernels`].
pub fn open(resolved: &Resolved, recipe: &Recipe) -> Result<Box<dyn Engine>> {
    let experiment = &resolved.experiment;
    let brought = brought(recipe)?;
    let chosen = choose(resolved)?;
    let own: BTreeSet<&str> = brought.iter().flat_map(|(_, kernels)| kernels.iter().map(|k| k.op.as_str())).collect();
    check_switches(resolved, &chosen, &own)?;
    let no_fuse = experiment.no_fuse.iter().cloned().collect();
    Ok(match chosen {
        Chosen::Dfdx(precision) => Box::new(DfdxEngine::new(precision)),
        Chosen::Cpu(factors) => {
            let kernels = kernels(&brought, &experiment.no_fuse)?;
            Box::new(CpuEngine::new(Options { factors, no_fuse, kernels, ..Options::default() }))
        }
        Chosen::Cuda { device, precision } => {
            let device = CudaDevice::open(device, cuda::standard_folder()).map_err(|why| not_usable(resolved, why))?;
            let kernels = kernels(&brought, &experiment.no_fuse)?;
            let options =
                fer_engine_cuda::Options { precision, no_fuse, kernels, ..fer_engine_cuda::Options::default() };
            Box::new(CudaEngine::new(Arc::new(device), options))
        }
    })
}

/// An engine and how it computes.
enum Chosen {
    Dfdx(Precision),
    Cpu(Factors),
    Cuda { device: usize, precision: CudaPrecision },
}

/// The engine for what is asked, if they go together.
fn choose(resolved: &Resolved) -> Result<Chosen> {
    let experiment = &resolved.experiment;
    let refuse =
        |message: &str, help: &str| Err(resolved.error_at("precision", message, "asked for here", Some(help)).into());
    let cuda = |device| {
        Ok(Chosen::Cuda {
            device,
            precision: match experiment.precision {
                Floats::Tf32 => CudaPrecision::Tf32,
                Floats::Bf16 => CudaPrecision::Bf16,
                Floats::F32 | Floats::F64 => CudaPrecision::F32,
            },
        })
    };
    match (experiment.engine, experiment.precision) {
        (Name::Auto | Name::Dfdx, Floats::F64) => Ok(Chosen::Dfdx(Precision::F64)),
        (Name::Dfdx, Floats::F32) => Ok(Chosen::Dfdx(Precision::F32)),
        (Name::Dfdx, Floats::Tf32) => {
            refuse("the engine \"dfdx\" does not compute in tf32", "it has f32 and f64; --engine cuda has tf32")
        }
        (Name::Dfdx, Floats::Bf16) => refuse(
            "the engine \"dfdx\" does not compute in bf16",
            "it has f32 and f64; --engine cpu and --engine cuda have bf16",
        ),
        (Name::Cpu, Floats::F32) => Ok(Chosen::Cpu(Factors::F32)),
        (Name::Cpu, Floats::Bf16) => Ok(Chosen::Cpu(Factors::Bf16)),
        (Name::Cpu, Floats::F64) => {
            refuse("the engine \"cpu\" does not compute in f64", "it has f32 and bf16; --engine dfdx has f64")
        }
        (Name::Cpu, Floats::Tf32) => {
            refuse("the engine \"cpu\" does not compute in tf32", "it has f32 and bf16; --engine cuda has tf32")
        }
        (Name::Cuda { .. }, Floats::F64) => {
            refuse("the engine \"cuda\" does not compute in f64", "it has f32, tf32 and bf16; --engine dfdx has f64")
        }
        (Name::Cuda { device }, _) => cuda(device),
        (Name::Auto, precision) => match (cuda::probe(), precision) {
            (Ok(cards), _) => {
                let Card { index, name, .. } = &cards[0];
                tracing::info!("engine cuda: card {index} is {name}");
                cuda(*index)
            }
            (Err(why), Floats::Tf32) => Err(not_usable(resolved, why)),
            (Err(why), precision) => {
                tracing::info!("engine cpu: cuda is not usable: {why}");
                Ok(Chosen::Cpu(if precision == Floats::Bf16 { Factors::Bf16 } else { Factors::F32 }))
            }
        },
    }
}

/// What is to be switched off must be something that the engine has.
/// `own`: the ops that the libraries bring kernels for.
fn check_switches(resolved: &Resolved, chosen: &Chosen, own: &BTreeSet<&str>) -> Result<()> {
    let (can, mut known): (fn(&str) -> bool, Vec<String>) = match chosen {
        Chosen::Cuda { .. } => (fer_engine_cuda::can_switch_off, fer_engine_cuda::switches()),
        // The reference has no kernels to switch off; what the other engine has may stay in a config that both run.
        Chosen::Dfdx(_) | Chosen::Cpu(_) => (fer_engine_cpu::can_switch_off, fer_engine_cpu::switches()),
    };
    for name in &resolved.experiment.no_fuse {
        let op = name.strip_suffix(ADJOINT_SUFFIX).unwrap_or(name);
        if can(name) || own.contains(op) {
            continue;
        }
        known.extend(own.iter().map(|&op| op.to_owned()));
        let near = nearest(name, known.iter().map(String::as_str));
        let meant = near.map_or_else(String::new, |n| format!("did you mean {n:?}? "));
        let message = format!("there is no kernel {name:?} to switch off");
        let help = format!("{meant}Kernels: {}", known.join(", "));
        return Err(resolved.error_at("no_fuse", &message, "asked for here", Some(&help)).into());
    }
    Ok(())
}

/// Why the engine `cuda` cannot be used, at the place where it was asked for.
fn not_usable(resolved: &Resolved, why: NoCuda) -> Failure {
    let path = if resolved.experiment.engine == Name::Auto { "precision" } else { "engine" };
    let message = format!("cuda is not usable: {}", why.message);
    let error = resolved.error_at(path, &message, "asked for here", Some(&why.help));
    why.notes.into_iter().fold(error.into(), Failure::note)
}

/// The kernels that the libraries of an experiment bring, each library's by its path.
///
/// # Errors
/// A library that cannot be loaded.
fn brought(recipe: &Recipe) -> Result<Vec<(String, Vec<Kernel>)>> {
    let mut found = vec![];
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
        found.push((name, given));
    }
    Ok(found)
}

/// Those for one kind of device.
///
/// # Errors
/// Two libraries that bring a kernel for the same op.
fn kernels<F: Code>(brought: &[(String, Vec<Kernel>)], no_fuse: &[String]) -> Result<Kernels<F>> {
    let mut found: Vec<CustomKernel<F>> = vec![];
    let all = brought.iter().flat_map(|(library, kernels)| kernels.iter().map(move |kernel| (library, kernel)));
    for kernel in all.filter_map(|(library, kernel)| CustomKernel::of_library(library, kernel)) {
        let same = |k: &&CustomKernel<F>| (&k.op, k.version, k.adjoint) == (&kernel.op, kernel.version, kernel.adjoint);
        match found.iter().find(same) {
            Some(other) if !no_fuse.iter().any(|off| *off == kernel.op || off == "all") => {
                let message = format!("two libraries of this experiment bring a kernel for {}", kernel.op);
                let help = format!(
                    "name the op differently in one of the plugins, or compute it by what it means: --no-fuse {}",
                    kernel.op
                );
                let failure = Failure::new(message).note(other.library.clone()).note(kernel.library);
                return Err(failure.help(help));
            }
            _ => found.push(kernel),
        }
    }
    Ok(Kernels::new(found))
}
