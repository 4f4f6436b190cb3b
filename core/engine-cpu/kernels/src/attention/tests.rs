//! Both passes against plain sums in f64.

use super::*;

/// Numbers in -1..1 that do not repeat.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 20
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() & 0xff_ffff) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}

/// How matrices lie in a buffer.
#[derive(Clone, Debug)]
pub struct Layout {
    pub starts: Vec<u32>,
    pub stride: usize,
    rows: usize,
    columns: usize,
}

impl Layout {
    /// `heads` side by side in rows that go on for `gap` more.
    fn side_by_side(count: usize, heads: usize, rows: usize, columns: usize, gap: usize) -> Layout {
        let stride = heads * columns + gap;
        let starts = (0..count).map(|i| (i / heads * rows * stride + i % heads * columns) as u32).collect();
        Layout { starts, stride, rows, columns }
    }

    /// `different` matrices, the i-th of all is the i-th of them modulo their number.
    fn repeated(count: usize, different: usize, rows: usize, columns: usize, gap: usize) -> Layout {
        let stride = columns + gap;
        let starts = (0..count).map(|i| (i % different * rows * stride) as u32).collect();
        Layout { starts, stride, rows, columns }
    }

    fn len(&self) -> usize {
        self.starts.iter().max().map_or(0, |&s| s as usize + self.rows * self.stride)
    }

    fn at(&self, index: usize, row: usize, column: usize) -> usize {
        assert!(row < self.rows && column < self.columns);
        self.starts[index] as usize + row * self.stride + column
    }

    pub fn heads<'a>(&'a self, data: &'a [f32]) -> Heads<'a> {
        Heads { data: data.into(), starts: &self.starts, stride: self.stride }
    }

    fn heads_mut<'a>(&'a self, data: &'a mut [f32]) -> HeadsMut<'a> {
        HeadsMut::new(data, &self.starts, self.stride)
    }

    fn get(&self, data: &[f32], index: usize, row: usize, column: usize) -> f64 {
        f64::from(data[self.at(index, row, column)])
    }
}

/// Operands and their layouts.
#[derive(Clone)]
pub struct Case {
    pub shape: Shape,
    pub scale: f32,
    pub q: (Layout, Vec<f32>),
    pub k: (Layout, Vec<f32>),
    pub v: (Layout, Vec<f32>),
    pub bias: Option<(Layout, Vec<f32>)>,
    pub grad: (Layout, Vec<f32>),
}

impl Case {
    /// `different` biases; 0 for none.
    pub fn new(shape: Shape, heads: usize, gap: usize, different: usize, seed: u64) -> Case {
        let mut numbers = Numbers::new(seed);
        let Shape { count, queries, keys, width, value_width } = shape;
        let mut operand = |rows, columns| {
            let layout = Layout::side_by_side(count, heads, rows, columns, gap);
            let data = numbers.floats(layout.len());
            (layout, data)
        };
        let (q, k) = (operand(queries, width), operand(keys, width));
        let (v, grad) = (operand(keys, value_width), operand(queries, value_width));
        let bias = (different > 0).then(|| {
            let layout = Layout::repeated(count, different, queries, keys, gap % 3);
            let data = numbers.floats(layout.len()).into_iter().map(|x| 3.0 * x).collect();
            (layout, data)
        });
        // Scores of several units, so that the softmax is not flat.
        Case { shape, scale: 4.0 / (width.max(1) as f32).sqrt(), q, k, v, bias, grad }
    }

    fn inputs(&self) -> (Heads<'_>, Heads<'_>, Heads<'_>, Option<Heads<'_>>) {
        let bias = self.bias.as_ref().map(|(layout, data)| layout.heads(data));
        (self.q.0.heads(&self.q.1), self.k.0.heads(&self.k.1), self.v.0.heads(&self.v.1), bias)
    }

    fn forward(&self, isa: Isa) -> Vec<f32> {
        self.forward_with(isa, Factors::F32)
    }

