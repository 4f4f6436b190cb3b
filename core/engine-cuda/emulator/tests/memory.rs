//! A device with too little memory: what is said of it, and whether that is true.

use std::sync::Arc;

use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, EngineError, Feeds, Store, Tensor};
use fer_engine_cuda::{
    CudaEngine, Options,
    device::{Device, MemoryInfo},
};
use fer_graph::{Builder, Graph, Init, Role, TensorType};

const SIDE: usize = 8;
const WIDTH: usize = 96;

/// A training step of a batch of images: two layers, by scope, and a small step down the gradient of their weights.
fn step(batch: usize) -> Graph {
    let b = Builder::new("step");
    let mut x = b.input("images", TensorType::float([batch, SIDE * SIDE])).unwrap();
    let mut weights = vec![];
    for (scope, [wide, narrow]) in [("stem", [WIDTH, SIDE * SIDE]), ("head", [WIDTH, WIDTH])] {
        let _scope = b.scope(scope);
        let weight = b.parameter("weight", &[wide, narrow], Init::Zeros).unwrap();
        x = b.gelu(b.linear(x, weight, None).unwrap()).unwrap();
        weights.push(weight);
    }
    let loss = b.mean(b.multiply(x, x).unwrap(), &[0, 1]).unwrap();
    b.output("loss", loss);
    let rate = b.full(&[], 0.01).unwrap();
    for (weight, gradient) in weights.iter().zip(fer_autodiff::gradients(&b, loss, &weights).unwrap()) {
        let rates = b.broadcast_in_dim(rate, &b.shape(*weight), &[]).unwrap();
        let change = b.multiply(rates, gradient.unwrap()).unwrap();
        b.update(*weight, b.subtract(*weight, change).unwrap()).unwrap();
    }
    b.finish()
}

/// An engine on a device with so many bytes, its store, and how a step of a batch goes there.
struct Card {
    device: Arc<EmulatedDevice>,
    engine: CudaEngine,
    store: Box<dyn Store>,
}

impl Card {
    fn new(bytes: usize) -> Card {
        let device = Arc::new(EmulatedDevice::new().memory(bytes));
        let engine = CudaEngine::new(device.clone(), Options::default());
        let mut store = engine.store();
        let graph = step(1);
        for argument in graph.by_role(Role::Parameter) {
            let shape = graph.shape(argument.value).to_vec();
            let numbers = fer_engine::uniform([1, 0, 0], 3, shape.iter().product()).map(|u| 0.2 * u - 0.1).collect();
            store.write(&argument.name, &Tensor::f64(shape, numbers));
        }
        Card { device, engine, store }
    }

    fn memory(&self) -> MemoryInfo {
        Device::memory(&*self.device).unwrap()
    }

    fn run(&mut self, batch: usize) -> fer_engine::Result<f64> {
        let images = fer_engine::uniform([2, 0, 0], 5, batch * SIDE * SIDE).collect();
        let feeds = Feeds::from([("images".to_owned(), Tensor::f64([batch, SIDE * SIDE], images))]);
        let outputs = self.engine.compile(&step(batch))?.run(self.store.as_mut(), &feeds)?;
        Ok(outputs["loss"].item().expect("a loss is a scalar"))
    }

    fn weights(&self) -> Vec<Option<Tensor>> {
        self.store.names().iter().map(|name| self.store.read(name)).collect()
    }

    /// What the engine says of a batch that does not fit.
    fn refusal(&mut self, batch: usize) -> String {
        match self.run(batch) {
            Err(EngineError::Device(text)) => text,
            other => panic!("a batch of {batch}: {other:?}"),
        }
    }
}

/// Bytes that are in use after a step of a batch, with its arena.
fn used(batch: usize) -> usize {
    let mut card = Card::new(1 << 30);
    card.run(batch).unwrap();
    let memory = card.memory();
    memory.total - memory.free
}

/// `1.5 MiB` in bytes.
fn bytes(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?} is no size"));
    let power = ["B", "KiB", "MiB", "GiB"].iter().position(|u| *u == unit).unwrap_or_else(|| panic!("{unit:?}"));
    number.parse::<f64>().unwrap() * 1024f64.powi(power as i32)
}

