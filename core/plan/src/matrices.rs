//! Values as matrices, of their last two axes, wherever those stand: what attention reads and writes.

use fer_graph::{Graph, Node};

use crate::{Starts, View};

/// A value seen as matrices whose rows are contiguous, and as far apart in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixMap {
    /// Where each begins.
    pub starts: Vec<usize>,
    /// From one row to the next.
    pub stride: usize,
}

impl MatrixMap {
    /// A bias as the scores of an attention, or of its adjoint, see it: broadcast to them, where its own view allows that.
    pub fn of_bias(graph: &Graph, attention: &Node, bias: &View) -> Option<MatrixMap> {
        let mut scores = graph.shape(attention.operands[0]).to_vec();
        let (rank, keys) = (scores.len(), graph.shape(attention.operands[1]));
        scores[rank - 1] = keys[keys.len() - 2];
        let count = scores[..rank - 2].iter().product();
        let axes: Vec<usize> = (rank - bias.shape().len()..rank).collect();
        bias.broadcast(&scores, &axes)?.matrices(count)
    }
}

impl View {
    /// The `count` matrices of the last two axes, if each has its rows at equal distances.
    pub fn matrices(&self, count: usize) -> Option<MatrixMap> {
        let shape = self.shape();
        let (rows, width) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let map = self.rows(width)?;
        if map.step != 1 && width > 1 {
            return None;
        }
        match map.starts {
            Starts::Every { offset, stride, .. } => {
                Some(MatrixMap { starts: (0..count).map(|i| offset + i * rows * stride).collect(), stride })
            }
            Starts::At(starts) => {
                let stride = if rows > 1 { starts[1].checked_sub(starts[0])? } else { width as u32 };
                let even = |m: &[u32]| m.windows(2).all(|w| w[1].checked_sub(w[0]) == Some(stride));
                if !starts.chunks_exact(rows).all(even) {
                    return None;
                }
                let starts = starts.iter().step_by(rows).map(|&start| start as usize).collect();
                Some(MatrixMap { starts, stride: stride as usize })
            }
        }
    }

    /// A value of its own memory with the heads of each row side by side: how attention gives `[.., heads, rows, width]`, since that is
    /// how the next layer wants it.
    pub fn heads_within_rows(shape: &[usize]) -> View {
        let rank = shape.len();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank > 2 {
            order.swap(rank - 3, rank - 2);
        }
        let swapped: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        View::dense(&swapped).transpose(&order).expect("a dense value can be seen in any order")
    }
}

#[cfg(test)]
mod tests {
    use fer_graph::{Builder, TensorType};

    use super::*;

    /// `[samples, heads, rows, 8]` within `[samples, rows, heads * 8]`.
    fn heads(tokens: &View, heads: usize) -> View {
        let [samples, rows, width] = tokens.shape()[..] else { panic!("{:?}", tokens.shape()) };
        tokens.reshape(&[samples, rows, heads, width / heads]).transpose(&[0, 2, 1, 3]).unwrap()
    }

    /// Every element where the map says.
    fn check(view: &View, count: usize) -> MatrixMap {
        let map = view.matrices(count).unwrap();
        let [.., rows, width] = view.shape()[..] else { panic!("{:?}", view.shape()) };
        let said = map.starts.iter().flat_map(|start| {
            (0..rows).flat_map(move |row| (0..width).map(move |column| start + row * map.stride + column))
        });
        assert_eq!(said.collect::<Vec<_>>(), view.offsets());
        map
    }

    #[test]
    fn heads_stand_within_tokens() {
        let qkv = View::dense(&[2, 5, 48]);
        let keys = qkv.slice(&[0, 0, 16], &[2, 5, 32], &[1, 1, 1]).unwrap();
        assert_eq!(check(&heads(&keys, 2), 4), MatrixMap { starts: vec![16, 24, 256, 264], stride: 48 });
        assert_eq!(check(&View::dense(&[4, 5, 8]), 4), MatrixMap { starts: vec![0, 40, 80, 120], stride: 8 });
        // Of one row each, which so has no distance.
        let single = View::dense(&[2, 1, 32]).slice(&[0, 0, 16], &[2, 1, 32], &[1, 1, 1]).unwrap();
        assert_eq!(check(&heads(&single, 2), 4).starts, [16, 24, 48, 56]);
    }

    #[test]
    fn rows_of_a_matrix_are_equally_far_apart_or_there_is_none() {
        // Rows that were rotated: the last of them stands before the first.
        let rows = View::dense(&[5, 16]);
        let cut = |from: usize, to: usize| rows.slice(&[from, 0], &[to, 16], &[1, 1]).unwrap();
        let rotated = View::concatenate(&[cut(1, 5), cut(0, 1)], 0).unwrap();
        assert_eq!(rotated.matrices(1), None);
        // Whole matrices that were.
        let turned = rotated.reshape(&[5, 2, 8]);
        assert_eq!(check(&turned, 5), MatrixMap { starts: vec![16, 32, 48, 64, 0], stride: 8 });
        // Columns as rows, and rows of one number.
        assert_eq!(View::dense(&[3, 8]).transpose(&[1, 0]).unwrap().matrices(1), None);
        assert_eq!(View::dense(&[3]).broadcast(&[3, 8], &[0]).unwrap().matrices(1), None);
    }

    #[test]
    fn results_have_the_heads_of_each_row_side_by_side() {
        let view = View::heads_within_rows(&[2, 3, 5, 8]);
        assert!(view.sees_as(&heads(&View::dense(&[2, 5, 24]), 3)));
        assert_eq!(check(&view, 6), MatrixMap { starts: vec![0, 8, 16, 120, 128, 136], stride: 24 });
        assert!(View::heads_within_rows(&[5, 8]).is_dense(40));
    }

    #[test]
    fn a_bias_repeats_where_it_is_broadcast() {
        let b = Builder::new("t");
        let [q, k, v] = [("q", 4), ("k", 6), ("v", 6)]
            .map(|(name, rows)| b.input(name, TensorType::float([2, 3, rows, 8])).unwrap());
        let bias = b.input("bias", TensorType::float([3, 4, 6])).unwrap();
        b.output("y", b.scaled_dot_product_attention(q, k, v, Some(bias), 1.0).unwrap());
        let graph = b.finish();
        let map = MatrixMap::of_bias(&graph, &graph.nodes[0], &View::dense(&[3, 4, 6]));
        assert_eq!(map, Some(MatrixMap { starts: vec![0, 24, 48, 0, 24, 48], stride: 6 }));
        // One for all heads.
        let map = MatrixMap::of_bias(&graph, &graph.nodes[0], &View::dense(&[2, 1, 4, 6]));
        assert_eq!(map, Some(MatrixMap { starts: vec![0, 0, 0, 24, 24, 24], stride: 6 }));
    }
}
