//! Tests of the problems themselves: they cover the op table, the right answers pass, wrong ones do not.

use std::collections::HashSet;

use fer_graph::{Class, DType, Graph, Meaning, Node, ops::TABLE};
use proptest::strategy::ValueTree;

use super::*;
use crate::{EngineError, Executable, Feeds, Outputs, Precision, Store, Tensor};

/// The reference as an engine, spoiled at will.
struct Spoiled {
    /// The op whose results are changed, and by how much.
    op: &'static str,
    by: f64,
}

struct Run {
    graph: Graph,
    by: f64,
}

struct NoStore;

impl Store for NoStore {
    fn names(&self) -> Vec<String> {
        vec![]
    }
    fn read(&self, _: &str) -> Option<Tensor> {
        None
    }
    fn write(&mut self, _: &str, _: &Tensor) {}
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

impl Engine for Spoiled {
    fn name(&self) -> &'static str {
        "spoiled"
    }
    fn precision(&self) -> Precision {
        Precision::F64
    }
    fn supports(&self, _: &Graph, _: &Node) -> bool {
        true
    }
    fn store(&self) -> Box<dyn Store> {
        Box::new(NoStore)
    }
    fn compile(&self, graph: &Graph) -> Result<Box<dyn Executable>, EngineError> {
        let spoils = graph.nodes.iter().any(|n| n.op.name() == self.op);
        Ok(Box::new(Run { graph: graph.clone(), by: if spoils { self.by } else { 0.0 } }))
    }
}

impl Executable for Run {
    fn run(&self, _: &mut dyn Store, inputs: &Feeds) -> Result<Outputs, EngineError> {
        let mut outputs = reference(&self.graph, inputs)?;
        if self.by != 0.0 {
            for tensor in outputs.values_mut() {
                let mut numbers = tensor.to_f64();
                if let Some(last) = numbers.last_mut() {
                    *last += self.by;
                }
                *tensor = Tensor::f64(tensor.shape.clone(), numbers);
            }
        }
        Ok(outputs)
    }
}

fn all_families() -> impl Iterator<Item = Family> {
    GROUPS.iter().flat_map(|(_, families)| families())
}

#[test]
fn every_op_has_a_family_and_every_differentiable_one_a_gradient() {
    let mut covered = HashSet::new();
    let mut differentiated = HashSet::new();
    let mut runner = TestRunner::deterministic();
    for family in all_families() {
        covered.insert(family.op);
        for _ in 0..8 {
            if !family.random.new_tree(&mut runner).unwrap().current().wrt.is_empty() {
                differentiated.insert(family.op);
            }
        }
    }
    // Sources have no operand, compare and rng_uniform none that carries a gradient. What stop_gradient and convert do to
    // one is not a difference quotient's business: they have tests of their own.
    let without = ["constant", "rng_uniform", "compare", "stop_gradient", "convert"];
    for def in TABLE {
        assert!(covered.contains(def.name), "{} has no family", def.name);
        let smooth = def.class != Class::Adjoint && !matches!(def.meaning, Meaning::Terminal);
        if smooth && !without.contains(&def.name) {
            assert!(differentiated.contains(def.name), "no gradient of {} is checked", def.name);
        }
    }
}

#[test]
fn the_right_answers_pass() {
    let summary = run_all(&Spoiled { op: "", by: 0.0 }, 4).unwrap();
    assert_eq!(summary.families, TABLE.len());
}

/// An error in one element is found, for every op, and named.
#[test]
fn a_wrong_answer_is_found_and_named() {
    for (group, families) in GROUPS {
        for family in families() {
            let failure = run_group(&Spoiled { op: family.op, by: 1.0 }, group, 4).unwrap_err();
            assert!(!failure.reason.is_empty() && failure.to_string().contains(failure.op));
        }
    }
    let failure = run_group(&Spoiled { op: "softmax", by: 1e-4 }, "activation", 20).unwrap_err();
    assert_eq!(failure.op, "softmax");
}

#[test]
fn what_fails_shrinks() {
    let family = all_families().find(|f| f.op == "transpose").unwrap();
    let failure = run_random(&family, 50, |p| {
        if p.graph.ty(p.graph.arguments[0].value).elements() > 2 { Err("too large".into()) } else { Ok(()) }
    })
    .unwrap_err();
    assert_eq!(failure.problem.graph.ty(failure.problem.graph.arguments[0].value).elements(), 3);
}

/// A wrong derivative rule is found: here half of the product is held constant.
#[test]
fn a_wrong_gradient_is_found() {
    let mut d = Draft::new(3);
    let x = d.input("x", &[4], Draw::Positive).unwrap();
    let y = d.b.multiply(x, d.b.stop_gradient(x).unwrap()).unwrap();
    let problem = d.finish("multiply", &[y], Tolerance::ROUNDED);
    assert!(check_gradient(&Spoiled { op: "", by: 0.0 }, &problem).is_err());
}

/// An op that takes bfloat16 must have a decomposition and a derivative that do.
#[test]
fn composites_decompose_in_bfloat16() {
    let mut runner = TestRunner::deterministic();
    for family in all_families() {
        let Some(op) = fer_graph::ops::lookup(family.op).filter(|op| op.decomposes()) else { continue };
        for _ in 0..12 {
            let problem = family.random.new_tree(&mut runner).unwrap().current();
            if let Err(e) = rounded_with_gradients(&problem) {
                panic!("{op:?} does not work in bfloat16: {e}\n{problem:?}");
            }
        }
    }
}

fn rounded_with_gradients(problem: &Problem) -> Result<(), fer_graph::GraphError> {
    let b = fer_graph::Builder::new("rounded");
    let map = b.inline(&problem.graph, |b, argument, ty| {
        let value = b.input(&argument.name, ty.clone())?;
        if ty.dtype == DType::Float { b.convert(value, DType::Bf16) } else { Ok(value) }
    })?;
    let result = b.convert(map[problem.graph.outputs[0].1.index()], DType::Float)?;
    let objective = b.reduce_sum(result, &(0..b.rank(result)).collect::<Vec<_>>())?;
    let wrt: Vec<_> = problem.wrt.iter().map(|name| b.look(|g| g.argument(name).map(|a| a.value))).collect();
    let wrt: Vec<_> = wrt.into_iter().flatten().collect();
    for gradient in fer_autodiff::gradients(&b, objective, &wrt)?.into_iter().flatten() {
        b.output(&format!("{}", gradient.0), gradient);
    }
    fer_plan::inline(&b.finish(), |_, _| false).map(|_| ())
}
