//! cublasLt. A proposal says for what it was made, and a product that is another is refused.

use std::{
    collections::HashMap,
    ffi::{c_char, c_int, c_void},
    hash::{DefaultHasher, Hash, Hasher},
    ptr::without_provenance_mut,
};

use crate::{
    product::{Descriptor, Epilogue, Layout, Product},
    state::{SUCCESS as DONE, State, give, inside, say, state},
};

/// Answers, by their numbers.
const SUCCESS: c_int = 0;
const NOT_INITIALIZED: c_int = 1;
const INVALID_VALUE: c_int = 7;
const EXECUTION_FAILED: c_int = 13;
const NOT_SUPPORTED: c_int = 15;

/// Bytes of the workspace that it asks for, where it may have as many.
const WORKSPACE: usize = 4096;

/// What somebody prefers of algorithms.
#[derive(Clone, Copy, Default)]
struct Preference {
    workspace: u64,
    schemes: u32,
    /// Of a, b, c and d.
    aligned: [u32; 4],
}

/// What was made, by handle.
#[derive(Default)]
pub(crate) struct Made {
    handles: HashMap<usize, ()>,
    descriptors: HashMap<usize, Descriptor>,
    layouts: HashMap<usize, Layout>,
    preferences: HashMap<usize, Preference>,
}

/// `cublasLtMatmulAlgo_t`, as this library fills it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Algorithm {
    made_for: u64,
    aligned: [u32; 4],
    _more: [u64; 5],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
