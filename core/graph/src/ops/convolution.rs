//! convolution in NCHW / OIHW, and its two adjoints.

use super::required;
use crate::{
    AttributeDef, AttributeKind, Attributes, Builder, Call, Class, Meaning, OpDef, Operands, Result, TensorType, Value,
};

/// The window of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub stride: [usize; 2],
    /// Zeros added on both sides of each axis.
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl Window {
    /// Reads verified attributes.
    pub fn of(attributes: &Attributes) -> Window {
        let pair = |name| {
            let v = attributes.sizes(name);
            [v[0], v[1]]
        };
        Window {
            stride: pair("stride"),
            padding: pair("padding"),
            dilation: pair("dilation"),
            groups: attributes.int("groups") as usize,
        }
    }

    fn attributes(self) -> Attributes {
        Attributes::new()
            .with("stride", self.stride.as_slice())
            .with("padding", self.padding.as_slice())
            .with("dilation", self.dilation.as_slice())
            .with("groups", self.groups)
    }

    /// Output size of one axis, or `None` when the window does not fit.
    pub fn output(self, axis: usize, input: usize, kernel: usize) -> Option<usize> {
        let span = self.dilation[axis].checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
        let padded = input.checked_add(self.padding[axis].checked_mul(2)?)?;
        Some(padded.checked_sub(span)? / self.stride[axis] + 1)
    }
}

const STRIDE: AttributeDef = required("stride", AttributeKind::Ints, "step of the window, [height, width]");
const PADDING: AttributeDef = required("padding", AttributeKind::Ints, "zeros on both sides, [height, width]");
const DILATION: AttributeDef =
    required("dilation", AttributeKind::Ints, "distance of the kernel's elements, [height, width]");
const GROUPS: AttributeDef = required("groups", AttributeKind::Int, "independent groups of channels");

fn window(call: &Call<'_>) -> Result<Window> {
    call.sizes("stride", 2, 1, "c2")?;
    call.sizes("padding", 2, 0, "c2")?;
    call.sizes("dilation", 2, 1, "c2")?;
    call.require(call.attributes.int("groups") >= 1, "c2", || "groups must be at least 1".into())?;
    Ok(Window::of(call.attributes))
}

/// The result's type for an input `[n, c, h, w]` and a kernel `[o, c / groups, kh, kw]`.
fn output_type(call: &Call<'_>, x: &TensorType, kernel: &TensorType) -> Result<TensorType> {
    call.require(x.rank() == 4 && kernel.rank() == 4 && x.dtype.is_float() && x.dtype == kernel.dtype, "c1", || {
        format!("needs float [n, c, h, w] and [o, c, kh, kw] of one type, found {x} and {kernel}")
    })?;
    let window = window(call)?;
    let (channels, out) = (x.shape[1], kernel.shape[0]);
    let divides = channels % window.groups == 0 && out % window.groups == 0;
    call.require(divides && kernel.shape[1] == channels / window.groups, "c3", || {
        format!("{channels} channels in {} groups do not fit a kernel {kernel}", window.groups)
    })?;
    let size = |axis: usize| window.output(axis, x.shape[2 + axis], kernel.shape[2 + axis]);
    let (height, width) = (size(0), size(1));
    call.require(height.is_some() && width.is_some(), "c4", || {
        format!("the kernel {kernel} is larger than the padded input {x} (padding {:?})", window.padding)
    })?;
    Ok(TensorType::new(x.dtype, [x.shape[0], out, height.unwrap_or(0), width.unwrap_or(0)]))
}

fn multiply_adds(kernel: &TensorType, output: &TensorType) -> u64 {
    let per_element = kernel.shape[1..].iter().fold(2u64, |n, &d| n.saturating_mul(d as u64));
    (output.elements() as u64).saturating_mul(per_element)
}

const CONSTRAINTS: &[(&str, &str)] = &[
    ("c1", "x is float [n, c, h, w] and kernel float [o, c / groups, kh, kw]"),
    ("c2", "stride, dilation and groups are at least 1, padding is not negative"),
    ("c3", "groups divides c and o, and the kernel's second axis is c / groups"),
    ("c4", "the dilated kernel fits into the padded input"),
];

/// Those of the convolution that the adjoint belongs to, and one of its own.
const GRAD_CONSTRAINTS: &[(&str, &str)] = &[
    CONSTRAINTS[0],
    CONSTRAINTS[1],
    CONSTRAINTS[2],
    CONSTRAINTS[3],
    ("c5", "the cotangent has the convolution's result type"),
];

