//! Elementwise ops: negate exponential log sqrt tanh erf floor, add subtract multiply divide maximum power, compare select.

use std::f64::consts::PI;

use super::{elementwise_flops, required};
use crate::{
    AttributeKind, Attributes, Builder, Call, Class, DType, Meaning, OpDef, Operands, Result, TensorType, Value,
    VjpRule,
};

const fn unary(name: &'static str, summary: &'static str, vjp: VjpRule) -> OpDef {
    OpDef {
        name,
        version: 1,
        class: Class::Primitive,
        summary,
        operands: Operands { names: &["x"], required: 1, variadic: false },
        attributes: &[],
        constraints: &[("c1", "x is float")],
        infer: |call| {
            call.float(0, "c1")?;
            Ok(vec![call.ty(0).clone()])
        },
        meaning: Meaning::Primitive(vjp),
        flops: elementwise_flops,
    }
}

pub(super) static NEGATE: OpDef = unary("negate", "-x", |b, v| Ok(vec![v.when(0, || b.negate(v.cotangent()))?]));
pub(super) static EXPONENTIAL: OpDef =
    unary("exponential", "e^x", |b, v| Ok(vec![v.when(0, || b.multiply(v.cotangent(), v.results[0]))?]));
pub(super) static LOG: OpDef = unary("log", "natural logarithm; log 0 is -inf, of a negative NaN", |b, v| {
    Ok(vec![v.when(0, || b.divide(v.cotangent(), v.operands[0]))?])
});
pub(super) static SQRT: OpDef =
    unary("sqrt", "square root", |b, v| Ok(vec![v.when(0, || b.divide(b.scale(v.cotangent(), 0.5)?, v.results[0]))?]));
pub(super) static TANH: OpDef = unary("tanh", "hyperbolic tangent", |b, v| {
    Ok(vec![v.when(0, || {
        let slope = b.one_minus(b.multiply(v.results[0], v.results[0])?)?;
        b.multiply(v.cotangent(), slope)
    })?])
});
pub(super) static ERF: OpDef = unary("erf", "error function", |b, v| {
    Ok(vec![v.when(0, || {
        let x = v.operands[0];
        let bell = b.exponential(b.negate(b.multiply(x, x)?)?)?;
        b.multiply(v.cotangent(), b.scale(bell, 2.0 / PI.sqrt())?)
    })?])
});
pub(super) static FLOOR: OpDef =
    unary("floor", "largest integer not above x; its derivative is zero", |_, _| Ok(vec![None]));

fn same_types(call: &Call<'_>, label: &str) -> Result<()> {
    call.require(call.operands[0] == call.operands[1], label, || {
        format!("operands must have the same type, found {} and {}", call.ty(0), call.ty(1))
    })
}

const fn binary(name: &'static str, summary: &'static str, vjp: VjpRule) -> OpDef {
    OpDef {
        name,
        version: 1,
        class: Class::Primitive,
        summary,
        operands: Operands { names: &["lhs", "rhs"], required: 2, variadic: false },
        attributes: &[],
        constraints: &[("c1", "lhs and rhs have the same type"), ("c2", "they are float or i32")],
        infer: |call| {
            same_types(call, "c1")?;
            call.require(call.ty(0).dtype.is_float() || call.ty(0).dtype == DType::I32, "c2", || {
                format!("operands must be float or i32, found {}", call.ty(0))
            })?;
            Ok(vec![call.ty(0).clone()])
        },
        meaning: Meaning::Primitive(vjp),
        flops: elementwise_flops,
    }
}

pub(super) static ADD: OpDef =
    binary("add", "lhs + rhs", |_, v| Ok(vec![v.when(0, || Ok(v.cotangent()))?, v.when(1, || Ok(v.cotangent()))?]));
