//! Random composites of a plugin's own mean what their bodies do: the same numbers, forward and gradient, as the same nodes without a
//! composite around them, on both engines; and they come back from text and from the plugin boundary as they were.

use fer_autodiff::gradients;
use fer_engine::{Engine, Feeds, Outputs, Precision, Tensor};
use fer_engine_cpu::CpuEngine;
use fer_engine_dfdx::DfdxEngine;
use fer_graph::{
    Builder, Graph, PrintOptions, Result, TensorType, Value, export, import, parse, print, renumber, verify,
};
use proptest::prelude::*;

/// One operation of a body: which, and on which of the values so far.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    left: usize,
    right: usize,
}

/// A body: operations on two operands, some of which are composites themselves.
#[derive(Clone, Debug)]
struct Program {
    rows: usize,
    columns: usize,
    steps: Vec<Step>,
    /// The results, counted from the last value.
    results: Vec<usize>,
}

fn programs() -> impl Strategy<Value = Program> {
    let step = (0..14u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(kind, l, r)| Step {
        kind,
        left: l.index(1 << 16),
        right: r.index(1 << 16),
    });
    let steps = prop::collection::vec(step, 1..10);
    (1..4usize, 1..6usize, steps, prop::collection::vec(0..4usize, 1..3))
        .prop_map(|(rows, columns, steps, results)| Program { rows, columns, steps, results })
}

impl Program {
    /// The nodes. With `wrap`, composites within stand as composites.
    fn body(&self, b: &Builder, operands: &[Value], wrap: bool) -> Result<Vec<Value>> {
        let shape = [self.rows, self.columns];
        let mut values = operands.to_vec();
        for step in &self.steps {
            let (x, y) = (values[step.left % values.len()], values[step.right % values.len()]);
            let new = match step.kind {
                0 => b.add(x, y)?,
                1 => b.subtract(x, y)?,
                2 => b.multiply(x, y)?,
                3 => b.tanh(x)?,
                4 => b.negate(x)?,
                5 => b.exponential(b.tanh(x)?)?,
                6 => b.maximum(x, y)?,
                7 => b.softmax(x, -1)?,
                8 => b.broadcast_in_dim(b.reduce_sum(x, &[1])?, &shape, &[0])?,
                9 => b.broadcast_in_dim(b.mean(x, &[0])?, &shape, &[1])?,
                10 => b.select(b.compare(x, y, "LT")?, y, x)?,
                11 => b.multiply(x, b.stop_gradient(y)?)?,
                12 => {
                    let _scope = b.scope("deep");
                    b.scale(x, 0.5)?
                }
                _ if wrap => b.composite("inner.blend", 3, &[x, y, x], blend)?[1],
                _ => blend(b, &[x, y, x])?[1],
            };
            // Numbers stay small, so that differences in rounding do.
            values.push(b.tanh(new)?);
        }
        Ok(self.results.iter().map(|back| values[values.len() - 1 - back % values.len()]).collect())
    }

    /// A loss over the body's results, and its gradients.
    fn graph(&self, wrap: bool) -> Result<Graph> {
        let b = Builder::new("t");
        let ty = TensorType::float([self.rows, self.columns]);
        let operands = [b.input("x", ty.clone())?, b.input("y", ty.clone())?];
        let results = match wrap {
            true => b.composite("outer.body", 1, &operands, |b, x| self.body(b, x, true))?,
            false => self.body(&b, &operands, false)?,
        };
        let mut objective = b.full(&[], 0.0)?;
        for (i, &result) in results.iter().enumerate() {
            let weighed = b.multiply(result, b.input(&format!("w{i}"), ty.clone())?)?;
            objective = b.add(objective, b.reduce_sum(weighed, &[0, 1])?)?;
            b.output(&format!("result{i}"), result);
        }
        for (i, gradient) in gradients(&b, objective, &operands)?.into_iter().enumerate() {
            let gradient = gradient.map_or_else(|| b.full_like(operands[i], 0.0), Ok)?;
            b.output(&format!("gradient{i}"), gradient);
        }
        let graph = b.finish();
        verify(&graph)?;
        Ok(graph)
    }
}

/// `[x + z, x y - z]`
fn blend(b: &Builder, v: &[Value]) -> Result<Vec<Value>> {
    Ok(vec![b.add(v[0], v[2])?, b.subtract(b.multiply(v[0], v[1])?, v[2])?])
}

fn run(engine: &dyn Engine, graph: &Graph) -> Outputs {
    let feeds: Feeds = graph
        .arguments
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let ty = graph.ty(a.value);
            let numbers = fer_engine::uniform([7, 0, 0], i as u32, ty.elements());
            (a.name.clone(), Tensor::f32(ty.shape.clone(), numbers.map(|u| (2.0 * u - 1.0) as f32).collect()))
        })
        .collect();
    engine.compile(graph).unwrap().run(engine.store().as_mut(), &feeds).unwrap()
}

fn close(a: &Outputs, b: &Outputs, tolerance: f64) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len());
    for (name, numbers) in a {
        for (i, (l, r)) in numbers.to_f64().iter().zip(b[name].to_f64()).enumerate() {
            prop_assert!((l - r).abs() <= tolerance * (1.0 + l.abs()), "{}[{}]: {} and {}", name, i, l, r);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_composite_means_its_body(program in programs()) {
        let (whole, plain) = (program.graph(true).unwrap(), program.graph(false).unwrap());
        prop_assert!(whole.nodes.iter().any(|n| n.op.body().is_some()));
        let reference = DfdxEngine::new(Precision::F64);
        let expected = run(&reference, &plain);
        // The same operations; only sums of cotangents are taken in another order.
        close(&expected, &run(&reference, &whole), 1e-12)?;
        // A dozen operations in f32 on numbers below 1, and sums of up to twenty.
        close(&expected, &run(&CpuEngine::default(), &whole), 3e-5)?;
    }

    #[test]
    fn a_composite_survives_text_and_the_boundary(program in programs()) {
        let whole = renumber(&program.graph(true).unwrap());
        let text = print(&whole, PrintOptions::EXACT);
        let back = parse(&text).unwrap();
        prop_assert_eq!(&back, &whole);
        prop_assert_eq!(print(&back, PrintOptions::EXACT), text);
        // Adjoints do not cross.
        let b = Builder::new("t");
        let ty = TensorType::float([program.rows, program.columns]);
        let operands = [b.input("x", ty.clone()).unwrap(), b.input("y", ty).unwrap()];
        let results = b.composite("outer.body", 1, &operands, |b, x| program.body(b, x, true)).unwrap();
        b.output("y", results[0]);
        let forward = renumber(&b.finish());
        prop_assert_eq!(import(&export(&forward)).unwrap(), forward);
    }
}
