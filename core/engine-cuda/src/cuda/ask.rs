//! What can be asked of the driver and its devices before one is opened.

use std::ffi::{CStr, c_int};

use cudarc::driver::sys;

use super::fault::words;

/// An answer, or the driver's number and words.
pub(super) type Asked<T> = std::result::Result<T, (u32, String)>;

fn answer(code: sys::CUresult) -> Asked<()> {
    if code == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { Err((code as u32, words(code))) }
}

/// The version of CUDA that the driver is for, as `12040` for 12.4.
pub(super) fn version() -> Asked<u32> {
    let mut version = 0;
    // SAFETY: the driver writes a number; allowed before `cuInit`.
    answer(unsafe { sys::cuDriverGetVersion(&mut version) })?;
    Ok(version.unsigned_abs())
}

pub(super) fn start() -> Asked<()> {
    // SAFETY: may be called any number of times.
    answer(unsafe { sys::cuInit(0) })
}

pub(super) fn count() -> Asked<usize> {
    let mut count = 0;
    // SAFETY: the driver is started and writes a number.
    answer(unsafe { sys::cuDeviceGetCount(&mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

pub(super) fn device(index: usize) -> Asked<sys::CUdevice> {
    let mut device = 0;
    // SAFETY: the driver is started and refuses an index that it does not know.
    answer(unsafe { sys::cuDeviceGet(&mut device, c_int::try_from(index).unwrap_or(c_int::MAX)) })?;
    Ok(device)
}

pub(super) fn name(device: sys::CUdevice) -> Asked<String> {
    let mut text = [0u8; 256];
    // SAFETY: the driver writes at most 255 bytes and a zero.
    answer(unsafe { sys::cuDeviceGetName(text.as_mut_ptr().cast(), 256, device) })?;
    Ok(CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned())
}

pub(super) fn total_memory(device: sys::CUdevice) -> Asked<usize> {
    let mut bytes = 0;
    // SAFETY: the driver writes a number.
    answer(unsafe { sys::cuDeviceTotalMem_v2(&mut bytes, device) })?;
    Ok(bytes)
}

pub(super) fn attribute(device: sys::CUdevice, attribute: sys::CUdevice_attribute) -> Asked<u32> {
    let mut number = 0;
    // SAFETY: the driver writes a number.
    answer(unsafe { sys::cuDeviceGetAttribute(&mut number, attribute, device) })?;
    Ok(number.unsigned_abs())
}
