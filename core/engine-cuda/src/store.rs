//! Parameters and states between steps, in the device's memory.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use fer_engine::{Data, EngineError, Result, Store, Tensor};
use fer_graph::{DType, TensorType};

use crate::{
    Element,
    device::{Address, Device, DeviceError},
};

/// Memory of a device that is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Memory {
    device: Arc<dyn Device>,
    pub address: Address,
    pub bytes: usize,
}

impl Memory {
    pub(crate) fn new(device: &Arc<dyn Device>, bytes: usize) -> Result<Memory, DeviceError> {
        // No card gives nothing; what is empty is never touched.
        let address = device.allocate(bytes.max(1))?;
        Ok(Memory { device: device.clone(), address, bytes })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.release(self.address);
    }
}

/// An entry's numbers.
#[derive(Debug)]
struct Entry {
    shape: Vec<usize>,
    element: Element,
    memory: Memory,
}

/// Entries by name.
#[derive(Debug)]
pub(crate) struct CudaStore {
    device: Arc<dyn Device>,
    entries: BTreeMap<String, Entry>,
    /// What could not be written or read, until a step says so: the trait's own words are infallible.
    failed: std::cell::RefCell<Option<DeviceError>>,
}

/// A device's refusal in the engine's words.
pub(crate) fn refused(error: &DeviceError) -> EngineError {
    EngineError::Device(error.to_string())
}

impl CudaStore {
    pub(crate) fn new(device: Arc<dyn Device>) -> CudaStore {
        CudaStore { device, entries: BTreeMap::new(), failed: std::cell::RefCell::default() }
    }

    /// The first failure since it was asked last.
    pub(crate) fn failure(&self) -> Option<DeviceError> {
        self.failed.borrow_mut().take()
    }

    fn fail(&self, error: DeviceError) {
        self.failed.borrow_mut().get_or_insert(error);
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.values().map(|e| e.memory.bytes).sum()
    }

    /// Where an entry's elements stand.
    ///
    /// # Errors
    /// [`EngineError::MissingState`], or [`EngineError::WrongType`] when it is not what the graph expects.
    pub(crate) fn place(&self, name: &str, expected: &TensorType) -> Result<Address> {
        let Some(entry) = self.entries.get(name) else {
            return Err(EngineError::MissingState { name: name.to_owned(), expected: expected.clone() });
        };
        if entry.shape != expected.shape || entry.element != held(expected.dtype) {
            let dtype = match entry.element {
                Element::F32 | Element::Bf16 => DType::Float,
                Element::I32 => DType::I32,
                Element::U8 => DType::U8,
                Element::Bool => DType::Bool,
            };
            let found = TensorType::new(dtype, entry.shape.clone());
            return Err(EngineError::WrongType { name: name.to_owned(), expected: expected.clone(), found });
        }
        Ok(entry.memory.address)
    }
}

/// How arguments of a type stand: a `bf16` as the `f32` that it is.
pub(crate) fn held(dtype: DType) -> Element {
    if dtype.is_float() { Element::F32 } else { Element::of(dtype) }
}

/// A tensor's elements as they stand in memory.
pub(crate) fn bytes(tensor: &Tensor) -> (Element, Vec<u8>) {
    match &tensor.data {
        Data::F32(v) => (Element::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::F64(v) => (Element::F32, v.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()),
        Data::I32(v) => (Element::I32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::U8(v) => (Element::U8, v.clone()),
        Data::Bool(v) => (Element::Bool, v.iter().map(|&b| u8::from(b)).collect()),
    }
}

/// Elements from memory.
pub(crate) fn data(element: Element, bytes: &[u8]) -> Data {
    let words = || bytes.as_chunks::<4>().0.iter().copied();
    match element {
        Element::F32 => Data::F32(words().map(f32::from_le_bytes).collect()),
        Element::Bf16 => {
            Data::F32(bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect())
        }
        Element::I32 => Data::I32(words().map(i32::from_le_bytes).collect()),
        Element::U8 => Data::U8(bytes.to_vec()),
        Element::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
    }
}

impl Store for CudaStore {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Option<Tensor> {
        let entry = self.entries.get(name)?;
        let mut numbers = vec![0; entry.memory.bytes];
        if let Err(error) = self.device.download(entry.memory.address, &mut numbers) {
            self.fail(error);
            return None;
        }
        Some(Tensor { shape: entry.shape.clone(), data: data(entry.element, &numbers) })
    }

    fn write(&mut self, name: &str, value: &Tensor) {
        let (element, numbers) = bytes(value);
        // An entry keeps its place as long as its size: recorded steps know it.
        let kept = self.entries.remove(name).filter(|e| e.memory.bytes == numbers.len()).map(|e| e.memory);
        let memory = match kept.map_or_else(|| Memory::new(&self.device, numbers.len()), Ok) {
            Ok(memory) => memory,
            Err(error) => return self.fail(error),
        };
        if let Err(error) = self.device.upload(memory.address, &numbers) {
            self.fail(error);
        }
        self.entries.insert(name.to_owned(), Entry { shape: value.shape.clone(), element, memory });
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
