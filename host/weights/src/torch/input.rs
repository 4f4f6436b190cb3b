//! The bytes of a pickle. No length in them is believed before as many bytes are there.

use super::values::{Result, damaged};

/// What is left of the bytes.
pub struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    pub fn new(bytes: &'b [u8]) -> Input<'b> {
        Input(bytes)
    }

    pub fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| damaged("breaks off"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N).map(|bytes| bytes.try_into().expect("as many as were taken"))
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// As many bytes as a number before them says; never more than there are.
    pub fn counted(&mut self, count: u64) -> Result<&'b [u8]> {
        self.take(usize::try_from(count).map_err(|_| damaged("breaks off"))?)
    }

    pub fn line(&mut self) -> Result<&'b str> {
        let end = self.0.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("breaks off"))?;
        let line = self.take(end + 1)?;
        utf8(&line[..end])
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| damaged("holds a name that is not UTF-8"))
}
