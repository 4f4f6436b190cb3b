//! Random valid graphs: a list of steps, each of which adds one node to what is there already.
//!
//! A step is an op and some numbers that decide its operands and attributes, so a failing graph shrinks to few steps.

mod makers;

use fer_graph::{Builder, DType, Graph, Init, Role, TensorType, Value};
use makers::MAKERS;
use proptest::prelude::*;

/// What a generated graph may contain.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Adjoints of composites: text has them, plugins must not give them.
    pub adjoints: bool,
}

/// One node to be added.
#[derive(Clone, Debug)]
struct Step {
    make: usize,
    choices: [u8; 24],
}

/// Random graphs of up to 24 steps, verified by construction.
pub fn graphs(options: Options) -> impl Strategy<Value = Graph> {
    let makers = if options.adjoints { MAKERS.len() } else { MAKERS.len() - 1 };
    let step = (0..makers, any::<[u8; 24]>()).prop_map(|(make, choices)| Step { make, choices });
    prop::collection::vec(step, 0..24).prop_map(|steps| {
        let b = Builder::new("generated");
        let x = b.input("x", TensorType::float([2, 3])).expect("a fresh name");
        let mut pool = Pool { b: &b, values: vec![x], arguments: 0 };
        for step in &steps {
            let _scope = b.absolute_scope(["", "stem", "layers.0", "layers.1.attn"][step.choices[0] as usize % 4]);
            let mut pen = Pen { pool: &mut pool, choices: &step.choices[1..] };
            MAKERS[step.make](&mut pen);
        }
        finish(&pool);
        b.finish()
    })
}

/// Outputs, updates and names for what the steps made.
fn finish(pool: &Pool<'_>) {
    let b = pool.b;
    for (i, &value) in pool.values.iter().rev().step_by(3).enumerate() {
        b.output(&format!("out.{i}"), value);
        b.name(&format!("seen/{i}"), value);
    }
    let states: Vec<(Value, TensorType)> = b.look(|g| {
        g.arguments.iter().filter(|a| a.role != Role::Input).map(|a| (a.value, g.ty(a.value).clone())).collect()
    });
    for (state, ty) in states {
        if let Some(&value) = pool.values.iter().rev().find(|&&v| b.ty(v) == ty) {
            b.update(state, value).expect("the types are equal");
        }
    }
}

/// What later steps may use.
struct Pool<'b> {
    b: &'b Builder,
    values: Vec<Value>,
    arguments: usize,
}

/// Decides one step.
struct Pen<'p, 'b> {
    pool: &'p mut Pool<'b>,
    choices: &'p [u8],
}

type Made<T = Value> = fer_graph::Result<T>;

impl<'b> Pen<'_, 'b> {
    fn b(&self) -> &'b Builder {
        self.pool.b
    }

    /// A number below `n`; 0 when the step has run out of choices.
    fn pick(&mut self, n: usize) -> usize {
        let Some((&choice, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        choice as usize % n
    }

    fn size(&mut self) -> usize {
        1 + self.pick(4)
    }

    fn sizes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.size()).collect()
    }

    /// A value of small size that fits, or a new argument of that type.
    fn find(&mut self, fits: impl Fn(&TensorType) -> bool, otherwise: TensorType) -> Value {
        let b = self.b();
        let small = |v: &Value| b.look(|g| g.ty(*v).elements() <= 256 && fits(g.ty(*v)));
        let known: Vec<Value> = self.pool.values.iter().copied().filter(small).collect();
        match self.pick(known.len() + 1) {
            i if i < known.len() => known[i],
            _ => self.argument(otherwise),
        }
    }

    fn exactly(&mut self, ty: TensorType) -> Value {
        let wanted = ty.clone();
        self.find(move |t| *t == wanted, ty)
    }

    fn float(&mut self, shape: &[usize]) -> Value {
        self.exactly(TensorType::float(shape))
    }

    fn any_float(&mut self, least_rank: usize) -> Value {
        let rank = least_rank + self.pick(2);
        let fresh = TensorType::float(self.sizes(rank));
        self.find(|t| t.dtype == DType::Float && t.rank() >= least_rank && t.rank() <= 6, fresh)
    }

    fn images(&mut self) -> Value {
        let shape = self.sizes(4);
        self.find(|t| t.dtype == DType::Float && t.rank() == 4, TensorType::float(shape))
    }

    fn anything(&mut self) -> Value {
        let dtype = DType::ALL[self.pick(5)];
        let rank = self.pick(4);
        let fresh = TensorType::new(dtype, self.sizes(rank));
        self.find(|t| t.rank() <= 6, fresh)
    }

    fn axis(&mut self, x: Value) -> usize {
        let rank = self.b().rank(x);
        self.pick(rank)
    }

    fn axes(&mut self, x: Value) -> Vec<usize> {
        (0..self.b().rank(x)).filter(|_| self.pick(2) == 0).collect()
    }

    fn argument(&mut self, ty: TensorType) -> Value {
        let b = self.b();
        let name = format!("a{}", self.pool.arguments);
        self.pool.arguments += 1;
        let numbers: Vec<f64> = (0..ty.elements()).map(|i| i as f64 / 3.0).collect();
        let (role, init) = match self.pick(9) {
            0 => (Role::Parameter, Some(Init::trunc_normal(0.02))),
            1 => (Role::Parameter, Some(Init::Uniform { low: -0.1, high: 0.3 })),
            2 => (Role::Parameter, Some(Init::Values(numbers.into()))),
            3 => (Role::State, Some(Init::Constant(0.25))),
            4 => (Role::State, Some(Init::Zeros)),
            5 => (Role::Parameter, Some(Init::Normal { mean: 1e-300, std: 1.0 })),
            _ => (Role::Input, None),
        };
        let value = b.argument(&name, role, ty, init).expect("a fresh name and a small type");
        let (decay, frozen) = (self.pick(4) == 0, self.pick(4) == 0);
        let layer = (self.pick(4) == 0).then(|| self.pick(3) as u32);
        b.edit_argument(value, |a| {
            a.decay ^= decay;
            a.frozen = frozen;
            a.layer = layer;
        });
        self.pool.values.push(value);
        value
    }

    fn made(&mut self, results: Made<impl IntoIterator<Item = Value>>) {
        self.pool.values.extend(results.expect("the generator keeps every constraint"));
    }

    fn made1(&mut self, result: Made) {
        self.made(result.map(|v| [v]));
    }

    fn window(&mut self) -> (usize, usize) {
        (self.size(), self.size())
    }
}