/// The text between two others.
fn between<'t>(text: &'t str, before: &str, behind: &str) -> &'t str {
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(behind));
    found.unwrap_or_else(|| panic!("{before:?} ... {behind:?} is not in:\n{text}")).0
}

#[test]
fn the_engine_tells_what_is_in_use_on_its_device() {
    let mut card = Card::new(1 << 30);
    let told = |card: &Card| {
        let MemoryInfo { free, total } = card.memory();
        assert_eq!(card.engine.device_memory(), Ok(Some((total - free) as u64)));
        total - free
    };
    let weights = told(&card);
    assert!(weights > 0);
    card.run(16).unwrap();
    assert!(told(&card) > weights, "the arena stays");
}

#[test]
fn a_batch_that_is_too_large_is_told_what_it_needs_where_and_what_would_fit() {
    // Room for 64 images and a quarter more: what is reckoned to be lost, between allocations and buffers, may take that.
    let total = used(64) * 5 / 4;
    let mut card = Card::new(total);
    let (before, free) = (card.weights(), card.memory().free);
    let text = card.refusal(256);
    let lines: Vec<&str> = text.lines().collect();

    let wanted = bytes(between(lines[0], "a batch of 256 needs ", " of the device's memory, of which "));
    assert!(wanted > total as f64, "{text}");
    let ends = |number: &str, truth: usize| (bytes(number) - truth as f64).abs() <= 0.06 * bytes(number);
    let told_free = between(lines[0], "of which ", " of ");
    let told_total = between(lines[0], &format!("of which {told_free} of "), " are free");
    // The weights, which stay, are part of what the batch needs: so they are no less there for it than what is free.
    assert!(ends(told_free, total) && ends(told_total, total) && free < total, "{text}");

    // Two kinds of memory, by image and not, which together are what is needed.
    let fixed = bytes(between(lines[1], "  ", " whatever the batch, "));
    let each = bytes(between(lines[1], "batch, ", " for each image"));
    assert!((fixed + 256.0 * each - wanted).abs() <= 0.06 * wanted, "{text}");

    // Each layer with a line of its own, most first; together they are no more than all.
    let scopes: Vec<(&str, f64)> = lines[2..lines.len() - 1]
        .iter()
        .map(|l| l.trim().split_once("   ").unwrap())
        .map(|(s, b)| (s, bytes(b.trim())))
        .collect();
    let of = |scope: &str| scopes.iter().find(|s| s.0 == scope).unwrap_or_else(|| panic!("{scope}: {text}")).1;
    // Of the stem its activations at least are kept for its gradient.
    assert!(of("stem") >= (256 * WIDTH * 4) as f64 * 0.94 && of("head") > 0.0, "{text}");
    assert!(scopes.windows(2).all(|s| s[0].1 >= s[1].1), "{text}");
    assert!(scopes.iter().map(|s| s.1).sum::<f64>() <= wanted * 1.06, "{text}");

    // Nothing happened, and what is offered is true and not far from all that there is room for.
    assert_eq!(card.weights(), before);
    assert_eq!(card.memory().free, free);
    let fits: usize = between(lines[lines.len() - 1], "a batch of ", " would fit").parse().unwrap();
    assert!((64..=80).contains(&fits), "{text}");
    assert!(card.run(fits).unwrap().is_finite());
    let update = "; batch: 64 with accumulate: 4 makes the same number of images an update";
    assert!(lines[lines.len() - 1].ends_with(update), "{text}");
}

#[test]
fn a_device_that_has_room_for_no_batch_says_so() {
    let memory = Card::new(1 << 30).memory();
    let weights = memory.total - memory.free;
    let mut card = Card::new(weights + (32 << 10));
    let text = card.refusal(64);
    assert!(text.starts_with("a batch of 64 needs ") && text.lines().count() > 3, "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(
        last.trim(),
        "no batch fits on this device: take a smaller model, smaller images or a card with more memory"
    );
    assert!(card.weights().iter().all(Option::is_some));
}
