//! In which order samples are trained on: pure functions of (seed, epoch), so a resumed run needs no saved state.

use crate::rng::{Draws, Purpose};
use crate::spec::Sampling;

/// The order of one epoch: as many indices into `labels` as there are samples.
///
/// `Shuffle` is a permutation. `Balanced` draws a class uniformly among those that occur for each place and then the
/// next sample of that class's own shuffled list, which is shuffled anew whenever it is exhausted.
pub fn epoch_order(labels: &[usize], sampling: Sampling, seed: u64, epoch: usize) -> Vec<usize> {
    let mut draws = Draws::new(seed, Purpose::Order, epoch as u32, 0, 0);
    match sampling {
        Sampling::Shuffle => {
            let mut order: Vec<usize> = (0..labels.len()).collect();
            draws.shuffle(&mut order);
            order
        }
        Sampling::Balanced => balanced(labels, &mut draws),
    }
}

fn balanced(labels: &[usize], draws: &mut Draws) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |m| m + 1);
    let mut members = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        members[label].push(index);
    }
    members.retain(|m| !m.is_empty());
    let mut next = vec![usize::MAX; members.len()];
    (0..labels.len())
        .map(|_| {
            let class = draws.below(members.len());
            let list = &mut members[class];
            if next[class] >= list.len() {
                draws.shuffle(list);
                next[class] = 0;
            }
            next[class] += 1;
            list[next[class] - 1]
        })
        .collect()
}

/// Cuts an order into batches; the last one is shorter, or left out with `drop_last`. A `batch` of 0 counts as 1.
pub fn batches(order: &[usize], batch: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let batch = batch.max(1);
    order.chunks(batch).filter(|chunk| !drop_last || chunk.len() == batch).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn balanced_evens_out_a_rare_class() {
        let labels: Vec<usize> = (0..1000).map(|i| usize::from(i < 20)).collect();
        let order = epoch_order(&labels, Sampling::Balanced, 5, 0);
        let rare = order.iter().filter(|&&i| labels[i] == 1).count();
        assert!((440..=560).contains(&rare), "{rare} of 1000");
        // Without replacement until exhausted: every rare sample comes up equally often, give or take one.
        let mut times = [0usize; 20];
        order.iter().filter(|&&i| i < 20).for_each(|&i| times[i] += 1);
        assert!(times.iter().max().unwrap() - times.iter().min().unwrap() <= 1, "{times:?}");
    }

    proptest! {
        #[test]
        fn shuffle_is_a_permutation_fixed_by_seed_and_epoch(
            n in 0usize..300, seed in any::<u64>(), epoch in 0usize..1000,
        ) {
            let labels = vec![0; n];
            let order = epoch_order(&labels, Sampling::Shuffle, seed, epoch);
            prop_assert_eq!(&order, &epoch_order(&labels, Sampling::Shuffle, seed, epoch));
            if n > 20 {
                prop_assert_ne!(&order, &epoch_order(&labels, Sampling::Shuffle, seed, epoch + 1));
            }
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn batches_cut_without_loss(n in 0usize..200, batch in 1usize..40) {
            let order: Vec<usize> = (0..n).collect();
            prop_assert_eq!(batches(&order, batch, false).concat(), order.clone());
            let full = batches(&order, batch, true);
            prop_assert!(full.iter().all(|b| b.len() == batch));
            prop_assert_eq!(full.len(), n / batch);
        }

        #[test]
        fn balanced_has_the_length_of_the_set(labels in prop::collection::vec(0usize..5, 0..100)) {
            let order = epoch_order(&labels, Sampling::Balanced, 1, 2);
            prop_assert_eq!(order.len(), labels.len());
            prop_assert!(order.iter().all(|&i| i < labels.len()));
        }
    }
}
