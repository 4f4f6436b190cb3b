//! Parameters and states between steps.

use std::{any::Any, collections::BTreeMap};

use fer_engine::{EngineError, Result, Store, Tensor};
use fer_graph::{DType, TensorType};

use crate::{element::Element, value::Value};

/// Entries by name, with their shapes.
pub(crate) struct DfdxStore<E: Element> {
    entries: BTreeMap<String, (Vec<usize>, Value<E>)>,
}

impl<E: Element> DfdxStore<E> {
    pub(crate) fn new() -> Self {
        DfdxStore { entries: BTreeMap::new() }
    }

    /// The entry, which shares memory with the store.
    ///
    /// # Errors
    /// [`EngineError::MissingState`], or [`EngineError::WrongType`] when it is not what the graph expects.
    pub(crate) fn get(&self, name: &str, expected: &TensorType) -> Result<Value<E>> {
        let Some((shape, value)) = self.entries.get(name) else {
            return Err(EngineError::MissingState { name: name.to_owned(), expected: expected.clone() });
        };
        let found = TensorType::new(dtype(value), shape.clone());
        let fits = found.shape == expected.shape
            && (found.dtype == expected.dtype || found.dtype.is_float() && expected.dtype.is_float());
        if !fits {
            return Err(EngineError::WrongType { name: name.to_owned(), expected: expected.clone(), found });
        }
        Ok(value.clone().rounded_to(expected.dtype))
    }

    pub(crate) fn set(&mut self, name: &str, shape: &[usize], value: Value<E>) {
        self.entries.insert(name.to_owned(), (shape.to_vec(), value));
    }
}

impl<E: Element> Store for DfdxStore<E> {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Option<Tensor> {
        self.entries.get(name).map(|(shape, value)| value.to_host(shape))
    }

    fn write(&mut self, name: &str, value: &Tensor) {
        let stored = Value::from_host(value, value.data.dtype()).expect("a tensor fits its own element type");
        self.set(name, &value.shape, stored);
    }

    fn snapshot(&self) -> Option<Box<dyn Store>> {
        Some(Box::new(DfdxStore { entries: self.entries.clone() }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn dtype<E: Element>(value: &Value<E>) -> DType {
    match value {
        Value::Splat(_) | Value::Dense(_) => DType::Float,
        Value::I32(_) => DType::I32,
        Value::U8(_) => DType::U8,
        Value::Bool(_) => DType::Bool,
    }
}
