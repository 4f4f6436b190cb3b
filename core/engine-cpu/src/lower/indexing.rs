//! gather, scatter_add, and elementwise operations on integers, which the float registers of programs would round.

use fer_cpu_kernels::{elementwise::Element, index};
use fer_graph::{DType, Node};

use super::Lowering;

impl Lowering<'_> {
    pub(super) fn gather(&mut self, node: &Node) {
        let (x, indices) = (self.dense(node.operands[0]), self.dense(node.operands[1]));
        let sizes = around(self.graph.shape(node.operands[0]), node.attributes.int("axis") as usize);
        let to = self.output(node.results[0]);
        let element = self.buffers[to].element;
        self.emit([x, indices], [to], move |a| match element {
            Element::F32 => index::gather(a.read::<f32>(0), sizes, a.read(1), a.write(0)),
            Element::Bf16 => index::gather(a.read::<u16>(0), sizes, a.read(1), a.write(0)),
            Element::I32 => index::gather(a.read::<i32>(0), sizes, a.read(1), a.write(0)),
            Element::U8 | Element::Bool => index::gather(a.read::<u8>(0), sizes, a.read(1), a.write(0)),
        });
    }

    pub(super) fn scatter_add(&mut self, node: &Node) {
        let (indices, updates) = (self.dense(node.operands[0]), self.dense(node.operands[1]));
        let sizes = around(self.graph.shape(node.results[0]), node.attributes.int("axis") as usize);
        let (isa, to) = (self.isa(), self.output(node.results[0]));
        self.emit([indices, updates], [to], move |a| {
            index::scatter_add(isa, a.read(1), sizes, a.read(0), a.write(0));
        });
    }

    /// An operation with an integer among its operands or results, element by element.
    pub(super) fn integers(&mut self, node: &Node) {
        let operands: Vec<usize> = node.operands.iter().map(|&o| self.dense(o)).collect();
        let to = self.output(node.results[0]);
        let elements: Vec<Element> = operands.iter().map(|&b| self.buffers[b].element).collect();
        let target = self.graph.ty(node.results[0]).dtype;
        match node.op.def.name {
            "convert" => {
                let from = elements[0];
                self.emit(operands, [to], move |a| convert(a, from, target));
            }
            "compare" => {
                let holds = direction(node.attributes.text("direction"));
                self.emit(operands, [to], move |a| {
                    let (x, y, to) = (a.read::<i32>(0), a.read::<i32>(1), a.write::<u8>(0));
                    let pairs = x.iter().zip(y);
                    to.iter_mut().zip(pairs).for_each(|(to, (x, y))| *to = u8::from(holds(x.cmp(y))));
                });
            }
            "select" => self.emit(operands, [to], move |a| {
                let (p, x, y, to) = (a.read::<u8>(0), a.read::<i32>(1), a.read::<i32>(2), a.write::<i32>(0));
                for (i, to) in to.iter_mut().enumerate() {
                    *to = if p[i] != 0 { x[i] } else { y[i] };
                }
            }),
            name => {
                let operation = arithmetic(name);
                self.emit(operands, [to], move |a| {
                    let (x, y, to) = (a.read::<i32>(0), a.read::<i32>(1), a.write::<i32>(0));
                    to.iter_mut().zip(x.iter().zip(y)).for_each(|(to, (x, y))| *to = operation(*x, *y));
                });
            }
        }
    }
}

/// Sizes before, at and after an axis.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

fn convert(a: &crate::step::Access<'_>, from: Element, to: DType) {
    match (from, to) {
        (Element::F32, DType::I32) => each(a, |x: f32| x as i32),
        (Element::F32, DType::U8) => each(a, |x: f32| x as u8),
        (Element::I32, DType::U8) => each(a, |x: i32| x.clamp(0, 255) as u8),
        (Element::I32, DType::I32) => each(a, |x: i32| x),
        (Element::U8 | Element::Bool, DType::I32) => each(a, |x: u8| i32::from(x)),
        _ => each(a, |x: u8| x),
    }
}

fn each<X: crate::memory::Number, Y: crate::memory::Number>(a: &crate::step::Access<'_>, map: impl Fn(X) -> Y) {
    let (x, y) = (a.read::<X>(0), a.write::<Y>(0));
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = map(x));
}

fn direction(name: &str) -> fn(std::cmp::Ordering) -> bool {
    use std::cmp::Ordering;
    match name {
        "EQ" => Ordering::is_eq,
        "NE" => Ordering::is_ne,
        "LT" => Ordering::is_lt,
        "LE" => Ordering::is_le,
        "GT" => Ordering::is_gt,
        _ => Ordering::is_ge,
    }
}

/// Wrapping, as the processor's; division by zero gives zero.
fn arithmetic(name: &str) -> fn(i32, i32) -> i32 {
    match name {
        "add" => i32::wrapping_add,
        "subtract" => i32::wrapping_sub,
        "multiply" => i32::wrapping_mul,
        "divide" => |x, y| if y == 0 { 0 } else { x.wrapping_div(y) },
        "maximum" => i32::max,
        _ => |x, y| if y < 0 { 1 } else { x.wrapping_pow(y as u32) },
    }
}
