//! Tensors from the functions and arguments that PyTorch describes them with.

use super::{
    View,
    globals::Global,
    pickle::Pickle,
    values::{Id, Result, Storage, Value, damaged, unsupported},
};

/// Axes of a tensor at most: PyTorch's own limit.
const AXES: usize = 64;

/// Functions that give another function's arguments, one in the other, at most.
const DEPTH: usize = 8;

impl Pickle {
    /// What a function or class gives for its arguments.
    pub fn build(&self, callee: Id, arguments: Id) -> Result<Value> {
        self.build_within(callee, arguments, DEPTH)
    }

    fn build_within(&self, callee: Id, arguments: Id, depth: usize) -> Result<Value> {
        let global = match self.value(callee) {
            Value::Global(global) => *global,
            Value::Aside => return Ok(Value::Aside),
            _ => return Err(damaged("calls what is no function")),
        };
        match global {
            Global::Dictionary => self.dictionary(arguments),
            Global::Tensor | Global::TypedTensor => self.tensor(global, arguments),
            Global::Parameter => match self.items(arguments)?.first().map(|&data| self.value(data)) {
                Some(Value::Tensor(view)) => Ok(Value::Tensor(view.clone())),
                _ => Err(damaged("makes a parameter of what is no tensor")),
            },
            Global::Subclass => match *self.items(arguments)? {
                [function, _, inner, ..] if depth > 0 => self.build_within(function, inner, depth - 1),
                _ => Err(damaged("makes a tensor of another class without saying from what")),
            },
            Global::Unsupported(what) => Err(unsupported(format!("holds {what}, which is not read"))),
            Global::Storage(_) | Global::Bytes | Global::Element(_) | Global::Aside => Ok(Value::Aside),
        }
    }

    /// An OrderedDict: empty, or of a list of pairs as very old versions of Python have it.
    fn dictionary(&self, arguments: Id) -> Result<Value> {
        let Some(&first) = self.items(arguments)?.first() else { return Ok(Value::Dict(vec![])) };
        let Value::List(items) = self.value(first) else { return Ok(Value::Dict(vec![])) };
        let pair = |&item: &Id| match self.value(item) {
            Value::Tuple(pair) | Value::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(damaged("makes a dictionary of what is no pair")),
        };
        Ok(Value::Dict(items.iter().map(pair).collect::<Result<_>>()?))
    }

    fn tensor(&self, global: Global, arguments: Id) -> Result<Value> {
        let arguments = self.items(arguments)?;
        let &[storage, offset, shape, strides, ..] = arguments else {
            return Err(damaged("describes a tensor with too few arguments"));
        };
        let Value::Storage(storage) = self.value(storage) else {
            return Err(damaged("describes a tensor without its storage"));
        };
        let dtype = match (global, arguments.get(6).map(|&id| self.value(id))) {
            (Global::TypedTensor, Some(Value::Global(Global::Element(dtype)))) => *dtype,
            (Global::TypedTensor, _) => return Err(unsupported("holds a tensor of an element type that is not known")),
            _ => storage.dtype.ok_or_else(|| damaged("describes a tensor without its element type"))?,
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() || shape.len() > AXES {
            return Err(damaged("describes a tensor whose shape and strides do not agree"));
        }
        let view = View { dtype, key: storage.key.clone(), offset: self.size(offset)?, shape, strides };
        if view.elements().is_none() || view.reach().is_none() {
            return Err(damaged(format!("describes a tensor of the impossible shape {:?}", view.shape)));
        }
        Ok(Value::Tensor(Box::new(view)))
    }

    /// `("storage", class, key, device, elements)`: how PyTorch names a file of elements.
    pub fn storage(&self, id: Id) -> Result<Value> {
        let &[tag, class, key, ..] = self.items(id)? else {
            return Err(damaged("names a storage with too few words"));
        };
        if self.text(tag)? != "storage" {
            return Err(damaged("names something that is no storage"));
        }
        let dtype = match self.value(class) {
            Value::Global(Global::Storage(dtype)) => Some(*dtype),
            Value::Global(Global::Bytes) => None,
            Value::Global(Global::Unsupported(what)) => {
                return Err(unsupported(format!("holds {what}, which is not read")));
            }
            _ => return Err(damaged("names a storage of no known class")),
        };
        Ok(Value::Storage(Box::new(Storage { key: self.text(key)?.to_owned(), dtype })))
    }
}
