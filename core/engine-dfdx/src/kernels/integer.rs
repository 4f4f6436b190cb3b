//! Arithmetic of i32 values, which wraps.

use std::sync::Arc;

use crate::{buffer::Buffer, element::Element, value::Value};

pub fn binary<E: Element>(x: &[i32], y: &[i32], function: fn(i32, i32) -> i32) -> Value<E> {
    Value::I32(Arc::new(Buffer::collect(x.len(), x.iter().zip(y).map(|(&x, &y)| function(x, y)))))
}

/// Towards zero; by zero gives zero.
pub fn divide(x: i32, y: i32) -> i32 {
    if y == 0 { 0 } else { x.wrapping_div(y) }
}

/// `x ^ y`; a negative exponent gives the real power truncated, so 0 unless `x` is 1 or -1.
pub fn power(x: i32, y: i32) -> i32 {
    match (u32::try_from(y), x) {
        (Ok(exponent), _) => x.wrapping_pow(exponent),
        (Err(_), 1) => 1,
        (Err(_), -1) => 1 - 2 * (y & 1),
        (Err(_), _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corner_cases() {
        assert_eq!((divide(7, -2), divide(5, 0), divide(i32::MIN, -1)), (-3, 0, i32::MIN));
        assert_eq!((power(0, 0), power(2, 10), power(-1, -3), power(-1, -4), power(3, -1)), (1, 1024, -1, 1, 0));
    }
}
