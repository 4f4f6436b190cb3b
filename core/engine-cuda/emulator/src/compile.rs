//! Makes a library of a unit with the C++ compiler at hand, and keeps it: the same unit is asked for by many tests and in many runs.

use std::{
    collections::HashMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fer_engine_cuda::device::{DeviceError, Result, Unit};
use sha2::{Digest, Sha256};

use crate::{
    scan::{self, Found},
    unit::Loaded,
};

const HEADER: &str = include_str!("../runtime/emulator.h");

/// As on a card: no trap for floating-point numbers, and a type says nothing of what else an address holds. Sums and products are not
/// contracted, so that results do not depend on the machine. The checks end a launch, see the header.
const FLAGS: [&str; 9] = [
    "-std=c++17",
    "-w",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
];
/// Nothing of what `-fsanitize=thread` calls is the compiler's here: the header has it.
const COMPILE: [&str; 8] = [
    "-O1",
    "-fno-tree-sra",
    "-gdwarf-4",
    "-g1",
    "-fsanitize=bounds,alignment",
    "-fsanitize=thread",
    "-fno-sanitize-recover=all",
    "-nostdlib",
];

/// A unit's library as it is, or is being, loaded in this process.
type Slot = Arc<Mutex<Option<Arc<Loaded>>>>;

static LOADED: LazyLock<Mutex<HashMap<String, Slot>>> = LazyLock::new(Mutex::default);

/// The unit, compiled and loaded.
///
/// # Errors
/// [`DeviceError::Compile`], [`DeviceError::Missing`].
pub(crate) fn load(unit: &Unit) -> Result<Arc<Loaded>> {
    let key = key(unit);
    let slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*slot {
        return Ok(loaded.clone());
    }
    let folder = folder();
    let file = folder.join(format!("{key}.so"));
    // One that does not load was cut short.
    let kept = if file.exists() { Loaded::open(&file).ok() } else { None };
    let loaded = match kept {
        Some(loaded) => loaded,
        None => {
            compile(unit, &folder, &file)?;
            Loaded::open(&file)?
        }
    };
    Ok(slot.insert(Arc::new(loaded)).clone())
}

fn compiler() -> String {
    env::var("CXX").ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "g++".into())
}

/// What the compiler says it is: another one makes another library.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let output = Command::new(compiler()).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
});

fn key(unit: &Unit) -> String {
    let mut hash = Sha256::new();
    let flags = FLAGS.iter().chain(&COMPILE).copied();
    for text in [VERSION.as_str(), env!("CARGO_PKG_VERSION"), HEADER, &unit.name, &unit.source].into_iter().chain(flags)
    {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names the folder in which libraries are kept, for a program that is no test.
const FOLDER_VARIABLE: &str = "FER_EMULATOR_FOLDER";

/// Where libraries are kept: beside the test that runs, in cargo's target folder.
fn folder() -> PathBuf {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        return folder.into();
    }
    let name = "cuda-emulator";
    let program = env::current_exe().unwrap_or_default();
    let profile = program.ancestors().skip(1).find(|path| path.ends_with("deps") || path.ends_with("examples"));
    match profile.and_then(Path::parent) {
        Some(profile) => profile.join(name),
        None => env::temp_dir().join(format!("{name}-{}", process::id())),
    }
}

/// Writes the library to `file`, at once and whole: others may look for it at the same time.
fn compile(unit: &Unit, folder: &Path, file: &Path) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let work = folder.join(format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let system = |e: io::Error| DeviceError::Failed { what: format!("compiling {}", unit.name), why: e.to_string() };
    fs::create_dir_all(&work).map_err(system)?;
    let done = compile_in(unit, &work).and_then(|library| fs::rename(library, file).map_err(system));
    // What is left there is of no use, and of no harm.
    let _ = fs::remove_dir_all(&work);
    done
}

fn compile_in(unit: &Unit, work: &Path) -> Result<PathBuf> {
    let system = |e: io::Error| DeviceError::Failed { what: format!("compiling {}", unit.name), why: e.to_string() };
    let [source, preprocessed, library] = ["unit.cpp", "unit.ii", "unit.so"].map(|name| work.join(name));
    // In a namespace without a name the compiler leaves out what no kernel uses.
    let (name, text) = (unit.name.replace(['"', '\\', '\n'], "_"), &unit.source);
    let whole = format!("#line 1 \"emulator.h\"\n{HEADER}\nnamespace {{\n#line 1 \"{name}.cu\"\n{text}\n}}\n");
    fs::write(&source, whole).map_err(system)?;

    let mut first = Command::new(compiler());
    first.args(FLAGS).args(["-E", "-x", "c++"]).arg(&source).arg("-o").arg(&preprocessed);
    run(first, unit)?;

    let mut text = fs::read_to_string(&preprocessed).map_err(system)?;
    text.push_str(&table(&scan::kernels(&text)));
    fs::write(&preprocessed, text).map_err(system)?;

    let mut second = Command::new(compiler());
    second.args(FLAGS).args(COMPILE).args(["-shared", "-x", "c++-cpp-output"]).arg(&preprocessed);
    second.arg("-o").arg(&library).args(["-lm", "-lc"]);
    run(second, unit)?;
    Ok(library)
}

/// The text that says which kernels a unit has.
fn table(kernels: &[Found]) -> String {
    let mut text = String::from("\nstatic const FerKernel fer_kernels[] = {\n");
    for Found { name, most_threads } in kernels {
        let signature = format!("FerSignature<decltype(&{name})>");
        let most = most_threads.as_deref().unwrap_or("0");
        text += &format!("{{\"{name}\", (void*)&{name}, &{signature}::call, {signature}::parameters, ");
        text += &format!("{signature}::count, (unsigned)({most})}},\n");
    }
    // An array has at least one element.
    text += "{nullptr}};\nextern \"C\" __attribute__((visibility(\"default\"))) FerUnit fer_unit = ";
    text += &format!("{{&fer_now, &fer_calls, __bss_start, _end, fer_kernels, {}}};\n", kernels.len());
    text
}

fn run(mut command: Command, unit: &Unit) -> Result<()> {
    let output = command.output().map_err(|e| {
        let name = compiler();
        DeviceError::Missing(format!("the C++ compiler {name} does not start: {e}; install one, or set CXX"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(DeviceError::Compile { unit: unit.name.to_string(), log })
}
