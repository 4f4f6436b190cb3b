//! Standard normal numbers, a block at a time (Box & Muller 1958).
//!
//! A model of 50 million weights draws as many of them before its first step, so the functions here have no branches: compilers turn
//! the loops into vectors. They are those of FreeBSD's msun (which `libm` is a translation of), restricted to the arguments that occur,
//! and use nothing but sums, products, quotients and a square root, each rounded by itself: every machine gets the same bits.

use fer_engine::Philox;

/// Counters of a block; each gives two numbers.
pub const BLOCK: usize = 64;

/// Numbers that belong to counters under a key and a stream.
#[derive(Clone, Copy)]
pub struct Source {
    pub philox: Philox,
    pub stream: u64,
}

impl Source {
    /// Two numbers in `(0, 1)` for every counter: the midpoints of 2^52 equal cells, so that neither end is ever met.
    #[inline(always)]
    pub fn pair(self, i: u64) -> [f64; 2] {
        let [a, b, c, d] =
            self.philox.block([i as u32, (i >> 32) as u32, self.stream as u32, (self.stream >> 32) as u32]);
        [(a, b), (c, d)].map(|(high, low)| {
            let bits = (u64::from(high) << 32 | u64::from(low)) >> 12;
            (bits as f64 + 0.5) / (1u64 << 52) as f64
        })
    }

    /// The standard normal numbers of counters `first..first + BLOCK`, those of one beside each other.
    pub fn normals(self, first: u64, to: &mut [f64; 2 * BLOCK]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { wide(self, first, to) };
            return;
        }
        block(self, first, to);
    }
}

/// The same operations on wider vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn wide(source: Source, first: u64, to: &mut [f64; 2 * BLOCK]) {
    block(source, first, to);
}

