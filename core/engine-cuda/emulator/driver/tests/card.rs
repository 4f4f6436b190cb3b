//! The engine's own way to a card, from the look for libraries to the replay of a step, on a driver that stands for NVIDIA's.
//!
//! A loader reads `LD_LIBRARY_PATH` when a program starts, so each test starts this program anew with itself as the only test.

#[path = "../../../tests/passes/mod.rs"]
mod passes;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{
    Engine, EngineError, Feeds, Tensor,
    conformance::steps::{feeds, prepare, train, training_step},
};
use fer_engine_cuda::{
    CudaEngine, Precision,
    cuda::{CudaDevice, survey},
    device::{Command as Asked, Device, DeviceError, Launch, Parameter, Unit},
};

const SETTINGS: &str = "FER_EMULATED_DRIVER";

/// The library beside this test.
fn library() -> PathBuf {
    let program = env::current_exe().expect("a program");
    let folder = program.parent().expect("a folder");
    folder.join("libfer_cuda_emulated_driver.so")
}

/// Runs the body in a process that finds the emulated libraries, once for each of the settings.
#[track_caller]
fn with_card(test: &str, settings: &[&str], body: impl FnOnce()) {
    if env::var_os(SETTINGS).is_some() {
        return body();
    }
    for settings in settings {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["libcuda.so.1", "libnvrtc.so.12", "libcublasLt.so.12"] {
            symlink(library(), folder.path().join(name)).expect("a link");
        }
        let mut again = Command::new(env::current_exe().expect("a program"));
        again.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        again.env("LD_LIBRARY_PATH", folder.path()).env(SETTINGS, settings).env("FER_CACHE", folder.path());
        for name in ["FER_NVRTC", "FER_CUBLASLT", "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_VISIBLE_DEVICES"] {
            again.env_remove(name);
        }
        let output = again.output().expect("starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "with {settings:?}:\n{out}\n{err}");
    }
}

fn open(cache: Option<PathBuf>) -> CudaDevice {
    CudaDevice::open(0, cache).unwrap_or_else(|error| panic!("{error}; {:?}", error.notes))
}

fn shared() -> Arc<dyn Device> {
    Arc::new(open(None))
}

fn engine(device: Arc<dyn Device>, precision: Precision) -> CudaEngine {
    passes::engine(&device, precision, &[])
}

#[test]
fn everything_is_found() {
    with_card("everything_is_found", &["version=12040,cards=2"], || {
        let survey = survey();
        let driver = survey.driver.expect("a driver");
        assert_eq!(driver.cuda, (12, 4));
        let folder = env::var("LD_LIBRARY_PATH").expect("a folder");
        for found in [survey.nvrtc, survey.cublas_lt] {
            let found = found.expect("a library");
            assert_eq!((found.version, found.path.parent()), ((12, 9), Some(Path::new(&folder))));
        }
        let cards = survey.cards.expect("cards");
        assert_eq!(cards.len(), 2);
        assert!(cards.iter().all(|card| card.problem.is_none() && card.capability == (8, 0)), "{cards:?}");
        let error = CudaDevice::open(2, None).expect_err("there are two");
        assert_eq!(error.message, "there is no card 2");
    });
}

/// What the emulator says no driver says, with words that help.
#[test]
fn a_driver_that_is_too_old_is_said_to_be() {
    with_card("a_driver_that_is_too_old_is_said_to_be", &["version=11080", "version=11080,cards=0"], || {
        let error = CudaDevice::open(0, None).expect_err("is too old");
        assert!(error.message.contains("is for CUDA 11.8; CUDA 12.0 or later is needed"), "{error}");
    });
}

#[test]
fn a_driver_without_a_card_is_said_to_have_none() {
    with_card("a_driver_without_a_card_is_said_to_have_none", &["cards=0"], || {
        let error = CudaDevice::open(0, None).expect_err("there is no card");
        assert_eq!(error.message, "NVIDIA's driver finds no card");
    });
}

#[test]
fn all_problems_are_solved_through_the_driver() {
    with_card("all_problems_are_solved_through_the_driver", &["seed=1"], || {
        let device = shared();
        passes::all_problems_in_f32(&device, 2);
        passes::problems_with_rounded_factors(&device, 2);
    });
}

#[test]
fn steps_agree_with_the_reference() {
    with_card("steps_agree_with_the_reference", &["seed=1"], || passes::steps_agree_with_the_reference(&shared()));
}

/// However lazy or eager the driver is, and whether or not the host has memory to pin: the bits are those of the emulator itself, where
/// everything is done as soon as it is asked.
#[test]
fn steps_have_the_same_bits_as_without_a_driver() {
    let settings = ["seed=1", "seed=2", "seed=3", "seed=4,pinned=0"];
    with_card("steps_have_the_same_bits_as_without_a_driver", &settings, || {
        let device: Arc<dyn Device> = Arc::new(open(None));
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let alone = train(&engine(Arc::new(EmulatedDevice::new()), precision), 4).unwrap();
            assert_eq!(train(&engine(device.clone(), precision), 4).unwrap(), alone, "{precision:?}");
        }
    });
}

