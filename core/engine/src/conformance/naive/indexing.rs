//! Moves, reductions, products and indexing by their definition: each element of the result from its index.

use fer_graph::{Attributes, ops::DotAxes};

use super::{Array, each_index};

pub fn transpose(x: &Array, permutation: &[usize]) -> Array {
    let shape: Vec<usize> = permutation.iter().map(|&a| x.shape[a]).collect();
    Array::from_fn(&shape, |index| {
        let mut source = vec![0; index.len()];
        for (i, &axis) in permutation.iter().enumerate() {
            source[axis] = index[i];
        }
        x.at(&source)
    })
}

pub fn broadcast_in_dim(x: &Array, shape: &[usize], dimensions: &[usize]) -> Array {
    Array::from_fn(shape, |index| {
        let source: Vec<usize> =
            dimensions.iter().zip(&x.shape).map(|(&axis, &size)| if size == 1 { 0 } else { index[axis] }).collect();
        x.at(&source)
    })
}

pub fn slice(x: &Array, shape: &[usize], start: &[usize], strides: &[usize]) -> Array {
    Array::from_fn(shape, |index| {
        let source: Vec<usize> = (0..index.len()).map(|a| start[a] + index[a] * strides[a]).collect();
        x.at(&source)
    })
}

pub fn pad(x: &Array, shape: &[usize], attributes: &Attributes) -> Array {
    let (low, interior) = (attributes.sizes("low"), attributes.sizes("interior"));
    let mut padded = Array::from_fn(shape, |_| attributes.float("value"));
    each_index(&x.shape, |index| {
        let target: Vec<usize> = (0..index.len()).map(|a| low[a] + index[a] * (interior[a] + 1)).collect();
        *padded.at_mut(&target) = x.at(index);
    });
    padded
}

pub fn concatenate(parts: &[&Array], shape: &[usize], axis: usize) -> Array {
    Array::from_fn(shape, |index| {
        let mut index = index.to_vec();
        for part in parts {
            if index[axis] < part.shape[axis] {
                return part.at(&index);
            }
            index[axis] -= part.shape[axis];
        }
        unreachable!("the parts fill the axis")
    })
}

pub fn reduce(x: &Array, shape: &[usize], axes: &[usize], start: f64, join: fn(f64, f64) -> f64) -> Array {
    let mut result = Array::from_fn(shape, |_| start);
    each_index(&x.shape, |index| {
        let kept: Vec<usize> = (0..index.len()).filter(|a| !axes.contains(a)).map(|a| index[a]).collect();
        let slot = result.at_mut(&kept);
        *slot = join(*slot, x.at(index));
    });
    result
}

pub fn dot_general(x: &Array, y: &Array, shape: &[usize], attributes: &Attributes) -> Array {
    let axes = DotAxes::of(attributes);
    let x_free = DotAxes::free(x.shape.len(), &axes.lhs_batch, &axes.lhs_contract);
    let y_free = DotAxes::free(y.shape.len(), &axes.rhs_batch, &axes.rhs_contract);
    let contracted: Vec<usize> = axes.lhs_contract.iter().map(|&a| x.shape[a]).collect();
    let batch = axes.lhs_batch.len();
    Array::from_fn(shape, |index| {
        let (mut xi, mut yi) = (vec![0; x.shape.len()], vec![0; y.shape.len()]);
        for (i, (&a, &b)) in axes.lhs_batch.iter().zip(&axes.rhs_batch).enumerate() {
            (xi[a], yi[b]) = (index[i], index[i]);
        }
        x_free.iter().enumerate().for_each(|(i, &a)| xi[a] = index[batch + i]);
        y_free.iter().enumerate().for_each(|(i, &a)| yi[a] = index[batch + x_free.len() + i]);
        let mut sum = 0.0;
        each_index(&contracted, |k| {
            for (i, (&a, &b)) in axes.lhs_contract.iter().zip(&axes.rhs_contract).enumerate() {
                (xi[a], yi[b]) = (k[i], k[i]);
            }
            sum += x.at(&xi) * y.at(&yi);
        });
        sum
    })
}

/// Splits an index of gather's result into the index of `indices` and the rest.
fn split(index: &[usize], axis: usize, rank: usize) -> (Vec<usize>, Vec<usize>) {
    let inner = index[axis..axis + rank].to_vec();
    let rest = index[..axis].iter().chain(&index[axis + rank..]).copied().collect();
    (inner, rest)
}

fn clamped(index: f64, size: usize) -> usize {
    index.clamp(0.0, (size - 1) as f64) as usize
}

pub fn gather(x: &Array, indices: &Array, shape: &[usize], axis: usize) -> Array {
    Array::from_fn(shape, |index| {
        let (which, mut source) = split(index, axis, indices.shape.len());
        source.insert(axis, clamped(indices.at(&which), x.shape[axis]));
        x.at(&source)
    })
}

pub fn scatter_add(indices: &Array, updates: &Array, shape: &[usize], axis: usize) -> Array {
    let mut result = Array::zeros(shape);
    each_index(&updates.shape, |index| {
        let (which, mut target) = split(index, axis, indices.shape.len());
        target.insert(axis, clamped(indices.at(&which), shape[axis]));
        *result.at_mut(&target) += updates.at(index);
    });
    result
}
