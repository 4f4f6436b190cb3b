//! A kernel's parameters as the driver wants them: a pointer to each.

use std::ffi::c_void;

use crate::device::{Address, DeviceError, Launch, Parameter, Result};

/// The values of a launch, one after the other, each from a multiple of eight bytes: no parameter needs more.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    words: Vec<u64>,
    /// Where each begins in `words`, and its bytes.
    places: Vec<(usize, usize)>,
}

impl Arguments {
    pub fn of(parameters: &[Parameter<Address>]) -> Arguments {
        let mut arguments = Arguments::default();
        for parameter in parameters {
            match parameter {
                Parameter::Pointer(address, offset) => arguments.push(&(address + *offset as u64).to_ne_bytes()),
                Parameter::Null => arguments.push(&0u64.to_ne_bytes()),
                Parameter::I32(number) => arguments.push(&number.to_ne_bytes()),
                Parameter::U32(number) => arguments.push(&number.to_ne_bytes()),
                Parameter::U64(number) => arguments.push(&number.to_ne_bytes()),
                Parameter::F32(number) => arguments.push(&number.to_ne_bytes()),
                Parameter::F64(number) => arguments.push(&number.to_ne_bytes()),
                Parameter::Pointers(all) => arguments.push(&bytes(all, |address| address.to_ne_bytes())),
                Parameter::Words(all) => arguments.push(&bytes(all, |word| word.to_ne_bytes())),
            }
        }
        arguments
    }

    fn push(&mut self, bytes: &[u8]) {
        self.places.push((self.words.len(), bytes.len()));
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.words.push(u64::from_ne_bytes(word));
        }
        // A structure without members still has an address.
        if bytes.is_empty() {
            self.words.push(0);
        }
    }

    /// The bytes of each parameter.
    pub fn sizes(&self) -> Vec<usize> {
        self.places.iter().map(|place| place.1).collect()
    }

    /// Where each lies; good as long as `self` is.
    pub fn pointers(&mut self) -> Vec<*mut c_void> {
        let start = self.words.as_mut_ptr();
        self.places.iter().map(|&(word, _)| start.wrapping_add(word).cast()).collect()
    }
}

fn bytes<T, const N: usize>(all: &[T], each: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    all.iter().flat_map(each).collect()
}

/// The largest grid: blocks along x, and along y and z.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
/// The most threads of a block.
const MOST_THREADS: u64 = 1024;

/// Refuses what the driver would refuse without saying why.
pub(super) fn check_launch(launch: &Launch<Address>, most_shared: u32) -> Result<()> {
    let fits = |given: [u32; 3], most: [u32; 3]| (0..3).all(|i| (1..=most[i]).contains(&given[i]));
    let threads: u64 = launch.block.iter().map(|&n| u64::from(n)).product();
    let why = if !fits(launch.grid, MOST_BLOCKS) {
        format!("its grid is {:?}: each side must be at least 1, and at most {MOST_BLOCKS:?}", launch.grid)
    } else if !fits(launch.block, [1024, 1024, 64]) || threads > MOST_THREADS {
        format!("its block is {:?}: at least one thread and at most {MOST_THREADS}, 64 along z", launch.block)
    } else if launch.shared > most_shared {
        format!("it asks for {} bytes of shared memory, of which this device has {most_shared}", launch.shared)
    } else {
        return Ok(());
    };
    Err(DeviceError::Failed { what: format!("the kernel {}", launch.kernel), why })
}

