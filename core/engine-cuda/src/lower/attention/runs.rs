//! Which matrices that share a bias are taken by one block.

/// Matrices that share a bias in runs. Runs follow each other as their first matrices do, so that what stands side by side in memory,
/// the heads of a window, is read at about one time.
pub(super) struct Runs {
    pub(super) order: Vec<u32>,
    /// Where runs begin in the order, and its end.
    pub(super) runs: Vec<u32>,
    /// The runs of each bias in order, one bias after the other.
    pub(super) members: Vec<u32>,
    /// The first member of each bias, and their number.
    pub(super) groups: Vec<u32>,
    /// Where the biases begin.
    pub(super) starts: Vec<u32>,
}

impl Runs {
    /// By the starts of the biases alone: how sums are grouped decides their last bits. Each matrix is work for `tiles` blocks.
    pub(super) fn of(starts: &[u32], tiles: usize) -> Runs {
        // A sort that keeps the order of those that share a bias.
        let mut order: Vec<u32> = (0..starts.len() as u32).collect();
        order.sort_by_key(|&i| starts[i as usize]);
        // Long enough that few sums are written, short enough that there is work for a whole card.
        let most = (starts.len() * tiles / 2048).clamp(1, 32);
        let groups: Vec<&[u32]> = order.chunk_by(|&a, &b| starts[a as usize] == starts[b as usize]).collect();
        let mut runs: Vec<(&[u32], usize)> =
            groups.iter().enumerate().flat_map(|(i, group)| even(group, most).map(move |run| (run, i))).collect();
        runs.sort_by_key(|(run, _)| run[0]);
        let mut all = Runs { order: vec![], runs: vec![0], members: vec![], groups: vec![0], starts: vec![] };
        let mut members = vec![vec![]; groups.len()];
        for (i, (run, group)) in runs.into_iter().enumerate() {
            all.order.extend(run);
            all.runs.push(all.order.len() as u32);
            members[group].push(i as u32);
        }
        for (group, members) in groups.iter().zip(members) {
            all.members.extend(members);
            all.groups.push(all.members.len() as u32);
            all.starts.push(starts[group[0] as usize]);
        }
        all
    }

    pub(super) fn count(&self) -> usize {
        self.runs.len() - 1
    }
}

/// As few pieces as can be, of one length.
fn even(group: &[u32], most: usize) -> impl Iterator<Item = &[u32]> {
    group.chunks(group.len().div_ceil(group.len().div_ceil(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shifted windows: 96 images of 4 windows with 3 heads, each window and head with a bias of its own.
    #[test]
    fn each_matrix_is_in_one_run_of_its_bias() {
        let starts: Vec<u32> = (0..96 * 12).map(|i| 2401 * (i % 12)).collect();
        let runs = Runs::of(&starts, 16);
        let mut seen = vec![];
        for (i, &start) in runs.starts.iter().enumerate() {
            let members = &runs.members[runs.groups[i] as usize..runs.groups[i + 1] as usize];
            let own: Vec<u32> = members.iter().flat_map(|&run| of(&runs, run as usize)).copied().collect();
            assert!(own.is_sorted() && own.iter().all(|&matrix| starts[matrix as usize] == start), "{own:?}");
            seen.extend(own);
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..96 * 12));
        // Nine matrices a run.
        assert_eq!(runs.count(), 12 * 96usize.div_ceil(9));
    }

    #[test]
    fn heads_of_a_window_are_neighbours() {
        let starts: Vec<u32> = (0..96 * 12).map(|i| 2401 * (i % 3)).collect();
        let runs = Runs::of(&starts, 16);
        let firsts: Vec<u32> = (0..6).map(|run| of(&runs, run)[0]).collect();
        assert_eq!(firsts[..3], [0, 1, 2]);
        assert_eq!(firsts[3..], [27, 28, 29]);
    }

    #[test]
    fn few_matrices_are_runs_of_one() {
        let runs = Runs::of(&[0, 10, 0, 10], 1);
        assert_eq!((runs.order, runs.members, runs.groups), (vec![0, 1, 2, 3], vec![0, 2, 1, 3], vec![0, 2, 4]));
    }

    fn of(runs: &Runs, run: usize) -> &[u32] {
        &runs.order[runs.runs[run] as usize..runs.runs[run + 1] as usize]
    }
}
