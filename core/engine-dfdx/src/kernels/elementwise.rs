//! Elementwise primitives. Arithmetic and transcendental functions are dfdx's. Plain loops here: erf and floor, which it
//! lacks; maximum, since its loses NaN; power of two tensors, which it lacks; compare and select, which move elements.

use std::sync::Arc;

use super::{Kernel, Site, integer, operands};
use crate::{
    buffer::Buffer,
    chunks::in_chunks,
    element::{Element, Flat, Item},
    value::{Floats, Value},
};

/// A function of one tensor that dfdx evaluates, in place where nobody else reads the operand.
fn apply<E: Element>(x: Arc<Buffer<E>>, function: impl Fn(Flat<E>) -> Flat<E> + Sync) -> Value<E> {
    let result = match Arc::try_unwrap(x) {
        Ok(mut x) => {
            in_chunks(&mut x, |_, chunk| E::copy_into(&function(E::tensor(chunk)), chunk));
            x
        }
        Err(x) => {
            let mut result = Buffer::scratch(x.len());
            in_chunks(&mut result, |at, chunk| {
                E::copy_into(&function(E::tensor(&x[at..at + chunk.len()])), chunk);
            });
            result
        }
    };
    Value::dense(result)
}

/// The same for two tensors.
fn apply_both<E: Element>(x: Arc<Buffer<E>>, y: Arc<Buffer<E>>, function: fn(Flat<E>, Flat<E>) -> Flat<E>) -> Value<E> {
    let result = match (Arc::try_unwrap(x), Arc::try_unwrap(y)) {
        (Ok(mut x), y) => {
            let y = y.unwrap_or_else(Arc::unwrap_or_clone);
            in_chunks(&mut x, |at, chunk| {
                E::copy_into(&function(E::tensor(chunk), E::tensor(&y[at..at + chunk.len()])), chunk);
            });
            x
        }
        (Err(x), Ok(mut y)) => {
            in_chunks(&mut y, |at, chunk| {
                E::copy_into(&function(E::tensor(&x[at..at + chunk.len()]), E::tensor(chunk)), chunk);
            });
            y
        }
        (Err(x), Err(y)) => {
            let mut result = Buffer::scratch(x.len());
            in_chunks(&mut result, |at, chunk| {
                let piece = at..at + chunk.len();
                E::copy_into(&function(E::tensor(&x[piece.clone()]), E::tensor(&y[piece])), chunk);
            });
            result
        }
    };
    Value::dense(result)
}

/// The one element of a function of one number.
fn single<E: Element>(result: &Flat<E>) -> Value<E> {
    let mut number = [E::default()];
    E::copy_into(result, &mut number);
    Value::Splat(number[0])
}

fn unary<E: Element>(site: &Site<'_>, function: fn(Flat<E>) -> Flat<E>) -> Kernel<E> {
    let count = site.result().elements();
    Box::new(move |v| {
        let [x] = operands(v);
        match x {
            Value::Splat(x) => single(&function(E::tensor(&[x]))),
            x => apply(x.shared(count), function),
        }
    })
}

/// A function of one number that dfdx does not have.
fn plain_unary<E: Element>(site: &Site<'_>, function: fn(E) -> E) -> Kernel<E> {
    let count = site.result().elements();
    Box::new(move |v| {
        let [x] = operands(v);
        if let Value::Splat(x) = x {
            return Value::Splat(function(x));
        }
        let mut values = x.owned(count);
        in_chunks(&mut values, |_, chunk| chunk.iter_mut().for_each(|v| *v = function(*v)));
        Value::dense(values)
    })
}

pub fn negate<E: Element>(site: &Site<'_>) -> Kernel<E> {
    unary(site, E::negate)
}
pub fn exponential<E: Element>(site: &Site<'_>) -> Kernel<E> {
    unary(site, E::exponential)
}
pub fn log<E: Element>(site: &Site<'_>) -> Kernel<E> {
    unary(site, E::log)
}
pub fn sqrt<E: Element>(site: &Site<'_>) -> Kernel<E> {
    unary(site, E::sqrt)
}
pub fn tanh<E: Element>(site: &Site<'_>) -> Kernel<E> {
    unary(site, E::tanh)
}
pub fn erf<E: Element>(site: &Site<'_>) -> Kernel<E> {
    plain_unary(site, E::erf)
}
pub fn floor<E: Element>(site: &Site<'_>) -> Kernel<E> {
    plain_unary(site, E::floor)
}

/// `scalar . tensor`.
type ScalarWith<E> = fn(E, Flat<E>) -> Flat<E>;

/// The forms of a binary function that dfdx evaluates; `integer` serves i32.
struct Binary<E: Element> {
    dense: fn(Flat<E>, Flat<E>) -> Flat<E>,
    with_scalar: fn(Flat<E>, E) -> Flat<E>,
    /// Where that is cheaper than filling a tensor.
    scalar_with: Option<ScalarWith<E>>,
    integer: fn(i32, i32) -> i32,
}

