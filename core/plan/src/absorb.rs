//! What becomes of a value, where that is all: what a kernel can compute on its way.

use fer_graph::{DType, Definition, Graph, Node, Value};

use crate::{Clusters, Targets, Uses, root, sources};

/// What is known of a graph while its nodes are lowered.
#[derive(Clone, Copy, Debug)]
pub struct Absorb<'a> {
    pub graph: &'a Graph,
    pub uses: &'a Uses,
    /// Those of nodes that are still to run.
    pub clusters: &'a Clusters,
    pub targets: &'a Targets,
}

impl Absorb<'_> {
    /// The sum that is all that becomes of a node's result, if its other term is there already when the node runs: that term, and the
    /// sum.
    pub fn only_added(&self, value: Value) -> Option<(Value, Value)> {
        let graph = self.graph;
        let Definition::Node(index, _) = graph.definition(value) else { return None };
        if self.targets.contains_key(&value) || graph.ty(value).dtype != DType::Float {
            return None;
        }
        let reader = self.uses.only_reader(value)?;
        let sum = &graph.nodes[reader];
        if !sum.op.is("add") || !self.clusters.holds(reader) {
            return None;
        }
        let other = match sum.operands[..] {
            [a, b] if a == value && b != value => b,
            [a, b] if b == value && a != value => a,
            _ => return None,
        };
        let there = |source: Value| match graph.definition(source) {
            Definition::Node(producer, _) => self.clusters.slots[producer] < self.clusters.slots[index],
            Definition::Argument(_) => true,
        };
        sources(graph, other).into_iter().all(|s| there(s) && s != value).then_some((other, sum.results[0]))
    }

    /// The bias that is all that is added to `[n, c, ...]`, as [`Absorb::only_added`]: a value for each channel, and the sum.
    pub fn only_biased(&self, value: Value) -> Option<(Value, Value)> {
        let graph = self.graph;
        let (other, sum) = self.only_added(value)?;
        let Definition::Node(index, _) = graph.definition(other) else { return None };
        let node = &graph.nodes[index];
        if !node.op.is("broadcast_in_dim") {
            return None;
        }
        let (from, channels) = (graph.shape(node.operands[0]), *graph.shape(value).get(1)?);
        let axes = node.attributes.sizes("broadcast_dimensions");
        let fits = from.iter().zip(&axes).all(|(&size, &axis)| size == if axis == 1 { channels } else { 1 });
        let flat = root(graph, node.operands[0]);
        (fits && axes.contains(&1) && graph.ty(flat).elements() == channels).then_some((flat, sum))
    }

    /// The leaky rectifier that is all that becomes of a value, its adjoint aside: its result and slope, within 0 and 1.
    pub fn only_rectified(&self, value: Value) -> Option<(Value, f64)> {
        let graph = self.graph;
        if self.uses.leaves[value.index()] || graph.ty(value).dtype != DType::Float {
            return None;
        }
        let mut found = None;
        for &reader in self.uses.readers[value.index()].iter().filter(|&&r| self.norm_before(r) != Some(value)) {
            let node = &graph.nodes[reader];
            let reads_once = node.operands[0] == value && !node.operands[1..].contains(&value);
            if node.op.def.name != "leaky_relu" || !reads_once || !self.clusters.holds(reader) {
                return None;
            }
            if !node.op.adjoint {
                // A second one would be given what the first has made of the value.
                if found.is_some() {
                    return None;
                }
                found = Some((node.results[0], slope(node)));
            }
        }
        found.filter(|(result, slope)| (0.0..=1.0).contains(slope) && !self.targets.contains_key(result))
    }

    /// The adjoint of a leaky rectifier that is all that becomes of the cotangent of `x`, where `x` is the rectifier's result and so has
    /// the sign of what came into it: the adjoint's result, and the slope, within 0 and 1.
    pub fn only_rectified_back(&self, x: Value, cotangent: Value) -> Option<(Value, f64)> {
        let graph = self.graph;
        if self.targets.contains_key(&cotangent) {
            return None;
        }
        let Definition::Node(rectifier, _) = graph.definition(x) else { return None };
        let reader = self.uses.only_reader(cotangent)?;
        let (rectifier, adjoint) = (&graph.nodes[rectifier], &graph.nodes[reader]);
        let of_it = rectifier.op.is("leaky_relu")
            && is_adjoint(adjoint, "leaky_relu")
            && adjoint.operands[..] == [rectifier.operands[0], cotangent]
            && slope(adjoint) == slope(rectifier)
            && (0.0..=1.0).contains(&slope(adjoint))
            && self.clusters.holds(reader)
            && !self.targets.contains_key(&adjoint.results[0]);
        of_it.then(|| (adjoint.results[0], slope(adjoint)))
    }

    /// For the adjoint of a leaky rectifier behind a batch norm whose result only that norm's own adjoint reads, which can so go back
    /// through both: the norm's result.
    pub fn norm_before(&self, rectifier: usize) -> Option<Value> {
        let graph = self.graph;
        let adjoint = &graph.nodes[rectifier];
        if !is_adjoint(adjoint, "leaky_relu") {
            return None;
        }
        let (normed, cotangent) = (adjoint.operands[0], adjoint.results[0]);
        let Definition::Node(norm, _) = graph.definition(normed) else { return None };
        let (norm, back) = (&graph.nodes[norm], &graph.nodes[self.uses.only_reader(cotangent)?]);
        let of_it = norm.op.is("batch_norm_training")
            && norm.results[0] == normed
            && is_adjoint(back, "batch_norm_training")
            && back.operands[..3] == norm.operands[..3]
            && back.operands[5..] == [cotangent]
            && back.attributes.float("epsilon") == norm.attributes.float("epsilon")
            && !self.targets.contains_key(&cotangent);
        of_it.then_some(normed)
    }
}