    pub fn forward_with(&self, isa: Isa, factors: Factors) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.grad.1.len()];
        let (q, k, v, bias) = self.inputs();
        forward(isa, factors, self.shape, self.scale, q, k, v, bias, self.grad.0.heads_mut(&mut out));
        out
    }

    /// Those of q, k, v and the bias that are wanted; NaN in the others.
    fn backward(&self, isa: Isa, wanted: [bool; 4]) -> [Vec<f32>; 4] {
        self.backward_with(isa, Factors::F32, wanted)
    }

    pub fn backward_with(&self, isa: Isa, factors: Factors, wanted: [bool; 4]) -> [Vec<f32>; 4] {
        let empty = (Layout::repeated(0, 1, 0, 0, 0), vec![]);
        let bias = self.bias.as_ref().unwrap_or(&empty);
        let mut grads = [&self.q, &self.k, &self.v, bias].map(|(_, data)| vec![f32::NAN; data.len()]);
        let [dq, dk, dv, db] = &mut grads;
        let gradients = Gradients {
            q: wanted[0].then(|| self.q.0.heads_mut(dq)),
            k: wanted[1].then(|| self.k.0.heads_mut(dk)),
            v: wanted[2].then(|| self.v.0.heads_mut(dv)),
            bias: (wanted[3] && self.bias.is_some()).then(|| BiasGradient {
                data: db,
                starts: &bias.0.starts,
                stride: bias.0.stride,
            }),
        };
        let (q, k, v, bias) = self.inputs();
        backward(isa, factors, self.shape, self.scale, q, k, v, bias, self.grad.0.heads(&self.grad.1), gradients);
        grads
    }

    /// The result and the four gradients, by the formulas; NaN where nothing is written.
    fn truth(&self) -> [Vec<f64>; 5] {
        let Shape { count, queries, keys, width, value_width } = self.shape;
        let scale = f64::from(self.scale);
        let bias_len = self.bias.as_ref().map_or(0, |b| b.1.len());
        let lens = [self.grad.1.len(), self.q.1.len(), self.k.1.len(), self.v.1.len(), bias_len];
        let [mut out, mut dq, mut dk, mut dv, mut db] = lens.map(|len| vec![f64::NAN; len]);
        fn add(to: &mut f64, x: f64, first: bool) {
            *to = if first { x } else { *to + x };
        }
        let mut seen = std::collections::HashSet::new();
        for h in 0..count {
            let get = |of: &(Layout, Vec<f32>), i, j| of.0.get(&of.1, h, i, j);
            let bias_first = self.bias.as_ref().is_some_and(|b| seen.insert(b.0.starts[h]));
            for i in 0..queries {
                let scores: Vec<f64> = (0..keys)
                    .map(|j| {
                        let dot: f64 = (0..width).map(|c| get(&self.q, i, c) * get(&self.k, j, c)).sum();
                        scale * dot + self.bias.as_ref().map_or(0.0, |b| get(b, i, j))
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let e: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let sum: f64 = e.iter().sum();
                let p: Vec<f64> = e.iter().map(|e| e / sum).collect();
                let dp: Vec<f64> = (0..keys)
                    .map(|j| (0..value_width).map(|c| get(&self.grad, i, c) * get(&self.v, j, c)).sum())
                    .collect();
                let dot: f64 = p.iter().zip(&dp).map(|(p, d)| p * d).sum();
                for c in 0..value_width {
                    out[self.grad.0.at(h, i, c)] = (0..keys).map(|j| p[j] * get(&self.v, j, c)).sum();
                }
                for j in 0..keys {
                    let ds = p[j] * (dp[j] - dot);
                    if let Some(b) = &self.bias {
                        add(&mut db[b.0.at(h, i, j)], ds, bias_first);
                    }
                    for c in 0..width {
                        add(&mut dq[self.q.0.at(h, i, c)], scale * ds * get(&self.k, j, c), j == 0);
                        add(&mut dk[self.k.0.at(h, j, c)], scale * ds * get(&self.q, i, c), i == 0);
                    }
                    for c in 0..value_width {
                        add(&mut dv[self.v.0.at(h, j, c)], p[j] * get(&self.grad, i, c), i == 0);
                    }
                }
            }
        }
        [out, dq, dk, dv, db]
    }

    fn check(&self) {
        let what = format!("{:?} {:?} {}", self.shape, self.q.0.stride, self.bias.is_some());
        let [out, grads @ ..] = self.truth();
        for isa in Isa::available() {
            // Rounding of a few units of 6e-8 in scores of several units, which the exponential makes relative; sums in which they
            // cancel in part. The gradients go through it twice, and subtract.
            assert_near(&self.forward(isa), &out, 2e-6, &format!("{isa} out {what}"));
            let found = self.backward(isa, [true; 4]);
            for ((found, truth), name) in found.iter().zip(&grads).zip(["dq", "dk", "dv", "dbias"]) {
                assert_near(found, truth, 5e-6, &format!("{isa} {name} {what}"));
            }
            // Scores of several units, whose factors are off by up to 2^-9 each, at random: some thousandths, which the exponential
            // makes relative. The gradients go through it twice.
            let rounded = self.forward_with(isa, Factors::Bf16);
            assert_near(&rounded, &out, 2e-2, &format!("{isa} rounded out {what}"));
            let found = self.backward_with(isa, Factors::Bf16, [true; 4]);
            for ((found, truth), name) in found.iter().zip(&grads).zip(["dq", "dk", "dv", "dbias"]) {
                assert_near(found, truth, 4e-2, &format!("{isa} rounded {name} {what}"));
            }
        }
    }
}

/// Relative to the largest of all; NaN stands for NaN.
fn assert_near(found: &[f32], truth: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), truth.len());
    let largest = truth.iter().fold(0.0, |m: f64, t| m.max(t.abs()));
    for (i, (&f, &t)) in found.iter().zip(truth).enumerate() {
        let near = if t.is_nan() { f.is_nan() } else { (f64::from(f) - t).abs() <= tolerance * largest };
        assert!(near, "{what}: {f} for {t} at {i}, the largest {largest}");
    }
}

