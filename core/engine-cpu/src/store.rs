//! Parameters and states between steps.

use std::{any::Any, collections::BTreeMap};

use fer_cpu_kernels::{bf16, elementwise::Element};
use fer_engine::{Data, EngineError, Result, Store, Tensor};
use fer_graph::{DType, TensorType};

use crate::memory::Block;

/// An entry's numbers, where steps read and update them in place.
#[derive(Debug)]
pub(crate) struct Entry {
    shape: Vec<usize>,
    element: Element,
    block: Block,
}

/// Entries by name.
#[derive(Debug, Default)]
pub(crate) struct CpuStore {
    entries: BTreeMap<String, Entry>,
}

/// How elements of a graph's type are stored: a `bf16` as the `f32` that it is.
pub(crate) fn element_of(dtype: DType) -> Element {
    match dtype {
        DType::Float | DType::Bf16 => Element::F32,
        DType::I32 => Element::I32,
        DType::U8 => Element::U8,
        DType::Bool => Element::Bool,
    }
}

impl CpuStore {
    /// Where an entry's elements stand.
    ///
    /// # Errors
    /// [`EngineError::MissingState`], or [`EngineError::WrongType`] when it is not what the graph expects.
    pub(crate) fn place(&mut self, name: &str, expected: &TensorType) -> Result<*mut u8> {
        let Some(entry) = self.entries.get_mut(name) else {
            return Err(EngineError::MissingState { name: name.to_owned(), expected: expected.clone() });
        };
        if entry.shape != expected.shape || entry.element != element_of(expected.dtype) {
            let dtype = match entry.element {
                Element::F32 | Element::Bf16 => DType::Float,
                Element::I32 => DType::I32,
                Element::U8 => DType::U8,
                Element::Bool => DType::Bool,
            };
            let found = TensorType::new(dtype, entry.shape.clone());
            return Err(EngineError::WrongType { name: name.to_owned(), expected: expected.clone(), found });
        }
        Ok(entry.block.pointer())
    }
}

impl Store for CpuStore {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Option<Tensor> {
        let entry = self.entries.get(name)?;
        let data = match entry.element {
            Element::F32 => Data::F32(entry.block.read().to_vec()),
            Element::Bf16 => Data::F32(entry.block.read().iter().map(|&x| bf16::widen(x)).collect()),
            Element::I32 => Data::I32(entry.block.read().to_vec()),
            Element::U8 => Data::U8(entry.block.read().to_vec()),
            Element::Bool => Data::Bool(entry.block.read::<u8>().iter().map(|&b| b != 0).collect()),
        };
        Some(Tensor { shape: entry.shape.clone(), data })
    }

    fn write(&mut self, name: &str, value: &Tensor) {
        let (element, block) = match &value.data {
            Data::F32(v) => (Element::F32, Block::of(v)),
            Data::F64(_) => (Element::F32, Block::of(&value.to_f32())),
            Data::I32(v) => (Element::I32, Block::of(v)),
            Data::U8(v) => (Element::U8, Block::of(v)),
            Data::Bool(v) => (Element::Bool, Block::of(v)),
        };
        self.entries.insert(name.to_owned(), Entry { shape: value.shape.clone(), element, block });
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