fn is_adjoint(node: &Node, of: &str) -> bool {
    node.op.adjoint && node.op.def.name == of
}

fn slope(rectifier: &Node) -> f64 {
    rectifier.attributes.float("negative_slope")
}

#[cfg(test)]
mod tests {
    use fer_autodiff::gradients;
    use fer_graph::{Builder, TensorType};

    use super::*;
    use crate::{View, simplify};

    /// Asks with everything still to run and nothing written elsewhere but `written`.
    fn ask<T>(graph: &Graph, written: &[Value], question: impl FnOnce(Absorb<'_>) -> T) -> T {
        let uses = Uses::of(graph);
        let clusters = Clusters::of(graph, &uses, true);
        let targets = written.iter().map(|&v| (v, (0, View::dense(graph.shape(v))))).collect();
        question(Absorb { graph, uses: &uses, clusters: &clusters, targets: &targets })
    }

    fn input(b: &Builder, name: &str, shape: &[usize]) -> Value {
        b.input(name, TensorType::float(shape)).unwrap()
    }

    /// A rectifier, a batch norm, a rectifier, and the gradients.
    fn around_a_norm() -> Graph {
        let b = Builder::new("t");
        let x = input(&b, "x", &[2, 3, 5]);
        let [w, bias, mean, variance] = ["w", "b", "mean", "variance"].map(|name| input(&b, name, &[3]));
        let before = b.leaky_relu(x, 0.2).unwrap();
        let normed = b.batch_norm_training([before, w, bias, mean, variance], 1e-5, 0.1).unwrap()[0];
        let behind = b.leaky_relu(normed, 0.1).unwrap();
        let loss = b.reduce_sum(b.multiply(behind, input(&b, "g", &[2, 3, 5])).unwrap(), &[0, 1, 2]).unwrap();
        for (i, gradient) in gradients(&b, loss, &[x, w, bias]).unwrap().into_iter().enumerate() {
            b.output(&format!("gradient{i}"), gradient.unwrap());
        }
        b.output("y", behind);
        simplify(&b.finish()).unwrap()
    }

    #[test]
    fn rectifiers_around_a_norm_are_found() {
        let graph = around_a_norm();
        let find = |name: &str, adjoint: bool, slope: f64| {
            let is = |n: &Node| n.op.def.name == name && n.op.adjoint == adjoint;
            let fits = |n: &Node| is(n) && (name != "leaky_relu" || n.attributes.float("negative_slope") == slope);
            graph.nodes.iter().position(fits).unwrap()
        };
        let [before, behind] = [0.2, 0.1].map(|slope| find("leaky_relu", false, slope));
        let [before_back, behind_back] = [0.2, 0.1].map(|slope| find("leaky_relu", true, slope));
        let [norm, norm_back] = [false, true].map(|adjoint| find("batch_norm_training", adjoint, 0.0));
        let result = |node: usize| graph.nodes[node].results[0];
        let operand = graph.nodes[norm_back].attributes.sizes("wrt").iter().position(|&i| i == 0).unwrap();
        let of_x = graph.nodes[norm_back].results[operand];
        ask(&graph, &[], |absorb| {
            // The adjoint of the rectifier behind the norm reads the norm's result too, and goes into the norm's own.
            assert_eq!(absorb.only_rectified(result(norm)), Some((result(behind), 0.1)));
            assert_eq!(absorb.norm_before(behind_back), Some(result(norm)));
            assert_eq!(absorb.norm_before(before_back), None);
            assert_eq!(absorb.norm_before(behind), None);
            assert_eq!(absorb.only_rectified_back(result(before), of_x), Some((result(before_back), 0.2)));
            assert_eq!(absorb.only_rectified_back(result(behind), of_x), None);
        });
        ask(&graph, &[result(behind_back)], |absorb| assert_eq!(absorb.norm_before(behind_back), None));
        ask(&graph, &[result(behind)], |absorb| assert_eq!(absorb.only_rectified(result(norm)), None));
        ask(&graph, &[of_x], |absorb| assert_eq!(absorb.only_rectified_back(result(before), of_x), None));
    }

    #[test]
    fn only_one_rectifier_of_a_slope_within_one_is_taken() {
        let found = |slopes: &[f64], shown: bool| {
            let b = Builder::new("t");
            let value = b.exponential(input(&b, "x", &[4])).unwrap();
            let rectified: Vec<Value> = slopes.iter().map(|&slope| b.leaky_relu(value, slope).unwrap()).collect();
            rectified.iter().enumerate().for_each(|(i, &v)| b.output(&format!("y{i}"), v));
            if shown {
                b.output("value", value);
            }
            let graph = b.finish();
            let found = ask(&graph, &[], |absorb| absorb.only_rectified(value));
            found.map(|(result, slope)| (rectified.iter().position(|&v| v == result), slope))
        };
        assert_eq!(found(&[0.3], false), Some((Some(0), 0.3)));
        assert_eq!(found(&[0.3], true), None);
        assert_eq!(found(&[1.5], false), None);
        assert_eq!(found(&[0.3, 0.4], false), None);
        assert_eq!(found(&[1.5, 0.4], false), None);
        assert_eq!(found(&[], false), None);
    }

    #[test]
    fn a_bias_is_one_number_a_channel() {
        let found = |shape: &[usize], axes: &[usize]| {
            let b = Builder::new("t");
            let value = b.exponential(input(&b, "x", &[2, 3, 3])).unwrap();
            let bias = input(&b, "bias", shape);
            let sum = b.add(value, b.broadcast_in_dim(bias, &[2, 3, 3], axes).unwrap()).unwrap();
            b.output("y", sum);
            let graph = b.finish();
            ask(&graph, &[], |absorb| absorb.only_biased(value)) == Some((bias, sum))
        };
        assert!(found(&[3], &[1]));
        assert!(found(&[1, 3, 1], &[0, 1, 2]));
        assert!(!found(&[3], &[2]), "that is one for each place");
        assert!(!found(&[1], &[1]));
        assert!(!found(&[2, 3], &[0, 1]));
    }

    #[test]
    fn a_sum_is_taken_when_its_other_term_is_there() {
        let b = Builder::new("t");
        let x = input(&b, "x", &[4, 4]);
        let early = b.linear(x, x, None).unwrap();
        let value = b.linear(early, x, None).unwrap();
        let late = b.linear(x, early, None).unwrap();
        let with_early = b.add(value, early).unwrap();
        let with_late = b.add(late, value).unwrap();
        let answer = |outputs: &[Value]| {
            let mut graph = b.look(Clone::clone);
            graph.outputs = outputs.iter().enumerate().map(|(i, &v)| (format!("y{i}"), v)).collect();
            let graph = simplify(&graph).unwrap();
            let value = graph.nodes.iter().filter(|n| n.op.is("linear")).nth(1).unwrap().results[0];
            let early = graph.nodes[0].results[0];
            ask(&graph, &[], |absorb| absorb.only_added(value)).map(|(other, _)| other == early)
        };
        assert_eq!(answer(&[with_early]), Some(true));
        assert_eq!(answer(&[with_late]), None);
        assert_eq!(answer(&[with_early, value]), None);
        assert_eq!(answer(&[with_early, with_late]), None);
    }
}
