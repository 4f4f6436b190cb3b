//! A kernel for CUDA: source text, and what is said to its compiler and its launch for one node.

use std::{fmt::Write, sync::Arc};

use fer_abi::{device, launch};
use fer_graph::{Graph, Node, Value};

use super::Code;

/// CUDA C of a library, and how its function is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaFunction {
    pub source: Arc<str>,
    /// The function's name in the source.
    pub entry: Arc<str>,
    pub each: Each,
    /// Of a block, 1 to 1024.
    pub threads: u32,
}

/// What there is one of for each what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Each {
    /// A thread for each element of the first result.
    Element,
    /// A block for each row of the first result; a scalar is a row.
    Row,
}

impl Code for CudaFunction {
    fn of(kernel: &fer_abi::Kernel) -> Option<CudaFunction> {
        let launch = kernel.launch.as_ref().into_option().filter(|_| kernel.device == device::CUDA)?;
        let each = match launch.each.as_str() {
            launch::ELEMENT => Each::Element,
            launch::ROW => Each::Row,
            _ => return None,
        };
        let threads = Some(launch.threads).filter(|threads| (1..=1024).contains(threads))?;
        Some(CudaFunction { source: kernel.source.as_str().into(), entry: kernel.entry.as_str().into(), each, threads })
    }
}

impl CudaFunction {
    /// How many blocks are launched for a node.
    pub fn blocks(&self, graph: &Graph, node: &Node) -> usize {
        let Some(shape) = node.results.first().map(|&result| graph.shape(result)) else { return 1 };
        match self.each {
            Each::Element => shape.iter().product::<usize>().div_ceil(self.threads as usize),
            Each::Row => shape.split_last().map_or(1, |(_, rows)| rows.iter().product()),
        }
    }

    /// Its source for a node: the macros that say what the call is, then the text, whose lines count from 1. The function is called
    /// `name` in what is made of it.
    pub fn text(&self, graph: &Graph, node: &Node, name: &str) -> String {
        format!("{}#define {} {name}\n#line 1\n{}\n", macros(graph, node), self.entry, self.source)
    }
}

/// What a call says besides its pointers.
fn macros(graph: &Graph, node: &Node) -> String {
    let mut text = format!("#define INPUTS {}\n#define OUTPUTS {}\n", node.operands.len(), node.results.len());
    let mut tensors = |word: &str, values: &[Value]| {
        for (i, &value) in values.iter().enumerate() {
            let shape = graph.shape(value);
            let _ = writeln!(text, "#define {word}{i}_RANK {}", shape.len());
            for (axis, size) in shape.iter().enumerate() {
                let _ = writeln!(text, "#define {word}{i}_D{axis} {size}");
            }
            let _ = writeln!(text, "#define {word}{i}_N {}", shape.iter().product::<usize>());
        }
    };
    tensors("IN", &node.operands);
    tensors("OUT", &node.results);
    let list = |name| if node.op.adjoint { node.attributes.sizes(name) } else { vec![] };
    let cotangents = list("cotangents");
    let _ = writeln!(text, "#define COTANGENTS {}", cotangents.len());
    for (word, places) in [("WRT", list("wrt")), ("COTANGENT", cotangents)] {
        for (i, place) in places.iter().enumerate() {
            let _ = writeln!(text, "#define {word}{i} {place}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An op of a matrix and a scalar, and its adjoint for the scalar alone.
    const TEXT: &str = "\
op test.terms version 1(x0: f[3,5], x1: f[]) {
  %0 = reduce_sum(x0) {axes: [1]} : f[3]
  %1 = multiply(x1, x1) : f[]
  output 0 = %0
  output 1 = %1
}
graph t(x: f[3,5], s: f[]) {
  %0, %1 = test.terms(x, s) : f[3], f[]
  %2 = test.terms_vjp(x, s, %1) {cotangents: [1], wrt: [1]} : f[]
  output y = %0
  output z = %2
}
";

    fn function(each: Each, threads: u32) -> CudaFunction {
        CudaFunction { source: "void terms() {}".into(), entry: "terms".into(), each, threads }
    }

    #[test]
    fn a_source_is_told_what_the_call_is() {
        let graph = fer_graph::parse(TEXT).expect("parses");
        let text = |node: usize| function(Each::Element, 32).text(&graph, &graph.nodes[node], "terms_of_1");
        assert_eq!(
            text(0),
            "#define INPUTS 2\n#define OUTPUTS 2\n\
             #define IN0_RANK 2\n#define IN0_D0 3\n#define IN0_D1 5\n#define IN0_N 15\n\
             #define IN1_RANK 0\n#define IN1_N 1\n\
             #define OUT0_RANK 1\n#define OUT0_D0 3\n#define OUT0_N 3\n\
             #define OUT1_RANK 0\n#define OUT1_N 1\n\
             #define COTANGENTS 0\n\
             #define terms terms_of_1\n#line 1\nvoid terms() {}\n"
        );
        let adjoint = text(1);
        for line in ["INPUTS 3", "OUTPUTS 1", "IN2_RANK 0", "OUT0_N 1", "COTANGENTS 1", "WRT0 1", "COTANGENT0 1"] {
            assert!(adjoint.contains(&format!("#define {line}\n")), "{line} is not in:\n{adjoint}");
        }
        assert!(!adjoint.contains("WRT1") && !adjoint.contains("COTANGENT1"), "{adjoint}");
    }

    #[test]
    fn there_are_blocks_for_every_element_or_row() {
        let graph = fer_graph::parse(TEXT).expect("parses");
        let blocks = |node: usize, each, threads| function(each, threads).blocks(&graph, &graph.nodes[node]);
        assert_eq!([blocks(0, Each::Element, 2), blocks(0, Each::Element, 3), blocks(0, Each::Row, 2)], [2, 1, 1]);
        assert_eq!([blocks(1, Each::Element, 2), blocks(1, Each::Row, 64)], [1, 1]);
    }

    #[test]
    fn only_a_launch_that_is_understood_is_taken() {
        let kernel = |each: &str, threads, device: &str| fer_abi::Kernel {
            op: "test.terms".into(),
            version: 1,
            adjoint: false,
            device: device.into(),
            function: fer_abi::abi_stable::std_types::RNone,
            source: "void terms() {}".into(),
            entry: "terms".into(),
            launch: fer_abi::abi_stable::std_types::RSome(fer_abi::Launch { each: each.into(), threads }),
        };
        assert_eq!(CudaFunction::of(&kernel("row", 1024, "cuda")), Some(function(Each::Row, 1024)));
        assert_eq!(CudaFunction::of(&kernel("element", 1, "cuda")), Some(function(Each::Element, 1)));
        for odd in [kernel("warp", 32, "cuda"), kernel("row", 0, "cuda"), kernel("row", 1025, "cuda")] {
            assert_eq!(CudaFunction::of(&odd), None);
        }
        assert_eq!(CudaFunction::of(&kernel("row", 32, "cpu")), None);
    }
}
