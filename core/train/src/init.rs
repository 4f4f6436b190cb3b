//! First values of parameters and states, drawn by name: the order in which a model is built never matters.

use std::collections::HashSet;

use fer_engine::{Data, Philox, Store, Tensor};
use fer_graph::{Argument, DType, Graph, Init, Role, TensorType};
use half::bf16;
use rayon::prelude::*;

use crate::{
    names::{EMA, averaged_name},
    normal::{BLOCK, Source},
};

/// An initialisation that cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name:?} ({ty}): {message}")]
pub struct InitError {
    pub name: String,
    pub ty: TensorType,
    pub message: String,
}

/// The first value of a parameter or state: a pure function of its name, type, distribution and the run's seed.
///
/// Floats are rounded to f32, so that engines of both precisions start alike. Nothing is computed that machines round differently.
///
/// # Errors
/// [`InitError`] when the distribution makes no sense, or its numbers do not fit an integer type.
pub fn initial_value(name: &str, ty: &TensorType, init: &Init, seed: u64) -> Result<Tensor, InitError> {
    let fail = |message| InitError { name: name.to_owned(), ty: ty.clone(), message };
    Init::from_parts(init.name(), &init.numbers()).map_err(&fail)?;
    let draws = source(seed, name);
    let whole = |low: f64, high: f64| {
        let values = values(init, &ty.shape, draws, |v| v).map_err(&fail)?;
        match values.iter().find(|v| v.fract() != 0.0 || !(low..=high).contains(v)) {
            Some(odd) => Err(fail(format!("{odd} is no {}", ty.dtype))),
            None => Ok(values),
        }
    };
    let data = match ty.dtype {
        DType::Float => Data::F32(values(init, &ty.shape, draws, |v| v as f32).map_err(&fail)?),
        DType::Bf16 => Data::F32(values(init, &ty.shape, draws, |v| bf16::from_f64(v).to_f32()).map_err(&fail)?),
        DType::I32 => {
            Data::I32(whole(f64::from(i32::MIN), f64::from(i32::MAX))?.into_iter().map(|v| v as i32).collect())
        }
        DType::U8 => Data::U8(whole(0.0, 255.0)?.into_iter().map(|v| v as u8).collect()),
        DType::Bool => Data::Bool(whole(0.0, 1.0)?.into_iter().map(|v| v == 1.0).collect()),
    };
    Ok(Tensor::new(ty.shape.clone(), data))
}

/// The numbers of a distribution, each as `to` makes it.
fn values<T: Clone>(init: &Init, shape: &[usize], draws: Source, to: impl Fn(f64) -> T) -> Result<Vec<T>, String> {
    let count = shape.iter().product();
    Ok(match init {
        Init::Zeros => vec![to(0.0); count],
        Init::Ones => vec![to(1.0); count],
        Init::Constant(v) => vec![to(*v); count],
        Init::Eye => match *shape {
            [.., rows, columns] => (0..count).map(|i| to(f64::from(i / columns % rows == i % columns))).collect(),
            _ => return Err("is the identity of fewer than two axes".into()),
        },
        Init::Values(v) if v.len() == count => v.iter().map(|&v| to(v)).collect(),
        Init::Values(v) => return Err(format!("starts from {} values", v.len())),
        Init::Uniform { low, high } => {
            (0..).flat_map(|i| draws.pair(i)).take(count).map(|u| to(low + (high - low) * u)).collect()
        }
        Init::Normal { mean, std } => normals(draws, count, |z| Some(to(mean + std * z))),
        Init::TruncNormal { mean, std, low, high } => normals(draws, count, |z| {
            let v = mean + std * z;
            (*low <= v && v <= *high).then(|| to(v))
        }),
    })
}

/// The first `count` standard normal numbers that `keep` makes something of.
fn normals<T>(draws: Source, count: usize, keep: impl Fn(f64) -> Option<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(count);
    let mut block = [0.0; 2 * BLOCK];
    let mut first = 0;
    while kept.len() < count {
        draws.normals(first, &mut block);
        first += BLOCK as u64;
        let left = count - kept.len();
        kept.extend(block.iter().filter_map(|&z| keep(z)).take(left));
    }
    kept
}

