//! Ways in which a tensor may lie in memory when a kernel is tried.

/// Sizes of a tensor and the steps between its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub shape: Vec<usize>,
    pub strides: Vec<isize>,
    /// How many elements of memory it reaches over.
    pub extent: usize,
    /// Where in that memory the element with all indices 0 is.
    pub origin: usize,
}

impl Layout {
    /// Row-major.
    pub fn dense(shape: &[usize]) -> Layout {
        let mut strides = vec![0; shape.len()];
        let mut step = 1;
        for (stride, &size) in strides.iter_mut().zip(shape).rev() {
            *stride = step as isize;
            step *= size;
        }
        Layout { shape: shape.to_vec(), strides, extent: step, origin: 0 }
    }

    /// Column-major, every other element.
    pub fn spread(shape: &[usize]) -> Layout {
        let mut step = 2;
        let strides = shape.iter().map(|&size| {
            let stride = step as isize;
            step *= size;
            stride
        });
        let strides = strides.collect();
        Layout { shape: shape.to_vec(), strides, extent: step, origin: 0 }
    }

    /// One slice for all indices of the first axis, the other axes backwards.
    pub fn repeated(shape: &[usize]) -> Layout {
        let mut inner = Layout::dense(shape.get(1..).unwrap_or_default());
        let back = |(&stride, &size): (&isize, &usize)| stride * (size as isize - 1);
        inner.origin = inner.strides.iter().zip(&inner.shape).map(back).sum::<isize>() as usize;
        let strides = shape.iter().take(1).map(|_| 0).chain(inner.strides.iter().map(|s| -s)).collect();
        Layout { shape: shape.to_vec(), strides, ..inner }
    }

    /// Where each element lies, in row-major order of the tensor.
    pub fn places(&self) -> Vec<usize> {
        let mut places = vec![self.origin as isize];
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            places = places.iter().flat_map(|&at| (0..size as isize).map(move |i| at + i * stride)).collect();
        }
        places.into_iter().map(|at| at as usize).collect()
    }
}

/// The indices of an element by its place in row-major order.
pub(super) fn index(shape: &[usize], mut element: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &size) in index.iter_mut().zip(shape).rev() {
        *at = element % size;
        element /= size;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lie_where_they_should() {
        assert_eq!(Layout::dense(&[2, 3]).places(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Layout::spread(&[2, 3]).places(), [0, 4, 8, 2, 6, 10]);
        assert_eq!(Layout::repeated(&[2, 3]).places(), [2, 1, 0, 2, 1, 0]);
        for layout in [Layout::dense(&[]), Layout::repeated(&[])] {
            assert_eq!((layout.places(), layout.extent), (vec![0], 1));
        }
        assert_eq!(index(&[2, 3], 5), [1, 2]);
    }
}
