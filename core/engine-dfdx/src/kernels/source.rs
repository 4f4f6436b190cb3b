//! constant, rng_uniform, stop_gradient, convert.

use std::sync::Arc;

use fer_graph::DType;

use super::{Kernel, Site, operands};
use crate::{
    buffer::Buffer,
    element::{Element, Item},
    value::Value,
};

pub fn constant<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let value = Value::from_numbers(site.result(), site.attributes().floats("value"));
    Box::new(move |_| value.clone())
}

pub fn rng_uniform<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let count = site.result().elements();
    let stream = site.attributes().int("stream") as u32;
    Box::new(move |v| {
        let [key] = operands(v);
        let key = key.integers();
        let key = [key[0], key[1], key[2]];
        Value::dense(Buffer::collect(count, fer_engine::uniform(key, stream, count).map(E::of)))
    })
}

pub fn stop_gradient<E: Element>(_: &Site<'_>) -> Kernel<E> {
    Box::new(|v| {
        let [x] = operands(v);
        x
    })
}

/// Rust's `as` is the op's rule: truncating, saturating, NaN to 0.
pub fn convert<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let (from, to, count) = (site.ty(0).dtype, site.result().dtype, site.result().elements());
    if from.is_float() && to.is_float() {
        return Box::new(move |v| {
            let [x] = operands(v);
            x.rounded_to(to)
        });
    }
    Box::new(move |v| {
        let [x] = operands(v);
        match to {
            DType::Float | DType::Bf16 => {
                let numbers: Value<E> = match x {
                    Value::I32(v) => Value::dense(cast(&v)),
                    Value::U8(v) => Value::dense(cast(&v)),
                    Value::Bool(v) => Value::dense(cast(&v)),
                    floats @ (Value::Splat(_) | Value::Dense(_)) => floats,
                };
                numbers.rounded_to(to)
            }
            DType::I32 => wrap::<E, i32>(x, count, Value::I32),
            DType::U8 => wrap::<E, u8>(x, count, Value::U8),
            DType::Bool => wrap::<E, bool>(x, count, Value::Bool),
        }
    })
}

fn cast<T: Item, U: Item>(x: &[T]) -> Buffer<U> {
    Buffer::collect(x.len(), x.iter().map(|v| U::of(v.get())))
}

fn wrap<E: Element, U: Item>(x: Value<E>, count: usize, into: fn(Arc<Buffer<U>>) -> Value<E>) -> Value<E> {
    let converted: Buffer<U> = match x {
        Value::Splat(x) => Buffer::filled(count, U::of(x.get())),
        Value::Dense(x) => cast(&x),
        Value::I32(v) => cast(&v),
        Value::U8(v) => cast(&v),
        Value::Bool(v) => cast(&v),
    };
    into(Arc::new(converted))
}
