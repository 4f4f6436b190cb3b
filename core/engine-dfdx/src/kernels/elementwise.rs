//! Elementwise primitives. Arithmetic and transcendental functions are dfdx's. Plain loops here: erf and floor, which it
//! lacks; maximum, since its loses NaN; power of two tensors, which it lacks; compare and select, which move elements.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Kernel, Site, integer, operands};
use crate::{
    element::{Element, Flat, Item},
    value::Value,
};

/// Elements that one task works on. Fixed, so that nothing depends on the number of threads.
pub const CHUNK: usize = 1 << 14;

/// A function of one tensor that dfdx evaluates; a costly one is spread over threads, chunk by chunk.
fn unary<E: Element>(function: fn(Flat<E>) -> Flat<E>, costly: bool) -> Kernel<E> {
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(x) => Value::Splat(E::copy(&function(E::tensor(vec![x])))[0]),
            Value::Dense(x) if costly => {
                let mut values = E::copy(&x);
                drop(x);
                values
                    .par_chunks_mut(CHUNK)
                    .for_each(|chunk| E::copy_into(&function(E::tensor(chunk.to_vec())), chunk));
                Value::dense(values)
            }
            other => Value::Dense(function(other.tensor(0))),
        }
    })
}

/// A function of one number that dfdx does not have.
fn plain_unary<E: Element>(function: fn(E) -> E) -> Kernel<E> {
    Box::new(move |v| {
        let [x] = operands(v);
        if let Value::Splat(x) = x {
            return Value::Splat(function(x));
        }
        let mut values = x.floats(0);
        drop(x);
        values.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|v| *v = function(*v)));
        Value::dense(values)
    })
}

pub fn negate<E: Element>(_: &Site<'_>) -> Kernel<E> {
    unary(E::negate, false)
}
pub fn exponential<E: Element>(_: &Site<'_>) -> Kernel<E> {
    unary(E::exponential, true)
}
pub fn log<E: Element>(_: &Site<'_>) -> Kernel<E> {
    unary(E::log, true)
}
pub fn sqrt<E: Element>(_: &Site<'_>) -> Kernel<E> {
    unary(E::sqrt, false)
}
pub fn tanh<E: Element>(_: &Site<'_>) -> Kernel<E> {
    unary(E::tanh, true)
}
pub fn erf<E: Element>(_: &Site<'_>) -> Kernel<E> {
    plain_unary(E::erf)
}
pub fn floor<E: Element>(_: &Site<'_>) -> Kernel<E> {
    plain_unary(E::floor)
}

/// The forms of a binary function that dfdx evaluates; `integer` serves i32.
struct Binary<E: Element> {
    dense: fn(Flat<E>, Flat<E>) -> Flat<E>,
    with_scalar: fn(Flat<E>, E) -> Flat<E>,
    /// `scalar . tensor`, where that is cheaper than filling a tensor.
    scalar_with: Option<fn(E, Flat<E>) -> Flat<E>>,
    integer: fn(i32, i32) -> i32,
}

fn binary<E: Element>(site: &Site<'_>, form: Binary<E>) -> Kernel<E> {
    let count = site.result().elements();
    Box::new(move |v| {
        let [x, y] = operands(v);
        match (x, y) {
            (Value::I32(x), Value::I32(y)) => integer::binary(&x, &y, form.integer),
            (Value::Splat(x), Value::Splat(y)) => {
                Value::Splat(E::copy(&(form.dense)(E::tensor(vec![x]), E::tensor(vec![y])))[0])
            }
            (Value::Dense(x), Value::Splat(y)) => Value::Dense((form.with_scalar)(x, y)),
            (Value::Splat(x), Value::Dense(y)) => Value::Dense(match form.scalar_with {
                Some(function) => function(x, y),
                None => (form.dense)(E::tensor(vec![x; count]), y),
            }),
            (x, y) => Value::Dense((form.dense)(x.tensor(count), y.tensor(count))),
        }
    })
}

pub fn add<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let scalar_with: fn(E, Flat<E>) -> Flat<E> = |x, y| E::add_scalar(y, x);
    binary(
        site,
        Binary {
            dense: <E as Element>::add,
            with_scalar: E::add_scalar,
            scalar_with: Some(scalar_with),
            integer: i32::wrapping_add,
        },
    )
}

pub fn subtract<E: Element>(site: &Site<'_>) -> Kernel<E> {
    // x - y = -y + x, without a rounding of its own.
    let scalar_with: fn(E, Flat<E>) -> Flat<E> = |x, y| E::add_scalar(E::negate(y), x);
    binary(
        site,
        Binary {
            dense: E::subtract,
            with_scalar: E::subtract_scalar,
            scalar_with: Some(scalar_with),
            integer: i32::wrapping_sub,
        },
    )
}

pub fn multiply<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let scalar_with: fn(E, Flat<E>) -> Flat<E> = |x, y| E::multiply_scalar(y, x);
    binary(
        site,
        Binary {
            dense: E::multiply,
            with_scalar: E::multiply_scalar,
            scalar_with: Some(scalar_with),
            integer: i32::wrapping_mul,
        },
    )
}

pub fn divide<E: Element>(site: &Site<'_>) -> Kernel<E> {
    binary(
        site,
        Binary { dense: E::divide, with_scalar: E::divide_scalar, scalar_with: None, integer: integer::divide },
    )
}

