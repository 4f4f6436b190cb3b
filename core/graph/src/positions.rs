//! Parameters that are tables over positions: what a weight file of another image size must be resampled along.

use crate::TensorType;

/// What the entries of a position table stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// `[1, prefix + rows * columns, width]`: one entry a token; the first `prefix` tokens (class, distillation) have no place.
    Tokens { prefix: usize, rows: usize, columns: usize },
    /// `[(2 rows - 1) * (2 columns - 1), heads]`: one entry a distance between two tokens of a `rows x columns` window.
    Distances { rows: usize, columns: usize },
}

impl Positions {
    /// The word in graph text and across the plugin boundary.
    pub fn name(self) -> &'static str {
        match self {
            Positions::Tokens { .. } => "tokens",
            Positions::Distances { .. } => "distances",
        }
    }

    /// The sizes, in order.
    pub fn sizes(self) -> Vec<usize> {
        match self {
            Positions::Tokens { prefix, rows, columns } => vec![prefix, rows, columns],
            Positions::Distances { rows, columns } => vec![rows, columns],
        }
    }

    /// The inverse of [`Positions::name`] and [`Positions::sizes`].
    ///
    /// # Errors
    /// A message when there is no such word, or it does not take so many sizes.
    pub fn from_parts(name: &str, sizes: &[usize]) -> Result<Positions, String> {
        match (name, sizes) {
            ("tokens", &[prefix, rows, columns]) => Ok(Positions::Tokens { prefix, rows, columns }),
            ("distances", &[rows, columns]) => Ok(Positions::Distances { rows, columns }),
            ("tokens" | "distances", sizes) => Err(format!("positions {name:?} do not take {} sizes", sizes.len())),
            _ => Err(format!("no positions are called {name:?}; there are tokens, distances")),
        }
    }

    /// Whether a table of this type has the entries that are claimed.
    pub fn fit(self, ty: &TensorType) -> bool {
        let entries = match self {
            Positions::Tokens { prefix, rows, columns } => {
                rows.checked_mul(columns).and_then(|n| n.checked_add(prefix)).filter(|_| rows > 0 && columns > 0)
            }
            Positions::Distances { rows, columns } => {
                let span = |side: usize| side.checked_mul(2).and_then(|n| n.checked_sub(1));
                span(rows).zip(span(columns)).and_then(|(h, w)| h.checked_mul(w))
            }
        };
        let found = match (self, ty.shape.as_slice()) {
            (Positions::Tokens { .. }, &[1, n, _]) | (Positions::Distances { .. }, &[n, _]) => Some(n),
            _ => None,
        };
        ty.dtype.is_float() && entries.is_some() && entries == found
    }
}
