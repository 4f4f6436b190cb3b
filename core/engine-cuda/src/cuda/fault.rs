//! What the driver answers, as errors that people can read.

use std::ffi::{CStr, c_char};

use cudarc::driver::sys;

use crate::device::DeviceError;

pub(super) type Result<T, E = DeviceError> = std::result::Result<T, E>;

/// Answers after which a context does nothing any more, by their numbers: an enumeration would miss those of later drivers.
const LOST: [u32; 16] = [
    46,  // the device is unavailable
    214, // an ECC error that cannot be corrected
    220, // an NVLink error that cannot be corrected
    226, // the same, contained
    700, // an illegal address
    702, // a launch that took too long
    709, // the context is destroyed
    710, // an assertion in a kernel
    714, // a hardware stack error
    715, // an illegal instruction
    716, // a misaligned address
    717, // an invalid address space
    718, // an invalid program counter
    719, // a launch that failed
    721, // tensor memory that leaked
    999, // what the driver itself does not know: a card that fell off its bus answers so
];

/// Whether everything in the device's memory is gone with this answer.
pub(super) fn is_lost(code: u32) -> bool {
    LOST.contains(&code)
}

/// `Ok`, or what the driver says of `what`.
pub(super) fn check(what: &str, code: sys::CUresult) -> Result<()> {
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let (what, why) = (what.to_owned(), words(code));
    Err(match is_lost(code as u32) {
        true => DeviceError::Lost { what, why },
        false => DeviceError::Failed { what, why },
    })
}

/// The driver's words for an answer.
pub(super) fn words(code: sys::CUresult) -> String {
    type Naming = unsafe fn(sys::CUresult, *mut *const c_char) -> sys::CUresult;
    let ask = |naming: Naming| {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the driver writes a pointer to a text that it keeps for ever, or null for a code that it does not know.
        unsafe {
            let _ = naming(code, &mut text);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    };
    match (ask(sys::cuGetErrorName), ask(sys::cuGetErrorString)) {
        (Some(name), Some(sentence)) => format!("{sentence} ({name})"),
        (Some(name), None) => name,
        _ => format!("the driver's error {}", code as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_stick_are_told_from_those_that_do_not() {
        use sys::CUresult as Code;
        for code in
            [Code::CUDA_ERROR_ILLEGAL_ADDRESS, Code::CUDA_ERROR_LAUNCH_FAILED, Code::CUDA_ERROR_ECC_UNCORRECTABLE]
        {
            assert!(is_lost(code as u32));
        }
        for code in [Code::CUDA_ERROR_INVALID_VALUE, Code::CUDA_ERROR_OUT_OF_MEMORY, Code::CUDA_ERROR_NOT_FOUND] {
            assert!(!is_lost(code as u32));
        }
    }
}
