//! What each primitive means, in plain f64 loops over indices: the independent truth. Slow on purpose, and without a line in
//! common with any engine. Composites are inlined first.

mod elementwise;
mod indexing;
mod windows;

use fer_graph::{DType, Graph, GraphError, Node, TensorType};

use crate::{Feeds, Outputs, Tensor};

/// A tensor of any element type, held in f64, which holds them all exactly.
#[derive(Clone, Debug)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    /// Each element from its index.
    fn from_fn(shape: &[usize], mut element: impl FnMut(&[usize]) -> f64) -> Array {
        let mut data = vec![];
        each_index(shape, |index| data.push(element(index)));
        Array { shape: shape.to_vec(), data }
    }

    fn zeros(shape: &[usize]) -> Array {
        Array { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
    }

    fn position(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.shape).fold(0, |at, (i, size)| at * size + i)
    }

    fn at(&self, index: &[usize]) -> f64 {
        self.data[self.position(index)]
    }

    fn at_mut(&mut self, index: &[usize]) -> &mut f64 {
        let position = self.position(index);
        &mut self.data[position]
    }
}

/// Every index of a shape, row-major.
fn each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        visit(&index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// The outputs of a graph of inputs only, in f64.
///
/// # Errors
/// When the graph breaks a rule.
///
/// # Panics
/// When an input is missing: problems bring theirs.
pub fn reference(graph: &Graph, feeds: &Feeds) -> Result<Outputs, GraphError> {
    let graph = fer_plan::inline(graph, |_, _| false)?;
    let mut values: Vec<Option<Array>> = vec![None; graph.values.len()];
    for argument in &graph.arguments {
        let fed = &feeds[&argument.name];
        let data = fed.to_f64().into_iter().map(|v| stored(graph.ty(argument.value), v)).collect();
        values[argument.value.index()] = Some(Array { shape: fed.shape.clone(), data });
    }
    for node in &graph.nodes {
        let operands: Vec<&Array> = node.operands.iter().filter_map(|v| values[v.index()].as_ref()).collect();
        let ty = graph.ty(node.results[0]);
        let mut result = evaluate(&graph, node, &operands, ty);
        result.data.iter_mut().for_each(|v| *v = stored(ty, *v));
        values[node.results[0].index()] = Some(result);
    }
    let fetch = |v: fer_graph::Value| {
        let array = values[v.index()].clone().expect("every value was computed");
        Tensor::f64(array.shape, array.data)
    };
    Ok(graph.outputs.iter().map(|(name, v)| (name.clone(), fetch(*v))).collect())
}

/// A float as its type keeps it.
fn stored(ty: &TensorType, value: f64) -> f64 {
    if ty.dtype == DType::Bf16 { bfloat16(value) } else { value }
}

/// To the nearest number of 8 significant bits, a tie to the even one; f32's range.
fn bfloat16(value: f64) -> f64 {
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    let exponent = value.abs().log2().floor().max(-126.0);
    let unit = 2f64.powf(exponent - 7.0);
    let rounded = (value / unit).round_ties_even() * unit;
    if rounded.abs() > 3.4e38 { f64::INFINITY.copysign(value) } else { rounded }
}

fn evaluate(graph: &Graph, node: &Node, x: &[&Array], ty: &TensorType) -> Array {
    let attributes = &node.attributes;
    let integers = node.operands.first().is_some_and(|v| graph.ty(*v).dtype == DType::I32);
    match node.op.name().as_str() {
        "constant" => {
            let given = attributes.floats("value");
            let mut next = given.iter().cycle();
            Array::from_fn(&ty.shape, |_| *next.next().unwrap_or(&0.0))
        }
        "rng_uniform" => {
            let key = [x[0].data[0] as i32, x[0].data[1] as i32, x[0].data[2] as i32];
            let stream = attributes.int("stream") as u32;
            Array { shape: ty.shape.clone(), data: crate::uniform(key, stream, ty.elements()).collect() }
        }
        "stop_gradient" => x[0].clone(),
        "convert" => elementwise::convert(x[0], ty.dtype),
        "compare" => elementwise::compare(x[0], x[1], attributes.text("direction")),
        "select" => Array::from_fn(&ty.shape, |i| if x[0].at(i) != 0.0 { x[1].at(i) } else { x[2].at(i) }),
        "reshape" => Array { shape: ty.shape.clone(), data: x[0].data.clone() },
        "transpose" => indexing::transpose(x[0], &attributes.sizes("permutation")),
        "broadcast_in_dim" => indexing::broadcast_in_dim(x[0], &ty.shape, &attributes.sizes("broadcast_dimensions")),
        "slice" => indexing::slice(x[0], &ty.shape, &attributes.sizes("start"), &attributes.sizes("strides")),
        "pad" => indexing::pad(x[0], &ty.shape, attributes),
        "concatenate" => indexing::concatenate(x, &ty.shape, attributes.int("axis") as usize),
        "reduce_sum" => indexing::reduce(x[0], &ty.shape, &attributes.sizes("axes"), 0.0, |a, b| a + b),
        "reduce_max" => {
            indexing::reduce(x[0], &ty.shape, &attributes.sizes("axes"), f64::NEG_INFINITY, elementwise::larger)
        }
        "dot_general" => indexing::dot_general(x[0], x[1], &ty.shape, attributes),
        "gather" => indexing::gather(x[0], x[1], &ty.shape, attributes.int("axis") as usize),
        "scatter_add" => indexing::scatter_add(x[0], x[1], &ty.shape, attributes.int("axis") as usize),
        "convolution" => windows::convolution(x[0], x[1], &ty.shape, attributes),
        "convolution_input_grad" => windows::input_grad(x[0], x[1], &ty.shape, attributes),
        "convolution_kernel_grad" => windows::kernel_grad(x[0], x[1], &ty.shape, attributes),
        "max_pool" => windows::max_pool(x[0], &ty.shape, attributes),
        "max_pool_grad" => windows::max_pool_grad(x[0], x[1], attributes),
        name if x.len() == 1 => elementwise::unary(name, x[0]),
        name => elementwise::binary(name, x[0], x[1], integers),
    }
}

#[cfg(test)]
mod tests {
    use super::bfloat16;

    #[test]
    fn bfloat16_rounds_to_even() {
        assert_eq!(bfloat16(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(bfloat16(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(bfloat16(-std::f64::consts::PI), -3.140625);
        assert_eq!(bfloat16(3.4e38), f64::INFINITY);
    }
}
