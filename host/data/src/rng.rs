//! Philox4x32-10, a counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A draw is a pure function of (seed, purpose, coordinates, position), so what a sample gets depends neither on the
//! number of threads nor on what was drawn before it, and a resumed run needs no saved generator state.

/// What a stream of draws is for. Streams of different purposes never overlap.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Purpose {
    Order = 1,
    Augment = 2,
    HoldOut = 3,
    FaceClass = 4,
    Face = 5,
    FaceNoise = 6,
    Votes = 7,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of four words: ten Philox rounds over a counter.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// A stream of random numbers addressed by seed, purpose and up to three coordinates.
#[derive(Clone, Debug)]
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Draws {
    /// The stream of `purpose` at coordinates (`a`, `b`, `c`); `c` is used modulo 2^24.
    pub fn new(seed: u64, purpose: Purpose, a: u32, b: u32, c: u32) -> Self {
        let last = (purpose as u32) << 24 | (c & 0x00FF_FFFF);
        Self { key: [seed as u32, (seed >> 32) as u32], counter: [0, a, b, last], block: [0; 4], used: 4 }
    }

    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in [0, 1) with 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.word() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform between two bounds.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer below `n`; `n` must be positive. The bias is below n / 2^32.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f32 {
        let u = 1.0 - self.unit();
        let v = self.unit();
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution.
    #[test]
    fn philox_matches_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn draws_have_the_right_moments_and_streams_differ() {
        let mut draws = Draws::new(7, Purpose::Face, 1, 2, 3);
        let n = 20_000;
        let values: Vec<f32> = (0..n).map(|_| draws.normal()).collect();
        let mean = values.iter().sum::<f32>() / n as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let first = |purpose, a| Draws::new(7, purpose, a, 0, 0).word();
        assert_ne!(first(Purpose::Order, 0), first(Purpose::Augment, 0));
        assert_ne!(first(Purpose::Order, 0), first(Purpose::Order, 1));
    }
}
