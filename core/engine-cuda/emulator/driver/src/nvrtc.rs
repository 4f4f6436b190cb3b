//! The compiler of kernels. What it gives for code is the source, behind its length.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    ptr::without_provenance_mut,
    sync::{LazyLock, Mutex, PoisonError},
};

use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Device, DeviceError, Unit};

use crate::state::give;

/// Answers, by their numbers.
const SUCCESS: c_int = 0;
const INVALID_PROGRAM: c_int = 4;
const INVALID_OPTION: c_int = 5;
const COMPILATION: c_int = 6;

/// The cards for which it compiles.
const ARCHITECTURES: [c_int; 6] = [80, 86, 89, 90, 100, 120];

/// What code begins with; then come the lengths of the unit's name and source, then these.
const MARK: &[u8; 8] = b"emulated";

struct Program {
    unit: Unit,
    log: String,
    code: Vec<u8>,
}

static PROGRAMS: LazyLock<Mutex<HashMap<usize, Program>>> = LazyLock::new(Mutex::default);

/// The unit that code was made of.
///
/// # Safety
/// `code` is what `nvrtcGetCUBIN` gave, or does not begin with [`MARK`].
pub(crate) unsafe fn unit_of(code: *const u8) -> Option<Unit> {
    // SAFETY: the caller's promise; every code has more than so many bytes.
    unsafe {
        if code.is_null() || code.cast::<[u8; 8]>().read_unaligned() != *MARK {
            return None;
        }
        let [name, source] = code.add(8).cast::<[u64; 2]>().read_unaligned();
        let text = |at: usize, bytes: u64| {
            String::from_utf8_lossy(std::slice::from_raw_parts(code.add(at), bytes as usize)).into_owned()
        };
        Some(Unit { name: text(24, name).into(), source: text(24 + name as usize, source).into() })
    }
}

fn code_of(unit: &Unit) -> Vec<u8> {
    let mut code = MARK.to_vec();
    code.extend((unit.name.len() as u64).to_ne_bytes());
    code.extend((unit.source.len() as u64).to_ne_bytes());
    code.extend(unit.name.bytes().chain(unit.source.bytes()));
    code
}

fn with(program: *mut c_void, body: impl FnOnce(&mut Program) -> c_int) -> c_int {
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    programs.get_mut(&program.addr()).map_or(INVALID_PROGRAM, body)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> c_int {
    give(major, 12);
    give(minor, 9);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetNumSupportedArchs(to: *mut c_int) -> c_int {
    give(to, ARCHITECTURES.len() as c_int);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetSupportedArchs(to: *mut c_int) -> c_int {
    // SAFETY: the caller gave places for as many numbers as it was told.
    unsafe { to.copy_from_nonoverlapping(ARCHITECTURES.as_ptr(), ARCHITECTURES.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetErrorString(answer: c_int) -> *const c_char {
    let text = match answer {
        SUCCESS => c"NVRTC_SUCCESS",
        INVALID_PROGRAM => c"NVRTC_ERROR_INVALID_PROGRAM",
        INVALID_OPTION => c"NVRTC_ERROR_INVALID_OPTION",
        COMPILATION => c"NVRTC_ERROR_COMPILATION",
        _ => c"NVRTC_ERROR unknown",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcCreateProgram(
    to: *mut *mut c_void,
    source: *const c_char,
    name: *const c_char,
    _headers: c_int,
    _texts: *const *const c_char,
    _names: *const *const c_char,
) -> c_int {
    // SAFETY: texts that end with a zero.
    let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    let (source, name) = (text(source), text(name));
    let name = name.strip_suffix(".cu").unwrap_or(&name);
    let unit = Unit { name: name.into(), source: source.into() };
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let handle = (1..).find(|handle| !programs.contains_key(handle)).unwrap_or(usize::MAX);
    programs.insert(handle, Program { unit, log: String::new(), code: vec![] });
    give(to, without_provenance_mut(handle));
    SUCCESS
}

/// Several threads compile at a time: no lock is held meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn nvrtcCompileProgram(program: *mut c_void, count: c_int, options: *const *const c_char) -> c_int {
    // SAFETY: as many texts that end with a zero.
    let option = |i: usize| unsafe { CStr::from_ptr(*options.add(i)) }.to_string_lossy().into_owned();
    let options: Vec<String> = (0..count as usize).map(option).collect();
    let card = |option: &String| ARCHITECTURES.iter().any(|a| *option == format!("--gpu-architecture=sm_{a}"));
    if !options.iter().any(card) || !options.iter().any(|option| option == "--std=c++17") {
        return INVALID_OPTION;
    }
    let mut unit = None;
    let answer = with(program, |program| {
        unit = Some(program.unit.clone());
        SUCCESS
    });
    let Some(unit) = unit else { return answer };
    let compiled = EmulatedDevice::new().prepare(std::slice::from_ref(&unit));
    with(program, |program| match compiled {
        Ok(()) => {
            program.code = code_of(&unit);
            SUCCESS
        }
        Err(error) => {
            program.log = match error {
                DeviceError::Compile { log, .. } => log,
                other => other.to_string(),
            };
            COMPILATION
        }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcDestroyProgram(program: *mut *mut c_void) -> c_int {
    // SAFETY: the caller gave the place of a handle.
    let handle = unsafe { program.replace(std::ptr::null_mut()) };
    let known = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.addr());
    if known.is_some() { SUCCESS } else { INVALID_PROGRAM }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetProgramLogSize(program: *mut c_void, to: *mut usize) -> c_int {
    with(program, |program| {
        // The zero at the end counts.
        give(to, program.log.len() + 1);
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetProgramLog(program: *mut c_void, to: *mut c_char) -> c_int {
    with(program, |program| {
        // SAFETY: the caller gave room for as many bytes as it was told.
        unsafe {
            to.cast::<u8>().copy_from_nonoverlapping(program.log.as_ptr(), program.log.len());
            to.add(program.log.len()).write(0);
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetCUBINSize(program: *mut c_void, to: *mut usize) -> c_int {
    with(program, |program| {
        give(to, program.code.len());
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetCUBIN(program: *mut c_void, to: *mut c_char) -> c_int {
    with(program, |program| {
        // SAFETY: the caller gave room for as many bytes as it was told.
        unsafe { to.cast::<u8>().copy_from_nonoverlapping(program.code.as_ptr(), program.code.len()) };
        SUCCESS
    })
}