#[inline(always)]
fn block(source: Source, first: u64, to: &mut [f64; 2 * BLOCK]) {
    let (mut radius, mut angle) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (i, (radius, angle)) in radius.iter_mut().zip(&mut angle).enumerate() {
        [*radius, *angle] = source.pair(first + i as u64);
    }
    for radius in &mut radius {
        *radius = (-2.0 * log(*radius)).sqrt();
    }
    let (mut cosine, mut sine) = ([0.0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        (cosine[i], sine[i]) = turn(2.0 * std::f64::consts::PI * angle[i]);
    }
    for (i, to) in to.chunks_exact_mut(2).enumerate() {
        to[0] = radius[i] * cosine[i];
        to[1] = radius[i] * sine[i];
    }
}

/// The natural logarithm of a normal number in `(0, 1)`.
#[inline(always)]
fn log(x: f64) -> f64 {
    // x = 2^k (1 + f) with 1 + f within sqrt(1/2) and sqrt(2).
    let bits = x.to_bits() + ((0x3ff0_0000 - 0x3fe6_a09e) << 32);
    // The exponent, put into the lowest bits of 2^52: vectors of 64-bit integers have no conversion of their own.
    let k = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
    let f = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + (0x3fe6_a09e << 32)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (LOG[1] + w * (LOG[3] + w * LOG[5]));
    let odd = z * (LOG[0] + w * (LOG[2] + w * (LOG[4] + w * LOG[6])));
    let half = 0.5 * f * f;
    s * (half + (odd + even)) + k * LN_2_LOW - half + f + k * LN_2_HIGH
}

const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
/// Of `(log(1 + s) - log(1 - s) - 2 s) / s`, in `s^2`.
const LOG: [f64; 7] = [
    f64::from_bits(0x3fe5_5555_5555_5593),
    f64::from_bits(0x3fd9_9999_9997_fa04),
    f64::from_bits(0x3fd2_4924_9422_9359),
    f64::from_bits(0x3fcc_71c5_1d8e_78af),
    f64::from_bits(0x3fc7_4664_96cb_03de),
    f64::from_bits(0x3fc3_9a09_d078_c69f),
    f64::from_bits(0x3fc2_f112_df3e_5244),
];

/// Cosine and sine of an angle within 0 and 7.
#[inline(always)]
fn turn(x: f64) -> (f64, f64) {
    // The nearest number n of quarter turns, in the lowest bits of a sum with 1.5 * 2^52; and what is left, as a sum of two.
    let shifted = x * std::f64::consts::FRAC_2_PI + 6_755_399_441_055_744.0;
    let n = shifted - 6_755_399_441_055_744.0;
    let (rest, small) = (x - n * QUARTER_HIGH, n * QUARTER_LOW);
    let y = rest - small;
    let low = (rest - y) - small;

    let z = y * y;
    let w = z * z;
    let r = SINE[1] + z * (SINE[2] + z * SINE[3]) + z * w * (SINE[4] + z * SINE[5]);
    let v = z * y;
    let sine = y - ((z * (0.5 * low - v * r) - low) - v * SINE[0]);
    let r = z * (COSINE[0] + z * (COSINE[1] + z * COSINE[2])) + w * w * (COSINE[3] + z * (COSINE[4] + z * COSINE[5]));
    let half = 0.5 * z;
    let w = 1.0 - half;
    let cosine = w + (((1.0 - w) - half) + (z * r - y * low));

    // Odd quarters swap the two; signs go by the half turn.
    let quarter = shifted.to_bits();
    let swap = 0u64.wrapping_sub(quarter & 1);
    let (s, c) = (sine.to_bits(), cosine.to_bits());
    let (s, c) = ((s & !swap) | (c & swap), (c & !swap) | (s & swap));
    let sign = |bits: u64| (bits >> 1 & 1) << 63;
    (f64::from_bits(c ^ sign(quarter + 1)), f64::from_bits(s ^ sign(quarter)))
}

/// A quarter turn: 33 bits of it, and what is left.
const QUARTER_HIGH: f64 = f64::from_bits(0x3ff9_21fb_5440_0000);
const QUARTER_LOW: f64 = f64::from_bits(0x3dd0_b461_1a62_6331);
const SINE: [f64; 6] = [
    f64::from_bits(0xbfc5_5555_5555_5549),
    f64::from_bits(0x3f81_1111_1110_f8a6),
    f64::from_bits(0xbf2a_01a0_19c1_61d5),
    f64::from_bits(0x3ec7_1de3_57b1_fe7d),
    f64::from_bits(0xbe5a_e5e6_8a2b_9ceb),
    f64::from_bits(0x3de5_d93a_5acf_d57c),
];
const COSINE: [f64; 6] = [
    f64::from_bits(0x3fa5_5555_5555_554c),
    f64::from_bits(0xbf56_c16c_16c1_5177),
    f64::from_bits(0x3efa_01a0_19cb_1590),
    f64::from_bits(0xbe92_7e4f_809c_52ad),
    f64::from_bits(0x3e21_ee9e_bdb4_b1c4),
    f64::from_bits(0xbda8_fae9_be88_38d4),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What `libm` gives for the same counters. Both are within an ulp or so of the truth; an angle near a multiple of the quarter turn
    /// is reduced to 85 bits here, which leaves 2^-85 of the quarter.
    #[test]
    fn numbers_are_those_of_libm() {
        let source = Source { philox: Philox::new(7), stream: 0x1234_5678_9abc };
        let mut found = [0.0; 2 * BLOCK];
        let mut same = 0;
        for first in (0..2000).map(|i| i * BLOCK as u64) {
            source.normals(first, &mut found);
            for (i, found) in found.chunks_exact(2).enumerate() {
                let [u, v] = source.pair(first + i as u64);
                let radius = libm::sqrt(-2.0 * libm::log(u));
                let angle = 2.0 * std::f64::consts::PI * v;
                for (found, truth) in [(found[0], radius * libm::cos(angle)), (found[1], radius * libm::sin(angle))] {
                    assert!((found - truth).abs() <= 4e-16 * truth.abs(), "{found} for {truth}");
                    same += usize::from(found as f32 == truth as f32);
                }
            }
        }
        // Rounded to f32, as they are used, they are the same numbers.
        assert_eq!(same, 2000 * 2 * BLOCK);
    }

    #[test]
    fn wide_vectors_give_the_same_bits() {
        let source = Source { philox: Philox::new(3), stream: 5 };
        let (mut plain, mut chosen) = ([0.0; 2 * BLOCK], [0.0; 2 * BLOCK]);
        for first in (0..200).map(|i| i * BLOCK as u64) {
            block(source, first, &mut plain);
            source.normals(first, &mut chosen);
            assert_eq!(plain.map(f64::to_bits), chosen.map(f64::to_bits));
        }
    }

    #[test]
    fn quarters_have_their_signs() {
        for i in 0..=28 {
            let angle = f64::from(i) * 0.25;
            let (cosine, sine) = turn(angle);
            assert!((cosine - libm::cos(angle)).abs() < 2e-16 && (sine - libm::sin(angle)).abs() < 2e-16, "{angle}");
        }
    }
}