pub fn shape(count: usize, queries: usize, keys: usize, width: usize, value_width: usize) -> Shape {
    Shape { count, queries, keys, width, value_width }
}

#[test]
fn sizes_of_the_models_keep_to_the_formulas() {
    for (shape, heads, different) in [
        // Swin with windows of 7 and 12, the bias shared over all windows or over the batch.
        (shape(24, 49, 49, 32, 32), 3, 3),
        (shape(96, 49, 49, 32, 32), 6, 24),
        (shape(4, 144, 144, 32, 32), 4, 4),
        // ViT, from few rows to several blocks of them.
        (shape(6, 197, 197, 64, 64), 6, 0),
        (shape(2, 577, 577, 64, 64), 2, 0),
        (shape(70, 197, 197, 16, 16), 10, 10),
        // XCiT, and attention of one class token.
        (shape(4, 48, 48, 196, 196), 4, 0),
        (shape(1, 48, 48, 3136, 3136), 1, 0),
        (shape(8, 1, 197, 48, 48), 8, 0),
    ] {
        Case::new(shape, heads, 2 * heads * shape.width, different, 1).check();
    }
}

#[test]
fn any_size_keeps_to_the_formulas() {
    let mut numbers = Numbers::new(2);
    for seed in 0..300 {
        let heads = 1 + numbers.below(3);
        let count = heads * (1 + numbers.below(4));
        let mut size = |end: usize| 1 + numbers.below([3, end, end][seed as usize % 3]);
        let shape = Shape { queries: size(70), keys: size(70), width: size(40), value_width: size(40), count };
        let different = [0, 1, heads, count][numbers.below(4)];
        Case::new(shape, heads, numbers.below(9), different, seed).check();
    }
}

#[test]
fn wide_and_long_matrices_go_by_in_pieces() {
    for (shape, different) in [
        (shape(2, 20, 30, 600, 513), 2),
        (shape(2, 300, 256, 257, 40), 1),
        (shape(1, 1100, 17, 8, 300), 1),
        (shape(1, 5, 1030, 5, 5), 0),
    ] {
        Case::new(shape, 1, 3, different, 4).check();
    }
}

