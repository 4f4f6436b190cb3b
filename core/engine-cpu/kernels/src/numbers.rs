//! Numbers as they stand in memory: `f32`, or bfloat16 where half the traffic is worth the rounding. Arithmetic is `f32` either way.

use crate::{bf16, factors::Kind, shared::SharedMut, simd::Simd, vectors::map};

/// A slice that is read.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    /// Upper halves of `f32`.
    Bf16(&'a [u16]),
}

/// A slice whose disjoint parts are written by several threads.
#[derive(Clone, Copy, Debug)]
pub enum NumbersMut<'a> {
    F32(SharedMut<'a, f32>),
    Bf16(SharedMut<'a, u16>),
}

impl<'a> Numbers<'a> {
    pub fn len(&self) -> usize {
        match self {
            Numbers::F32(data) => data.len(),
            Numbers::Bf16(data) => data.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything from element `at` on.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn from(self, at: usize) -> Numbers<'a> {
        match self {
            Numbers::F32(data) => Numbers::F32(&data[at..]),
            Numbers::Bf16(data) => Numbers::Bf16(&data[at..]),
        }
    }

    /// Where element `at` stands, or would stand: for wishes.
    #[inline(always)]
    pub(crate) fn address(&self, at: usize) -> *const u8 {
        match self {
            Numbers::F32(data) => data.as_ptr().wrapping_add(at).cast(),
            Numbers::Bf16(data) => data.as_ptr().wrapping_add(at).cast(),
        }
    }

    /// Bytes of an element.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Numbers::F32(_) => 4,
            Numbers::Bf16(_) => 2,
        }
    }
}

impl<'a> From<&'a [f32]> for Numbers<'a> {
    fn from(data: &'a [f32]) -> Numbers<'a> {
        Numbers::F32(data)
    }
}

impl<'a> From<&'a [u16]> for Numbers<'a> {
    fn from(data: &'a [u16]) -> Numbers<'a> {
        Numbers::Bf16(data)
    }
}

impl<'a> NumbersMut<'a> {
    pub fn len(&self) -> usize {
        match self {
            NumbersMut::F32(data) => data.len(),
            NumbersMut::Bf16(data) => data.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a mut [f32]> for NumbersMut<'a> {
    fn from(data: &'a mut [f32]) -> NumbersMut<'a> {
        NumbersMut::F32(SharedMut::new(data))
    }
}

impl<'a> From<&'a mut [u16]> for NumbersMut<'a> {
    fn from(data: &'a mut [u16]) -> NumbersMut<'a> {
        NumbersMut::Bf16(SharedMut::new(data))
    }
}

/// What a slice of [`Numbers`] is made of, where the compiler sees it.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// Whether arithmetic takes it as it is.
    const EXACT: bool;
    /// One number.
    fn widen(self) -> f32;
    /// The nearest to a number.
    fn nearest(x: f32) -> Self;
    /// # Safety
    /// `from` is valid for a vector.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F;
    /// The first `count` lanes, zeros after them.
    ///
    /// # Safety
    /// `from` is valid for `count` reads, at most a vector.
    unsafe fn load_first<S: Simd>(s: S, from: *const Self, count: usize) -> S::F;
    /// [`Kind::along`] of consecutive steps.
    ///
    /// # Safety
    /// `from` is valid for as many numbers as a vector of words has steps.
    unsafe fn along<K: Kind, S: Simd>(s: S, from: *const Self) -> S::F;
    /// [`Kind::across`] of neighbours.
    ///
    /// # Safety
    /// `first` is valid for a vector, and so is `second` where words hold two steps.
    unsafe fn across<K: Kind, S: Simd>(s: S, first: *const Self, second: *const Self) -> S::F;
    /// # Safety
    /// `to` is valid for a vector.
    unsafe fn store<S: Simd>(s: S, to: *mut Self, x: S::F);
    /// # Safety
    /// `to` is valid for `count` writes, at most a vector.
    unsafe fn store_first<S: Simd>(s: S, to: *mut Self, x: S::F, count: usize);
    /// What a product of such factors comes to, in two vectors that follow each other: rounded as factors are, so that subnormal
    /// numbers become zeros where words hold two steps.
    ///
    /// # Safety
    /// `to` is valid for two vectors.
    unsafe fn store_pair<K: Kind, S: Simd>(s: S, to: *mut Self, first: S::F, second: S::F);
    /// [`Stored::store_pair`] of one vector.
    ///
    /// # Safety
    /// `to` is valid for a vector.
    unsafe fn store_one<K: Kind, S: Simd>(s: S, to: *mut Self, x: S::F);
    /// How many floats [`Stored::floats`] and [`Stored::floats_mut`] need beside `count` numbers.
    fn spare(count: usize) -> usize;
    /// Numbers as `f32`: where they stand, or widened to `spare`.
    fn floats<'a, S: Simd>(s: S, from: &'a [Self], spare: &'a mut [f32]) -> &'a [f32];
    /// Where numbers may be written as `f32`: where they will stand, or `spare`, until [`Stored::settle`].
    fn floats_mut<'a>(to: &'a mut [Self], spare: &'a mut [f32]) -> &'a mut [f32];
    /// Rounds what was written to `spare`.
    fn settle<S: Simd>(s: S, spare: &[f32], to: &mut [Self]);
}

impl Stored for f32 {
    const EXACT: bool = true;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn nearest(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(from) }
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(s: S, from: *const f32, count: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_first(from, count) }
    }
    #[inline(always)]
    unsafe fn along<K: Kind, S: Simd>(s: S, from: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe {
            let second = if K::steps::<S>() == 2 { s.load(from.add(S::LANES)) } else { s.splat(0.0) };
            K::along(s, s.load(from), second)
        }
    }
    #[inline(always)]
    unsafe fn across<K: Kind, S: Simd>(s: S, first: *const f32, second: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe {
            let second = if K::steps::<S>() == 2 { s.load(second) } else { s.splat(0.0) };
            K::across(s, s.load(first), second)
        }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut f32, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store(to, x) }
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(s: S, to: *mut f32, x: S::F, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { s.store_first(to, x, count) }
    }
    #[inline(always)]
    unsafe fn store_pair<K: Kind, S: Simd>(s: S, to: *mut f32, first: S::F, second: S::F) {
        // SAFETY: the caller's promise.
        unsafe {
            s.store(to, first);
            s.store(to.add(S::LANES), second);
        }
    }
    #[inline(always)]
    unsafe fn store_one<K: Kind, S: Simd>(s: S, to: *mut f32, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store(to, x) }
    }
    #[inline(always)]
    fn spare(_count: usize) -> usize {
        0
    }
    #[inline(always)]
    fn floats<'a, S: Simd>(_: S, from: &'a [f32], _spare: &'a mut [f32]) -> &'a [f32] {
        from
    }
    #[inline(always)]
    fn floats_mut<'a>(to: &'a mut [f32], _spare: &'a mut [f32]) -> &'a mut [f32] {
        to
    }
    #[inline(always)]
    fn settle<S: Simd>(_: S, _spare: &[f32], _to: &mut [f32]) {}
}

