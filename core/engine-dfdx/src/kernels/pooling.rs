//! max_pool and its adjoint. A window's winner is its first NaN, else its first largest element, row-major.

use super::{Kernel, Site, operands};
use crate::{buffer::Buffer, chunks::in_pieces, element::Element, value::Value};

#[derive(Clone, Copy, Debug)]
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
}

impl Windows {
    fn new(site: &Site<'_>, output: &[usize]) -> Windows {
        let pair = |name| {
            let v = site.attributes().sizes(name);
            [v[0], v[1]]
        };
        let x = site.shape(0);
        Windows {
            kernel: pair("kernel_size"),
            stride: pair("stride"),
            padding: pair("padding"),
            input: [x[2], x[3]],
            output: [output[2], output[3]],
        }
    }

    /// Input indices of one axis that window `o` covers.
    fn covered(&self, axis: usize, o: usize) -> std::ops::Range<usize> {
        let start = o * self.stride[axis];
        let end = (start + self.kernel[axis]).saturating_sub(self.padding[axis]).min(self.input[axis]);
        start.saturating_sub(self.padding[axis])..end
    }

    /// Where each window's winner stands in its plane.
    fn winners<'a, E: Element>(&'a self, plane: &'a [E]) -> impl Iterator<Item = usize> + 'a {
        let [oh, ow] = self.output;
        (0..oh * ow).map(move |o| {
            let rows = self.covered(0, o / ow);
            let columns = self.covered(1, o % ow);
            let mut best = rows.start * self.input[1] + columns.start;
            for y in rows {
                for x in columns.clone() {
                    let here = y * self.input[1] + x;
                    if plane[here] > plane[best] || (plane[here].is_nan() && !plane[best].is_nan()) {
                        best = here;
                    }
                }
            }
            best
        })
    }
}

pub fn max_pool<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let windows = Windows::new(site, &site.result().shape);
    let (count, total) = (site.ty(0).elements(), site.result().elements());
    let (from, to) = (windows.input.iter().product::<usize>(), windows.output.iter().product::<usize>());
    Box::new(move |v| {
        let [x] = operands(v);
        let input = x.shared(count);
        let mut output = Buffer::scratch(total);
        in_pieces(&mut output, to, |at, output| {
            let plane = &input[at / to * from..][..from];
            output.iter_mut().zip(windows.winners(plane)).for_each(|(o, i)| *o = plane[i]);
        });
        Value::dense(output)
    })
}

pub fn max_pool_grad<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let windows = Windows::new(site, site.shape(1));
    let counts = [site.ty(0).elements(), site.ty(1).elements()];
    let (from, to) = (windows.input.iter().product::<usize>(), windows.output.iter().product::<usize>());
    Box::new(move |v| {
        let [x, cotangent] = operands(v);
        let (input, cotangents) = (x.shared(counts[0]), cotangent.shared(counts[1]));
        let mut result = Buffer::filled(counts[0], E::default());
        in_pieces(&mut result, from, |at, result| {
            let (plane, cotangents) = (&input[at..at + from], &cotangents[at / from * to..][..to]);
            cotangents.iter().zip(windows.winners(plane)).for_each(|(g, i)| result[i] += *g);
        });
        Value::dense(result)
    })
}