/// The larger; NaN if either is.
pub fn larger<T: Item>(x: T, y: T) -> T {
    if x > y || x.is_nan() { x } else { y }
}

/// A binary function in plain Rust.
fn plain_binary<E: Element>(site: &Site<'_>, float: fn(E, E) -> E, whole: fn(i32, i32) -> i32) -> Kernel<E> {
    let count = site.result().elements();
    Box::new(move |v| {
        let [x, y] = operands(v);
        match (x, y) {
            (Value::I32(x), Value::I32(y)) => integer::binary(&x, &y, whole),
            (Value::Splat(x), Value::Splat(y)) => Value::Splat(float(x, y)),
            (x, Value::Splat(y)) => {
                let mut values = x.floats(count);
                drop(x);
                values.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|v| *v = float(*v, y)));
                Value::dense(values)
            }
            (x, y) => {
                let mut values = x.floats(count);
                let other = y.floats(count);
                drop((x, y));
                values
                    .par_chunks_mut(CHUNK)
                    .zip(other.par_chunks(CHUNK))
                    .for_each(|(xs, ys)| xs.iter_mut().zip(ys).for_each(|(x, y)| *x = float(*x, *y)));
                Value::dense(values)
            }
        }
    })
}

pub fn maximum<E: Element>(site: &Site<'_>) -> Kernel<E> {
    plain_binary(site, larger, i32::max)
}

pub fn power<E: Element>(site: &Site<'_>) -> Kernel<E> {
    plain_binary(site, E::powf, integer::power)
}

pub fn compare<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let count = site.result().elements();
    let direction = match site.attributes().text("direction") {
        "EQ" => Direction::Equal,
        "NE" => Direction::NotEqual,
        "LT" => Direction::Less,
        "LE" => Direction::LessEqual,
        "GT" => Direction::Greater,
        _ => Direction::GreaterEqual,
    };
    Box::new(move |v| {
        let [x, y] = operands(v);
        let flags = match (x, y) {
            (Value::I32(x), Value::I32(y)) => direction.of(&x, &y),
            (Value::U8(x), Value::U8(y)) => direction.of(&x, &y),
            (Value::Bool(x), Value::Bool(y)) => direction.of(&x, &y),
            (x, Value::Splat(y)) => direction.with(&x.floats(count), y),
            (x, y) => direction.of(&x.floats(count), &y.floats(count)),
        };
        Value::Bool(Arc::new(flags))
    })
}

#[derive(Clone, Copy)]
enum Direction {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Direction {
    fn of<T: Item>(self, x: &[T], y: &[T]) -> Vec<bool> {
        fn each<T: Item>(x: &[T], y: &[T], holds: impl Fn(&T, &T) -> bool) -> Vec<bool> {
            x.iter().zip(y).map(|(x, y)| holds(x, y)).collect()
        }
        match self {
            Direction::Equal => each(x, y, T::eq),
            Direction::NotEqual => each(x, y, T::ne),
            Direction::Less => each(x, y, T::lt),
            Direction::LessEqual => each(x, y, T::le),
            Direction::Greater => each(x, y, T::gt),
            Direction::GreaterEqual => each(x, y, T::ge),
        }
    }

    fn with<T: Item>(self, x: &[T], y: T) -> Vec<bool> {
        fn each<T: Item>(x: &[T], holds: impl Fn(&T) -> bool) -> Vec<bool> {
            x.iter().map(holds).collect()
        }
        match self {
            Direction::Equal => each(x, |x| *x == y),
            Direction::NotEqual => each(x, |x| *x != y),
            Direction::Less => each(x, |x| *x < y),
            Direction::LessEqual => each(x, |x| *x <= y),
            Direction::Greater => each(x, |x| *x > y),
            Direction::GreaterEqual => each(x, |x| *x >= y),
        }
    }
}

pub fn select<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let count = site.result().elements();
    Box::new(move |v| {
        let [predicate, on_true, on_false] = operands(v);
        let flags = predicate.flags();
        match (on_true, on_false) {
            (Value::I32(x), Value::I32(y)) => Value::I32(Arc::new(choose(flags, &x, &y))),
            (Value::U8(x), Value::U8(y)) => Value::U8(Arc::new(choose(flags, &x, &y))),
            (Value::Bool(x), Value::Bool(y)) => Value::Bool(Arc::new(choose(flags, &x, &y))),
            (x, Value::Splat(y)) => replace(flags, x, y, false, count),
            (Value::Splat(x), y) => replace(flags, y, x, true, count),
            (x, y) => {
                let (mut values, other) = (x.floats(count), y.floats(count));
                drop((x, y));
                for ((value, flag), other) in values.iter_mut().zip(flags).zip(other) {
                    *value = if *flag { *value } else { other };
                }
                Value::dense(values)
            }
        }
    })
}

fn choose<T: Item>(flags: &[bool], x: &[T], y: &[T]) -> Vec<T> {
    flags.iter().zip(x.iter().zip(y)).map(|(&flag, (&x, &y))| if flag { x } else { y }).collect()
}

/// `x` with `other` wherever the flag is `at`.
fn replace<E: Element>(flags: &[bool], x: Value<E>, other: E, at: bool, count: usize) -> Value<E> {
    let mut values = x.floats(count);
    drop(x);
    for (value, flag) in values.iter_mut().zip(flags) {
        *value = if *flag == at { other } else { *value };
    }
    Value::dense(values)
}
