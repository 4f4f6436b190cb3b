//! Inputs that are brought to the device while the step before runs: in which order, once, and with the same bits.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, EngineError, Executable, Feeds, Outputs, Store, Tensor};
use fer_engine_cuda::{
    CudaEngine, Options,
    device::{Address, Command, Device, DeviceError, DeviceInfo, MemoryInfo, Recording, Result, Unit},
};
use fer_graph::{Builder, Init, TensorType};

type Log = Arc<Mutex<Vec<&'static str>>>;

/// A device that notes what it is asked.
struct Noted {
    inner: EmulatedDevice,
    log: Log,
    /// Whether it refuses to be given anything beside a running step.
    refuses: bool,
}

impl fmt::Debug for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noted")
    }
}

impl Noted {
    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push(what);
    }
}

impl Device for Noted {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn memory(&self) -> Result<MemoryInfo> {
        Device::memory(&self.inner)
    }
    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.inner.allocate(bytes)
    }
    fn release(&self, address: Address) {
        self.inner.release(address);
    }
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.note("upload");
        self.inner.upload(to, bytes)
    }
    fn stage(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.note("stage");
        if self.refuses {
            return Err(DeviceError::Failed { what: "staging".to_owned(), why: "it was to be refused".to_owned() });
        }
        self.inner.stage(to, bytes)
    }
    fn fetch(&self, from: Address, to: Address, bytes: usize) -> Result<()> {
        self.note("fetch");
        self.inner.fetch(from, to, bytes)
    }
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.note("download");
        self.inner.download(from, bytes)
    }
    fn synchronise(&self) -> Result<()> {
        self.inner.synchronise()
    }
    fn prepare(&self, units: &[Unit]) -> Result<()> {
        self.inner.prepare(units)
    }
    fn record(&self, units: &[Unit], commands: &[Command<Address>]) -> Result<Box<dyn Recording>> {
        Ok(Box::new(NotedRecording(self.inner.record(units, commands)?, self.log.clone())))
    }
}

struct NotedRecording(Box<dyn Recording>, Log);

impl Recording for NotedRecording {
    fn replay(&self) -> Result<()> {
        self.1.lock().unwrap().push("replay");
        self.0.replay()
    }
    fn replay_timed(&self, see: &mut dyn FnMut(usize, Duration)) -> Result<()> {
        self.0.replay_timed(see)
    }
}

/// A step of two inputs, and what it leaves in the store.
struct Run {
    executable: Box<dyn Executable>,
    store: Box<dyn Store>,
    log: Log,
}

impl Run {
    fn new(refuses: bool) -> Run {
        let log = Log::default();
        let engine = CudaEngine::new(
            Arc::new(Noted { inner: EmulatedDevice::new(), log: log.clone(), refuses }),
            Options::default(),
        );
        let b = Builder::new("ahead");
        let (x, rate) = (b.input("x", TensorType::float([40])), b.input("rate", TensorType::float([])));
        let w = b.parameter("w", &[40], Init::Zeros).unwrap();
        let gradient = b.multiply(b.subtract(w, x.unwrap()).unwrap(), rate.unwrap()).unwrap();
        b.output("loss", b.reduce_sum(b.multiply(gradient, gradient).unwrap(), &[0]).unwrap());
        b.update(w, b.subtract(w, gradient).unwrap()).unwrap();
        let mut store = engine.store();
        store.write("w", &Tensor::f64([40], vec![0.25; 40]));
        let executable = engine.compile(&b.finish()).unwrap();
        log.lock().unwrap().clear();
        Run { executable, store, log }
    }

    /// A step with what comes next, and what was asked of the device.
    fn step(
        &mut self,
        feeds: &Arc<Feeds>,
        next: Option<&Arc<Feeds>>,
    ) -> (fer_engine::Result<Outputs>, Vec<&'static str>) {
        let mut next = || next.cloned();
        let outputs = self.executable.run_ahead(self.store.as_mut(), feeds, &mut next);
        (outputs, std::mem::take(&mut *self.log.lock().unwrap()))
    }
}

