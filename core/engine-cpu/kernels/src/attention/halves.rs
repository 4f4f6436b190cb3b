//! Matrices in bfloat16: the same sums, rounded where they are written.

use super::{
    tests::{Case, Layout, shape},
    *,
};
use crate::bf16;

fn halves(data: &[f32]) -> Vec<u16> {
    data.iter().map(|&x| bf16::round(x)).collect()
}

fn heads<'a>(layout: &'a Layout, data: &'a [u16]) -> Heads<'a> {
    Heads { data: data.into(), starts: &layout.starts, stride: layout.stride }
}

fn heads_mut<'a>(layout: &'a Layout, data: &'a mut [u16]) -> HeadsMut<'a> {
    // SAFETY: the slice outlives the heads, which nobody else touches.
    unsafe { HeadsMut::from_raw_bf16(data.as_mut_ptr(), data.len(), &layout.starts, layout.stride) }
}

/// Factors are rounded anyway, so nothing but the last rounding of results is left of it.
#[test]
fn bfloat16_is_a_matter_of_memory_alone() {
    // Windows with biases; few long matrices, whose rows are shared between tasks; matrices in pieces; odd sizes.
    let cases = [
        Case::new(shape(96, 49, 49, 32, 32), 3, 0, 6, 1),
        Case::new(shape(2, 600, 300, 24, 40), 2, 3, 0, 2),
        Case::new(shape(20, 300, 70, 16, 16), 2, 0, 0, 3),
        Case::new(shape(4, 30, 20, 300, 300), 2, 1, 4, 4),
        Case::new(shape(17, 5, 7, 9, 11), 1, 2, 17, 5),
    ];
    for case in cases {
        let widened = |(layout, data): &(Layout, Vec<f32>)| {
            (layout.clone(), halves(data).into_iter().map(bf16::widen).collect::<Vec<f32>>())
        };
        let plain = Case {
            q: widened(&case.q),
            k: widened(&case.k),
            v: widened(&case.v),
            grad: widened(&case.grad),
            ..case.clone()
        };
        let [q, k, v, grad] = [&case.q, &case.k, &case.v, &case.grad].map(|(_, data)| halves(data));
        let bias = case.bias.as_ref().map(|(layout, data)| layout.heads(data));
        let inputs = || (heads(&case.q.0, &q), heads(&case.k.0, &k), heads(&case.v.0, &v));
        for isa in Isa::available() {
            let what = format!("{isa} {:?}", case.shape);
            let (q, k, v) = inputs();
            let mut out = vec![bf16::round(f32::NAN); grad.len()];
            forward(isa, Factors::Bf16, case.shape, case.scale, q, k, v, bias, heads_mut(&case.grad.0, &mut out));
            assert!(out == halves(&plain.forward_with(isa, Factors::Bf16)), "{what}");

            let expected = plain.backward_with(isa, Factors::Bf16, [true; 4]);
            let mut found = [&case.q, &case.k, &case.v].map(|(_, data)| vec![bf16::round(f32::NAN); data.len()]);
            let mut of_bias = vec![f32::NAN; case.bias.as_ref().map_or(0, |(_, data)| data.len())];
            let [dq, dk, dv] = &mut found;
            let gradients = Gradients {
                q: Some(heads_mut(&case.q.0, dq)),
                k: Some(heads_mut(&case.k.0, dk)),
                v: Some(heads_mut(&case.v.0, dv)),
                bias: case.bias.as_ref().map(|(layout, _)| BiasGradient {
                    data: &mut of_bias,
                    starts: &layout.starts,
                    stride: layout.stride,
                }),
            };
            let given = heads(&case.grad.0, &grad);
            backward(isa, Factors::Bf16, case.shape, case.scale, q, k, v, bias, given, gradients);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(*found == halves(expected), "{what}");
            }
            assert_eq!(halves(&of_bias), halves(&expected[3]), "{what}");
        }
    }
}

#[test]
#[should_panic(expected = "matrices in bfloat16 want factors that are rounded")]
fn factors_that_stay_as_they_are_do_not_stand_in_bfloat16() {
    let whole = [0; 12];
    let heads = Heads { data: whole[..].into(), starts: &[0], stride: 4 };
    let mut out = [0.0; 12];
    let out = HeadsMut::new(&mut out, &[0], 4);
    forward(Isa::Portable, Factors::F32, shape(1, 3, 3, 4, 4), 1.0, heads, heads, heads, None, out);
}
