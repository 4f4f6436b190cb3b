//! FLOP/s of the models' attentions: `RAYON_NUM_THREADS=1 cargo bench -p fer-cpu-kernels --bench attention -- "forward.*swin 7"`.
//!
//! An item is an operation of the products, a multiply-add two: two products forward and five backward.

mod support;

use std::fmt;

use divan::{Bencher, counter::ItemsCount};
use fer_cpu_kernels::{
    attention::{self, BiasGradient, Gradients, Heads, HeadsMut, Shape},
    product::Factors,
    simd::Isa,
};

use support::{Numbers, On, on_every};

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Batches or windows.
    groups: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// Of a query, a key or a value.
    width: usize,
    /// How many are different; none where 0.
    biases: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn case(name: &'static str, [groups, heads]: [usize; 2], [queries, keys, width, biases]: [usize; 4]) -> Case {
    Case { name, groups, heads, queries, keys, width, biases }
}

const CASES: [Case; 11] = [
    case("swin 7, stage 1, batch 64", [4096, 3], [49, 49, 32, 192]),
    case("swin 7, stage 1, batch 8", [512, 3], [49, 49, 32, 192]),
    case("swin 7, unshifted, batch 8", [512, 3], [49, 49, 32, 3]),
    case("swin 7, stage 4, batch 64", [64, 24], [49, 49, 32, 24]),
    case("swin 12, stage 1, batch 8", [128, 4], [144, 144, 32, 4]),
    case("vit s, batch 8", [8, 6], [197, 197, 64, 0]),
    case("vit b, batch 64", [64, 12], [197, 197, 64, 0]),
    case("vit s at 384, batch 1", [1, 6], [577, 577, 64, 0]),
    case("xcit at 224, batch 8", [8, 8], [48, 48, 784, 0]),
    case("xcit at 448, batch 8", [8, 4], [48, 48, 3136, 0]),
    case("class token, batch 64", [64, 8], [1, 197, 48, 0]),
];

/// An attention whose products have factors of one kind.
#[derive(Clone, Copy)]
struct With {
    case: Case,
    factors: Factors,
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors = match self.factors {
            Factors::F32 => "f32",
            Factors::Bf16 => "bf16",
        };
        write!(f, "{}, {factors}", self.case)
    }
}

fn cases() -> Vec<On<With>> {
    let mut all = on_every(CASES.map(|case| With { case, factors: Factors::F32 }));
    for case in CASES.map(|case| With { case, factors: Factors::Bf16 }) {
        all.extend(Isa::available().map(|isa| On { case, isa }));
    }
    all
}

fn main() {
    support::run();
}

/// Where the operands of a case stand: q, k and v side by side in rows of all heads; of a transposed attention, heads are on their own.
struct Layout {
    shape: Shape,
    scale: f32,
    /// Of rows of q, k and v, and of those of the result.
    strides: [usize; 2],
    /// Of q, k, v, the result and the bias.
    starts: [Vec<u32>; 5],
    q: Numbers,
    k: Numbers,
    v: Numbers,
    bias: Numbers,
}

impl Layout {
    fn new(case: Case) -> Layout {
        let Case { groups, heads, queries, keys, width, biases, .. } = case;
        let count = groups * heads;
        let apart = width > 256;
        let starts = |rows: usize, part: usize, parts: usize| -> Vec<u32> {
            let start = |i: usize| match apart {
                true => i * rows * width,
                false => (i / heads * rows * parts + part) * heads * width + i % heads * width,
            };
            (0..count).map(|i| start(i) as u32).collect()
        };
        let bias_starts = (0..count).map(|i| (i % biases.max(1) * queries * keys) as u32).collect();
        let size = |rows: usize| (count * rows * width) * if apart { 1 } else { 3 };
        Layout {
            shape: Shape { count, queries, keys, width, value_width: width },
            scale: 1.0 / (width as f32).sqrt(),
            strides: if apart { [width; 2] } else { [3 * heads * width, heads * width] },
            starts: [starts(queries, 0, 3), starts(keys, 1, 3), starts(keys, 2, 3), starts(queries, 0, 1), bias_starts],
            q: Numbers::new(size(queries)),
            k: Numbers::new(size(keys)),
            v: Numbers::new(size(keys)),
            bias: Numbers::new(biases * queries * keys),
        }
    }

    fn operands(&self) -> [Heads<'_>; 3] {
        let [q, k, v, ..] = &self.starts;
        let stride = self.strides[0];
        [(&self.q, q), (&self.k, k), (&self.v, v)].map(|(data, starts)| Heads { data: data[..].into(), starts, stride })
    }

    fn bias(&self) -> Option<Heads<'_>> {
        let bias = Heads { data: self.bias[..].into(), starts: &self.starts[4], stride: self.shape.keys };
        (!self.bias.is_empty()).then_some(bias)
    }

    fn result(&self) -> Numbers {
        Numbers::new(self.shape.count * self.shape.queries * self.shape.value_width)
    }
}

#[divan::bench(args = cases())]
fn forward(bencher: Bencher<'_, '_>, on: &On<With>) {
    let layout = Layout::new(on.case.case);
    let ([q, k, v], mut out) = (layout.operands(), layout.result());
    bencher.counter(ItemsCount::new(layout.shape.flops())).bench_local(|| {
        let out = HeadsMut::new(&mut out, &layout.starts[3], layout.strides[1]);
        attention::forward(on.isa, on.case.factors, layout.shape, layout.scale, q, k, v, layout.bias(), out);
    });
}

#[divan::bench(args = cases())]
fn backward(bencher: Bencher<'_, '_>, on: &On<With>) {
    let layout = Layout::new(on.case.case);
    let ([q, k, v], grad) = (layout.operands(), layout.result());
    let (mut dq, mut dk) = (Numbers::new(layout.q.len()), Numbers::new(layout.k.len()));
    let (mut dv, mut db) = (Numbers::new(layout.v.len()), Numbers::new(layout.bias.len()));
    let ([q_starts, k_starts, v_starts, out_starts, bias_starts], [stride, out_stride]) =
        (&layout.starts, layout.strides);
    bencher.counter(ItemsCount::new(layout.shape.flops() / 4 * 10)).bench_local(|| {
        let bias = BiasGradient { data: &mut db, starts: bias_starts, stride: layout.shape.keys };
        let gradients = Gradients {
            q: Some(HeadsMut::new(&mut dq, q_starts, stride)),
            k: Some(HeadsMut::new(&mut dk, k_starts, stride)),
            v: Some(HeadsMut::new(&mut dv, v_starts, stride)),
            bias: layout.bias().map(|_| bias),
        };
        let grad_out = Heads { data: grad[..].into(), starts: out_starts, stride: out_stride };
        attention::backward(
            on.isa,
            on.case.factors,
            layout.shape,
            layout.scale,
            q,
            k,
            v,
            layout.bias(),
            grad_out,
            gradients,
        );
    });
}
