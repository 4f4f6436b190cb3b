//! A store in host memory, for tests.

use std::{any::Any, collections::BTreeMap};

use fer_engine::{Store, Tensor};

#[derive(Default)]
pub(crate) struct MemoryStore(pub BTreeMap<String, Tensor>);

impl Store for MemoryStore {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Option<Tensor> {
        self.0.get(name).cloned()
    }

    fn write(&mut self, name: &str, value: &Tensor) {
        self.0.insert(name.to_owned(), value.clone());
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