pub(super) static SUBTRACT: OpDef = binary("subtract", "lhs - rhs", |b, v| {
    Ok(vec![v.when(0, || Ok(v.cotangent()))?, v.when(1, || b.negate(v.cotangent()))?])
});
pub(super) static MULTIPLY: OpDef = binary("multiply", "lhs * rhs", |b, v| {
    let g = v.cotangent();
    Ok(vec![v.when(0, || b.multiply(g, v.operands[1]))?, v.when(1, || b.multiply(g, v.operands[0]))?])
});
pub(super) static DIVIDE: OpDef = binary("divide", "lhs / rhs; of i32 towards zero, by zero gives zero", |b, v| {
    let g = v.cotangent();
    Ok(vec![
        v.when(0, || b.divide(g, v.operands[1]))?,
        v.when(1, || b.negate(b.divide(b.multiply(g, v.results[0])?, v.operands[1])?))?,
    ])
});
pub(super) static MAXIMUM: OpDef =
    binary("maximum", "the larger; a tie shares the gradient equally, NaN wins", |b, v| {
        let (x, y, g) = (v.operands[0], v.operands[1], v.cotangent());
        let share = |larger: Value, smaller: Value| -> Result<Value> {
            let half = b.scale(g, 0.5)?;
            let zero = b.full_like(g, 0.0)?;
            let tied = b.select(b.compare(larger, smaller, "EQ")?, half, zero)?;
            b.select(b.compare(larger, smaller, "GT")?, g, tied)
        };
        Ok(vec![v.when(0, || share(x, y))?, v.when(1, || share(y, x))?])
    });
pub(super) static POWER: OpDef = binary(
    "power",
    "lhs ^ rhs, 0^0 = 1; the derivative by lhs is 0 where rhs is 0, the one by rhs is 0 where lhs is not positive",
    |b, v| {
        let (x, y, g) = (v.operands[0], v.operands[1], v.cotangent());
        Ok(vec![
            v.when(0, || {
                let slope = b.multiply(y, b.power(x, b.add_scalar(y, -1.0)?)?)?;
                let zero = b.full_like(y, 0.0)?;
                b.multiply(g, b.select(b.compare(y, zero, "EQ")?, zero, slope)?)
            })?,
            v.when(1, || {
                let zero = b.full_like(x, 0.0)?;
                let positive = b.compare(x, zero, "GT")?;
                let log = b.log(b.select(positive, x, b.full_like(x, 1.0)?)?)?;
                b.multiply(g, b.multiply(v.results[0], log)?)
            })?,
        ])
    },
);

pub(super) static COMPARE: OpDef = OpDef {
    name: "compare",
    version: 1,
    class: Class::Primitive,
    summary: "elementwise comparison; false where either side is NaN, but for NE",
    operands: Operands { names: &["lhs", "rhs"], required: 2, variadic: false },
    attributes: &[required("direction", AttributeKind::Text, "EQ, NE, LT, LE, GT or GE")],
    constraints: &[("c1", "lhs and rhs have the same type"), ("c2", "direction is EQ, NE, LT, LE, GT or GE")],
    infer: |call| {
        same_types(call, "c1")?;
        let direction = call.attributes.text("direction");
        call.require(matches!(direction, "EQ" | "NE" | "LT" | "LE" | "GT" | "GE"), "c2", || {
            format!("direction must be EQ, NE, LT, LE, GT or GE, found {direction:?}")
        })?;
        Ok(vec![TensorType::new(DType::Bool, call.shape(0))])
    },
    meaning: Meaning::Primitive(|_, _| Ok(vec![None, None])),
    flops: elementwise_flops,
};

