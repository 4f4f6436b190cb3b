//! What kernels over rows share: loops over vectors and their rest, and how rows are cut into tasks.

use crate::{numbers::Stored, product::Rows, simd::Simd};

/// Numbers of a task, about.
pub const TASK: usize = 1 << 15;

/// The numbers of lanes.
static LANES: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

/// The first `count` lanes.
#[inline(always)]
pub fn first_lanes<S: Simd>(s: S, count: usize) -> S::M {
    // SAFETY: no vector has more lanes.
    let lanes = unsafe { s.load(LANES.as_ptr()) };
    s.lt(lanes, s.splat(count as f32))
}

/// The first `lanes` lanes of a vector, zeros after them.
///
/// # Safety
/// `from` is valid for so many reads; they are at most a vector's.
#[inline(always)]
pub unsafe fn load<S: Simd, T: Stored>(s: S, from: *const T, lanes: usize) -> S::F {
    // SAFETY: the caller's promise.
    unsafe { if lanes == S::LANES { T::load(s, from) } else { T::load_first(s, from, lanes) } }
}

/// # Safety
/// `to` is valid for so many writes; they are at most a vector's.
#[inline(always)]
pub unsafe fn store<S: Simd>(s: S, to: *mut f32, x: S::F, lanes: usize) {
    // SAFETY: the caller's promise.
    unsafe { if lanes == S::LANES { s.store(to, x) } else { s.store_first(to, x, lanes) } }
}

/// # Panics
/// When `count` rows of `width` do not lie within `len` elements.
pub fn check_rows(rows: Rows<'_>, count: usize, width: usize, len: usize, name: &str) {
    let end = rows.end(count);
    assert!(
        end == 0 || width == 0 || end - 1 + width <= len,
        "{name}: {count} rows of {width} do not lie within {len} elements"
    );
}

/// Folds vectors of one or more rows of `$count` numbers, given by their pointers, into one: `$step` makes the next value of the last.
/// Four registers take turns, `$merge` joins them. Lanes behind the end do not count. Rows are of anything that is
/// [`Stored`](crate::numbers::Stored).
macro_rules! fold {
    ($s:ident, $count:expr, $start:expr, [$($x:ident),+], |$last:ident| $step:expr, |$a:ident, $b:ident| $merge:expr) => {{
        let count = $count;
        let mut folded = [$s.splat($start); 4];
        let mut at = 0;
        while at + 4 * S::LANES <= count {
            for (i, folded) in folded.iter_mut().enumerate() {
                $(let $x = $crate::numbers::Stored::load($s, $x.add(at + i * S::LANES));)+
                let $last = *folded;
                *folded = $step;
            }
            at += 4 * S::LANES;
        }
        while at + S::LANES <= count {
            $(let $x = $crate::numbers::Stored::load($s, $x.add(at));)+
            let $last = folded[0];
            folded[0] = $step;
            at += S::LANES;
        }
        if at < count {
            let left = count - at;
            $(let $x = $crate::numbers::Stored::load_first($s, $x.add(at), left);)+
            let $last = folded[1];
            folded[1] = $s.select($crate::vectors::first_lanes($s, left), $step, $last);
        }
        let ($a, $b) = (folded[0], folded[1]);
        let first = $merge;
        let ($a, $b) = (folded[2], folded[3]);
        let second = $merge;
        let ($a, $b) = (first, second);
        $merge
    }};
}

/// The sum of `$step` as a number, see [`fold`].
macro_rules! sum {
    ($s:ident, $count:expr, [$($x:ident),+], |$last:ident| $step:expr) => {{
        let sum = $crate::vectors::fold!($s, $count, 0.0, [$($x),+], |$last| $step, |a, b| $s.add(a, b));
        $s.sum(sum)
    }};
}

/// Writes `$result` of vectors of one or more rows of `$count` numbers, all given by their pointers.
macro_rules! map {
    ($s:ident, $count:expr, $to:expr, [$($x:ident),+], $result:expr) => {{
        let (count, to) = ($count, $to);
        let mut at = 0;
        while at + S::LANES <= count {
            $(let $x = $crate::numbers::Stored::load($s, $x.add(at));)+
            $crate::numbers::Stored::store($s, to.add(at), $result);
            at += S::LANES;
        }
        if at < count {
            let left = count - at;
            $(let $x = $crate::numbers::Stored::load_first($s, $x.add(at), left);)+
            $crate::numbers::Stored::store_first($s, to.add(at), $result, left);
        }
    }};
}

pub(crate) use {fold, map, sum};

/// What tests of these kernels share.
#[cfg(test)]
pub mod testing {
    use crate::{bf16, numbers::NumbersMut};

    /// Numbers in -1..1 that do not repeat.
    pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Numbers rounded to bfloat16, and what they stand for then.
    pub fn halves(x: &[f32]) -> (Vec<u16>, Vec<f32>) {
        x.iter().map(|&x| bf16::round(x)).map(|half| (half, bf16::widen(half))).unzip()
    }

    /// What `write` writes: `count` numbers of `f32`, or what those in bfloat16 stand for. Nothing behind them is touched.
    pub fn written(count: usize, in_bf16: bool, write: impl FnOnce(NumbersMut<'_>)) -> Vec<f32> {
        let all: Vec<f32> = if in_bf16 {
            let mut y = vec![bf16::round(7.0); count + 16];
            write((&mut y[..count]).into());
            y.into_iter().map(bf16::widen).collect()
        } else {
            let mut y = vec![7.0; count + 16];
            write((&mut y[..count]).into());
            y
        };
        assert_eq!(all[count..], [7.0; 16], "behind the end");
        all[..count].to_vec()
    }

    /// Relative to the largest of all that are finite; NaN stands for NaN.
    pub fn assert_near(found: &[f32], truth: &[f64], tolerance: f64, what: &str) {
        assert_eq!(found.len(), truth.len(), "{what}");
        let largest = truth.iter().filter(|t| t.is_finite()).fold(0.0, |m: f64, t| m.max(t.abs()));
        for (i, (&f, &t)) in found.iter().zip(truth).enumerate() {
            let near = (f64::from(f) - t).abs() <= tolerance * largest;
            let same = f.is_nan() && t.is_nan() || f64::from(f) == t;
            assert!(near || same, "{what}: {f} for {t} at {i}, the largest {largest}");
        }
    }

    /// How many threads there are changes no bit of what `run` returns.
    pub fn assert_threads_change_no_bit(what: &str, run: impl Fn() -> Vec<f32> + Send + Sync) {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(&run).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let one = with(1);
        assert!(with(2) == one && with(3) == one, "{what}");
    }
}