#[test]
fn nothing_comes_of_nothing() {
    for isa in Isa::available() {
        for none in [shape(0, 3, 3, 3, 3), shape(2, 0, 3, 3, 3), shape(2, 3, 3, 3, 0)] {
            let case = Case::new(none, 1, 0, 1, 1);
            assert!(case.forward(isa).is_empty());
            // Sums over no rows are 0.
            let grads = case.backward(isa, [true; 4]);
            assert!(grads.iter().flatten().all(|&g| g == 0.0), "{isa} {none:?} {grads:?}");
        }
        // Without keys nothing is summed; without columns all keys are alike.
        let case = Case::new(shape(2, 3, 0, 4, 5), 1, 0, 1, 1);
        assert!(case.forward(isa).iter().all(|&x| x == 0.0));
        assert!(case.backward(isa, [true; 4]).iter().flatten().all(|&x| x == 0.0));
        Case::new(shape(2, 3, 4, 0, 5), 1, 0, 0, 1).check();
    }
}

#[test]
fn masks_exclude_keys() {
    for (mask, n) in [(-100.0, 49), (f32::NEG_INFINITY, 49), (f32::NEG_INFINITY, 37), (f32::MIN, 20)] {
        let mut case = Case::new(shape(6, n, n, 32, 32), 3, 0, 3, 5);
        let (layout, data) = case.bias.as_mut().unwrap();
        for (h, i, j) in (0..3).flat_map(|h| (0..n).flat_map(move |i| (0..n).map(move |j| (h, i, j)))) {
            if (i + h) % 3 != j % 3 {
                data[layout.at(h, i, j)] = mask;
            }
        }
        case.check();
        // What is excluded has no share at all.
        let grads = case.backward(Isa::best(), [true; 4]);
        assert!(case.bias.unwrap().1.iter().zip(&grads[3]).all(|(&b, &g)| b > f32::MIN || g == 0.0 || mask == -100.0));
    }
}

/// A row without any key is NaN, and so is whatever sums over it; the others are not.
#[test]
fn a_row_without_keys_is_nan() {
    let mut case = Case::new(shape(3, 9, 21, 8, 8), 1, 0, 3, 6);
    let (layout, data) = case.bias.as_mut().unwrap();
    for j in 0..21 {
        data[layout.at(1, 4, j)] = f32::NEG_INFINITY;
    }
    case.check();
}

/// A row masked with the lowest number is flat, not NaN.
#[test]
fn a_row_of_lowest_numbers_is_flat() {
    let mut case = Case::new(shape(1, 3, 21, 8, 8), 1, 0, 1, 6);
    case.bias.as_mut().unwrap().1.fill(f32::MIN);
    case.v.1.fill(2.0);
    for isa in Isa::available() {
        assert!(case.forward(isa).iter().all(|&x| (x - 2.0).abs() < 1e-6), "{isa}");
    }
}

#[test]
fn nan_goes_where_the_formulas_take_it() {
    let clean = Case::new(shape(2, 17, 19, 9, 11), 1, 0, 2, 7);
    for operand in 0..5 {
        for value in [f32::NAN, f32::INFINITY] {
            let mut case = clean.clone();
            let bias = case.bias.as_mut().unwrap();
            let (layout, data) =
                [&mut case.q, &mut case.k, &mut case.v, &mut case.grad, bias].into_iter().nth(operand).unwrap();
            data[layout.at(1, 5, 3)] = value;
            // An infinite number makes others infinite, which no tolerance measures: only what is NaN is compared.
            let truth = case.truth();
            for isa in Isa::available() {
                let out = case.forward(isa);
                let grads = case.backward(isa, [true; 4]);
                for (found, truth) in [&out].into_iter().chain(&grads).zip(&truth) {
                    for (f, t) in found.iter().zip(truth) {
                        assert_eq!(f.is_nan(), t.is_nan(), "{isa} operand {operand} {value}: {f} for {t}");
                    }
                }
            }
        }
    }
}

#[test]
fn each_gradient_may_be_asked_for_alone() {
    for shape in [shape(6, 49, 49, 32, 32), shape(2, 500, 60, 8, 12)] {
        let case = Case::new(shape, 2, 5, 2, 8);
        for isa in Isa::available() {
            let all = case.backward(isa, [true; 4]);
            for subset in 0..16 {
                let wanted = std::array::from_fn(|i| subset >> i & 1 == 1);
                let some = case.backward(isa, wanted);
                for (i, (some, all)) in some.iter().zip(&all).enumerate() {
                    // How sums of dk and dv are grouped does not hang on what else is wanted.
                    let same =
                        |(s, a): (&f32, &f32)| s.to_bits() == a.to_bits() || s.is_nan() && (a.is_nan() || !wanted[i]);
                    assert!(some.iter().zip(all).all(same), "{isa} {subset} {i}");
                }
            }
        }
    }
}