/// Refuses values of other sizes than the kernel declares: the driver would read past them.
pub(super) fn check_sizes(kernel: &str, declared: &[usize], given: &[usize]) -> Result<()> {
    if declared == given {
        return Ok(());
    }
    let at = declared.iter().zip(given).position(|(d, g)| d != g).unwrap_or(declared.len().min(given.len()));
    let why = format!("its parameters have {declared:?} bytes, and it is given {given:?}: they differ at number {at}");
    Err(DeviceError::Failed { what: format!("the kernel {kernel}"), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<const N: usize>(pointer: *mut c_void) -> [u8; N] {
        // SAFETY: the tests ask for as many bytes as they gave.
        unsafe { std::ptr::read(pointer.cast()) }
    }

    #[test]
    fn every_kind_of_parameter_lies_where_it_is_said_to() {
        let mut arguments = Arguments::of(&[
            Parameter::I32(-2),
            Parameter::Pointer(0x7000_0000_0000, 12),
            Parameter::Null,
            Parameter::F32(1.5),
            Parameter::Words(vec![1, 2, 3]),
            Parameter::Pointers(vec![256, 512]),
            Parameter::U64(u64::MAX),
            Parameter::U32(7),
            Parameter::F64(-0.25),
        ]);
        assert_eq!(arguments.sizes(), [4, 8, 8, 4, 12, 16, 8, 4, 8]);
        let at = arguments.pointers();
        assert!(at.iter().all(|p| p.addr() % 8 == 0), "every parameter is aligned");
        assert_eq!(i32::from_ne_bytes(value(at[0])), -2);
        assert_eq!(u64::from_ne_bytes(value(at[1])), 0x7000_0000_000c);
        assert_eq!(u64::from_ne_bytes(value(at[2])), 0);
        assert_eq!(f32::from_ne_bytes(value(at[3])), 1.5);
        let words: [u8; 12] = value(at[4]);
        assert_eq!(words, bytes::<u32, 4>(&[1, 2, 3], |w| w.to_ne_bytes())[..]);
        let pointers: [u8; 16] = value(at[5]);
        assert_eq!(pointers, bytes::<u64, 8>(&[256, 512], |a| a.to_ne_bytes())[..]);
        assert_eq!(u64::from_ne_bytes(value(at[6])), u64::MAX);
        assert_eq!(u32::from_ne_bytes(value(at[7])), 7);
        assert_eq!(f64::from_ne_bytes(value(at[8])), -0.25);
    }

    #[test]
    fn a_structure_without_members_has_a_place_of_its_own() {
        let mut arguments = Arguments::of(&[Parameter::Words(vec![]), Parameter::U32(3)]);
        assert_eq!(arguments.sizes(), [0, 4]);
        let at = arguments.pointers();
        assert_ne!(at[0], at[1]);
        assert_eq!(u32::from_ne_bytes(value(at[1])), 3);
    }

    fn launch(grid: [u32; 3], block: [u32; 3], shared: u32) -> Result<(), String> {
        let launch = Launch { kernel: "k".into(), grid, block, shared, parameters: vec![] };
        check_launch(&launch, 100_000).map_err(|e| e.to_string())
    }

    #[test]
    fn a_launch_that_cannot_be_is_refused_in_words() {
        assert_eq!(launch([1, 1, 1], [1024, 1, 1], 100_000), Ok(()));
        let said = |grid, block, shared, words: &str| {
            let error = launch(grid, block, shared).expect_err("must be refused");
            assert!(error.starts_with("the kernel k: ") && error.contains(words), "{error}");
        };
        said([0, 1, 1], [1, 1, 1], 0, "its grid is [0, 1, 1]");
        said([1, 65_536, 1], [1, 1, 1], 0, "at most [2147483647, 65535, 65535]");
        said([1, 1, 1], [1024, 2, 1], 0, "its block is [1024, 2, 1]");
        said([1, 1, 1], [1, 1, 65], 0, "64 along z");
        said([1, 1, 1], [32, 1, 1], 100_001, "100001 bytes of shared memory, of which this device has 100000");
    }

    #[test]
    fn parameters_of_other_sizes_are_refused() {
        assert_eq!(check_sizes("k", &[8, 4], &[8, 4]), Ok(()));
        let said =
            |declared: &[usize], given: &[usize]| check_sizes("k", declared, given).expect_err("differ").to_string();
        assert_eq!(
            said(&[8, 8, 4], &[8, 4, 4]),
            "the kernel k: its parameters have [8, 8, 4] bytes, and it is given [8, 4, 4]: they differ at number 1"
        );
        assert!(said(&[8], &[8, 4]).ends_with("differ at number 1"));
    }
}