/// What comes in while the step before runs is what the next one computes with, and each command of a step has a time.
#[test]
fn steps_ahead_and_timed_are_steps() {
    let settings = ["seed=1", "seed=2", "seed=3", "seed=4", "seed=5,pinned=0"];
    with_card("steps_ahead_and_timed_are_steps", &settings, || passes::steps_ahead_and_timed_are_steps(&shared()));
}

#[test]
fn compiled_kernels_are_kept_and_a_wrong_one_is_named() {
    with_card("compiled_kernels_are_kept_and_a_wrong_one_is_named", &["seed=1"], || {
        let folder = tempfile::tempdir().expect("a folder");
        let unit = |source: &str| Unit { name: "tiny".into(), source: source.into() };
        let good = unit("extern \"C\" __global__ void tiny(float* y) { y[threadIdx.x] = 2.0f; }");
        let run = || {
            let device = open(Some(folder.path().to_owned()));
            let y = device.allocate(256).unwrap();
            let parameters = vec![Parameter::Pointer(y, 0)];
            let launch = Launch { kernel: "tiny".into(), grid: [1; 3], block: [64, 1, 1], shared: 0, parameters };
            device.record(std::slice::from_ref(&good), &[Asked::Launch(launch)]).unwrap().replay().unwrap();
            let mut bytes = [0; 256];
            device.download(y, &mut bytes).unwrap();
            assert_eq!(bytes, std::array::from_fn(|i| 2.0f32.to_ne_bytes()[i % 4]));
        };
        run();
        let kept = || fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(kept(), 1);
        run();
        assert_eq!(kept(), 1);
        let device = open(None);
        let wrong = device.prepare(&[unit("extern \"C\" __global__ void f() { int x = nothing; }")]);
        assert!(
            matches!(&wrong, Err(DeviceError::Compile { unit, log }) if unit == "tiny" && log.contains("nothing")),
            "{wrong:?}"
        );
    });
}

/// A card without room: what was asked for and what is there; and the card goes on.
#[test]
fn no_memory_is_an_error_that_the_card_survives() {
    with_card("no_memory_is_an_error_that_the_card_survives", &["memory=40000000"], || {
        let device = Arc::new(open(None));
        let all = device.memory().unwrap();
        assert_eq!(all.total, 40_000_000);
        let error = device.allocate(1 << 30).unwrap_err();
        assert_eq!(error, DeviceError::OutOfMemory { wanted: 1 << 30, free: all.free, total: all.total });
        let address = device.allocate(1 << 20).unwrap();
        device.upload(address, &[7; 64]).unwrap();
        device.release(address);
        assert_eq!(device.memory().unwrap(), all);
        train(&engine(device, Precision::F32), 1).unwrap();
    });
}

/// A card that is lost between two steps: an error at once, then and afterwards, and what is given back is given back.
#[test]
fn a_lost_card_is_an_error_and_nothing_hangs() {
    with_card("a_lost_card_is_an_error_and_nothing_hangs", &["lost_after=2,seed=1", "lost_after=2,seed=6"], || {
        let graph = training_step().unwrap();
        let engine = engine(Arc::new(open(None)), Precision::F32);
        let mut store = prepare(&engine, &graph);
        let executable = engine.compile(&graph).unwrap();
        for step in 1..=2 {
            executable.run(store.as_mut(), &feeds(step)).unwrap();
        }
        for _ in 0..2 {
            let error = executable.run(store.as_mut(), &feeds(3)).unwrap_err();
            let EngineError::Device(text) = &error else { panic!("{error:?}") };
            assert!(text.contains("the device is lost"), "{text}");
        }
        assert!(store.read("qkv.weight").is_none(), "what is gone is not made up");
    });
}

/// A plugin's own kernel that leaves its memory takes the card with it.
#[test]
fn a_kernel_that_leaves_its_memory_loses_the_card() {
    with_card("a_kernel_that_leaves_its_memory_loses_the_card", &["seed=1"], || {
        let device = open(None);
        let y = device.allocate(256).unwrap();
        let source = "extern \"C\" __global__ void away(float* y) { y[threadIdx.x + 100000] = 2.0f; }";
        let unit = Unit { name: "away".into(), source: source.into() };
        let parameters = vec![Parameter::Pointer(y, 0)];
        let launch = Launch { kernel: "away".into(), grid: [1; 3], block: [64, 1, 1], shared: 0, parameters };
        let recorded = device.record(&[unit], &[Asked::Launch(launch)]).unwrap();
        let said = recorded.replay().and_then(|()| device.synchronise());
        assert!(matches!(&said, Err(DeviceError::Lost { .. })), "{said:?}");
        assert!(matches!(device.allocate(4), Err(DeviceError::Lost { .. })));
    });
}