fn feeds(k: u64) -> Arc<Feeds> {
    let x = fer_engine::uniform([k as i32, 0, 0], 3, 40).collect();
    Arc::new(Feeds::from([("x".into(), Tensor::f64([40], x)), ("rate".into(), Tensor::scalar(0.5 + k as f64 / 64.0))]))
}

const UPLOADED: [&str; 4] = ["upload", "upload", "replay", "download"];
const FETCHED: [&str; 4] = ["fetch", "fetch", "replay", "download"];
const AND_STAGED: [&str; 6] = ["fetch", "fetch", "replay", "stage", "stage", "download"];

#[test]
fn inputs_come_while_the_step_before_runs_and_change_no_bit() {
    let (mut ahead, mut plain) = (Run::new(false), Run::new(false));
    let all: Vec<Arc<Feeds>> = (0..4).map(feeds).collect();
    for (k, feeds) in all.iter().enumerate() {
        let (ours, log) = ahead.step(feeds, all.get(k + 1));
        let expected: &[&str] = match k {
            0 => &["upload", "upload", "replay", "stage", "stage", "download"],
            3 => &FETCHED,
            _ => &AND_STAGED,
        };
        assert_eq!(log, expected, "step {k}");
        let theirs = plain.executable.run(plain.store.as_mut(), feeds).unwrap();
        assert_eq!(ours.unwrap(), theirs, "step {k}");
    }
    assert_eq!(ahead.store.read("w"), plain.store.read("w"));
}

#[test]
fn what_waits_is_used_once_and_dropped_where_something_else_comes() {
    let mut run = Run::new(false);
    let [a, b] = [1, 2].map(feeds);
    let _ = run.step(&a, Some(&b));
    assert_eq!(run.step(&b, None).1, FETCHED);
    // It has been used.
    assert_eq!(run.step(&b, None).1, UPLOADED);
    let _ = run.step(&a, Some(&b));
    // Other feeds came, be they equal; then what waited is gone.
    assert_eq!(run.step(&Arc::new(Feeds::clone(&b)), None).1, UPLOADED);
    assert_eq!(run.step(&b, None).1, UPLOADED);
    let _ = run.step(&a, Some(&b));
    run.executable.run(run.store.as_mut(), &b).unwrap();
    run.log.lock().unwrap().clear();
    assert_eq!(run.step(&b, None).1, UPLOADED);
    // A step that does not run leaves nothing waiting either.
    let _ = run.step(&a, Some(&b));
    let (missing, log) = run.step(&Arc::default(), None);
    assert!(matches!(missing, Err(EngineError::MissingInput { .. })) && log.is_empty(), "{missing:?}, {log:?}");
    assert_eq!(run.step(&b, None).1, UPLOADED);
}

/// What is wrong with the next step's inputs is said by that step, and a device that takes nothing ahead is only slower.
#[test]
fn what_cannot_come_ahead_fails_nothing() {
    let mut run = Run::new(false);
    let a = feeds(1);
    let mut wrong = Feeds::clone(&a);
    wrong.insert("x".into(), Tensor::f64([3], vec![0.0; 3]));
    let wrong = Arc::new(wrong);
    let (fine, log) = run.step(&a, Some(&wrong));
    assert!(fine.is_ok());
    assert_eq!(log, UPLOADED);
    let (told, _) = run.step(&wrong, None);
    assert!(matches!(told, Err(EngineError::WrongType { ref name, .. }) if name == "x"), "{told:?}");

    let mut run = Run::new(true);
    let (fine, log) = run.step(&a, Some(&a));
    assert!(fine.is_ok());
    assert_eq!(log, ["upload", "upload", "replay", "stage", "download"]);
    assert_eq!(run.step(&a, None).1, UPLOADED);
}
