//! The functions of cublasLt that are used, and its descriptors, each owned.
//!
//! Names of settings are the bindings'; the functions are looked up in the library that was found (see `library`). Answers are plain
//! numbers, because an enumeration would miss those of later versions.

use std::ffi::{CStr, c_char, c_int, c_void};

use cudarc::cublaslt::sys;
use libloading::Library;

use super::{
    library::{Opened, Version, symbol},
    search::Part,
};
use crate::device::{DeviceError, Result};

pub(super) type Handle = *mut c_void;
pub(super) use sys::{
    cublasLtMatmulAlgo_t as Algorithm, cublasLtMatmulDescAttributes_t as DescriptorSetting,
    cublasLtMatmulPreferenceAttributes_t as PreferenceSetting, cublasLtMatrixLayoutAttribute_t as LayoutSetting,
};

/// One proposal of the heuristic: `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposal {
    pub algorithm: Algorithm,
    pub workspace: usize,
    pub state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

type Create = unsafe extern "C" fn(*mut Handle) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;
type Set = unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> c_int;
type Heuristic = unsafe extern "C" fn(
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    c_int,
    *mut Proposal,
    *mut c_int,
) -> c_int;
type Matmul = unsafe extern "C" fn(
    Handle,
    Handle,
    *const c_void,
    *const c_void,
    Handle,
    *const c_void,
    Handle,
    *const c_void,
    *const c_void,
    Handle,
    *mut c_void,
    Handle,
    *const Algorithm,
    *mut c_void,
    usize,
    Handle,
) -> c_int;

/// cublasLt, opened.
#[derive(Debug)]
pub struct CublasLt {
    version: Version,
    create: Create,
    destroy: Destroy,
    words: unsafe extern "C" fn(c_int) -> *const c_char,
    create_descriptor: unsafe extern "C" fn(*mut Handle, c_int, c_int) -> c_int,
    set_descriptor: Set,
    destroy_descriptor: Destroy,
    create_layout: unsafe extern "C" fn(*mut Handle, c_int, u64, u64, i64) -> c_int,
    set_layout: Set,
    destroy_layout: Destroy,
    create_preference: Create,
    set_preference: Set,
    destroy_preference: Destroy,
    pub(super) heuristic: Heuristic,
    pub(super) matmul: Matmul,
}

impl Opened for CublasLt {
    const PART: Part = Part::CublasLt;

    fn of(library: Library) -> std::result::Result<CublasLt, String> {
        // SAFETY: the types are those of cublasLt's header, the same in 12 and 13.
        unsafe {
            let version: unsafe extern "C" fn() -> usize = symbol(&library, "cublasLtGetVersion")?;
            let lt = CublasLt {
                version: cuda_version(version()),
                create: symbol(&library, "cublasLtCreate")?,
                destroy: symbol(&library, "cublasLtDestroy")?,
                words: symbol(&library, "cublasLtGetStatusString")?,
                create_descriptor: symbol(&library, "cublasLtMatmulDescCreate")?,
                set_descriptor: symbol(&library, "cublasLtMatmulDescSetAttribute")?,
                destroy_descriptor: symbol(&library, "cublasLtMatmulDescDestroy")?,
                create_layout: symbol(&library, "cublasLtMatrixLayoutCreate")?,
                set_layout: symbol(&library, "cublasLtMatrixLayoutSetAttribute")?,
                destroy_layout: symbol(&library, "cublasLtMatrixLayoutDestroy")?,
                create_preference: symbol(&library, "cublasLtMatmulPreferenceCreate")?,
                set_preference: symbol(&library, "cublasLtMatmulPreferenceSetAttribute")?,
                destroy_preference: symbol(&library, "cublasLtMatmulPreferenceDestroy")?,
                heuristic: symbol(&library, "cublasLtMatmulAlgoGetHeuristic")?,
                matmul: symbol(&library, "cublasLtMatmul")?,
            };
            // The functions are used as long as the process lives.
            std::mem::forget(library);
            Ok(lt)
        }
    }

    fn version(&self) -> Version {
        self.version
    }
}

/// `120804` is 12.8; from 13 on there are two digits more: `130100` is 13.1.
fn cuda_version(number: usize) -> Version {
    let number = u32::try_from(number).unwrap_or(0);
    (number / 10_000, number / 100 % 100)
}

