//! What of CUDA this machine has, and if it cannot be used, why and what to do. Never panics, and opens no card.

use std::path::PathBuf;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::{
    ask,
    driver::{ENTRY_POINTS, has},
    library::{Found, Missing, Opened, Version, find},
    lt::CublasLt,
    nvrtc::Nvrtc,
    search::Part,
};

/// The first driver that has all that is called.
pub const OLDEST_DRIVER: Version = (12, 0);
/// The first capability with bfloat16 in its tensor cores.
pub const OLDEST_CAPABILITY: (u32, u32) = (8, 0);

/// Why CUDA cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoCuda {
    /// A sentence, in lower case and without a full stop.
    pub message: String,
    /// What was found and where was looked, a line each.
    pub notes: Vec<String>,
    /// What to do.
    pub help: String,
}

/// The driver's library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The version of CUDA that it is for.
    pub cuda: Version,
    /// Its own version, as `580.65.06`, where the system tells it.
    pub release: Option<String>,
}

/// A library that was found beside the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    pub version: Version,
    /// Its file, or the name by which the system finds it.
    pub path: PathBuf,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its number, as in `--engine cuda:1`.
    pub index: usize,
    pub name: String,
    pub capability: (u32, u32),
    /// In bytes.
    pub memory: usize,
    pub multiprocessors: u32,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<NoCuda>,
}

/// Everything that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub driver: Result<Driver, NoCuda>,
    pub nvrtc: Result<Companion, NoCuda>,
    pub cublas_lt: Result<Companion, NoCuda>,
    /// Empty where there is no driver, whose word it is.
    pub cards: Result<Vec<Card>, NoCuda>,
}

/// The cards that can be used.
///
/// # Errors
/// Why none can.
pub fn probe() -> Result<Vec<Card>, NoCuda> {
    // Most machines without a card have no driver, and then need not open the other libraries, which are large.
    driver()?;
    survey().usable()
}

/// Looks for everything, also where something is missing.
pub fn survey() -> Survey {
    let driver = driver();
    let version = driver.as_ref().ok().map(|driver| driver.cuda);
    let (nvrtc, cublas_lt) = (companion::<Nvrtc>(version), companion::<CublasLt>(version));
    let compiler = nvrtc.as_ref().ok().map(|found| &found.part);
    let cards = if driver.is_ok() { cards(compiler) } else { Ok(vec![]) };
    let plain = |version: Version, path: PathBuf| Companion { version, path };
    Survey {
        driver,
        nvrtc: nvrtc.map(|found| plain(found.part.version(), found.path)),
        cublas_lt: cublas_lt.map(|found| plain(found.part.version(), found.path)),
        cards,
    }
}

impl Survey {
    /// See [`probe`].
    ///
    /// # Errors
    /// The first thing that is missing, in the order in which one would install them.
    pub fn usable(&self) -> Result<Vec<Card>, NoCuda> {
        self.driver.as_ref().map_err(NoCuda::clone)?;
        let cards = self.cards.as_ref().map_err(NoCuda::clone)?;
        self.nvrtc.as_ref().map_err(NoCuda::clone)?;
        self.cublas_lt.as_ref().map_err(NoCuda::clone)?;
        let usable: Vec<Card> = cards.iter().filter(|card| card.problem.is_none()).cloned().collect();
        match cards.iter().find_map(|card| card.problem.clone()) {
            Some(problem) if usable.is_empty() => Err(problem),
            _ => Ok(usable),
        }
    }

    /// The card of a number.
    ///
    /// # Errors
    /// That there is no such card, or why it cannot be used.
    pub fn card(&self, index: usize) -> Result<Card, NoCuda> {
        let usable = self.usable()?;
        let all = self.cards.as_deref().unwrap_or_default();
        match all.iter().find(|card| card.index == index) {
            Some(Card { problem: Some(problem), .. }) => Err(problem.clone()),
            Some(card) => Ok(card.clone()),
            None => Err(NoCuda {
                message: format!("there is no card {index}"),
                notes: all.iter().map(|card| format!("card {} is {}", card.index, card.name)).collect(),
                help: format!("cards are counted from 0; usable here: {}", numbers(&usable)),
            }),
        }
    }
}

fn numbers(cards: &[Card]) -> String {
    cards.iter().map(|card| format!("cuda:{}", card.index)).collect::<Vec<_>>().join(", ")
}

const INSTALL_DRIVER: &str =
    "install NVIDIA's driver, 525 or later (nvidia-smi shows it); a container needs --gpus all";

fn driver() -> Result<Driver, NoCuda> {
    // SAFETY: opens the driver's library by its usual names, which runs its initialisers, and answers false where it is not there.
    if !unsafe { sys::is_culib_present() } {
        let names = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so, libcuda.so.1" };
        return Err(NoCuda {
            message: "NVIDIA's driver is not on this machine".to_owned(),
            notes: vec![format!("looked for {names} where the system has its libraries, and in LD_LIBRARY_PATH")],
            help: INSTALL_DRIVER.to_owned(),
        });
    }
    let missing: Vec<&str> = ENTRY_POINTS.into_iter().filter(|entry| !has(entry)).collect();
    let number = if missing.contains(&"cuDriverGetVersion") { None } else { ask::version().ok() };
    let cuda = number.map(|number| (number / 1000, number % 1000 / 10));
    checked_driver(cuda, &missing)?;
    ask::start().map_err(|(code, words)| not_started(code, &words))?;
    Ok(Driver { cuda: cuda.unwrap_or(OLDEST_DRIVER), release: release() })
}

