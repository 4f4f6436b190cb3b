//! NVRTC: from CUDA C++ to code for one card. It needs no card itself.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use libloading::Library;

use super::{
    library::{Opened, Version, symbol},
    search::Part,
};
use crate::device::{DeviceError, Result, Unit};

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;

/// The functions of NVRTC that are used.
#[derive(Debug)]
pub struct Nvrtc {
    version: Version,
    architectures: Vec<u32>,
    create: Create,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    code_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    code: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    words: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Opened for Nvrtc {
    const PART: Part = Part::Nvrtc;

    fn of(library: Library) -> std::result::Result<Nvrtc, String> {
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: the types are those of NVRTC's header, the same since 11.2; the calls write what their types say.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = symbol(&library, "nvrtcVersion")?;
            let architecture_count: unsafe extern "C" fn(*mut c_int) -> c_int =
                symbol(&library, "nvrtcGetNumSupportedArchs")?;
            let list: unsafe extern "C" fn(*mut c_int) -> c_int = symbol(&library, "nvrtcGetSupportedArchs")?;
            if version(&mut major, &mut minor) != 0 || architecture_count(&mut count) != 0 {
                return Err("does not tell its version".to_owned());
            }
            let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
            if list(architectures.as_mut_ptr()) != 0 {
                return Err("does not tell for which cards it compiles".to_owned());
            }
            let nvrtc = Nvrtc {
                version: (major.unsigned_abs(), minor.unsigned_abs()),
                architectures: architectures.into_iter().map(c_int::unsigned_abs).collect(),
                create: symbol(&library, "nvrtcCreateProgram")?,
                compile: symbol(&library, "nvrtcCompileProgram")?,
                destroy: symbol(&library, "nvrtcDestroyProgram")?,
                log_size: symbol(&library, "nvrtcGetProgramLogSize")?,
                log: symbol(&library, "nvrtcGetProgramLog")?,
                code_size: symbol(&library, "nvrtcGetCUBINSize")?,
                code: symbol(&library, "nvrtcGetCUBIN")?,
                words: symbol(&library, "nvrtcGetErrorString")?,
            };
            // The functions are used as long as the process lives.
            std::mem::forget(library);
            Ok(nvrtc)
        }
    }

    fn version(&self) -> Version {
        self.version
    }
}

/// What kernels are compiled with, beside the architecture. No fast arithmetic: a kernel means what its op means.
const OPTIONS: [&str; 1] = ["--std=c++17"];

/// All options for a card.
pub(super) fn options((major, minor): (u32, u32)) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture=sm_{major}{minor}")];
    options.extend(OPTIONS.map(str::to_owned));
    options
}

impl Nvrtc {
    /// Whether it makes code for cards of this capability.
    pub fn knows(&self, (major, minor): (u32, u32)) -> bool {
        self.architectures.contains(&(major * 10 + minor))
    }

    /// Compiles a unit for cards of a capability. May be called by several threads at a time.
    ///
    /// # Errors
    /// [`DeviceError::Compile`] with the compiler's log.
    pub fn compile(&self, unit: &Unit, capability: (u32, u32)) -> Result<Vec<u8>> {
        self.compile_telling(unit, capability, &[]).map(|(code, _)| code)
    }

    /// As [`Nvrtc::compile`], with more options; the compiler's log beside the code.
    ///
    /// # Errors
    /// Those of `compile`.
    pub fn compile_telling(&self, unit: &Unit, capability: (u32, u32), more: &[&str]) -> Result<(Vec<u8>, String)> {
        let refuse = |log: String| DeviceError::Compile { unit: unit.name.to_string(), log };
        let text = |text: &str| CString::new(text).map_err(|_| refuse("the source has a zero byte".to_owned()));
        let (source, name) = (text(&unit.source)?, text(&format!("{}.cu", unit.name))?);
        let mut options = options(capability).iter().map(|option| text(option)).collect::<Result<Vec<_>>>()?;
        for option in more {
            options.push(text(option)?);
        }
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let none = std::ptr::null();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the texts live until the program is destroyed; there are no headers.
        let answer = unsafe { (self.create)(&mut raw, source.as_ptr(), name.as_ptr(), 0, none, none) };
        if answer != 0 {
            return Err(refuse(self.said(answer)));
        }
        let program = Owned { raw, nvrtc: self };
        // SAFETY: the program lives, and so do the options.
        let answer = unsafe { (self.compile)(program.raw, options.len() as c_int, pointers.as_ptr()) };
        let log = self.bytes(&program, self.log_size, self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        if answer != 0 {
            return Err(refuse(if log.is_empty() { self.said(answer) } else { log }));
        }
        let code = self.bytes(&program, self.code_size, self.code).map_err(|answer| refuse(self.said(answer)))?;
        Ok((code, log))
    }

    fn bytes(
        &self,
        program: &Owned<'_>,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> std::result::Result<Vec<u8>, c_int> {
        let mut count = 0;
        // SAFETY: the program lives; the call writes a number.
        let answer = unsafe { size(program.raw, &mut count) };
        if answer != 0 {
            return Err(answer);
        }
        let mut bytes = vec![0u8; count];
        // SAFETY: there is room for as many bytes as it said.
        match unsafe { get(program.raw, bytes.as_mut_ptr().cast()) } {
            0 => Ok(bytes),
            answer => Err(answer),
        }
    }

    /// NVRTC's word for an answer.
    fn said(&self, answer: c_int) -> String {
        // SAFETY: it returns a text that it keeps for ever, for any number.
        let text = unsafe {
            let text = (self.words)(answer);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        text.unwrap_or_else(|| format!("NVRTC's error {answer}"))
    }
}

struct Owned<'a> {
    raw: Program,
    nvrtc: &'a Nvrtc,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `create`, destroyed once.
        let _ = unsafe { (self.nvrtc.destroy)(&mut self.raw) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_the_card() {
        assert_eq!(options((9, 0)), ["--gpu-architecture=sm_90", "--std=c++17"]);
        assert_eq!(options((12, 0))[0], "--gpu-architecture=sm_120");
    }
}
