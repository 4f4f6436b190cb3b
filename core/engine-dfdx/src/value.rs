//! What a graph's value is while a step runs.

use std::sync::Arc;

use fer_engine::{Data, Tensor};
use fer_graph::{DType, TensorType};

use crate::element::{Element, Flat, Item};

/// The elements of a value, row-major; its shape is the graph's. Copies share memory.
#[derive(Clone, Debug)]
pub enum Value<E: Element> {
    /// A float repeated over the whole shape, or a float scalar: constants and their broadcasts take no memory.
    Splat(E),
    Dense(Flat<E>),
    I32(Arc<Vec<i32>>),
    U8(Arc<Vec<u8>>),
    Bool(Arc<Vec<bool>>),
}

/// Runs a function of slices on a value's elements, whatever their type, and wraps what it returns.
macro_rules! map_elements {
    ($value:expr, $count:expr, |$data:ident| $body:expr) => {
        match $value {
            $crate::value::Value::Splat(x) => {
                let copies = vec![x; $count];
                let $data = copies.as_slice();
                $crate::value::Value::dense($body)
            }
            $crate::value::Value::Dense(x) => {
                let copied = E::copy(&x);
                drop(x);
                let $data = copied.as_slice();
                $crate::value::Value::dense($body)
            }
            $crate::value::Value::I32(x) => {
                let $data = x.as_slice();
                $crate::value::Value::I32(std::sync::Arc::new($body))
            }
            $crate::value::Value::U8(x) => {
                let $data = x.as_slice();
                $crate::value::Value::U8(std::sync::Arc::new($body))
            }
            $crate::value::Value::Bool(x) => {
                let $data = x.as_slice();
                $crate::value::Value::Bool(std::sync::Arc::new($body))
            }
        }
    };
}
pub(crate) use map_elements;

impl<E: Element> Value<E> {
    /// Float elements; a single one becomes a splat.
    pub fn dense(values: Vec<E>) -> Value<E> {
        match values.as_slice() {
            [one] => Value::Splat(*one),
            _ => Value::Dense(E::tensor(values)),
        }
    }

    /// Numbers as elements of the given type: one for each element, or one for all.
    pub fn from_numbers(ty: &TensorType, numbers: &[f64]) -> Value<E> {
        fn fill<T: Copy>(count: usize, numbers: &[f64], of: impl Fn(f64) -> T) -> Vec<T> {
            match numbers {
                [one] => vec![of(*one); count],
                _ => numbers.iter().map(|&v| of(v)).collect(),
            }
        }
        let count = ty.elements();
        let float = |v: f64| if ty.dtype == DType::Bf16 { E::of(v).to_bfloat16() } else { E::of(v) };
        match ty.dtype {
            DType::Float | DType::Bf16 => match numbers {
                [one] => Value::Splat(float(*one)),
                _ => Value::dense(fill(count, numbers, float)),
            },
            DType::I32 => Value::I32(Arc::new(fill(count, numbers, <i32 as Item>::of))),
            DType::U8 => Value::U8(Arc::new(fill(count, numbers, <u8 as Item>::of))),
            DType::Bool => Value::Bool(Arc::new(fill(count, numbers, <bool as Item>::of))),
        }
    }

    /// A host tensor on the engine; `None` when its element type does not fit `dtype`.
    pub fn from_host(tensor: &Tensor, dtype: DType) -> Option<Value<E>> {
        let value = match (&tensor.data, dtype) {
            (Data::F32(_) | Data::F64(_), DType::Float | DType::Bf16) => Value::dense(floats(&tensor.data)),
            (Data::I32(v), DType::I32) => Value::I32(Arc::new(v.clone())),
            (Data::U8(v), DType::U8) => Value::U8(Arc::new(v.clone())),
            (Data::Bool(v), DType::Bool) => Value::Bool(Arc::new(v.clone())),
            _ => return None,
        };
        Some(value.rounded_to(dtype))
    }

    /// A copy on the host.
    pub fn to_host(&self, shape: &[usize]) -> Tensor {
        let data = match self {
            Value::Splat(_) | Value::Dense(_) => E::into_data(self.floats(shape.iter().product())),
            Value::I32(v) => Data::I32(v.to_vec()),
            Value::U8(v) => Data::U8(v.to_vec()),
            Value::Bool(v) => Data::Bool(v.to_vec()),
        };
        Tensor::new(shape, data)
    }

    /// The float elements as a dfdx tensor.
    ///
    /// # Panics
    /// When the value holds no floats: the graph was verified.
    pub fn tensor(self, count: usize) -> Flat<E> {
        match self {
            Value::Splat(x) => E::tensor(vec![x; count]),
            Value::Dense(x) => x,
            other => panic!("floats expected, found {other:?}"),
        }
    }

    /// A copy of the float elements.
    ///
    /// # Panics
    /// When the value holds no floats: the graph was verified.
    pub fn floats(&self, count: usize) -> Vec<E> {
        match self {
            Value::Splat(x) => vec![*x; count],
            Value::Dense(x) => E::copy(x),
            other => panic!("floats expected, found {other:?}"),
        }
    }

    /// The elements of an i32 value.
    ///
    /// # Panics
    /// When the value holds anything else: the graph was verified.
    pub fn integers(&self) -> &[i32] {
        match self {
            Value::I32(v) => v,
            other => panic!("i32 expected, found {other:?}"),
        }
    }

    /// The elements of a u8 value.
    ///
    /// # Panics
    /// When the value holds anything else: the graph was verified.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::U8(v) => v,
            other => panic!("u8 expected, found {other:?}"),
        }
    }

    /// The elements of a bool value.
    ///
    /// # Panics
    /// When the value holds anything else: the graph was verified.
    pub fn flags(&self) -> &[bool] {
        match self {
            Value::Bool(v) => v,
            other => panic!("bool expected, found {other:?}"),
        }
    }

    /// Rounded to bfloat16 where the type asks for it.
    pub fn rounded_to(self, dtype: DType) -> Value<E> {
        match self {
            Value::Splat(x) if dtype == DType::Bf16 => Value::Splat(x.to_bfloat16()),
            Value::Dense(x) if dtype == DType::Bf16 => {
                let mut values = E::copy(&x);
                drop(x);
                values.iter_mut().for_each(|v| *v = v.to_bfloat16());
                Value::dense(values)
            }
            other => other,
        }
    }
}

fn floats<E: Element>(data: &Data) -> Vec<E> {
    match data {
        Data::F32(v) => v.iter().map(|&x| E::of(f64::from(x))).collect(),
        Data::F64(v) => v.iter().map(|&x| E::of(x)).collect(),
        Data::I32(_) | Data::U8(_) | Data::Bool(_) => vec![],
    }
}
