//! Reads what a plugin points at: copied at once, with limits, and nothing taken for granted but that a pointer which is not
//! NULL leads to as much as the plugin says.

use std::ffi::c_char;

use fer_graph::{Attribute, MAX_INTEGERS, MAX_NUMBERS};

use super::raw::{Named, constant};

/// The most bytes of a text.
pub const LONGEST_TEXT: usize = 64 * 1024;

/// A text. The error is a phrase like "is NULL".
///
/// # Safety
/// `text` is NULL or leads to bytes that end with a NUL, or to more than [`LONGEST_TEXT`] of them.
pub unsafe fn text(text: *const c_char) -> Result<String, String> {
    if text.is_null() {
        return Err("is NULL".to_owned());
    }
    let mut bytes = Vec::new();
    loop {
        // SAFETY: no NUL came before this byte, so the text has it.
        let byte = unsafe { text.add(bytes.len()).read() };
        match byte {
            0 => break,
            _ if bytes.len() == LONGEST_TEXT => return Err(format!("is longer than {LONGEST_TEXT} bytes")),
            _ => bytes.push(byte.to_ne_bytes()[0]),
        }
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The same where NULL says nothing.
///
/// # Safety
/// That of [`text`].
pub unsafe fn text_or_empty(given: *const c_char) -> Result<String, String> {
    if given.is_null() {
        return Ok(String::new());
    }
    // SAFETY: that of this function.
    unsafe { text(given) }
}

/// A list of at most `most` entries. The error is a phrase like "is NULL and has 3 entries".
///
/// # Safety
/// `list` is NULL or leads to `count` entries of `T`, wherever in memory; every bit pattern is a `T`.
pub unsafe fn list<T: Copy>(list: *const T, count: usize, most: usize) -> Result<Vec<T>, String> {
    if count > most {
        return Err(format!("has {count} entries, at most {most} are allowed"));
    }
    if count > 0 && list.is_null() {
        return Err(format!("is NULL and has {count} entries"));
    }
    // SAFETY: entry i is one of `count`; the list may lie at any address, so nothing is taken of its alignment.
    Ok((0..count).map(|i| unsafe { list.add(i).read_unaligned() }).collect())
}

/// A constant with its name; `None` where its kind is [`constant::NONE`].
///
/// # Safety
/// What the members of its kind point at is as [`text`] and [`list`] want it.
pub unsafe fn constant(given: &Named) -> Result<Option<Attribute>, String> {
    // SAFETY: that of this function.
    let value = unsafe {
        match given.kind {
            constant::NONE => return Ok(None),
            constant::BOOL if given.integer == 0 || given.integer == 1 => Attribute::Bool(given.integer == 1),
            constant::BOOL => return Err(format!("is true or false and has the number {}", given.integer)),
            constant::INT => Attribute::Int(given.integer),
            constant::FLOAT => Attribute::Float(given.number),
            constant::TEXT => Attribute::Text(text(given.text)?.into()),
            constant::INTS => Attribute::Ints(list(given.integers, given.count, MAX_INTEGERS)?.into()),
            constant::FLOATS => Attribute::Floats(list(given.numbers, given.count, MAX_NUMBERS)?.into()),
            other => return Err(format!("has the kind {other}; there are 1 (bool) to 6 (floats)")),
        }
    };
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_lists_are_not_believed() {
        let long = vec![b'a'; LONGEST_TEXT + 1];
        // SAFETY: every pointer is NULL or leads to what is said.
        unsafe {
            assert_eq!(text(c"ltr".as_ptr()), Ok("ltr".to_owned()));
            assert_eq!(text(std::ptr::null()), Err("is NULL".to_owned()));
            assert_eq!(text_or_empty(std::ptr::null()), Ok(String::new()));
            assert_eq!(text(c"\xff".as_ptr()), Err("is not UTF-8".to_owned()));
            assert_eq!(text(long.as_ptr().cast()), Err("is longer than 65536 bytes".to_owned()));
            assert_eq!(list([1, 2].as_ptr(), 2, 2), Ok(vec![1, 2]));
            assert_eq!(list::<i64>(std::ptr::null(), 0, 2), Ok(vec![]));
            assert!(list::<i64>(std::ptr::null(), 1, 2).is_err_and(|e| e.contains("NULL")));
            assert!(list([1].as_ptr(), usize::MAX, 2).is_err_and(|e| e.contains("at most 2")));
        }
    }
}
