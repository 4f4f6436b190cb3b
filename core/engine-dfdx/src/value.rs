//! What a graph's value is while a step runs.

use std::sync::Arc;

use fer_engine::{Data, Tensor};
use fer_graph::{DType, TensorType};

use crate::{
    buffer::Buffer,
    element::{Element, Item},
};

/// The elements of a value, row-major; its shape is the graph's. Copies share memory.
#[derive(Clone, Debug)]
pub enum Value<E: Element> {
    /// A float repeated over the whole shape, or a float scalar: constants and their broadcasts take no memory.
    Splat(E),
    Dense(Arc<Buffer<E>>),
    I32(Arc<Buffer<i32>>),
    U8(Arc<Buffer<u8>>),
    Bool(Arc<Buffer<bool>>),
}

/// Float elements for reading: given, or one number that stands for all.
#[derive(Clone, Copy, Debug)]
pub enum Floats<'a, E> {
    Splat(E),
    Dense(&'a [E]),
}

/// Runs a function from a slice to a buffer on a value's elements, whatever their type, and wraps what it returns.
macro_rules! map_elements {
    ($value:expr, $count:expr, |$data:ident| $body:expr) => {
        match $value {
            $crate::value::Value::Splat(x) => {
                let copies = $crate::buffer::Buffer::filled($count, x);
                let $data: &[_] = &copies;
                $crate::value::Value::dense($body)
            }
            $crate::value::Value::Dense(x) => {
                let $data: &[_] = &x;
                $crate::value::Value::dense($body)
            }
            $crate::value::Value::I32(x) => {
                let $data: &[_] = &x;
                $crate::value::Value::I32(std::sync::Arc::new($body))
            }
            $crate::value::Value::U8(x) => {
                let $data: &[_] = &x;
                $crate::value::Value::U8(std::sync::Arc::new($body))
            }
            $crate::value::Value::Bool(x) => {
                let $data: &[_] = &x;
                $crate::value::Value::Bool(std::sync::Arc::new($body))
            }
        }
    };
}
pub(crate) use map_elements;

impl<E: Element> Value<E> {
    /// Float elements; a single one becomes a splat.
    pub fn dense(values: Buffer<E>) -> Value<E> {
        match *values {
            [one] => Value::Splat(one),
            _ => Value::Dense(Arc::new(values)),
        }
    }

    /// Numbers as elements of the given type: one for each element, or one for all.
    pub fn from_numbers(ty: &TensorType, numbers: &[f64]) -> Value<E> {
        fn fill<T: Item>(count: usize, numbers: &[f64], of: impl Fn(f64) -> T) -> Buffer<T> {
            match numbers {
                [one] => Buffer::filled(count, of(*one)),
                _ => Buffer::collect(count, numbers.iter().map(|&v| of(v))),
            }
        }
        let count = ty.elements();
        let float = |v: f64| if ty.dtype == DType::Bf16 { E::of(v).to_bfloat16() } else { E::of(v) };
        match ty.dtype {
            DType::Float | DType::Bf16 => match numbers {
                [one] => Value::Splat(float(*one)),
                _ => Value::dense(fill(count, numbers, float)),
            },
            DType::I32 => Value::I32(Arc::new(fill(count, numbers, i32::of))),
            DType::U8 => Value::U8(Arc::new(fill(count, numbers, u8::of))),
            DType::Bool => Value::Bool(Arc::new(fill(count, numbers, bool::of))),
        }
    }

    /// A host tensor on the engine; `None` when its element type does not fit `dtype`.
    pub fn from_host(tensor: &Tensor, dtype: DType) -> Option<Value<E>> {
        let count = tensor.data.len();
        let value = match (&tensor.data, dtype) {
            (Data::F32(v), DType::Float | DType::Bf16) => {
                Value::dense(Buffer::collect(count, v.iter().map(|&x| E::of(f64::from(x)))))
            }
            (Data::F64(v), DType::Float | DType::Bf16) => {
                Value::dense(Buffer::collect(count, v.iter().map(|&x| E::of(x))))
            }
            (Data::I32(v), DType::I32) => Value::I32(Arc::new(Buffer::copy_of(v))),
            (Data::U8(v), DType::U8) => Value::U8(Arc::new(Buffer::copy_of(v))),
            (Data::Bool(v), DType::Bool) => Value::Bool(Arc::new(Buffer::copy_of(v))),
            _ => return None,
        };
        Some(value.rounded_to(dtype))
    }

    /// A copy on the host.
    pub fn to_host(&self, shape: &[usize]) -> Tensor {
        let data = match self {
            Value::Splat(x) => E::into_data(vec![*x; shape.iter().product()]),
            Value::Dense(x) => E::into_data(x.to_vec()),
            Value::I32(v) => Data::I32(v.to_vec()),
            Value::U8(v) => Data::U8(v.to_vec()),
            Value::Bool(v) => Data::Bool(v.to_vec()),
        };
        Tensor::new(shape, data)
    }

    /// The float elements, for reading.
    ///
    /// # Panics
    /// When the value holds no floats: the graph was verified.
    pub fn floats(&self) -> Floats<'_, E> {
        match self {
            Value::Splat(x) => Floats::Splat(*x),
            Value::Dense(x) => Floats::Dense(x),
            other => panic!("floats expected, found {other:?}"),
        }
    }

    /// The float elements, written out where one stands for all. Shares memory where it can.
    ///
    /// # Panics
    /// When the value holds no floats: the graph was verified.
    pub fn shared(self, count: usize) -> Arc<Buffer<E>> {
        match self {
            Value::Splat(x) => Arc::new(Buffer::filled(count, x)),
            Value::Dense(x) => x,
            other => panic!("floats expected, found {other:?}"),
        }
    }

    /// The float elements, to be changed: the value's own memory if nobody else reads it, else a copy.
    ///
    /// # Panics
    /// When the value holds no floats: the graph was verified.
    pub fn owned(self, count: usize) -> Buffer<E> {
        Arc::unwrap_or_clone(self.shared(count))
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
                let mut values = Arc::unwrap_or_clone(x);
                values.iter_mut().for_each(|v| *v = v.to_bfloat16());
                Value::dense(values)
            }
            other => other,
        }
    }
}
