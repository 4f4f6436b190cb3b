//! The device around kernels: memory, order, loss, compilation.

use crate::common::{download, launch, unit, upload};
use fer_cuda_emulator::EmulatedDevice;
use fer_engine_cuda::device::{Command, Device, DeviceError, Parameter::*, Unit};

const ADD: &str = r#"extern "C" __global__ void run(float* y) { y[threadIdx.x] += 1; }"#;

#[test]
fn commands_run_in_their_order_as_often_as_they_are_replayed() {
    let device = EmulatedDevice::new();
    let (x, y) = (upload(&device, &[1.0, 2.0]), upload(&device, &[5.0, 6.0]));
    let add = Command::Launch(launch(1, 2, 0, vec![Pointer(x, 0)]));
    let copy = Command::Copy { from: x, to: y, bytes: 8 };
    let recording = device.record(&[unit(ADD)], &[add.clone(), copy, add]).unwrap();
    // Nothing runs before.
    assert_eq!(download(&device, x, 2), [1.0, 2.0]);
    recording.replay().unwrap();
    assert_eq!((download(&device, x, 2), download(&device, y, 2)), (vec![3.0, 4.0], vec![2.0, 3.0]));
    let mut seen = vec![];
    recording.replay_timed(&mut |i, _| seen.push(i)).unwrap();
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!((download(&device, x, 2), download(&device, y, 2)), (vec![5.0, 6.0], vec![4.0, 5.0]));
}

#[test]
fn memory_is_aligned_counted_and_given_back() {
    let device = EmulatedDevice::new().memory(1 << 20);
    assert_eq!(Device::memory(&device).unwrap().free, 1 << 20);
    let addresses = [0, 1, 255, 256, 257, 70_000].map(|bytes| device.allocate(bytes).unwrap());
    for address in addresses {
        assert_eq!(address % 256, 0);
    }
    let MemoryUse { wanted, free } = refusal(&device, 1 << 20);
    assert_eq!((wanted, free), (1 << 20, Device::memory(&device).unwrap().free));
    assert!(free < (1 << 20) - 70_000);
    addresses.iter().for_each(|&address| device.release(address));
    let all = device.allocate(1 << 20).unwrap();
    assert_eq!(refusal(&device, 1).free, 0);
    assert!(download(&device, all, 4).iter().all(|x| x.is_nan()));
}

struct MemoryUse {
    wanted: usize,
    free: usize,
}

fn refusal(device: &EmulatedDevice, bytes: usize) -> MemoryUse {
    match device.allocate(bytes) {
        Err(DeviceError::OutOfMemory { wanted, free, .. }) => MemoryUse { wanted, free },
        other => panic!("{other:?}"),
    }
}

#[test]
fn transfers_stay_inside_an_allocation() {
    let device = EmulatedDevice::new();
    let (x, y) = (upload(&device, &[1.0; 4]), device.allocate(8).unwrap());
    assert_eq!(device.fetch(x + 8, y, 8), Ok(()));
    assert_eq!(download(&device, y, 2), [1.0, 1.0]);
    assert!(device.fetch(x + 12, y, 8).is_err());
    assert!(device.fetch(x, x + 4, 8).is_err());
    assert!(device.upload(y, &[0; 9]).is_err());
    assert!(device.stage(y + 9, &[]).is_err());
    assert!(device.download(x - 1, &mut [0]).is_err());
    device.release(y);
    assert!(device.download(y, &mut [0]).is_err());
}

#[test]
fn a_device_is_lost_when_it_is_told_to_be() {
    let device = EmulatedDevice::new().lost_after(2);
    let x = upload(&device, &[1.0, 2.0]);
    let recording = device.record(&[unit(ADD)], &[Command::Launch(launch(1, 2, 0, vec![Pointer(x, 0)]))]).unwrap();
    assert_eq!([(); 2].map(|()| recording.replay()), [Ok(()), Ok(())]);
    assert!(matches!(recording.replay(), Err(DeviceError::Lost { .. })));
    assert!(matches!(recording.replay(), Err(DeviceError::Lost { .. })));
    assert!(matches!(device.download(x, &mut [0; 8]), Err(DeviceError::Lost { .. })));
    assert!(matches!(device.allocate(1), Err(DeviceError::Lost { .. })));
}

#[test]
fn what_does_not_compile_says_where() {
    let device = EmulatedDevice::new();
    let broken = Unit { name: "broken".into(), source: "int first;\nint second = nothing;\n".into() };
    match device.prepare(&[unit(ADD), broken]) {
        Err(DeviceError::Compile { unit, log }) => {
            assert_eq!(unit, "broken");
            assert!(log.contains("broken.cu:2") && log.contains("nothing"), "{log}");
        }
        other => panic!("{other:?}"),
    }
    let device = EmulatedDevice::new().refusing("test");
    assert!(matches!(device.prepare(&[unit(ADD)]), Err(DeviceError::Compile { .. })));
    let other = Unit { name: "other".into(), ..unit(ADD) };
    assert_eq!(device.prepare(&[other]), Ok(()));
}

/// Threads that use one unit at the same time wait for each other, and do not mix their shared memory.
#[test]
fn devices_share_a_unit() {
    let source = r#"extern "C" __global__ void run(float* y) {
        __shared__ float s[256];
        s[threadIdx.x] = y[threadIdx.x];
        __syncthreads();
        y[threadIdx.x] = s[255 - threadIdx.x] + 1;
    }"#;
    std::thread::scope(|scope| {
        for salt in 0..4 {
            scope.spawn(move || {
                let device = EmulatedDevice::new().seed(salt);
                let x: Vec<f32> = (0..256).map(|i| (i * (salt + 1)) as f32).collect();
                let y = upload(&device, &x);
                let launch = Command::Launch(launch(1, 256, 0, vec![Pointer(y, 0)]));
                let recording = device.record(&[unit(source)], &[launch]).unwrap();
                (0..20).for_each(|_| recording.replay().unwrap());
                let expected: Vec<f32> = x.iter().map(|x| x + 20.0).collect();
                assert_eq!(download(&device, y, 256), expected);
            });
        }
    });
}
