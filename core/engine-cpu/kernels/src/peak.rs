//! What the machine can do at most: the measure that kernels are held against.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use rayon::prelude::*;

use crate::simd::{Isa, Kernel, Simd};

/// Sums that do not wait for each other: more than any processor's latency times its units, fewer than its registers.
const CHAINS: usize = 12;

/// Operations a second of fused multiply-adds in registers, on all threads; a multiply-add is two. Takes about as long as asked.
pub fn flops(isa: Isa, duration: Duration) -> f64 {
    best(duration, || {
        let done: u64 = rayon::broadcast(|_| isa.run(Chains)).into_iter().sum();
        done as f64
    })
}

/// Bytes a second that are read and written when large blocks are copied, on all threads.
pub fn bandwidth(duration: Duration) -> f64 {
    // Far more than the caches hold.
    let count = 16 << 20;
    let from = vec![1.0f32; count];
    let mut to = vec![0.0f32; count];
    let share = count.div_ceil(rayon::current_num_threads());
    best(duration, || {
        let parts = to.par_chunks_mut(share).zip(from.par_chunks(share));
        parts.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
        (2 * count * size_of::<f32>()) as f64
    })
}

/// The greatest amount a second of several runs within the time.
fn best(duration: Duration, mut run: impl FnMut() -> f64) -> f64 {
    run();
    let began = Instant::now();
    let mut best = 0.0f64;
    while best == 0.0 || began.elapsed() < duration {
        let start = Instant::now();
        let done = run();
        best = best.max(done / start.elapsed().as_secs_f64());
    }
    best
}

struct Chains;

impl Kernel for Chains {
    type Output = u64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        const STEPS: usize = 1 << 18;
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut sums = [s.splat(black_box(1.0)); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        let total = sums.into_iter().map(|sum| s.sum(sum)).sum::<f32>();
        black_box(total);
        (2 * STEPS * CHAINS * S::LANES) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_does_something() {
        let moment = Duration::from_millis(1);
        for isa in Isa::available() {
            assert!(flops(isa, moment) > 1e6, "{isa}");
        }
        assert!(bandwidth(moment) > 1e6);
    }
}
