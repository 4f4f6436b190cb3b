//! A kernel as text, what it is given, and what comes out.

use std::sync::Arc;

use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Command, Device, DeviceError, Launch, Parameter, Unit};

/// What kernels share, as units of the engine have it.
const COMMON: &str = include_str!("../../../kernels/common.cuh");

pub fn unit(source: &str) -> Unit {
    Unit { name: "test".into(), source: format!("{COMMON}\n{source}").into() }
}

/// A kernel named `run` with `grid` blocks of `block` threads.
pub fn launch(grid: u32, block: u32, shared: u32, parameters: Vec<Parameter<u64>>) -> Launch<u64> {
    Launch { kernel: Arc::from("run"), grid: [grid, 1, 1], block: [block, 1, 1], shared, parameters }
}

pub fn replay(device: &EmulatedDevice, source: &str, launch: Launch<u64>) -> Result<(), DeviceError> {
    device.record(&[unit(source)], &[Command::Launch(launch)])?.replay()
}

pub fn upload(device: &EmulatedDevice, numbers: &[f32]) -> u64 {
    let address = device.allocate(numbers.len() * 4).unwrap();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_ne_bytes()).collect();
    device.upload(address, &bytes).unwrap();
    address
}

pub fn download(device: &EmulatedDevice, address: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; count * 4];
    device.download(address, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
}
