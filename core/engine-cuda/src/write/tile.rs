//! Elementwise programs some of whose inputs stand transposed: what is neighbours there is far apart here.
//!
//! A block then takes a tile of 32 by 32 elements, along the axis whose neighbours the program writes side by side and along the one whose
//! neighbours stand side by side in such an input. The input comes in by the second axis, through shared memory, and goes on by the first.

use std::fmt::Write;

use super::Index;

/// Elements of a tile along each of its axes.
const SIDE: usize = 32;
/// Axes shorter than this are no reason for tiles: too much of each would be empty.
const SHORTEST: usize = 12;

/// How a program's elements are cut into tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Elements along the last axis, whose neighbours are written side by side.
    across: usize,
    /// Elements along the axis whose neighbours are read side by side, and from one to the next among the program's.
    down: (usize, usize),
    /// All other axes, the innermost first, in the same way.
    others: Vec<(usize, usize)>,
}

impl Tile {
    /// Of an input that stands transposed.
    pub(super) fn of(index: &Index) -> Option<Tile> {
        let Index::Strided(parts, _) = index else { return None };
        let (&(across, far), outer) = parts.split_last()?;
        let (mut below, mut axes) = (across, vec![]);
        for &(size, stride) in outer.iter().rev() {
            axes.push((size, below, stride));
            below *= size;
        }
        let down = axes.iter().position(|&(size, _, stride)| stride == 1 && size >= SHORTEST)?;
        if far < 2 || across < SHORTEST {
            return None;
        }
        let (size, step, _) = axes.remove(down);
        let others = axes.into_iter().map(|(size, below, _)| (size, below)).collect();
        Some(Tile { across, down: (size, step), others })
    }

    /// How many threads there are: 256 for each tile.
    pub(super) fn threads(&self) -> usize {
        let others: usize = self.others.iter().map(|(size, _)| size).product();
        256 * others * self.across.div_ceil(SIDE) * self.down.0.div_ceil(SIDE)
    }

    /// Text that finds the block's tile: its first element among the program's, were both axes at 0, and where it is along both.
    pub(super) fn head(&self, count: &str) -> String {
        let mut text = format!(
            "    {count} rest = blockIdx.x, base = 0;\n    int near = threadIdx.x & 31, far = threadIdx.x >> 5;\n"
        );
        let (across, down) = (self.across.div_ceil(SIDE), self.down.0.div_ceil(SIDE));
        let _ = writeln!(text, "    int across = (int)(rest % {across}) * {SIDE};\n    rest /= {across};");
        let _ = writeln!(text, "    int down = (int)(rest % {down}) * {SIDE};\n    rest /= {down};");
        for (i, (size, below)) in self.others.iter().enumerate() {
            let last = i + 1 == self.others.len();
            let digit = if last { "rest".to_owned() } else { format!("rest % {size}") };
            let _ = writeln!(text, "    base += ({digit}) * {below};");
            if !last {
                let _ = writeln!(text, "    rest /= {size};");
            }
        }
        text
    }

    /// The tiles of transposed inputs, by what loads one element of each from the place `at`.
    pub(super) fn load(&self, count: &str, staged: &[(usize, String)]) -> String {
        let mut text = String::new();
        for (i, _) in staged {
            let _ = writeln!(text, "    __shared__ float s{i}[{SIDE}][{}];", SIDE + 1);
        }
        let inside = format!("down + near < {} && across + row < {}", self.down.0, self.across);
        let _ = writeln!(text, "#pragma unroll\n    for (int row = far; row < {SIDE}; row += 8) {{");
        let _ = writeln!(text, "        if (!({inside})) continue;");
        let _ =
            writeln!(text, "        {count} at = base + ({count})(down + near) * {} + (across + row);", self.down.1);
        for (i, load) in staged {
            let _ = writeln!(text, "        s{i}[near][row] = {load};");
        }
        text.push_str("    }\n    __syncthreads();\n");
        text
    }

    /// The loop over the block's elements; its body follows, with `at` for the place of each, and a brace ends it.
    pub(super) fn each(&self, count: &str) -> String {
        let outside = format!("down + row >= {} || across + near >= {}", self.down.0, self.across);
        let mut text = format!("#pragma unroll\n    for (int row = far; row < {SIDE}; row += 8) {{\n");
        let _ = writeln!(text, "    if ({outside}) continue;");
        let _ = writeln!(text, "    {count} at = base + ({count})(down + row) * {} + (across + near);", self.down.1);
        text
    }

    /// What stands for an input's number within the loop.
    pub(super) fn staged(i: usize) -> String {
        format!("s{i}[row][near]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[2, 3, 40, 50]` of what stands as `[2, 50, 3, 40]`, and of what stands as `[2, 3, 50, 40]`.
    #[test]
    fn a_tile_lies_along_both_fast_axes() {
        let strided = |parts: &[(usize, usize)]| Index::Strided(parts.to_vec(), 7);
        let apart = Tile::of(&strided(&[(2, 6000), (3, 40), (40, 1), (50, 120)])).expect("it is transposed");
        assert_eq!(apart, Tile { across: 50, down: (40, 50), others: vec![(3, 2000), (2, 6000)] });
        assert_eq!(apart.threads(), 256 * 6 * 2 * 2);
        let joined = Tile::of(&strided(&[(6, 2000), (40, 1), (50, 40)])).expect("it is transposed");
        assert_eq!(joined, Tile { across: 50, down: (40, 50), others: vec![(6, 2000)] });
        for plain in [&[(6, 2000), (2000, 1)][..], &[(40, 1), (50, 0)], &[(4, 1), (50, 4)], &[(40, 1), (5, 40)], &[]] {
            assert_eq!(Tile::of(&strided(plain)), None, "{plain:?}");
        }
    }
}
