//! What a step's memory holds, and when: by scope, and by whether it grows with the batch.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Home, Plan};

/// Bytes in the arena.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    /// By scope of the model, when most of it is in use.
    pub by_scope: Vec<(String, usize)>,
    /// At each step of the plan: those that any batch needs, and those for this batch.
    pub moments: Vec<(usize, usize)>,
}

impl Peak {
    /// Of a plan for a batch. `weights` says how many elements the entries of its store have.
    ///
    /// What has as many elements as an entry is its gradient, or made of that; it stays for another batch, and so does what is no
    /// multiple of the batch. What only happens to be as large is taken for it, too: then more is said to be needed than is.
    pub(crate) fn of(plan: &Plan, batch: usize, weights: &BTreeSet<usize>) -> Peak {
        let steps = &plan.steps;
        let count = plan.buffers.len();
        let (mut first, mut last) = (vec![None; count], vec![0; count]);
        for (i, step) in steps.iter().enumerate() {
            for &b in step.reads.iter().chain(&step.writes) {
                first[b].get_or_insert(i);
                last[b] = i;
            }
        }
        // What leaves the step stays until it is fetched.
        plan.outputs.iter().for_each(|&b| last[b] = steps.len());
        let inside: Vec<usize> =
            (0..count).filter(|&b| plan.buffers[b].home == Home::Arena && first[b].is_some()).collect();
        let (mut moments, mut begins) = (vec![(0, 0); steps.len()], vec![vec![]; steps.len()]);
        inside.iter().for_each(|&b| begins[first[b].unwrap_or(0)].push(b));
        let mut alive: Vec<usize> = vec![];
        let (mut worst, mut most) = (vec![], 0);
        for (i, moment) in moments.iter_mut().enumerate() {
            alive.retain(|&b| last[b] >= i);
            alive.append(&mut begins[i]);
            for &b in &alive {
                let buffer = &plan.buffers[b];
                let stays = weights.contains(&buffer.elements) || !buffer.elements.is_multiple_of(batch);
                *(if stays { &mut moment.0 } else { &mut moment.1 }) += buffer.bytes();
            }
            if moment.0 + moment.1 > most {
                (most, worst) = (moment.0 + moment.1, alive.clone());
            }
        }
        let mut by_scope: BTreeMap<String, usize> = BTreeMap::new();
        for b in worst {
            let maker = steps.iter().find(|s| s.writes.contains(&b));
            let scope = maker.map_or("", |s| &*s.call.scope);
            let scope = if scope.is_empty() { "the step itself" } else { scope };
            *by_scope.entry(scope.to_owned()).or_default() += plan.buffers[b].bytes();
        }
        Peak { by_scope: by_scope.into_iter().collect(), moments }
    }
}
