//! convolution and its adjoints, with strides, padding, dilation and groups.

use fer_graph::{Attributes, GraphError, ops::Window};
use proptest::prelude::*;

use super::{emit, seed};
use crate::conformance::{Draft, Draw, Family, Problem, Tolerance};

/// What is convolved.
#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    /// Channels in, out, in one group.
    channels: [usize; 2],
    input: [usize; 2],
    kernel: [usize; 2],
    window: Window,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let pair = |range: std::ops::Range<usize>| (range.clone(), range).prop_map(|(a, b)| [a, b]);
    let window = (pair(1..4), pair(0..3), pair(1..3), 1usize..4)
        .prop_map(|(stride, padding, dilation, groups)| Window { stride, padding, dilation, groups });
    (1usize..3, pair(1..3), pair(1..7), pair(1..4), window, seed()).prop_map(
        |(images, channels, input, kernel, window, seed)| {
            // The input grows until the dilated kernel fits.
            let grown = |a: usize| {
                let span = (kernel[a] - 1) * window.dilation[a] + 1;
                input[a].max(span.saturating_sub(2 * window.padding[a])).max(1)
            };
            Case { images, channels, input: [grown(0), grown(1)], kernel, window, seed }
        },
    )
}

impl Case {
    fn shapes(&self) -> ([usize; 4], [usize; 4], [usize; 4]) {
        let [from, to] = self.channels.map(|c| c * self.window.groups);
        let size = |a: usize| self.window.output(a, self.input[a], self.kernel[a]).unwrap_or(1);
        (
            [self.images, from, self.input[0], self.input[1]],
            [to, self.channels[0], self.kernel[0], self.kernel[1]],
            [self.images, to, size(0), size(1)],
        )
    }

    fn attributes(&self) -> Attributes {
        let w = self.window;
        Attributes::new()
            .with("stride", w.stride.as_slice())
            .with("padding", w.padding.as_slice())
            .with("dilation", w.dilation.as_slice())
            .with("groups", w.groups)
    }
}

pub fn families() -> Vec<Family> {
    let fixed = |channels: [usize; 2], input: [usize; 2], kernel: [usize; 2], window: Window| Case {
        images: 2,
        channels,
        input,
        kernel,
        window,
        seed: 3,
    };
    let same = Window { padding: [1, 1], ..Window::default() };
    let edges = [
        fixed([3, 4], [8, 9], [3, 3], same),
        // Patches: the stride is the kernel.
        fixed([3, 5], [8, 8], [4, 4], Window { stride: [4, 4], ..Window::default() }),
        // The stride steps over elements.
        fixed([2, 2], [7, 7], [1, 2], Window { stride: [3, 4], ..Window::default() }),
        fixed([1, 1], [6, 6], [3, 3], Window { groups: 5, ..same }),
        fixed([1, 2], [9, 7], [3, 2], Window { dilation: [2, 3], padding: [2, 1], groups: 2, ..Window::default() }),
        // Whole rows of outputs see only padding.
        fixed([2, 2], [1, 1], [3, 3], Window { padding: [2, 2], ..Window::default() }),
        fixed([2, 3], [1, 1], [1, 1], Window::default()),
    ];
    type Make = fn(Case) -> Result<Problem, GraphError>;
    let makes: [(&'static str, Make); 3] = [
        ("convolution", convolution),
        ("convolution_input_grad", input_grad),
        ("convolution_kernel_grad", kernel_grad),
    ];
    makes
        .into_iter()
        .map(|(op, make)| Family::new(op, case().prop_map(make), edges.iter().map(|c| make(*c)).collect()))
        .collect()
}

fn convolution(case: Case) -> Result<Problem, GraphError> {
    let (x, kernel, _) = case.shapes();
    let mut d = Draft::new(case.seed);
    let x = d.input("x", &x, Draw::Any)?;
    let kernel = d.input("kernel", &kernel, Draw::Any)?;
    let y = d.b.convolution(x, kernel, case.window)?;
    Ok(d.finish("convolution", &[y], Tolerance::SUMMED))
}

fn input_grad(case: Case) -> Result<Problem, GraphError> {
    let (_, kernel, y) = case.shapes();
    let mut d = Draft::new(case.seed);
    let numbers = d.random().draw(kernel.iter().product(), Draw::Any);
    let kernel = d.fixed("kernel", &kernel, numbers)?;
    let numbers = d.random().draw(y.iter().product(), Draw::Any);
    let g = d.fixed("cotangent", &y, numbers)?;
    let attributes = case.attributes().with("input_size", case.input.as_slice());
    let x = emit(&d.b, "convolution_input_grad", &[kernel, g], attributes)?;
    Ok(d.finish("convolution_input_grad", &[x], Tolerance::SUMMED))
}

fn kernel_grad(case: Case) -> Result<Problem, GraphError> {
    let (x, _, y) = case.shapes();
    let mut d = Draft::new(case.seed);
    let numbers = d.random().draw(x.iter().product(), Draw::Any);
    let x = d.fixed("x", &x, numbers)?;
    let numbers = d.random().draw(y.iter().product(), Draw::Any);
    let g = d.fixed("cotangent", &y, numbers)?;
    let attributes = case.attributes().with("kernel_size", case.kernel.as_slice());
    let kernel = emit(&d.b, "convolution_kernel_grad", &[x, g], attributes)?;
    Ok(d.finish("convolution_kernel_grad", &[kernel], Tolerance::SUMMED))
}
