//! Views against the same moves on an array of element numbers.

use crate::view::{RowMap, Starts, View};

/// What a view says and what the elements are.
struct Both {
    view: View,
    elements: Vec<usize>,
    shape: Vec<usize>,
}

fn steps(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|a| shape[a + 1..].iter().product()).collect()
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let steps = steps(shape);
    (0..shape.iter().product()).map(|i: usize| (0..shape.len()).map(|a| i / steps[a] % shape[a]).collect()).collect()
}

impl Both {
    fn new(shape: &[usize]) -> Both {
        Both { view: View::dense(shape), elements: (0..shape.iter().product()).collect(), shape: shape.to_vec() }
    }

    fn at(&self, index: &[usize]) -> usize {
        self.elements[index.iter().zip(steps(&self.shape)).map(|(i, s)| i * s).sum::<usize>()]
    }

    fn pick(&self, view: Option<View>, shape: &[usize], from: impl Fn(&[usize]) -> Vec<usize>) -> Option<Both> {
        let elements = indices(shape).iter().map(|i| self.at(&from(i))).collect();
        let view = view?;
        let both = Both { view, elements, shape: shape.to_vec() };
        both.check();
        Some(both)
    }

    fn reshape(&self, shape: &[usize]) -> Both {
        let both = Both { view: self.view.reshape(shape), elements: self.elements.clone(), shape: shape.to_vec() };
        both.check();
        both
    }

    fn transpose(&self, order: &[usize]) -> Option<Both> {
        let shape: Vec<usize> = order.iter().map(|&a| self.shape[a]).collect();
        self.pick(self.view.transpose(order), &shape, |i| {
            let mut from = vec![0; i.len()];
            order.iter().zip(i).for_each(|(&a, &i)| from[a] = i);
            from
        })
    }

    fn slice(&self, start: &[usize], limit: &[usize], strides: &[usize]) -> Option<Both> {
        let shape: Vec<usize> = (0..start.len()).map(|a| (limit[a] - start[a]).div_ceil(strides[a])).collect();
        self.pick(self.view.slice(start, limit, strides), &shape, |i| {
            (0..i.len()).map(|a| start[a] + i[a] * strides[a]).collect()
        })
    }

    fn broadcast(&self, shape: &[usize], dimensions: &[usize]) -> Option<Both> {
        self.pick(self.view.broadcast(shape, dimensions), shape, |i| {
            dimensions.iter().zip(&self.shape).map(|(&d, &size)| if size == 1 { 0 } else { i[d] }).collect()
        })
    }

    fn roll(&self, axis: usize, by: usize) -> Option<Both> {
        let ones = vec![1; self.shape.len()];
        let (mut from, mut to) = (vec![0; self.shape.len()], self.shape.clone());
        from[axis] = by;
        let late = self.view.slice(&from, &self.shape, &ones)?;
        to[axis] = by;
        let early = self.view.slice(&vec![0; self.shape.len()], &to, &ones)?;
        self.pick(View::concatenate(&[late, early], axis), &self.shape, |i| {
            let mut from = i.to_vec();
            from[axis] = (i[axis] + by) % self.shape[axis];
            from
        })
    }

    fn check(&self) {
        assert_eq!(self.view.shape(), self.shape);
        assert_eq!(self.view.offsets(), self.elements);
        for width in 1..=self.elements.len() {
            if let Some(rows) = self.view.rows(width) {
                assert_eq!(elements(&rows), self.elements, "rows of {width}");
            }
        }
        let run = self.view.run();
        assert!(self.elements.chunks(run).all(|c| c.windows(2).all(|w| w[1] == w[0] + 1)), "runs of {run}");
        assert!(self.view.rows(run).is_some(), "rows as long as runs");
    }
}

fn elements(rows: &RowMap) -> Vec<usize> {
    let start = |i: usize| match &rows.starts {
        Starts::Every { offset, stride, .. } => offset + i * stride,
        Starts::At(starts) => starts[i] as usize,
    };
    (0..rows.starts.len()).flat_map(|i| (0..rows.width).map(move |j| start(i) + j * rows.step)).collect()
}

#[test]
fn windows_that_are_shifted_are_found_again() {
    let images = Both::new(&[2, 8, 8, 16]);
    let shifted = images.roll(1, 3).unwrap().roll(2, 3).unwrap();
    let windows =
        shifted.reshape(&[2, 2, 4, 2, 4, 16]).transpose(&[0, 1, 3, 2, 4, 5]).unwrap().reshape(&[2, 4, 16, 16]);
    assert_eq!(windows.view.run(), 16);
    let back = windows.reshape(&[2, 2, 2, 4, 4, 16]).transpose(&[0, 1, 3, 2, 4, 5]).unwrap().reshape(&[2, 8, 8, 16]);
    let back = back.roll(1, 5).unwrap().roll(2, 5).unwrap();
    assert!(back.view.is_dense(2 * 8 * 8 * 16));
}

