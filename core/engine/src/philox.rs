//! Philox 4x32-10 (Salmon et al. 2011): random numbers as a pure function of a counter and a key.

/// The generator under a 64-bit key.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    pub fn new(seed: u64) -> Philox {
        Philox { key: [seed as u32, (seed >> 32) as u32] }
    }

    /// Four independent 32-bit numbers for a counter.
    #[inline]
    pub fn block(self, mut counter: [u32; 4]) -> [u32; 4] {
        let mut key = self.key;
        for _ in 0..10 {
            let a = u64::from(counter[0]) * 0xD251_1F53;
            let b = u64::from(counter[2]) * 0xCD9E_8D57;
            counter =
                [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        counter
    }
}

/// The `count` numbers in `[0, 1)` that `rng_uniform` gives for `key = [seed low, seed high, step]` and a stream.
/// Each has 24 bits, so that f32 and f64 hold the same number.
pub fn uniform(key: [i32; 3], stream: u32, count: usize) -> impl Iterator<Item = f64> {
    let philox = Philox { key: [key[0] as u32, key[1] as u32] };
    (0..count.div_ceil(4))
        .flat_map(move |i| philox.block([i as u32, (i as u64 >> 32) as u32, stream, key[2] as u32]))
        .take(count)
        .map(|bits| f64::from(bits >> 8) / f64::from(1u32 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        let zero = Philox { key: [0, 0] }.block([0; 4]);
        assert_eq!(zero, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Philox { key: [u32::MAX; 2] }.block([u32::MAX; 4]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Philox { key: [0xa409_3822, 0x299f_31d0] }.block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn uniform_numbers_are_spread() {
        let v: Vec<f64> = uniform([1, 2, 3], 4, 10_001).collect();
        assert_eq!(v.len(), 10_001);
        assert!(v.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        // The standard error of the mean is 0.0029.
        assert!((mean - 0.5).abs() < 0.012, "{mean}");
        assert_ne!(v[..8], uniform([1, 2, 4], 4, 8).collect::<Vec<_>>()[..]);
    }
}
