//! Index maps: how a value's elements stand in the memory of another, after slices, transpositions, reshapes, broadcasts and joins.
//!
//! A map is strided as long as that can be said, each axis made of parts of its own stride (a reshape may split and join axes);
//! where it cannot, because an axis was rotated, it becomes a table of where runs of neighbouring elements begin.

use std::sync::Arc;

/// A part of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    size: usize,
    stride: usize,
}

/// Where the elements of a value of some shape stand.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    shape: Vec<usize>,
    map: Map,
}

#[derive(Clone, Debug, PartialEq)]
enum Map {
    /// For each axis its parts, the outermost first.
    Strided { axes: Vec<Vec<Part>>, offset: usize },
    /// In row-major order, where each run of `run` elements begins.
    Table { run: usize, starts: Arc<[u32]> },
}

/// A table has at least this many elements for each entry: beyond that, to copy the value costs less than to follow it.
const SHORTEST_RUN: usize = 8;

/// A value seen as rows: `rows.len()` of them, `width` elements each, one behind the other or all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMap {
    pub width: usize,
    /// 1, or 0 where a row repeats one element.
    pub step: usize,
    pub starts: Starts,
}

/// Where rows begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Starts {
    /// Row i at `offset + i * stride`.
    Every {
        offset: usize,
        stride: usize,
        count: usize,
    },
    At(Arc<[u32]>),
}