#[test]
fn windows_that_are_not_shifted_stay_strided() {
    let images = Both::new(&[2, 8, 8, 16]);
    let windows = images.reshape(&[2, 2, 4, 2, 4, 16]).transpose(&[0, 1, 3, 2, 4, 5]).unwrap().reshape(&[2, 4, 16, 16]);
    assert!(windows.view.strides().is_some());
    assert!(windows.view.rows(16).is_some() && windows.view.rows(64).is_some() && windows.view.rows(128).is_none());
}

#[test]
fn heads_are_rows_at_an_even_distance() {
    let qkv = Both::new(&[2, 5, 48]);
    let key = qkv.slice(&[0, 0, 16], &[2, 5, 32], &[1, 1, 1]).unwrap().reshape(&[2, 5, 2, 8]);
    let heads = key.transpose(&[0, 2, 1, 3]).unwrap();
    let rows = heads.view.rows(8).unwrap();
    let Starts::At(starts) = rows.starts else { panic!("four heads do not stand evenly") };
    assert_eq!(starts[..6], [16, 64, 112, 160, 208, 24]);
    // The same after windows were shifted: as a table.
    let heads = Both::new(&[10, 48]).roll(0, 3).unwrap().slice(&[0, 16], &[10, 32], &[1, 1]).unwrap();
    heads.reshape(&[2, 5, 2, 8]).transpose(&[0, 2, 1, 3]).unwrap();
}

#[test]
fn what_repeats_is_a_row_of_one_element() {
    let scale = Both::new(&[3]).broadcast(&[3, 4, 5], &[0]).unwrap();
    assert_eq!(
        scale.view.rows(20),
        Some(RowMap { width: 20, step: 0, starts: Starts::Every { offset: 0, stride: 1, count: 3 } })
    );
    let bias = Both::new(&[1, 5]).broadcast(&[3, 4, 5], &[1, 2]).unwrap();
    assert_eq!(
        bias.view.rows(5),
        Some(RowMap { width: 5, step: 1, starts: Starts::Every { offset: 0, stride: 0, count: 12 } })
    );
    let rolled = Both::new(&[4, 8]).roll(0, 1).unwrap().broadcast(&[2, 4, 8], &[1, 2]).unwrap();
    assert_eq!(rolled.view.run(), 8);
}

/// Chains of random moves: each either is what it should be, or says that it cannot be followed.
#[test]
fn random_moves_are_followed() {
    let mut state = 11u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut followed = 0;
    for _ in 0..400 {
        let mut both = Both::new(&[2 + next(2), 4, 6, 16]);
        for _ in 0..6 {
            let rank = both.shape.len();
            let moved = match next(5) {
                0 => {
                    let mut order: Vec<usize> = (0..rank).collect();
                    order.swap(next(rank), next(rank));
                    both.transpose(&order)
                }
                1 => {
                    let start: Vec<usize> = both.shape.iter().map(|&n| next(n)).collect();
                    let limit: Vec<usize> = both.shape.iter().zip(&start).map(|(&n, &s)| s + 1 + next(n - s)).collect();
                    let strides: Vec<usize> = (0..rank).map(|_| 1 + next(2)).collect();
                    both.slice(&start, &limit, &strides)
                }
                2 => {
                    let mut shape = both.shape.clone();
                    match shape.iter().position(|&n| n > 2 && n % 2 == 0) {
                        Some(a) if rank < 7 => {
                            shape[a] /= 2;
                            shape.insert(a, 2);
                        }
                        _ => shape = vec![shape.iter().product()],
                    }
                    Some(both.reshape(&shape))
                }
                3 => both.roll(next(rank), 1).filter(|_| both.shape.iter().all(|&n| n > 1)),
                _ if rank < 6 => {
                    let mut shape = both.shape.clone();
                    shape.insert(0, 2);
                    both.broadcast(&shape, &(1..=rank).collect::<Vec<_>>())
                }
                _ => None,
            };
            if let Some(moved) = moved.filter(|m| m.elements.len() < 4000) {
                both = moved;
                followed += 1;
            }
        }
    }
    assert!(followed > 500, "{followed}");
}
