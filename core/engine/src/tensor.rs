//! Tensors on the host side: what is fed, fetched and saved.

use fer_graph::{DType, TensorType};

/// Elements, row-major. A graph's `f` is `F32` or `F64` here.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// A dense tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The graph's element type for this data.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) | Data::F64(_) => DType::Float,
            Data::I32(_) => DType::I32,
            Data::U8(_) => DType::U8,
            Data::Bool(_) => DType::Bool,
        }
    }
}

impl Tensor {
    /// # Panics
    /// When the count of elements is not that of the shape: a fault of the caller.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Tensor {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements do not fill {shape:?}");
        Tensor { shape, data }
    }

    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Tensor {
        Tensor::new(shape, Data::F32(data))
    }

    pub fn f64(shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Tensor {
        Tensor::new(shape, Data::F64(data))
    }

    pub fn i32(shape: impl Into<Vec<usize>>, data: Vec<i32>) -> Tensor {
        Tensor::new(shape, Data::I32(data))
    }

    pub fn u8(shape: impl Into<Vec<usize>>, data: Vec<u8>) -> Tensor {
        Tensor::new(shape, Data::U8(data))
    }

    /// A float scalar.
    pub fn scalar(value: f64) -> Tensor {
        Tensor::f64([], vec![value])
    }

    pub fn ty(&self) -> TensorType {
        TensorType::new(self.data.dtype(), self.shape.clone())
    }

    /// All elements as f64, whatever they are.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => v.clone(),
            Data::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }
    }

    /// All elements as f32, whatever they are.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            Data::F64(v) => v.iter().map(|&x| x as f32).collect(),
            Data::I32(v) => v.iter().map(|&x| x as f32).collect(),
            Data::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| f32::from(u8::from(x))).collect(),
        }
    }

    /// The only element of a tensor of one.
    pub fn item(&self) -> Option<f64> {
        match self.to_f64().as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}
