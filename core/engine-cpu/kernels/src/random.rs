//! Uniform numbers from Philox 4x32-10 (Salmon et al. 2011), a pure function of key, stream and element.

use rayon::prelude::*;

use crate::simd::{Isa, Kernel, Simd};

/// Counters that go by side by side, so that the compiler puts them into lanes.
const LANES: usize = 16;
/// Numbers of a task; whole groups of counters.
const TASK: usize = 1 << 14;

/// The ten rounds on counters `[i, i >> 32, stream, step]` from `first` on.
#[inline(always)]
fn blocks<const N: usize>(key: [i32; 3], stream: u32, first: u64) -> [[u32; N]; 4] {
    let counters: [u64; N] = std::array::from_fn(|i| first + i as u64);
    rounds(
        [key[0] as u32, key[1] as u32],
        [counters.map(|i| i as u32), counters.map(|i| (i >> 32) as u32), [stream; N], [key[2] as u32; N]],
    )
}

#[inline(always)]
fn rounds<const N: usize>(mut key: [u32; 2], mut counter: [[u32; N]; 4]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let [w0, w1, w2, w3] = &mut counter;
        for (((w0, w1), w2), w3) in w0.iter_mut().zip(w1).zip(w2).zip(w3) {
            let a = u64::from(*w0) * 0xD251_1F53;
            let b = u64::from(*w2) * 0xCD9E_8D57;
            *w0 = (b >> 32) as u32 ^ *w1 ^ key[0];
            *w1 = b as u32;
            *w2 = (a >> 32) as u32 ^ *w3 ^ key[1];
            *w3 = a as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Numbers in [0, 1) of 24 bits for `key = [seed low, seed high, step]`: four of each counter, in order.
///
/// They are the same with every instruction set.
pub fn uniform(key: [i32; 3], stream: u32, to: &mut [f32]) {
    let isa = Isa::best();
    to.par_chunks_mut(TASK).enumerate().for_each(|(task, to)| {
        isa.run(Fill { key, stream, first: (task * TASK / 4) as u64, to });
    });
}

struct Fill<'a> {
    key: [i32; 3],
    stream: u32,
    first: u64,
    to: &'a mut [f32],
}

impl Kernel for Fill<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (group, to) in self.to.chunks_mut(4 * LANES).enumerate() {
            let words = blocks::<LANES>(self.key, self.stream, self.first + (group * LANES) as u64);
            // 24 bits are exact, and so is their part of 2^24.
            let unit = |bits: u32| (bits >> 8) as i32 as f32 * (1.0 / (1 << 24) as f32);
            if let Ok(to) = <&mut [f32; 4 * LANES]>::try_from(&mut *to) {
                for i in 0..LANES {
                    (0..4).for_each(|word| to[4 * i + word] = unit(words[word][i]));
                }
            } else {
                to.iter_mut().enumerate().for_each(|(i, x)| *x = unit(words[i % 4][i / 4]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        let block = |key, counter: [u32; 4]| rounds::<1>(key, counter.map(|c| [c])).map(|[c]| c);
        assert_eq!(block([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([u32::MAX; 2], [u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = block([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn each_number_is_of_its_counter() {
        for count in [0, 1, 3, 4, 63, 64, 65, 40_003] {
            let (key, stream) = ([-5, 77, i32::MIN], 9);
            let mut to = vec![f32::NAN; count];
            uniform(key, stream, &mut to);
            for (i, &x) in to.iter().enumerate() {
                let words = rounds::<1>([key[0] as u32, 77], [[(i / 4) as u32], [0], [stream], [key[2] as u32]]);
                let exact = f64::from(words[i % 4][0] >> 8) / f64::from(1u32 << 24);
                assert!(f64::from(x) == exact && (0.0..1.0).contains(&x), "{i} of {count}");
            }
        }
    }

    #[test]
    fn counters_have_64_bits() {
        let words = blocks::<2>([1, 2, 3], 4, u64::from(u32::MAX));
        assert_eq!(words.map(|w| w[0]), rounds::<1>([1, 2], [[u32::MAX], [0], [4], [3]]).map(|[w]| w));
        assert_eq!(words.map(|w| w[1]), rounds::<1>([1, 2], [[0], [1], [4], [3]]).map(|[w]| w));
    }
}