/// dq, dk and dv of one buffer, as of `[tokens, 3 d]`.
#[test]
fn gradients_may_share_a_buffer() {
    let (heads, n, d) = (3, 10, 8);
    let case = Case::new(shape(2 * heads, n, n, d, d), heads, 2 * heads * d, 0, 9);
    let apart = case.backward(Isa::best(), [true; 4]);
    let layout = &case.q.0;
    let starts = [0, 1, 2].map(|i| layout.starts.iter().map(|s| s + (i * heads * d) as u32).collect::<Vec<_>>());
    let mut buffer = vec![0.0; layout.len()];
    // SAFETY: the three lie side by side in each row.
    let [dq, dk, dv] =
        [0, 1, 2].map(|i| unsafe { HeadsMut::from_raw(buffer.as_mut_ptr(), buffer.len(), &starts[i], layout.stride) });
    let gradients = Gradients { q: Some(dq), k: Some(dk), v: Some(dv), bias: None };
    let (q, k, v, bias) = case.inputs();
    backward(
        Isa::best(),
        Factors::F32,
        case.shape,
        case.scale,
        q,
        k,
        v,
        bias,
        case.grad.0.heads(&case.grad.1),
        gradients,
    );
    for (i, apart) in apart[..3].iter().enumerate() {
        for (at, &x) in apart.iter().enumerate().filter(|(_, x)| !x.is_nan()) {
            assert_eq!(buffer[at + i * heads * d], x);
        }
    }
}

/// How many threads there are changes no bit.
#[test]
fn threads_change_no_bit() {
    for (shape, different) in [
        (shape(180, 49, 49, 32, 32), 3),
        (shape(96, 16, 20, 8, 8), 48),
        (shape(3, 577, 300, 40, 24), 1),
        (shape(3, 577, 300, 40, 24), 0),
        (shape(90, 30, 30, 16, 16), 0),
    ] {
        let case = Case::new(shape, 3, 0, different, 10);
        for (isa, factors) in Isa::available().flat_map(|isa| [(isa, Factors::F32), (isa, Factors::Bf16)]) {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| (case.forward_with(isa, factors), case.backward_with(isa, factors, [true; 4])))
            };
            let one = with(1);
            let bits = |(out, grads): &(Vec<f32>, [Vec<f32>; 4])| -> Vec<u32> {
                out.iter().chain(grads.iter().flatten()).map(|x| x.to_bits()).collect()
            };
            assert!(bits(&with(2)) == bits(&one) && bits(&with(3)) == bits(&one), "{isa} {factors:?} {shape:?}");
        }
    }
}

#[test]
#[should_panic(expected = "k: a matrix of 3 rows of 4, 4 apart, does not lie within 11 elements")]
fn a_matrix_that_is_not_all_there_is_refused() {
    let (whole, short) = ([0.0; 12], [0.0; 11]);
    fn heads(data: &[f32]) -> Heads<'_> {
        Heads { data: data.into(), starts: &[0], stride: 4 }
    }
    let mut out = [0.0; 12];
    let out = HeadsMut::new(&mut out, &[0], 4);
    forward(
        Isa::Portable,
        Factors::F32,
        shape(1, 3, 3, 4, 4),
        1.0,
        heads(&whole),
        heads(&short),
        heads(&whole),
        None,
        out,
    );
}

#[test]
#[should_panic(expected = "out: matrices overlap")]
fn results_that_overlap_are_refused() {
    let whole = [0.0; 12];
    let heads = Heads { data: whole[..].into(), starts: &[0, 0], stride: 4 };
    let mut out = [0.0; 12];
    let out = HeadsMut::new(&mut out, &[0, 4], 4);
    forward(Isa::Portable, Factors::F32, shape(2, 2, 3, 4, 4), 1.0, heads, heads, heads, None, out);
}