/// Inputs of the size that a batch of images has go in pieces.
#[test]
fn large_memory_goes_both_ways() {
    with_card("large_memory_goes_both_ways", &["seed=1", "seed=2,pinned=0"], || {
        let device = open(None);
        let bytes: Vec<u8> = (0..40_000_003u32).map(|i| (i * 7 / 8) as u8).collect();
        let (a, b) = (device.allocate(bytes.len()).unwrap(), device.allocate(bytes.len()).unwrap());
        device.upload(a, &bytes).unwrap();
        device.fetch(a, b, bytes.len()).unwrap();
        let mut back = vec![0; bytes.len()];
        device.download(b, &mut back).unwrap();
        assert!(back == bytes);
        device.stage(a, &bytes[..1000]).unwrap();
        device.fetch(a, b, 1000).unwrap();
        device.stage(a, &bytes[7..1007]).unwrap();
        device.download(b, &mut back[..1000]).unwrap();
        assert!(back[..1000] == bytes[..1000], "what is staged later does not overtake what is fetched");
    });
}

/// What is staged is there when it is fetched, and stays until it was, in whatever order the two streams get on.
#[test]
fn staging_and_fetching_wait_for_each_other() {
    with_card("staging_and_fetching_wait_for_each_other", &["seed=1", "seed=2"], || {
        let device = open(None);
        let [way, own] = [(); 2].map(|()| device.allocate(256).unwrap());
        for round in 0..100u8 {
            device.stage(way, &[round; 64]).unwrap();
            device.fetch(way, own, 64).unwrap();
            device.stage(way, &[255; 64]).unwrap();
            let mut found = [0; 64];
            device.download(own, &mut found).unwrap();
            assert_eq!(found, [round; 64]);
        }
    });
}

/// More shared memory than every kernel may have is asked for, and more than the card has is refused.
#[test]
fn a_kernel_gets_the_shared_memory_that_it_is_launched_with() {
    with_card("a_kernel_gets_the_shared_memory_that_it_is_launched_with", &["seed=1"], || {
        let device = open(None);
        let y = device.allocate(256).unwrap();
        let source = "extern \"C\" __global__ void wide(float* y) { EXTERN_SHARED(float, s);
                      s[200 * threadIdx.x] = threadIdx.x; __syncthreads(); y[threadIdx.x] = s[200 * (63 - threadIdx.x)]; }";
        let unit = Unit { name: "wide".into(), source: source.into() };
        let launch = |shared: u32| {
            let parameters = vec![Parameter::Pointer(y, 0)];
            Asked::Launch(Launch { kernel: "wide".into(), grid: [1; 3], block: [64, 1, 1], shared, parameters })
        };
        device.record(std::slice::from_ref(&unit), &[launch(60 << 10)]).unwrap().replay().unwrap();
        let mut bytes = [0; 8];
        device.download(y, &mut bytes).unwrap();
        assert_eq!(bytes, [[0, 0, 124, 66], [0, 0, 120, 66]].concat()[..]);
        let refused = device.record(&[unit], &[launch(100 << 10)]).err().expect("is too much").to_string();
        assert!(refused.contains("102400 bytes of shared memory, of which this device has 101376"), "{refused}");
        device.synchronise().expect("nothing has become of the card");
    });
}

/// A context belongs to the thread that took it; an engine is used by several.
#[test]
fn any_thread_may_use_the_card() {
    with_card("any_thread_may_use_the_card", &["seed=1"], || {
        let device = open(None);
        let address = device.allocate(256).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| device.upload(address, &[3; 256]).unwrap()).join().expect("uploads");
            scope.spawn(|| device.release(address)).join().expect("gives back");
        });
        let memory = Device::memory(&device).unwrap();
        let again = device.allocate(256).unwrap();
        device.release(again);
        assert_eq!(Device::memory(&device).unwrap(), memory);
        std::thread::spawn(move || drop(device)).join().expect("closes");
    });
}

/// The limits that a profile shows come from what is asked of the driver like a step's commands.
#[test]
fn limits_are_measured_through_the_driver() {
    with_card("limits_are_measured_through_the_driver", &["seed=1"], || {
        for (precision, of) in [(Precision::Tf32, "products of tf32"), (Precision::Bf16, "products of bf16")] {
            let limits = engine(shared(), precision).limits().unwrap().expect("a device has limits");
            assert!(limits.flops > 0.0 && limits.bandwidth > 0.0 && limits.of == of, "{limits:?}");
        }
    });
}

/// A feed that no input asks for is left alone.
#[test]
fn a_feed_that_nobody_reads_changes_nothing() {
    with_card("a_feed_that_nobody_reads_changes_nothing", &["seed=1"], || {
        let engine = engine(shared(), Precision::F32);
        let graph = training_step().unwrap();
        let executable = engine.compile(&graph).unwrap();
        let loss = |feeds: &Feeds| executable.run(prepare(&engine, &graph).as_mut(), feeds).unwrap()["loss"].item();
        let more: Feeds = feeds(1).into_iter().chain([("other".into(), Tensor::scalar(1.0))]).collect();
        assert!(loss(&more).is_some());
        assert_eq!(loss(&more), loss(&feeds(1)));
    });
}