pub(super) static SELECT: OpDef = OpDef {
    name: "select",
    version: 1,
    class: Class::Primitive,
    summary: "on_true where the predicate holds, else on_false",
    operands: Operands { names: &["predicate", "on_true", "on_false"], required: 3, variadic: false },
    attributes: &[],
    constraints: &[("c1", "predicate is bool of the others' shape"), ("c2", "on_true and on_false have the same type")],
    infer: |call| {
        call.require(call.ty(0).dtype == DType::Bool && call.shape(0) == call.shape(1), "c1", || {
            format!("predicate must be bool of the shape of {}, found {}", call.ty(1), call.ty(0))
        })?;
        call.require(call.operands[1] == call.operands[2], "c2", || {
            format!("on_true is {}, on_false {}", call.ty(1), call.ty(2))
        })?;
        Ok(vec![call.ty(1).clone()])
    },
    meaning: Meaning::Primitive(|b, v| {
        let (p, g) = (v.operands[0], v.cotangent());
        Ok(vec![
            None,
            v.when(1, || b.select(p, g, b.full_like(g, 0.0)?))?,
            v.when(2, || b.select(p, b.full_like(g, 0.0)?, g))?,
        ])
    }),
    flops: elementwise_flops,
};

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $def:ident;)*) => {
        impl Builder {
            $($(#[$doc])* pub fn $name(&self, x: Value) -> Result<Value> { self.emit1(&$def, &[x], Attributes::new()) })*
        }
    };
}

unary_methods! {
    negate => NEGATE;
    exponential => EXPONENTIAL;
    log => LOG;
    sqrt => SQRT;
    tanh => TANH;
    erf => ERF;
    floor => FLOOR;
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident => $def:ident;)*) => {
        impl Builder {
            $($(#[$doc])*
            /// Shapes are broadcast as NumPy does.
            pub fn $name(&self, lhs: Value, rhs: Value) -> Result<Value> {
                let (lhs, rhs) = self.broadcast_together(lhs, rhs)?;
                self.emit1(&$def, &[lhs, rhs], Attributes::new())
            })*
        }
    };
}

binary_methods! {
    add => ADD;
    subtract => SUBTRACT;
    multiply => MULTIPLY;
    divide => DIVIDE;
    maximum => MAXIMUM;
    power => POWER;
}

impl Builder {
    /// Elementwise comparison; `direction` is `EQ`, `NE`, `LT`, `LE`, `GT` or `GE`. Shapes are broadcast as NumPy does.
    pub fn compare(&self, lhs: Value, rhs: Value, direction: &str) -> Result<Value> {
        let (lhs, rhs) = self.broadcast_together(lhs, rhs)?;
        self.emit1(&COMPARE, &[lhs, rhs], Attributes::new().with("direction", direction))
    }

    /// `on_true` where the predicate holds, else `on_false`; all three of one shape.
    pub fn select(&self, predicate: Value, on_true: Value, on_false: Value) -> Result<Value> {
        self.emit1(&SELECT, &[predicate, on_true, on_false], Attributes::new())
    }

    /// `-maximum(-lhs, -rhs)`.
    pub fn minimum(&self, lhs: Value, rhs: Value) -> Result<Value> {
        self.negate(self.maximum(self.negate(lhs)?, self.negate(rhs)?)?)
    }

    /// `x * factor`.
    pub fn scale(&self, x: Value, factor: f64) -> Result<Value> {
        self.multiply(x, self.full_like(x, factor)?)
    }

    /// `x + term`.
    pub fn add_scalar(&self, x: Value, term: f64) -> Result<Value> {
        self.add(x, self.full_like(x, term)?)
    }

    /// `1 - x`.
    pub fn one_minus(&self, x: Value) -> Result<Value> {
        self.subtract(self.full_like(x, 1.0)?, x)
    }

    /// `x ^ exponent`.
    pub fn power_scalar(&self, x: Value, exponent: f64) -> Result<Value> {
        self.power(x, self.full_like(x, exponent)?)
    }

    /// `a * weight + b * (1 - weight)`.
    pub fn mix(&self, a: Value, b: Value, weight: f64) -> Result<Value> {
        self.add(self.scale(a, weight)?, self.scale(b, 1.0 - weight)?)
    }

    /// `1 / (1 + e^-x)`, written with tanh so that no power overflows.
    pub fn sigmoid(&self, x: Value) -> Result<Value> {
        self.scale(self.add_scalar(self.tanh(self.scale(x, 0.5)?)?, 1.0)?, 0.5)
    }
}