/// Writes the first value of every parameter and state of the graph that the store does not hold, and gives their names.
/// An averaged weight starts as a copy of what the store holds for the weight itself, pretrained or drawn.
///
/// # Errors
/// [`InitError`].
pub fn initialise(graph: &Graph, seed: u64, store: &mut dyn Store) -> Result<Vec<String>, InitError> {
    let held: HashSet<String> = store.names().into_iter().collect();
    // Averages last, since they copy.
    let (averages, own): (Vec<_>, Vec<_>) = graph
        .arguments
        .iter()
        .filter(|a| a.role != Role::Input && !held.contains(&a.name))
        .partition(|a| a.name.starts_with(EMA));
    // Each is a function of its name, so threads may share them; a few at a time, for they are held twice meanwhile.
    for together in own.chunks(TOGETHER) {
        let drawn: Vec<Result<Tensor, InitError>> =
            together.par_iter().map(|a| first_value(a, graph.ty(a.value), seed)).collect();
        for (argument, value) in together.iter().zip(drawn) {
            store.write(&argument.name, &value?);
        }
    }
    for argument in &averages {
        let ty = graph.ty(argument.value);
        let copied = averaged_name(&argument.name).and_then(|of| store.read(of)).filter(|t| t.shape == ty.shape);
        let value = match copied {
            Some(value) => value,
            None => first_value(argument, ty, seed)?,
        };
        store.write(&argument.name, &value);
    }
    Ok(own.into_iter().chain(averages).map(|a| a.name.clone()).collect())
}

/// Arguments that are drawn side by side.
const TOGETHER: usize = 16;

fn first_value(argument: &Argument, ty: &TensorType, seed: u64) -> Result<Tensor, InitError> {
    match &argument.init {
        Some(init) => initial_value(&argument.name, ty, init, seed),
        None => {
            let message = "has no initialisation".to_owned();
            Err(InitError { name: argument.name.clone(), ty: ty.clone(), message })
        }
    }
}

/// Sets the keys of initialisation apart from those of training, which are the seed itself.
const DOMAIN: u64 = 0x696e_6974_6961_6c00;

