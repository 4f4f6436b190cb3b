//! What a card does at most: large products and large copies, timed like the commands of a step.

use std::{sync::Arc, time::Duration};

use fer_engine::Limits;

use crate::{
    Element, Precision,
    device::{Command, Device, DeviceError, MatMul, Math, Matrix, Result},
    store::Memory,
};

/// Sides of square products, and bytes of copies, from the first to the last that is tried: the last are far more than caches hold.
const SIDES: [usize; 2] = [512, 8192];
const BYTES: [usize; 2] = [16 << 20, 1 << 30];

/// What takes longer than this is large enough.
const LONG: Duration = Duration::from_millis(20);

/// Times of one command; the best counts.
const TIMES: usize = 5;

/// Measures a device; for some tenths of a second.
///
/// # Errors
/// Those of the device, but for its memory: where there is no more, smaller products and copies count.
pub(crate) fn measure(device: &Arc<dyn Device>, precision: Precision) -> Result<Limits> {
    let (element, math, of) = match precision {
        Precision::F32 => (Element::F32, Math::Exact, "products of f32"),
        Precision::Tf32 => (Element::F32, Math::Tf32, "products of tf32"),
        Precision::Bf16 => (Element::Bf16, Math::Exact, "products of bf16"),
    };
    let flops = largest(SIDES, |side| {
        let places = [(); 3].map(|()| Memory::new(device, side * side * element.bytes()));
        let [a, b, c] = places;
        let (a, b, c) = (a?, b?, c?);
        // Some numbers, never zeros: those cost a card less.
        [&a, &b].into_iter().try_for_each(|memory| device.upload(memory.address, &numbers(memory.bytes, element)))?;
        let matrix = |memory: &Memory| Matrix {
            place: memory.address,
            offset: 0,
            element,
            transposed: false,
            stride: side,
            batch_stride: 0,
        };
        let (a, b, c) = (matrix(&a), matrix(&b), matrix(&c));
        let product = MatMul { m: side, n: side, k: side, batch: 1, a, b, c, bias: None, row_sums: None, math };
        Ok((best(device, Command::MatMul(product))?, 2.0 * (side as f64).powi(3)))
    })?;
    let bandwidth = largest(BYTES, |bytes| {
        let (from, to) = (Memory::new(device, bytes)?, Memory::new(device, bytes)?);
        let time = best(device, Command::Copy { from: from.address, to: to.address, bytes })?;
        Ok((time, 2.0 * bytes as f64))
    })?;
    Ok(Limits { flops, of, bandwidth })
}

/// What was done a second at the largest size that there is room for, or that takes long.
fn largest([first, last]: [usize; 2], run: impl Fn(usize) -> Result<(Duration, f64)>) -> Result<f64> {
    let (mut size, mut rate) = (first, 0.0);
    loop {
        match run(size) {
            Ok((time, done)) => {
                rate = done / time.as_secs_f64().max(1e-9);
                if size >= last || time >= LONG {
                    return Ok(rate);
                }
            }
            Err(DeviceError::OutOfMemory { .. }) if rate > 0.0 => return Ok(rate),
            Err(error) => return Err(error),
        }
        size *= 2;
    }
}

/// The shortest time of a command.
fn best(device: &Arc<dyn Device>, command: Command<u64>) -> Result<Duration> {
    let recording = device.record(&[], &[command])?;
    let mut best = Duration::MAX;
    for _ in 0..TIMES {
        recording.replay_timed(&mut |_, time| best = best.min(time))?;
        if best >= LONG {
            break;
        }
    }
    Ok(best)
}

/// Bytes of numbers from 1 to 2, with either sign.
fn numbers(bytes: usize, element: Element) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (kept, one) = match element {
        Element::Bf16 => (0x807f_807f_807f_807f, 0x3f80_3f80_3f80_3f80),
        _ => (0x807f_ffff_807f_ffff, 0x3f80_0000_3f80_0000),
    };
    (0..bytes / 8).flat_map(|_| (next() & kept | one).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_from_one_to_two() {
        let floats = numbers(4096, Element::F32);
        let halves = numbers(4096, Element::Bf16);
        let floats = floats.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let halves = halves.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32());
        let all: Vec<f32> = floats.chain(halves).collect();
        assert!(all.len() == 3072 && all.iter().all(|x| (1.0..2.0).contains(&x.abs())));
        assert!(all.iter().any(|x| *x < 0.0) && all.iter().any(|x| *x > 1.9));
    }

    /// Sizes grow until one takes long, or does not fit.
    #[test]
    fn the_largest_size_counts() {
        let rates = |fits: usize| {
            largest([1, 64], |size| match size <= fits {
                true => Ok((Duration::from_millis(size as u64), (size * size) as f64)),
                false => Err(DeviceError::OutOfMemory { wanted: size, free: 0, total: 0 }),
            })
        };
        assert_eq!(rates(64).map(f64::round), Ok(32_000.0), "32 takes longer than 20 ms");
        assert_eq!(rates(8).map(f64::round), Ok(8_000.0));
        assert!(rates(0).is_err());
    }
}
