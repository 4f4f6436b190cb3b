//! One kernel a primitive, one file a family. A kernel is made once, at compile time, with shapes and attributes read;
//! running it turns operands into the result.
//!
//! Composites have no kernel here: they are inlined before, so that this engine says what the others must compute.

mod convolution;
mod dot;
mod elementwise;
mod index;
mod integer;
mod movement;
mod pooling;
mod reduce;
mod source;

use fer_graph::{Attributes, Graph, Node, TensorType};

use crate::{element::Element, value::Value};

/// A primitive with its shapes and attributes. Operands come owned, so that the last reader of a value may reuse its memory.
pub type Kernel<E> = Box<dyn Fn(Vec<Value<E>>) -> Value<E> + Send + Sync>;

/// Makes the kernel of one node.
pub type Maker<E> = fn(&Site<'_>) -> Kernel<E>;

/// A node and the types around it.
pub struct Site<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
}

impl Site<'_> {
    pub fn ty(&self, operand: usize) -> &TensorType {
        self.graph.ty(self.node.operands[operand])
    }

    pub fn shape(&self, operand: usize) -> &[usize] {
        &self.ty(operand).shape
    }

    pub fn result(&self) -> &TensorType {
        self.graph.ty(self.node.results[0])
    }

    pub fn attributes(&self) -> &Attributes {
        &self.node.attributes
    }
}

/// How the op of that name is executed; `None` for composites.
pub fn maker<E: Element>(name: &str) -> Option<Maker<E>> {
    Some(match name {
        "constant" => source::constant,
        "rng_uniform" => source::rng_uniform,
        "stop_gradient" => source::stop_gradient,
        "convert" => source::convert,
        "negate" => elementwise::negate,
        "exponential" => elementwise::exponential,
        "log" => elementwise::log,
        "sqrt" => elementwise::sqrt,
        "tanh" => elementwise::tanh,
        "erf" => elementwise::erf,
        "floor" => elementwise::floor,
        "add" => elementwise::add,
        "subtract" => elementwise::subtract,
        "multiply" => elementwise::multiply,
        "divide" => elementwise::divide,
        "maximum" => elementwise::maximum,
        "power" => elementwise::power,
        "compare" => elementwise::compare,
        "select" => elementwise::select,
        "reshape" => movement::reshape,
        "transpose" => movement::transpose,
        "broadcast_in_dim" => movement::broadcast_in_dim,
        "slice" => movement::slice,
        "pad" => movement::pad,
        "concatenate" => movement::concatenate,
        "reduce_sum" => reduce::reduce_sum,
        "reduce_max" => reduce::reduce_max,
        "dot_general" => dot::dot_general,
        "convolution" => convolution::convolution,
        "convolution_input_grad" => convolution::input_grad,
        "convolution_kernel_grad" => convolution::kernel_grad,
        "max_pool" => pooling::max_pool,
        "max_pool_grad" => pooling::max_pool_grad,
        "gather" => index::gather,
        "scatter_add" => index::scatter_add,
        _ => return None,
    })
}

/// Takes the operands of a node of known arity.
fn operands<E: Element, const N: usize>(values: Vec<Value<E>>) -> [Value<E>; N] {
    <[Value<E>; N]>::try_from(values).unwrap_or_else(|v| panic!("a verified node has {N} operands, found {}", v.len()))
}

#[cfg(test)]
mod tests {
    use fer_graph::{Class, ops::TABLE};

    use super::*;

    #[test]
    fn primitives_and_adjoint_ops_have_a_kernel_and_composites_none() {
        for def in TABLE {
            let expected = def.class != Class::Composite;
            assert_eq!(maker::<f64>(def.name).is_some(), expected, "{}", def.name);
            assert!(maker::<f64>(&format!("{}_vjp", def.name)).is_none());
        }
    }
}