fn binary<E: Element>(site: &Site<'_>, form: Binary<E>) -> Kernel<E> {
    let count = site.result().elements();
    Box::new(move |v| {
        let [x, y] = operands(v);
        match (x, y) {
            (Value::I32(x), Value::I32(y)) => integer::binary(&x, &y, form.integer),
            (Value::Splat(x), Value::Splat(y)) => single(&(form.dense)(E::tensor(&[x]), E::tensor(&[y]))),
            (Value::Dense(x), Value::Splat(y)) => apply(x, |x| (form.with_scalar)(x, y)),
            (Value::Splat(x), Value::Dense(y)) => match form.scalar_with {
                Some(function) => apply(y, |y| function(x, y)),
                None => apply_both(Arc::new(Buffer::filled(count, x)), y, form.dense),
            },
            (x, y) => apply_both(x.shared(count), y.shared(count), form.dense),
        }
    })
}

pub fn add<E: Element>(site: &Site<'_>) -> Kernel<E> {
    let scalar_with: ScalarWith<E> = |x, y| E::add_scalar(y, x);
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
    let scalar_with: ScalarWith<E> = |x, y| E::add_scalar(E::negate(y), x);
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
    let scalar_with: ScalarWith<E> = |x, y| E::multiply_scalar(y, x);
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
                let mut values = x.owned(count);
                in_chunks(&mut values, |_, chunk| chunk.iter_mut().for_each(|v| *v = float(*v, y)));
                Value::dense(values)
            }
            (x, y) => {
                let (mut values, other) = (x.owned(count), y.shared(count));
                in_chunks(&mut values, |at, chunk| {
                    chunk.iter_mut().zip(&other[at..]).for_each(|(x, y)| *x = float(*x, *y));
                });
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
        let flags = match (&x, &y) {
            (Value::I32(x), Value::I32(y)) => direction.of(x, y),
            (Value::U8(x), Value::U8(y)) => direction.of(x, y),
            (Value::Bool(x), Value::Bool(y)) => direction.of(x, y),
            _ => match (x.floats(), y.floats()) {
                (Floats::Dense(x), Floats::Dense(y)) => direction.of(x, y),
                (Floats::Dense(x), Floats::Splat(y)) => direction.with(x, y),
                (Floats::Splat(x), Floats::Dense(y)) => direction.reversed().with(y, x),
                (Floats::Splat(x), Floats::Splat(y)) => Buffer::filled(count, direction.of(&[x], &[y])[0]),
            },
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
    /// The same comparison with the operands exchanged.
    fn reversed(self) -> Direction {
        match self {
            Direction::Less => Direction::Greater,
            Direction::LessEqual => Direction::GreaterEqual,
            Direction::Greater => Direction::Less,
            Direction::GreaterEqual => Direction::LessEqual,
            same => same,
        }
    }

    fn of<T: Item>(self, x: &[T], y: &[T]) -> Buffer<bool> {
        fn each<T: Item>(x: &[T], y: &[T], holds: impl Fn(&T, &T) -> bool + Sync) -> Buffer<bool> {
            let mut flags = Buffer::scratch(x.len());
            in_chunks(&mut flags, |at, chunk| {
                chunk.iter_mut().zip(x[at..].iter().zip(&y[at..])).for_each(|(flag, (x, y))| *flag = holds(x, y));
            });
            flags
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

    fn with<T: Item>(self, x: &[T], y: T) -> Buffer<bool> {
        fn each<T: Item>(x: &[T], holds: impl Fn(&T) -> bool + Sync) -> Buffer<bool> {
            let mut flags = Buffer::scratch(x.len());
            in_chunks(&mut flags, |at, chunk| {
                chunk.iter_mut().zip(&x[at..]).for_each(|(flag, x)| *flag = holds(x));
            });
            flags
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
            (x, y) => Value::dense(choose(flags, &x.shared(count), &y.shared(count))),
        }
    })
}

fn choose<T: Item>(flags: &[bool], x: &[T], y: &[T]) -> Buffer<T> {
    let mut chosen = Buffer::scratch(flags.len());
    in_chunks(&mut chosen, |at, chunk| {
        let both = x[at..].iter().zip(&y[at..]);
        chunk
            .iter_mut()
            .zip(flags[at..].iter().zip(both))
            .for_each(|(c, (flag, (x, y)))| *c = if *flag { *x } else { *y });
    });
    chosen
}

/// `x` with `other` wherever the flag is `hit`.
fn replace<E: Element>(flags: &[bool], x: Value<E>, other: E, hit: bool, count: usize) -> Value<E> {
    let mut values = x.owned(count);
    in_chunks(&mut values, |at, chunk| {
        chunk.iter_mut().zip(&flags[at..]).for_each(|(v, flag)| *v = if *flag == hit { other } else { *v });
    });
    Value::dense(values)
}
