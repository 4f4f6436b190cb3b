//! The gradients: who computes what, and the sums over several.

use std::{cell::RefCell, marker::PhantomData};

use rayon::prelude::*;

use super::{
    BiasGradient, Gradients, Heads, HeadsMut, Inputs, block_rows,
    forward::matrices_of_a_task,
    gradient::{Job, Matrices},
    pack,
};
use crate::{
    factors::Kind,
    shared::{Scratch, SharedMut},
    simd::{Isa, Kernel, Simd},
};

/// Below so many matrices, the rows of each are shared between tasks.
const FEW: usize = 16;
/// Sums of the gradient of the bias that are kept side by side, about.
const SUMS: usize = 32;

pub fn run<K: Kind>(isa: Isa, inputs: &Inputs<'_>, grad_out: Heads<'_>, gradients: Gradients<'_>) {
    isa.run(Backward::<K> { inputs, grad_out, gradients, kind: PhantomData });
}

struct Backward<'a, 'b, K> {
    inputs: &'a Inputs<'a>,
    grad_out: Heads<'a>,
    gradients: Gradients<'b>,
    kind: PhantomData<K>,
}

impl<K: Kind> Kernel for Backward<'_, '_, K> {
    type Output = ();
    const BF16: bool = K::BF16;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Backward { inputs, grad_out, gradients: Gradients { q, k, v, bias }, .. } = self;
        let shape = inputs.shape;
        let plan = match &bias {
            Some(bias) => Plan::by_bias(bias),
            None => Plan::natural(shape.count, matrices_of_a_task(shape)),
        };
        let biases = bias.map(|b| HeadsMut::new(b.data, &plan.starts, b.stride));
        if let Some(biases) = &biases {
            biases.check(plan.starts.len(), shape.queries, shape.keys, "dbias");
        }

        // Few matrices are cut into blocks of rows: by shape alone, for sums over rows are then grouped.
        let block = block_rows(shape);
        let cut = shape.count < FEW && shape.queries > block;
        let (parts, rows) = if cut { (shape.queries.div_ceil(block), block) } else { (1, shape.queries) };
        let partial = |heads: &Option<HeadsMut<'_>>, width: usize| match cut && heads.is_some() {
            true => Scratch::new(shape.count * parts * shape.keys * pack::stride::<S>(width)),
            false => Scratch::new(0),
        };
        let (mut key_sums, mut value_sums) = (partial(&k, shape.width), partial(&v, shape.value_width));
        let matrix = shape.queries * pack::stride::<S>(shape.keys);
        let mut bias_sums = Scratch::new(if biases.is_some() { plan.count() * matrix } else { 0 });
        let job = Job {
            inputs,
            grad_out,
            q: q.as_ref(),
            k: k.as_ref(),
            v: v.as_ref(),
            parts,
            key_sums: SharedMut::new(&mut key_sums),
            value_sums: SharedMut::new(&mut value_sums),
            bias_sums: SharedMut::new(&mut bias_sums),
        };
        (0..plan.count() * parts).into_par_iter().for_each(|i| {
            let (run, part) = (i / parts, i % parts);
            let rows = part * rows..shape.queries.min((part + 1) * rows);
            S::ISA.run(Matrices::<K> { job: &job, run, members: plan.members(run), part, rows, kind: PhantomData });
        });

        if cut {
            for (heads, sums, width) in [(&k, &key_sums, shape.width), (&v, &value_sums, shape.value_width)] {
                if let Some(to) = heads {
                    let part = shape.keys * pack::stride::<S>(width);
                    (0..shape.count).into_par_iter().for_each(|index| {
                        let sums = &sums[index * parts * part..][..parts * part];
                        S::ISA.run(Add { sums, parts, size: (shape.keys, width), to, index });
                    });
                }
            }
        }
        if let Some(to) = &biases {
            (0..plan.starts.len()).into_par_iter().for_each(|index| {
                let (first, end) = (plan.groups[index], plan.groups[index + 1]);
                let sums = &bias_sums[first * matrix..end * matrix];
                S::ISA.run(Add { sums, parts: end - first, size: (shape.queries, shape.keys), to, index });
            });
        }
        plan.keep();
    }
}

/// In which order matrices are taken, and how they are cut into runs, each of which is one task.
#[derive(Default)]
struct Plan {
    /// Indices in the lower halves, the starts of the biases' gradients above.
    order: Vec<u64>,
    /// Where runs begin in the order, and its end.
    runs: Vec<usize>,
    /// Starts of the biases' gradients, each once.
    starts: Vec<u32>,
    /// The first run of each start, and the number of runs.
    groups: Vec<usize>,
}

thread_local! {
    /// The memory of the last plan.
    static PLAN: RefCell<Plan> = RefCell::default();
}

impl Plan {
    /// As they come.
    fn natural(count: usize, each: usize) -> Plan {
        let mut plan = Plan::empty();
        plan.order.extend(0..count as u64);
        plan.runs.extend((0..count).step_by(each));
        plan.runs.push(count);
        plan
    }

    /// Those that share a bias one after the other, so that few sums of it are under way. By the starts alone: how sums are grouped
    /// decides their last bits.
    fn by_bias(bias: &BiasGradient<'_>) -> Plan {
        let mut plan = Plan::empty();
        // The index in the lower half keeps members of a sum in their order.
        plan.order.extend(bias.starts.iter().zip(0u64..).map(|(&start, i)| u64::from(start) << 32 | i));
        plan.order.sort_unstable();
        let groups = plan.order.chunk_by(|a, b| a >> 32 == b >> 32).count();
        let most = plan.order.len().div_ceil(SUMS.max(groups)).max(1);
        let mut first = 0;
        for group in plan.order.chunk_by(|a, b| a >> 32 == b >> 32) {
            plan.starts.push((group[0] >> 32) as u32);
            plan.groups.push(plan.runs.len());
            plan.runs.extend((first..first + group.len()).step_by(most));
            first += group.len();
        }
        plan.groups.push(plan.runs.len());
        plan.runs.push(first);
        plan
    }

    fn empty() -> Plan {
        let mut plan = PLAN.take();
        plan.order.clear();
        plan.runs.clear();
        plan.starts.clear();
        plan.groups.clear();
        plan
    }

    /// Leaves the memory to the next plan.
    fn keep(self) {
        PLAN.set(self);
    }

    /// Runs.
    fn count(&self) -> usize {
        self.runs.len() - 1
    }

    fn members(&self, run: usize) -> &[u64] {
        &self.order[self.runs[run]..self.runs[run + 1]]
    }
}

/// Adds matrices of packed rows, in order.
struct Add<'a> {
    sums: &'a [f32],
    parts: usize,
    size: (usize, usize),
    to: &'a HeadsMut<'a>,
    index: usize,
}

impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Add { sums, parts, size: (rows, columns), to, index } = self;
        let stride = pack::stride::<S>(columns);
        assert_eq!(sums.len(), parts * rows * stride);
        for i in 0..rows {
            for j in (0..columns).step_by(S::LANES) {
                let mut sum = s.splat(0.0);
                // SAFETY: rows of packed matrices; the target has been checked, and is this task's alone.
                unsafe {
                    for part in 0..parts {
                        sum = s.add(sum, s.load(sums.as_ptr().add((part * rows + i) * stride + j)));
                    }
                    to.store(s, index, (i, j), sum, S::LANES.min(columns - j));
                }
            }
        }
    }
}