pub(super) static CONVOLUTION: OpDef = OpDef {
    name: "convolution",
    version: 1,
    class: Class::Primitive,
    summary: "cross-correlation of NCHW images with OIHW kernels, as PyTorch's conv2d without bias",
    operands: Operands { names: &["x", "kernel"], required: 2, variadic: false },
    attributes: &[STRIDE, PADDING, DILATION, GROUPS],
    constraints: CONSTRAINTS,
    infer: |call| Ok(vec![output_type(call, call.ty(0), call.ty(1))?]),
    meaning: Meaning::Primitive(|b, v| {
        let window = Window::of(v.attributes);
        let (x, kernel, g) = (v.operands[0], v.operands[1], v.cotangent());
        Ok(vec![
            v.when(0, || {
                let size = b.shape(x);
                let attributes = window.attributes().with("input_size", &size[2..]);
                b.emit1(&CONVOLUTION_INPUT_GRAD, &[kernel, g], attributes)
            })?,
            v.when(1, || {
                let size = b.shape(kernel);
                let attributes = window.attributes().with("kernel_size", &size[2..]);
                b.emit1(&CONVOLUTION_KERNEL_GRAD, &[x, g], attributes)
            })?,
        ])
    }),
    flops: |call, results| multiply_adds(call.ty(1), &results[0]),
};

fn cotangent_fits(call: &Call<'_>, x: &TensorType, kernel: &TensorType, cotangent: &TensorType) -> Result<()> {
    let expected = output_type(call, x, kernel)?;
    call.require(*cotangent == expected, "c5", || format!("the cotangent must be {expected}, found {cotangent}"))
}

pub(super) static CONVOLUTION_INPUT_GRAD: OpDef = OpDef {
    name: "convolution_input_grad",
    version: 1,
    class: Class::Adjoint,
    summary: "cotangent of a convolution's x",
    operands: Operands { names: &["kernel", "cotangent"], required: 2, variadic: false },
    attributes: &[STRIDE, PADDING, DILATION, GROUPS, required("input_size", AttributeKind::Ints, "[h, w] of x")],
    constraints: GRAD_CONSTRAINTS,
    infer: |call| {
        let [kernel, g] = [call.ty(0), call.ty(1)];
        let size = call.sizes("input_size", 2, 1, "c2")?;
        let window = window(call)?;
        call.require(kernel.rank() == 4 && g.rank() == 4, "c1", || format!("found {kernel} and {g}"))?;
        let x = TensorType::new(g.dtype, [g.shape[0], kernel.shape[1].saturating_mul(window.groups), size[0], size[1]]);
        cotangent_fits(call, &x, kernel, g)?;
        Ok(vec![x])
    },
    meaning: Meaning::Terminal,
    flops: |call, _| multiply_adds(call.ty(0), call.ty(1)),
};

pub(super) static CONVOLUTION_KERNEL_GRAD: OpDef = OpDef {
    name: "convolution_kernel_grad",
    version: 1,
    class: Class::Adjoint,
    summary: "cotangent of a convolution's kernel",
    operands: Operands { names: &["x", "cotangent"], required: 2, variadic: false },
    attributes: &[
        STRIDE,
        PADDING,
        DILATION,
        GROUPS,
        required("kernel_size", AttributeKind::Ints, "[kh, kw] of the kernel"),
    ],
    constraints: GRAD_CONSTRAINTS,
    infer: |call| {
        let [x, g] = [call.ty(0), call.ty(1)];
        let size = call.sizes("kernel_size", 2, 1, "c2")?;
        let window = window(call)?;
        call.require(x.rank() == 4 && g.rank() == 4, "c1", || format!("found {x} and {g}"))?;
        let kernel = TensorType::new(x.dtype, [g.shape[1], x.shape[1] / window.groups, size[0], size[1]]);
        cotangent_fits(call, x, &kernel, g)?;
        Ok(vec![kernel])
    },
    meaning: Meaning::Terminal,
    flops: |call, results| multiply_adds(&results[0], call.ty(1)),
};

impl Builder {
    /// `[n, c, h, w]` with a kernel `[o, c / groups, kh, kw]`.
    pub fn convolution(&self, x: Value, kernel: Value, window: Window) -> Result<Value> {
        self.emit1(&CONVOLUTION, &[x, kernel], window.attributes())
    }
}