impl CublasLt {
    /// `Ok`, or cublasLt's words.
    pub(super) fn check(&self, what: &str, answer: c_int) -> Result<()> {
        // As the driver's: what is under way on the device has failed.
        const EXECUTION_FAILED: c_int = 13;
        if answer == 0 {
            return Ok(());
        }
        // SAFETY: it returns a text that it keeps for ever, for any number.
        let words = unsafe {
            let text = (self.words)(answer);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        let why = format!("cublasLt says {}", words.unwrap_or_else(|| format!("error {answer}")));
        let what = what.to_owned();
        Err(match answer {
            EXECUTION_FAILED => DeviceError::Lost { what, why },
            _ => DeviceError::Failed { what, why },
        })
    }

    fn make(&self, what: &str, destroy: Destroy, create: impl FnOnce(*mut Handle) -> c_int) -> Result<Owned> {
        let mut raw = std::ptr::null_mut();
        self.check(what, create(&mut raw))?;
        Ok(Owned { raw, destroy })
    }

    /// For the device that is the thread's.
    pub(super) fn open(&self) -> Result<Owned> {
        // SAFETY: the library writes the handle.
        self.make("starting cublasLt", self.destroy, |raw| unsafe { (self.create)(raw) })
    }

    /// What a product computes.
    pub(super) fn descriptor(&self, compute: sys::cublasComputeType_t) -> Result<Owned> {
        let scale = sys::cudaDataType_t::CUDA_R_32F as c_int;
        // SAFETY: the library writes the handle.
        let create = |raw| unsafe { (self.create_descriptor)(raw, compute as c_int, scale) };
        self.make("describing a product", self.destroy_descriptor, create)
    }

    pub(super) fn layout(&self, element: sys::cudaDataType_t, rows: u64, columns: u64, leading: i64) -> Result<Owned> {
        // SAFETY: the library writes the handle.
        let create = |raw| unsafe { (self.create_layout)(raw, element as c_int, rows, columns, leading) };
        self.make("describing a matrix", self.destroy_layout, create)
    }

    pub(super) fn preference(&self) -> Result<Owned> {
        // SAFETY: the library writes the handle.
        let create = |raw| unsafe { (self.create_preference)(raw) };
        self.make("asking for an algorithm", self.destroy_preference, create)
    }

    pub(super) fn set_descriptor<T: Copy>(&self, of: &Owned, setting: DescriptorSetting, value: T) -> Result<()> {
        self.set(self.set_descriptor, of, setting as c_int, &value)
    }

    pub(super) fn set_layout<T: Copy>(&self, of: &Owned, setting: LayoutSetting, value: T) -> Result<()> {
        self.set(self.set_layout, of, setting as c_int, &value)
    }

    pub(super) fn set_preference<T: Copy>(&self, of: &Owned, setting: PreferenceSetting, value: T) -> Result<()> {
        self.set(self.set_preference, of, setting as c_int, &value)
    }

    fn set<T: Copy>(&self, set: Set, of: &Owned, setting: c_int, value: &T) -> Result<()> {
        // SAFETY: the handle lives; the library reads `T`'s bytes, and refuses another size than the setting's.
        let answer = unsafe { set(of.raw, setting, std::ptr::from_ref(value).cast(), size_of::<T>()) };
        self.check(&format!("setting {setting} of a product"), answer)
    }
}

/// A handle that is given back.
#[derive(Debug)]
pub(super) struct Owned {
    raw: Handle,
    destroy: Destroy,
}

// SAFETY: a handle of cublasLt belongs to no thread.
unsafe impl Send for Owned {}

impl Owned {
    pub fn raw(&self) -> Handle {
        self.raw
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by the library, owned by this alone; the library is never unloaded.
        let _ = unsafe { (self.destroy)(self.raw) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(cuda_version(120_804), (12, 8));
        assert_eq!(cuda_version(130_100), (13, 1));
    }

    #[test]
    fn a_proposal_is_as_large_as_the_library_s() {
        assert_eq!(size_of::<Proposal>(), size_of::<sys::cublasLtMatmulHeuristicResult_t>());
    }
}
