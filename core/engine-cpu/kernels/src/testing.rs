//! What tests of several kernels share.

/// Numbers that do not repeat.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 20
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    /// In -1..1.
    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() & 0xff_ffff) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}

/// Asserts that one, two and three threads compute the same bits.
pub fn same_for_any_threads(what: &str, compute: impl Fn() -> Vec<f32> + Sync) {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(&compute).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = with(1);
    assert!(with(2) == one && with(3) == one, "{what}");
}

/// Asserts that all numbers are within `tolerance` of the truth, relative where that is beyond 1; NaN only for NaN.
pub fn assert_near(found: &[f32], truth: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), truth.len(), "{what}");
    for (i, (&f, &t)) in found.iter().zip(truth).enumerate() {
        // Infinities have no difference.
        let same = f64::from(f) == t || (f.is_nan() && t.is_nan());
        let near = same || (f64::from(f) - t).abs() <= tolerance * t.abs().max(1.0);
        assert!(near, "{what}: element {i} is {f}, not {t}");
    }
}