impl Stored for u16 {
    const EXACT: bool = false;
    #[inline(always)]
    fn widen(self) -> f32 {
        bf16::widen(self)
    }
    #[inline(always)]
    fn nearest(x: f32) -> u16 {
        bf16::round(x)
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16(from) }
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(s: S, from: *const u16, count: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_first_bf16(from, count) }
    }
    // Numbers in bfloat16 are factors already, rounded or, where factors are exact, widened.
    #[inline(always)]
    unsafe fn along<K: Kind, S: Simd>(s: S, from: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if K::BF16 { s.load_along(from) } else { s.load_bf16(from) } }
    }
    #[inline(always)]
    unsafe fn across<K: Kind, S: Simd>(s: S, first: *const u16, second: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { if K::BF16 { s.load_across(first, second) } else { s.load_bf16(first) } }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut u16, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store_bf16(to, x) }
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(s: S, to: *mut u16, x: S::F, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { s.store_first_bf16(to, x, count) }
    }
    // Where words hold two steps, the processor rounds them by itself, and they stand as in memory.
    #[inline(always)]
    unsafe fn store_pair<K: Kind, S: Simd>(s: S, to: *mut u16, first: S::F, second: S::F) {
        // SAFETY: the caller's promise; two vectors of halves are one of words.
        unsafe {
            match K::steps::<S>() {
                2 => s.store(to.cast(), K::along(s, first, second)),
                _ => {
                    s.store_bf16(to, first);
                    s.store_bf16(to.add(S::LANES), second);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn store_one<K: Kind, S: Simd>(s: S, to: *mut u16, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe {
            match K::steps::<S>() {
                2 => s.store_first(to.cast(), K::along(s, x, x), S::LANES / 2),
                _ => s.store_bf16(to, x),
            }
        }
    }
    #[inline(always)]
    fn spare(count: usize) -> usize {
        count
    }
    #[inline(always)]
    fn floats<'a, S: Simd>(s: S, from: &'a [u16], spare: &'a mut [f32]) -> &'a [f32] {
        let spare = &mut spare[..from.len()];
        // SAFETY: both have as many numbers.
        unsafe { widen(s, from.as_ptr(), spare.as_mut_ptr(), from.len()) };
        spare
    }
    #[inline(always)]
    fn floats_mut<'a>(to: &'a mut [u16], spare: &'a mut [f32]) -> &'a mut [f32] {
        &mut spare[..to.len()]
    }
    #[inline(always)]
    fn settle<S: Simd>(s: S, spare: &[f32], to: &mut [u16]) {
        let spare = &spare[..to.len()];
        // SAFETY: both have as many numbers.
        unsafe { round(s, spare.as_ptr(), to.as_mut_ptr(), to.len()) };
    }
}

/// Copies numbers, as the `f32` that they are.
///
/// # Safety
/// Both are valid for `count` numbers.
#[inline(always)]
pub(crate) unsafe fn widen<S: Simd, T: Stored>(s: S, from: *const T, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { map!(s, count, to, [from], from) }
}

/// To the nearest, ties to even; NaN stays NaN.
///
/// # Safety
/// Both are valid for `count` numbers.
#[inline(always)]
pub(crate) unsafe fn round<S: Simd>(s: S, from: *const f32, to: *mut u16, count: usize) {
    // SAFETY: the caller's promise.
    unsafe { map!(s, count, to, [from], from) }
}