struct Proposal {
    algorithm: Algorithm,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

fn refuse(answer: c_int, what: &str) -> c_int {
    say(answer as u32, &format!("cublasLt: {what}"));
    answer
}

fn add<T>(to: *mut *mut c_void, value: T, of: impl FnOnce(&mut Made) -> &mut HashMap<usize, T>) -> c_int {
    let mut state = state();
    let handle = state.handle();
    of(&mut state.products).insert(handle, value);
    give(to, without_provenance_mut(handle));
    SUCCESS
}

fn remove<T>(handle: *mut c_void, of: impl FnOnce(&mut Made) -> &mut HashMap<usize, T>) -> c_int {
    match of(&mut state().products).remove(&handle.addr()) {
        Some(_) => SUCCESS,
        None => refuse(INVALID_VALUE, "something is given back that was not made"),
    }
}

/// The bytes of a setting, if there are as many as it has.
///
/// # Safety
/// `from` leads to `bytes` bytes.
unsafe fn value<const N: usize>(from: *const c_void, bytes: usize) -> Option<[u8; N]> {
    // SAFETY: as many bytes are there.
    (bytes == N).then(|| unsafe { from.cast::<[u8; N]>().read_unaligned() })
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtGetVersion() -> usize {
    120_900
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtGetStatusString(answer: c_int) -> *const c_char {
    let text = match answer {
        SUCCESS => c"CUBLAS_STATUS_SUCCESS",
        NOT_INITIALIZED => c"CUBLAS_STATUS_NOT_INITIALIZED",
        INVALID_VALUE => c"CUBLAS_STATUS_INVALID_VALUE",
        EXECUTION_FAILED => c"CUBLAS_STATUS_EXECUTION_FAILED",
        NOT_SUPPORTED => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => c"CUBLAS_STATUS unknown",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtCreate(to: *mut *mut c_void) -> c_int {
    if inside(|_| Ok(())) != DONE {
        return NOT_INITIALIZED;
    }
    add(to, (), |made| &mut made.handles)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtDestroy(handle: *mut c_void) -> c_int {
    remove(handle, |made| &mut made.handles)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulDescCreate(to: *mut *mut c_void, compute: c_int, scale: c_int) -> c_int {
    // CUBLAS_COMPUTE_32F and CUBLAS_COMPUTE_32F_FAST_TF32, scaled by floats.
    let tf32 = match (compute, scale) {
        (68, 0) => false,
        (77, 0) => true,
        _ => return refuse(NOT_SUPPORTED, "sums of another type than float"),
    };
    add(to, Descriptor { tf32, ..Descriptor::default() }, |made| &mut made.descriptors)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulDescDestroy(handle: *mut c_void) -> c_int {
    remove(handle, |made| &mut made.descriptors)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulDescSetAttribute(
    handle: *mut c_void,
    setting: c_int,
    from: *const c_void,
    bytes: usize,
) -> c_int {
    // SAFETY: the caller gave so many bytes.
    let (four, eight) = unsafe { (value::<4>(from, bytes).map(i32::from_ne_bytes), value::<8>(from, bytes)) };
    let mut state = state();
    let Some(descriptor) = state.products.descriptors.get_mut(&handle.addr()) else {
        return refuse(INVALID_VALUE, "no product has this handle");
    };
    match (setting, four, eight) {
        (3 | 4, Some(turned @ (0 | 1)), _) => descriptor.transposed[setting as usize - 3] = turned == 1,
        (7, Some(1), _) => descriptor.epilogue = Epilogue::None,
        (7, Some(4), _) => descriptor.epilogue = Epilogue::Bias,
        (7, Some(512), _) => descriptor.epilogue = Epilogue::Sums,
        (8, _, Some(address)) => descriptor.bias = u64::from_ne_bytes(address),
        (26, Some(element @ (0 | 14)), _) => descriptor.bias_bf16 = element == 14,
        _ => return refuse(INVALID_VALUE, &format!("setting {setting} of a product, of {bytes} bytes: {four:?}")),
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatrixLayoutCreate(
    to: *mut *mut c_void,
    element: c_int,
    rows: u64,
    columns: u64,
    leading: i64,
) -> c_int {
    let layout = Layout { bf16: element == 14, rows, columns, leading, batch: 1, stride: 0 };
    if !matches!(element, 0 | 14) || layout.wrong() {
        return refuse(INVALID_VALUE, &format!("{layout:?} of elements of type {element}"));
    }
    add(to, layout, |made| &mut made.layouts)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatrixLayoutDestroy(handle: *mut c_void) -> c_int {
    remove(handle, |made| &mut made.layouts)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatrixLayoutSetAttribute(
    handle: *mut c_void,
    setting: c_int,
    from: *const c_void,
    bytes: usize,
) -> c_int {
    // SAFETY: the caller gave so many bytes.
    let (four, eight) = unsafe { (value::<4>(from, bytes), value::<8>(from, bytes)) };
    let mut state = state();
    let Some(layout) = state.products.layouts.get_mut(&handle.addr()) else {
        return refuse(INVALID_VALUE, "no matrix has this handle");
    };
    match (setting, four, eight) {
        (5, Some(batch), _) => layout.batch = i32::from_ne_bytes(batch),
        (6, _, Some(stride)) => layout.stride = i64::from_ne_bytes(stride),
        _ => return refuse(INVALID_VALUE, &format!("setting {setting} of a matrix, of {bytes} bytes")),
    }
    if layout.wrong() { refuse(INVALID_VALUE, &format!("{layout:?}")) } else { SUCCESS }
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulPreferenceCreate(to: *mut *mut c_void) -> c_int {
    // As the library begins: any scheme, everything aligned to 256 bytes.
    add(to, Preference { workspace: 0, schemes: u32::MAX, aligned: [256; 4] }, |made| &mut made.preferences)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulPreferenceDestroy(handle: *mut c_void) -> c_int {
    remove(handle, |made| &mut made.preferences)
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtMatmulPreferenceSetAttribute(
    handle: *mut c_void,
    setting: c_int,
    from: *const c_void,
    bytes: usize,
) -> c_int {
    // SAFETY: the caller gave so many bytes.
    let (four, eight) = unsafe { (value::<4>(from, bytes).map(u32::from_ne_bytes), value::<8>(from, bytes)) };
    let mut state = state();
    let Some(preference) = state.products.preferences.get_mut(&handle.addr()) else {
        return refuse(INVALID_VALUE, "no preference has this handle");
    };
    match (setting, four, eight) {
        (1, _, Some(most)) => preference.workspace = u64::from_ne_bytes(most),
        (3, Some(schemes), _) => preference.schemes = schemes,
        (5..=8, Some(least), _) if least.is_power_of_two() => preference.aligned[setting as usize - 5] = least,
        _ => return refuse(INVALID_VALUE, &format!("setting {setting} of a preference, of {bytes} bytes: {four:?}")),
    }
    SUCCESS
}

/// A number for what a product is, apart from where it is.
fn made_for(descriptor: &Descriptor, layouts: &[Layout; 3]) -> u64 {
    let mut hasher = DefaultHasher::new();
    Descriptor { bias: 0, ..*descriptor }.hash(&mut hasher);
    layouts.hash(&mut hasher);
    hasher.finish()
}

/// What can be multiplied.
fn check(descriptor: &Descriptor, [a, b, d]: &[Layout; 3]) -> Result<(), &'static str> {
    let ((m, k), (l, n)) = (a.turned(descriptor.transposed[0]), b.turned(descriptor.transposed[1]));
    if (m, k, n) != (d.rows, l, d.columns) || a.batch != d.batch || b.batch != d.batch {
        return Err("matrices whose sides do not fit");
    }
    if a.bf16 != b.bf16 || d.bf16 && !a.bf16 || descriptor.tf32 && a.bf16 {
        return Err("elements that do not go together");
    }
    if descriptor.epilogue != Epilogue::None && (d.batch != 1 || descriptor.bias_bf16 != d.bf16) {
        return Err("an epilogue of several matrices, or of another element than the result");
    }
    Ok(())
}

impl State {
    fn layouts(&self, handles: [*mut c_void; 3]) -> Option<[Layout; 3]> {
        let [a, b, d] = handles.map(|handle| self.products.layouts.get(&handle.addr()).copied());
        Some([a?, b?, d?])
    }
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the library's own")]
pub extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    handle: *mut c_void,
    descriptor: *mut c_void,
    a: *mut c_void,
    b: *mut c_void,
    c: *mut c_void,
    d: *mut c_void,
    preference: *mut c_void,
    room: c_int,
    to: *mut c_void,
    count: *mut c_int,
) -> c_int {
    let state = state();
    let made = &state.products;
    let found = (made.descriptors.get(&descriptor.addr()), made.preferences.get(&preference.addr()));
    let ((Some(descriptor), Some(preference)), Some(layouts)) = (found, state.layouts([a, b, d])) else {
        return refuse(INVALID_VALUE, "a product, preference or matrix has another handle");
    };
    if !made.handles.contains_key(&handle.addr()) || c != d || room < 1 {
        return refuse(INVALID_VALUE, "no library has this handle, c is another matrix than d, or there is no room");
    }
    if let Err(why) = check(descriptor, &layouts) {
        return refuse(NOT_SUPPORTED, why);
    }
    // Only where k may be split into parts whose sums are floats does it want room for them.
    let workspace = if preference.schemes & 2 != 0 { WORKSPACE.min(preference.workspace as usize) } else { 0 };
    let algorithm = Algorithm { made_for: made_for(descriptor, &layouts), aligned: preference.aligned, _more: [0; 5] };
    give(to.cast(), Proposal { algorithm, workspace, state: SUCCESS, waves: 1.0, reserved: [0; 4] });
    give(count, 1);
    SUCCESS
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the library's own")]
pub extern "C" fn cublasLtMatmul(
    handle: *mut c_void,
    descriptor: *mut c_void,
    alpha: *const c_void,
    at_a: *const c_void,
    a: *mut c_void,
    at_b: *const c_void,
    b: *mut c_void,
    beta: *const c_void,
    at_c: *const c_void,
    c: *mut c_void,
    at_d: *mut c_void,
    d: *mut c_void,
    algorithm: *const c_void,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> c_int {
    // SAFETY: the caller gave a number for each, and an algorithm as it was proposed.
    let (alpha, beta, algorithm) =
        unsafe { (*alpha.cast::<f32>(), *beta.cast::<f32>(), *algorithm.cast::<Algorithm>()) };
    let mut refused = SUCCESS;
    let answer = inside(|state| {
        let layouts = state.layouts([a, b, d]);
        let (Some(&descriptor), Some(layouts)) = (state.products.descriptors.get(&descriptor.addr()), layouts) else {
            refused = refuse(INVALID_VALUE, "a product or matrix has another handle");
            return Ok(());
        };
        let places = [at_a.addr(), at_b.addr(), at_d.addr()].map(|place| place as u64);
        let aligned = [algorithm.aligned[0], algorithm.aligned[1], algorithm.aligned[3]];
        let why = if !state.products.handles.contains_key(&handle.addr()) || at_c != at_d.cast_const() || c != d {
            Some("no library has this handle, or c is another matrix than d")
        } else if algorithm.made_for != made_for(&descriptor, &layouts) {
            Some("an algorithm that was proposed for another product")
        } else if places.iter().zip(aligned).any(|(place, aligned)| !place.is_multiple_of(u64::from(aligned))) {
            Some("a matrix is aligned less than the algorithm was told")
        } else if beta != 0.0 {
            Some("what is at d is to be added, which nobody asks of this library")
        } else if workspace.is_null() && workspace_bytes > 0 || !workspace.addr().is_multiple_of(256) {
            Some("a workspace that is none, or not aligned to 256 bytes")
        } else {
            check(&descriptor, &layouts).err()
        };
        if let Some(why) = why {
            refused = refuse(NOT_SUPPORTED, why);
            return Ok(());
        }
        let workspace = (workspace.addr() as u64, workspace_bytes);
        state.multiply(stream, Product { descriptor, layouts, places, alpha, workspace })
    });
    match (refused, answer) {
        (SUCCESS, DONE) => SUCCESS,
        (SUCCESS, _) => EXECUTION_FAILED,
        _ => refused,
    }
}
