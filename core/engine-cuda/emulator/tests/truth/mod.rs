//! A value made of inputs, computed by the engine with its gradients, and held against the definitions of the ops in f64.

use std::sync::Arc;

use fer_autodiff::gradients;
use fer_cuda_emulator::EmulatedDevice;
use fer_engine::{Engine, Feeds, Outputs, Tensor, conformance::reference};
use fer_engine_cuda::{CudaEngine, Options, Precision};
use fer_graph::{Builder, Graph, Result, TensorType, Value, verify};

pub const F32: Precision = Precision::F32;
#[allow(dead_code, reason = "not every test file asks")]
pub const TF32: Precision = Precision::Tf32;
pub const BF16: Precision = Precision::Bf16;

/// What a graph is given, and what it gives besides its result.
#[derive(Default)]
pub struct Inputs {
    feeds: Feeds,
    values: Vec<(String, Value)>,
    part: usize,
}

impl Inputs {
    /// Numbers from -1 to 1.
    pub fn input(&mut self, b: &Builder, name: &str, shape: &[usize]) -> Result<Value> {
        self.input_about(b, name, shape, 1.0, 0.0)
    }

    pub fn input_about(&mut self, b: &Builder, name: &str, shape: &[usize], scale: f64, offset: f64) -> Result<Value> {
        let value = self.held(b, name, shape, scale, offset)?;
        self.values.push((self.name(name), value));
        Ok(value)
    }

    pub fn given(&mut self, b: &Builder, name: &str, shape: &[usize], numbers: Vec<f32>) -> Result<Value> {
        let value = self.feed(b, name, shape, numbers)?;
        self.values.push((self.name(name), value));
        Ok(value)
    }

    /// An input that no gradient is taken of.
    pub fn held(&mut self, b: &Builder, name: &str, shape: &[usize], scale: f64, offset: f64) -> Result<Value> {
        let (count, seed) = (shape.iter().product(), self.feeds.len() as u32);
        let numbers = fer_engine::uniform([3, 0, 0], seed, count).map(|u| ((2.0 * u - 1.0) * scale + offset) as f32);
        self.feed(b, name, shape, numbers.collect())
    }

    fn feed(&mut self, b: &Builder, name: &str, shape: &[usize], numbers: Vec<f32>) -> Result<Value> {
        let name = self.name(name);
        let value = b.input(&name, TensorType::float(shape))?;
        self.feeds.insert(name, Tensor::f32(shape.to_vec(), numbers));
        Ok(value)
    }

    /// Each part of a case has names of its own.
    pub fn name(&self, name: &str) -> String {
        format!("{name}_{}", self.part)
    }
}

/// A graph with the gradients of everything that it is given.
pub struct Case {
    graph: Graph,
    feeds: Feeds,
}

impl Case {
    pub fn new(build: impl Fn(&Builder, &mut Inputs) -> Result<Value>) -> Case {
        Case::of(&[()], |b, c, ()| build(b, c))
    }

    /// One graph for all parts, since to compile one takes longer than to run it.
    pub fn of<T>(parts: &[T], build: impl Fn(&Builder, &mut Inputs, &T) -> Result<Value>) -> Case {
        let make = || -> Result<Case> {
            let b = Builder::new("case");
            let mut inputs = Inputs::default();
            let mut objective = b.full(&[], 0.0)?;
            for (i, part) in parts.iter().enumerate() {
                inputs.part = i;
                let y = build(&b, &mut inputs, part)?;
                b.output(&inputs.name("y"), y);
                let shape = b.shape(y);
                let cotangent = inputs.held(&b, "cotangent", &shape, 1.0, 0.0)?;
                let all: Vec<usize> = (0..shape.len()).collect();
                objective = b.add(objective, b.reduce_sum(b.multiply(y, cotangent)?, &all)?)?;
            }
            let (names, wrt): (Vec<String>, Vec<Value>) = inputs.values.into_iter().unzip();
            for (name, gradient) in names.iter().zip(gradients(&b, objective, &wrt)?) {
                if let Some(gradient) = gradient {
                    b.output(&format!("gradient_{name}"), gradient);
                }
            }
            let graph = b.finish();
            verify(&graph)?;
            Ok(Case { graph, feeds: inputs.feeds })
        };
        make().expect("a well-formed graph")
    }

    /// The ops of what runs on the device, in order.
    #[allow(dead_code, reason = "not every test file asks")]
    pub fn calls(&self) -> Vec<String> {
        let engine = engine(Options::default(), 1);
        let mut calls = vec![];
        let executable = engine.compile(&self.graph).expect("it compiles");
        let done =
            executable.run_timed(engine.store().as_mut(), &self.feeds, &mut |call, _| calls.push(call.op.to_string()));
        done.expect("it runs");
        calls
    }

    /// Twice on the engine, every buffer apart and then as it is used, with the same bits; and near the truth, by `tolerance` of the
    /// largest number of each output or of one.
    pub fn check(&self, name: &str, precision: Precision, tolerance: f64) {
        let run = |separate: bool, seed: u64| {
            let engine = engine(Options { precision, smallest_rounded: 0, separate, ..Options::default() }, seed);
            let found = engine.compile(&self.graph).and_then(|e| e.run(engine.store().as_mut(), &self.feeds));
            found.unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let found = run(true, 1);
        for (output, again) in &run(false, 2) {
            let bits = |t: &Tensor| t.to_f64().into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert!(bits(&found[output]) == bits(again), "{name}: {output} has other bits");
        }
        let truth = reference(&self.graph, &self.feeds).expect("a well-formed graph");
        compare(name, &truth, &found, tolerance);
    }
}

fn engine(options: Options, seed: u64) -> CudaEngine {
    CudaEngine::new(Arc::new(EmulatedDevice::new().seed(seed)), options)
}

fn compare(name: &str, truth: &Outputs, found: &Outputs, tolerance: f64) {
    for (output, truth) in truth {
        let found = &found[output];
        assert_eq!(found.shape, truth.shape, "{name}: {output}");
        let (truth, found) = (truth.to_f64(), found.to_f64());
        let largest = truth.iter().filter(|t| t.is_finite()).fold(1f64, |top, t| top.max(t.abs()));
        for (i, (&t, &f)) in truth.iter().zip(&found).enumerate() {
            let near = t == f || t.is_nan() && f.is_nan() || (t - f).abs() <= tolerance * largest;
            assert!(
                near,
                "{name}: {output} is {f} for {t} at {i} of {}, may be off by {:e}",
                truth.len(),
                tolerance * largest
            );
        }
    }
}