/// The numbers that belong to a name under a seed.
fn source(seed: u64, name: &str) -> Source {
    // FNV-1a: names only need to differ, Philox does the mixing.
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Source { philox: Philox::new(seed ^ DOMAIN), stream: hash }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::MemoryStore;

    const N: usize = 40_000;

    fn draw(name: &str, init: &Init, seed: u64) -> Vec<f64> {
        initial_value(name, &TensorType::float([N]), init, seed).unwrap().to_f64()
    }

    /// Mean, variance, fourth standardised moment.
    fn moments(v: &[f64]) -> (f64, f64, f64) {
        let n = v.len() as f64;
        let mean = v.iter().sum::<f64>() / n;
        let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean, var, v.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / n / (var * var))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Bounds are five standard errors for N numbers.
        #[test]
        fn distributions_have_their_moments(seed: u64, mean in -2.0..2.0f64, std in 0.01..3.0f64) {
            let (m, v, k) = moments(&draw("w", &Init::Normal { mean, std }, seed));
            prop_assert!((m - mean).abs() < 5.0 * std / (N as f64).sqrt());
            prop_assert!((v / (std * std) - 1.0).abs() < 5.0 * (2.0 / N as f64).sqrt());
            prop_assert!((k - 3.0).abs() < 5.0 * (24.0 / N as f64).sqrt());
            let (low, high) = (mean - std, mean + std);
            let u = draw("w", &Init::Uniform { low, high }, seed);
            prop_assert!(u.iter().all(|x| (low as f32..=high as f32).contains(&(*x as f32))));
            let (m, v, k) = moments(&u);
            prop_assert!((m - mean).abs() < 5.0 * std / (3.0 * N as f64).sqrt());
            prop_assert!((v * 3.0 / (std * std) - 1.0).abs() < 5.0 * (0.8 / N as f64).sqrt());
            prop_assert!((k - 1.8).abs() < 0.05);
        }

        /// A standard normal cut at +-1 has variance 1 - 2 phi(1) / (Phi(1) - Phi(-1)) = 0.29112.
        #[test]
        fn truncation_truncates(seed: u64) {
            let t = draw("w", &Init::TruncNormal { mean: 0.0, std: 1.0, low: -1.0, high: 1.0 }, seed);
            prop_assert!(t.iter().all(|x| x.abs() <= 1.0));
            let (m, v, _) = moments(&t);
            prop_assert!(m.abs() < 5.0 * (0.2911 / N as f64).sqrt());
            prop_assert!((v - 0.29112).abs() < 0.01);
        }

        #[test]
        fn names_and_seeds_are_independent(seed: u64) {
            let init = Init::Normal { mean: 0.0, std: 1.0 };
            let one = draw("a.weight", &init, seed);
            for other in [draw("b.weight", &init, seed), draw("a.weight", &init, seed.wrapping_add(1))] {
                let correlation = one.iter().zip(&other).map(|(x, y)| x * y).sum::<f64>() / N as f64;
                prop_assert!(correlation.abs() < 5.0 / (N as f64).sqrt());
            }
            prop_assert_eq!(&one, &draw("a.weight", &init, seed));
        }
    }

    /// The values themselves are part of what makes a run repeatable: a change here changes every experiment.
    #[test]
    fn drawn_values_are_pinned() {
        let ty = TensorType::float([3]);
        let v = initial_value("w", &ty, &Init::Normal { mean: 0.0, std: 1.0 }, 1111).unwrap();
        assert_eq!(v.to_f32(), PINNED_NORMAL);
        let v = initial_value("w", &ty, &Init::Uniform { low: 0.0, high: 1.0 }, 1111).unwrap();
        assert_eq!(v.to_f32(), PINNED_UNIFORM);
    }

    /// From an independent Philox in Python.
    const PINNED_NORMAL: [f32; 3] = [0.25256935, 1.2880243, -0.4580775];
    const PINNED_UNIFORM: [f32; 3] = [0.42257056, 0.21918225, 0.89993685];

    #[test]
    fn nonsense_is_refused() {
        let ty = TensorType::float([2]);
        for init in [
            Init::TruncNormal { mean: 0.0, std: 1.0, low: 5.0, high: 6.0 },
            Init::Values(vec![1.0].into()),
            Init::Constant(f64::NAN),
            Init::Normal { mean: 0.0, std: -1.0 },
        ] {
            assert!(initial_value("w", &ty, &init, 0).unwrap_err().to_string().contains("\"w\""));
        }
        assert!(initial_value("n", &TensorType::new(DType::U8, [2]), &Init::Constant(0.5), 0).is_err());
        assert!(initial_value("n", &ty, &Init::Eye, 0).is_err());
    }

    #[test]
    fn the_identity_is_over_the_last_two_axes() {
        let of = |shape: &[usize]| initial_value("v", &TensorType::float(shape), &Init::Eye, 0).unwrap().to_f64();
        assert_eq!(of(&[2, 3]), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(of(&[2, 2, 2]), [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_store_is_filled_in_any_order_alike() {
        let normal = Init::Normal { mean: 0.0, std: 1.0 };
        let graph = |names: &[&str]| {
            let b = fer_graph::Builder::new("t");
            for name in names {
                b.argument(name, Role::State, TensorType::float([4]), Some(normal.clone())).unwrap();
            }
            b.finish()
        };
        let (mut one, mut two) = (MemoryStore::default(), MemoryStore::default());
        let written = initialise(&graph(&["ema.a", "a", "b"]), 7, &mut one).unwrap();
        assert_eq!(written, ["a", "b", "ema.a"]);
        initialise(&graph(&["b", "a"]), 7, &mut two).unwrap();
        assert_eq!((one.read("a"), one.read("b")), (two.read("a"), two.read("b")));
        assert_eq!(one.read("ema.a"), one.read("a"));
        assert_ne!(one.read("a"), one.read("b"));
        one.write("a", &Tensor::f32([4], vec![0.0; 4]));
        assert!(initialise(&graph(&["a", "ema.a"]), 7, &mut one).unwrap().is_empty());
        assert_eq!(one.read("a").unwrap().to_f64(), [0.0; 4]);
    }
}