impl Starts {
    pub fn len(&self) -> usize {
        match self {
            Starts::Every { count, .. } => *count,
            Starts::At(starts) => starts.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tidied: an even table becomes a stride.
    fn of(starts: Vec<usize>) -> Starts {
        let stride = match starts[..] {
            [first, second, ..] => second.wrapping_sub(first),
            _ => 0,
        };
        if starts.windows(2).all(|w| w[1].wrapping_sub(w[0]) == stride) && stride < 1 << 40 {
            return Starts::Every { offset: starts[0], stride, count: starts.len() };
        }
        Starts::At(starts.into_iter().map(|s| s as u32).collect())
    }
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().product()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl View {
    /// Row-major, from the beginning on.
    pub fn dense(shape: &[usize]) -> View {
        let mut stride = 1;
        let mut axes: Vec<Vec<Part>> = shape
            .iter()
            .rev()
            .map(|&size| {
                let part = Part { size, stride };
                stride *= size;
                vec![part]
            })
            .collect();
        axes.reverse();
        View { shape: shape.to_vec(), map: Map::Strided { axes, offset: 0 } }
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn elements(&self) -> usize {
        product(&self.shape)
    }

    /// Whether the elements stand as in a value of their own, as long as `source`.
    pub fn is_dense(&self, source: usize) -> bool {
        self.elements() == source
            && match &self.map {
                Map::Strided { axes, offset } => *offset == 0 && run(axes) == source,
                Map::Table { run, starts } => starts.iter().enumerate().all(|(i, &s)| s as usize == i * run),
            }
    }

    /// Whether both see the same elements in the same order, however their axes are made up.
    pub fn sees_as(&self, other: &View) -> bool {
        match (self.strides(), other.strides()) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => self.elements() == other.elements() && self.offsets() == other.offsets(),
        }
    }

    /// The same elements in row-major order under another shape.
    pub fn reshape(&self, shape: &[usize]) -> View {
        let reshaped = match &self.map {
            Map::Strided { axes, offset } => regroup(axes, shape).map(|axes| Map::Strided { axes, offset: *offset }),
            Map::Table { .. } => Some(self.map.clone()),
        };
        let map = reshaped.unwrap_or_else(|| self.tabled(1).map);
        View { shape: shape.to_vec(), map }
    }

    /// Axis i of the result is axis `permutation[i]`. `None` where a table would be too fine.
    pub fn transpose(&self, permutation: &[usize]) -> Option<View> {
        let shape: Vec<usize> = permutation.iter().map(|&a| self.shape[a]).collect();
        match &self.map {
            Map::Strided { axes, offset } => {
                let axes = permutation.iter().map(|&a| axes[a].clone()).collect();
                Some(View { shape, map: Map::Strided { axes, offset: *offset } })
            }
            Map::Table { run, .. } => {
                let kept = permutation.iter().enumerate().rev().take_while(|(i, a)| i == *a).count();
                let split = permutation.len() - kept;
                let inner = gcd(*run, product(&self.shape[split..]));
                let (run, starts) = self.table(inner)?;
                let rest = product(&self.shape[split..]) / run;
                let mut from: Vec<usize> = self.shape[..split].to_vec();
                from.push(rest);
                let mut order: Vec<usize> = permutation[..split].to_vec();
                order.push(split);
                let starts = permuted(&starts, &from, &order);
                Some(View { shape, map: Map::Table { run, starts: starts.into() } })
            }
        }
    }

    /// `None` where a table would be too fine.
    pub fn slice(&self, start: &[usize], limit: &[usize], strides: &[usize]) -> Option<View> {
        let shape: Vec<usize> = (0..start.len()).map(|a| (limit[a] - start[a]).div_ceil(strides[a])).collect();
        if let Map::Strided { axes, offset } = &self.map {
            let (mut cut, mut offset) = (vec![], *offset);
            for (a, parts) in axes.iter().enumerate() {
                let whole = start[a] == 0 && shape[a] == self.shape[a];
                match parts[..] {
                    _ if whole => cut.push(parts.clone()),
                    [Part { stride, .. }] => {
                        offset += start[a] * stride;
                        cut.push(vec![Part { size: shape[a], stride: stride * strides[a] }]);
                    }
                    _ => return self.tabled(1).slice(start, limit, strides),
                }
            }
            return Some(View { shape, map: Map::Strided { axes: cut, offset } });
        }
        let Map::Table { run, .. } = self.map else { return None };
        // The innermost axis that is cut decides how long runs can stay.
        let cut = (0..shape.len()).rev().find(|&a| shape[a] != self.shape[a] || strides[a] != 1);
        let inner = match cut {
            None => run,
            Some(a) => {
                let below = product(&self.shape[a + 1..]);
                let even = if strides[a] == 1 { gcd(gcd(start[a], limit[a]), self.shape[a]) } else { 1 };
                gcd(run, below * even)
            }
        };
        let (run, starts) = self.table(inner)?;
        // Runs as an axis of their own: the element's place in its run never changes.
        let mut picked = Vec::with_capacity(product(&shape) / run);
        let mut index = vec![0; shape.len()];
        let steps = crate::view::steps(&self.shape);
        let mut element = 0;
        while element < product(&shape) {
            let from: usize = (0..shape.len()).map(|a| (start[a] + index[a] * strides[a]) * steps[a]).sum();
            picked.push(starts[from / run]);
            element += run;
            advance(&mut index, &shape, run);
        }
        Some(View { shape, map: Map::Table { run, starts: picked.into() } })
    }

    /// As the op: axis i of this becomes axis `dimensions[i]`, the others repeat. `None` where a table would be too fine.
    pub fn broadcast(&self, shape: &[usize], dimensions: &[usize]) -> Option<View> {
        let Map::Strided { axes, offset } = &self.map else {
            let Map::Table { .. } = self.map else { return None };
            return self.broadcast_table(shape, dimensions);
        };
        let spread = (0..shape.len()).map(|a| match dimensions.iter().position(|&d| d == a) {
            Some(i) if self.shape[i] == shape[a] => axes[i].clone(),
            _ => vec![Part { size: shape[a], stride: 0 }],
        });
        Some(View { shape: shape.to_vec(), map: Map::Strided { axes: spread.collect(), offset: *offset } })
    }

    fn broadcast_table(&self, shape: &[usize], dimensions: &[usize]) -> Option<View> {
        let own = steps(&self.shape);
        let mut source = vec![0; shape.len()];
        for (i, &a) in dimensions.iter().enumerate() {
            source[a] = if self.shape[i] == shape[a] { own[i] } else { 0 };
        }
        let kept = (0..shape.len()).rev().take_while(|&a| source[a] != 0 || shape[a] == 1).count();
        let Map::Table { run, .. } = self.map else { return None };
        let (run, starts) = self.table(gcd(run, product(&shape[shape.len() - kept..])))?;
        let mut index = vec![0; shape.len()];
        let mut spread = Vec::with_capacity(product(shape) / run);
        for _ in 0..product(shape) / run {
            let from: usize = index.iter().zip(&source).map(|(i, s)| i * s).sum();
            spread.push(starts[from / run]);
            advance(&mut index, shape, run);
        }
        Some(View { shape: shape.to_vec(), map: Map::Table { run, starts: spread.into() } })
    }

    /// Views of one source, one behind the other along an axis. `None` where a table would be too fine.
    pub fn concatenate(views: &[View], axis: usize) -> Option<View> {
        let below = product(&views[0].shape[axis + 1..]);
        let tables: Vec<View> = views.iter().map(|v| v.tabled(1)).collect();
        let inner = tables.iter().fold(0, |run, v| match v.map {
            Map::Table { run: own, .. } => gcd(run, gcd(own, below * v.shape[axis])),
            Map::Strided { .. } => 1,
        });
        let tables: Vec<(usize, Vec<u32>)> = tables.iter().map(|v| v.table(inner)).collect::<Option<_>>()?;
        let mut shape = views[0].shape.clone();
        shape[axis] = views.iter().map(|v| v.shape[axis]).sum();
        let mut joined = Vec::with_capacity(product(&shape) / inner);
        for outer in 0..product(&shape[..axis]) {
            for (view, (run, starts)) in views.iter().zip(&tables) {
                let share = below * view.shape[axis] / run;
                joined.extend_from_slice(&starts[outer * share..(outer + 1) * share]);
            }
        }
        Some(View { shape, map: Map::Table { run: inner, starts: joined.into() } })
    }

    /// The value as rows of `width` elements, each contiguous or one element repeated; `None` where it is not made of such.
    pub fn rows(&self, width: usize) -> Option<RowMap> {
        if width == 0 || !self.elements().is_multiple_of(width) {
            return None;
        }
        match &self.map {
            Map::Strided { axes, offset } => {
                // The innermost parts must make up a row.
                let parts: Vec<Part> = axes.iter().flatten().copied().filter(|p| p.size > 1).collect();
                let mut outer = parts;
                let (mut left, mut step, mut next) = (width, None, 0);
                while left > 1 {
                    let Part { size, stride } = outer.pop()?;
                    let fits = match step {
                        None => stride <= 1,
                        Some(0) => stride == 0,
                        Some(_) => stride == next,
                    };
                    let taken = gcd(size, left);
                    if !fits || taken == 1 || (taken < size && taken < left) {
                        return None;
                    }
                    step = step.or(Some(stride));
                    next = if step == Some(0) { 0 } else { stride * taken };
                    left /= taken;
                    if taken < size {
                        outer.push(Part { size: size / taken, stride: stride * taken });
                    }
                }
                let starts = enumerate(&outer, *offset);
                Some(RowMap { width, step: step.unwrap_or(1), starts: Starts::of(starts) })
            }
            Map::Table { run, .. } => {
                if !run.is_multiple_of(width) {
                    return None;
                }
                let (_, starts) = self.table_any(width);
                let starts = starts.into_iter().map(|s| s as usize).collect();
                Some(RowMap { width, step: 1, starts: Starts::of(starts) })
            }
        }
    }

    /// How many innermost elements stand one behind the other.
    pub fn run(&self) -> usize {
        match &self.map {
            Map::Strided { axes, .. } => run(axes),
            Map::Table { run, .. } => *run,
        }
    }

    /// Where each element stands, in row-major order.
    pub fn offsets(&self) -> Vec<usize> {
        match &self.map {
            Map::Strided { axes, offset } => enumerate(&axes.concat(), *offset),
            Map::Table { run, starts } => starts.iter().flat_map(|&s| (0..*run).map(move |i| s as usize + i)).collect(),
        }
    }

    /// Sizes and strides of a strided view, parts of size 1 left out and those merged that one stride covers; with its offset.
    pub fn strides(&self) -> Option<(Vec<(usize, usize)>, usize)> {
        let Map::Strided { axes, offset } = &self.map else { return None };
        let mut merged: Vec<(usize, usize)> = vec![];
        for part in axes.iter().flatten().filter(|p| p.size > 1) {
            match merged.last_mut() {
                Some(last) if last.1 == part.stride * part.size => *last = (last.0 * part.size, part.stride),
                _ => merged.push((part.size, part.stride)),
            }
        }
        Some((merged, *offset))
    }

    fn tabled(&self, least: usize) -> View {
        match &self.map {
            Map::Table { .. } => self.clone(),
            Map::Strided { axes, offset } => {
                let run = run(axes).max(least);
                let mut parts: Vec<Part> = axes.concat();
                let mut left = run;
                while left > 1 {
                    let part = parts.pop().unwrap_or(Part { size: 1, stride: 1 });
                    let taken = gcd(part.size, left);
                    left /= taken.max(1);
                    if taken < part.size {
                        parts.push(Part { size: part.size / taken, stride: part.stride * taken });
                    }
                }
                let starts: Vec<u32> = enumerate(&parts, *offset).into_iter().map(|s| s as u32).collect();
                View { shape: self.shape.clone(), map: Map::Table { run, starts: starts.into() } }
            }
        }
    }

    /// Starts of runs of exactly `run`, which divides the table's own; `None` where they would be too short.
    fn table(&self, run: usize) -> Option<(usize, Vec<u32>)> {
        (run >= SHORTEST_RUN).then(|| self.table_any(run))
    }

    fn table_any(&self, run: usize) -> (usize, Vec<u32>) {
        match &self.map {
            Map::Table { run: own, starts } => {
                let starts = starts.iter().flat_map(|&s| (0..own / run).map(move |i| s + (i * run) as u32)).collect();
                (run, starts)
            }
            Map::Strided { .. } => self.tabled(1).table_any(run),
        }
    }
}

/// Row-major distances.
fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for a in (1..shape.len()).rev() {
        steps[a - 1] = steps[a] * shape[a];
    }
    steps
}

/// Moves an index on by `by` elements, which never straddles more than the carry can take.
fn advance(index: &mut [usize], shape: &[usize], by: usize) {
    let mut carry = by;
    for a in (0..shape.len()).rev() {
        let at = index[a] + carry;
        index[a] = at % shape[a];
        carry = at / shape[a];
        if carry == 0 {
            break;
        }
    }
}

/// How many innermost elements stand one behind the other.
fn run(axes: &[Vec<Part>]) -> usize {
    let mut length = 1;
    for part in axes.iter().flatten().rev().filter(|p| p.size > 1) {
        if part.stride != length {
            break;
        }
        length *= part.size;
    }
    length
}

/// The parts dealt out to other axes; `None` where a part would have to be cut unevenly.
fn regroup(axes: &[Vec<Part>], shape: &[usize]) -> Option<Vec<Vec<Part>>> {
    let mut parts: Vec<Part> = axes.concat().into_iter().filter(|p| p.size > 1).collect();
    parts.reverse();
    let mut dealt = vec![];
    for &size in shape {
        let (mut axis, mut left) = (vec![], size);
        while left > 1 {
            let part = parts.pop()?;
            if left.is_multiple_of(part.size) {
                axis.push(part);
                left /= part.size;
            } else if part.size.is_multiple_of(left) {
                let inner = part.size / left;
                axis.push(Part { size: left, stride: part.stride * inner });
                parts.push(Part { size: inner, stride: part.stride });
                left = 1;
            } else {
                return None;
            }
        }
        if axis.is_empty() {
            axis.push(Part { size: 1, stride: 1 });
        }
        dealt.push(axis);
    }
    Some(dealt)
}

/// Offsets of all combinations, the last part fastest.
fn enumerate(parts: &[Part], offset: usize) -> Vec<usize> {
    let mut all = vec![offset];
    for part in parts {
        let mut next = Vec::with_capacity(all.len() * part.size);
        for &base in &all {
            next.extend((0..part.size).map(|i| base + i * part.stride));
        }
        all = next;
    }
    all
}

/// A table's entries under another order of its axes.
fn permuted(starts: &[u32], shape: &[usize], order: &[usize]) -> Vec<u32> {
    let steps = steps(shape);
    let parts: Vec<Part> = order.iter().map(|&a| Part { size: shape[a], stride: steps[a] }).collect();
    enumerate(&parts, 0).into_iter().map(|i| starts[i]).collect()
}