/// Whether a driver of this version, without these entry points, will do.
fn checked_driver(cuda: Option<Version>, missing: &[&str]) -> Result<(), NoCuda> {
    let (major, minor) = OLDEST_DRIVER;
    let too_old = |found: String, notes| {
        let message = format!("NVIDIA's driver {found}; CUDA {major}.{minor} or later is needed");
        Err(NoCuda { message, notes, help: INSTALL_DRIVER.to_owned() })
    };
    match cuda {
        Some(version) if version < OLDEST_DRIVER => too_old(format!("is for CUDA {}.{}", version.0, version.1), vec![]),
        None => too_old("does not tell its version".to_owned(), vec![]),
        Some(_) if !missing.is_empty() => {
            too_old("lacks functions".to_owned(), vec![format!("it has no {}", missing.join(", "))])
        }
        Some(_) => Ok(()),
    }
}

/// Why the driver does not start.
fn not_started(code: u32, words: &str) -> NoCuda {
    let no_device = 100;
    let (message, help) = match code {
        34 => (
            "what is found as NVIDIA's driver is a stub to link with".to_owned(),
            "take the toolkit's folder `stubs` out of LD_LIBRARY_PATH".to_owned(),
        ),
        803 | 804 => (
            format!("NVIDIA's driver does not start: {words}"),
            "the driver's library and its kernel module are of different versions: restart the machine, or in a container \
             use the host's driver"
                .to_owned(),
        ),
        code if code == no_device => return no_card(),
        _ => (format!("NVIDIA's driver does not start: {words}"), "nvidia-smi shows whether the driver runs".to_owned()),
    };
    NoCuda { message, notes: vec![], help }
}

fn no_card() -> NoCuda {
    let hidden = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    NoCuda {
        message: "NVIDIA's driver finds no card".to_owned(),
        notes: hidden.map(|value| format!("CUDA_VISIBLE_DEVICES is {value:?}")).into_iter().collect(),
        help: "nvidia-smi lists the cards; CUDA_VISIBLE_DEVICES can hide them, and a container needs --gpus all"
            .to_owned(),
    }
}

/// The driver's own version.
fn release() -> Option<String> {
    let text = std::fs::read_to_string("/sys/module/nvidia/version").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

pub(super) fn companion<T: Opened>(driver: Option<Version>) -> Result<Found<T>, NoCuda> {
    find::<T>(driver).map_err(|missing| not_found(T::PART, missing, driver))
}

/// A part that is not there, in words.
fn not_found(part: Part, missing: Missing, driver: Option<Version>) -> NoCuda {
    let (name, variable) = (part.name(), part.variable());
    let message = match missing.unusable.is_empty() {
        true => format!("{name} is not on this machine"),
        false => format!("no {name} on this machine can be used"),
    };
    let mut notes = missing.unusable;
    if !missing.looked.is_empty() {
        let files = part.files().join(", ");
        notes.push(format!("looked for {files} where the system has its libraries, and in"));
        notes.extend(missing.looked.iter().map(|folder| format!("  {folder}")));
    }
    // The wheels without a suffix are those of the latest CUDA.
    let suffix = if driver.is_some_and(|driver| driver.0 == 12) { "-cu12" } else { "" };
    let help = format!(
        "pip install nvidia-cuda-nvrtc{suffix} nvidia-cublas{suffix} into the environment that is active, or install the CUDA \
         toolkit; {variable} names the file where it lies elsewhere"
    );
    NoCuda { message, notes, help }
}

fn cards(nvrtc: Option<&Nvrtc>) -> Result<Vec<Card>, NoCuda> {
    let count = ask::count().map_err(|(code, words)| not_started(code, &words))?;
    if count == 0 {
        return Err(no_card());
    }
    let unanswered = |(_, words): (u32, String)| NoCuda {
        message: format!("NVIDIA's driver does not describe a card: {words}"),
        notes: vec![],
        help: "nvidia-smi shows whether it works".to_owned(),
    };
    (0..count).map(|index| card(index, nvrtc).map_err(unanswered)).collect()
}

fn card(index: usize, nvrtc: Option<&Nvrtc>) -> ask::Asked<Card> {
    let device = ask::device(index)?;
    let number = |attribute| ask::attribute(device, attribute);
    let capability = (
        number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let name = ask::name(device)?;
    // CU_COMPUTEMODE_PROHIBITED.
    let prohibited = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_MODE)? == 2;
    let compiler = nvrtc.map(|nvrtc| (nvrtc.version(), nvrtc.knows(capability)));
    Ok(Card {
        index,
        capability,
        memory: ask::total_memory(device)?,
        multiprocessors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        problem: problem(&name, capability, prohibited, compiler),
        name,
    })
}

/// Why a card cannot be used, if it cannot; `compiler` says of NVRTC its version, and whether it knows the card.
fn problem(name: &str, capability: (u32, u32), prohibited: bool, compiler: Option<(Version, bool)>) -> Option<NoCuda> {
    let (major, minor) = capability;
    let (least_major, least_minor) = OLDEST_CAPABILITY;
    let (message, help) = if capability < OLDEST_CAPABILITY {
        (
            format!("{name} has compute capability {major}.{minor}; {least_major}.{least_minor} or later is needed"),
            "cards from Ampere on (A100, RTX 30) have it; --engine cpu needs no card".to_owned(),
        )
    } else if prohibited {
        (format!("{name} is set to take no work"), "nvidia-smi -c 0 lets it take work again".to_owned())
    } else if let Some(((a, b), false)) = compiler {
        (
            format!("NVRTC {a}.{b} does not know {name}, which has compute capability {major}.{minor}"),
            "install a later NVRTC: pip install --upgrade nvidia-cuda-nvrtc".to_owned(),
        )
    } else {
        return None;
    };
    Some(NoCuda { message, notes: vec![], help })
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
