//! A machine for the pickles of PyTorch, protocols 2 to 5, that executes nothing.
//!
//! Values lie in one list and refer to each other by their place in it. So a pickle that names one value a thousand times
//! costs a thousand numbers, one that nests a million tuples is freed without recursion, and what a pickle can make is bounded
//! by its own length and by [`VALUES`].

use std::collections::HashMap;

use super::{
    globals::{Global, lookup},
    input::Input,
    values::{Id, Refusal, Result, Value, damaged, unsupported},
};
use crate::error::WeightErrorKind;

/// Values of one pickle at most: a checkpoint of ten thousand tensors has some hundred thousand.
const VALUES: usize = 4_000_000;

/// The machine's memory.
#[derive(Debug, Default)]
pub struct Pickle {
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// Interprets a pickle; gives its values and the place of the one that it stands for.
pub fn interpret(bytes: &[u8]) -> Result<(Pickle, Id)> {
    let mut pickle = Pickle::default();
    let mut input = Input::new(bytes);
    loop {
        if let Some(root) = pickle.step(&mut input)? {
            return Ok((pickle, root));
        }
    }
}

impl Pickle {
    pub fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub fn text(&self, id: Id) -> Result<&str> {
        match self.value(id) {
            Value::Text(text) => Ok(text),
            _ => Err(damaged("holds another value where a text belongs")),
        }
    }

    /// The items of a tuple.
    pub fn items(&self, id: Id) -> Result<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Ok(items),
            _ => Err(damaged("holds another value where a tuple belongs")),
        }
    }

    /// A number that is a size.
    pub fn size(&self, id: Id) -> Result<usize> {
        match self.value(id) {
            Value::Int(number) => usize::try_from(*number).map_err(|_| damaged("holds a negative size")),
            _ => Err(damaged("holds another value where a size belongs")),
        }
    }

    /// A tuple of sizes.
    pub fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        self.items(id)?.iter().map(|&item| self.size(item)).collect()
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.values.len() >= VALUES {
            return Err(unsupported(format!("makes more than {VALUES} values")));
        }
        let id = self.values.len() as Id;
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    /// Values below a mark are not there to be taken.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(damaged("takes a value that it did not make"));
        }
        self.stack.pop().ok_or_else(|| damaged("takes a value that it did not make"))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| damaged("takes a value that it did not make"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| damaged("lacks a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_pairs(&mut self) -> Result<Vec<(Id, Id)>> {
        let items = self.pop_to_mark()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(damaged("holds a key without a value"));
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    /// One instruction; the place of the whole after the last.
    fn step(&mut self, input: &mut Input<'_>) -> Result<Option<Id>> {
        match input.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => match input.byte()? {
                2..=5 => {}
                other => return Err(unsupported(format!("is of protocol {other}; 2 to 5 are read"))),
            },
            // A frame says only how far to read ahead.
            0x95 => drop(input.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            // None, true and false.
            b'N' | 0x88 | 0x89 => self.push(Value::Aside)?,
            b'K' => {
                let number = input.byte()?;
                self.push(Value::Int(number.into()))?;
            }
            b'M' => {
                let number = u16::from_le_bytes(input.array()?);
                self.push(Value::Int(number.into()))?;
            }
            b'J' => {
                let number = i32::from_le_bytes(input.array()?);
                self.push(Value::Int(number.into()))?;
            }
            0x8a => {
                let count = input.byte()?;
                let number = whole(input.take(count.into())?);
                self.push(number)?;
            }
            0x8b => {
                let count = input.u32()?;
                let number = whole(input.counted(count.into())?);
                self.push(number)?;
            }
            b'G' => {
                input.take(8)?;
                self.push(Value::Aside)?;
            }
            0x8c => {
                let count = input.byte()?;
                self.push_text(input.take(count.into())?)?;
            }
            b'X' => {
                let count = input.u32()?;
                self.push_text(input.counted(count.into())?)?;
            }
            0x8d => {
                let count = u64::from_le_bytes(input.array()?);
                self.push_text(input.counted(count)?)?;
            }
            b'U' | b'C' => {
                let count = input.byte()?;
                input.take(count.into())?;
                self.push(Value::Aside)?;
            }
            b'T' | b'B' => {
                let count = input.u32()?;
                input.counted(count.into())?;
                self.push(Value::Aside)?;
            }
            0x8e | 0x96 => {
                let count = u64::from_le_bytes(input.array()?);
                input.counted(count)?;
                self.push(Value::Aside)?;
            }
            b'q' => {
                let slot = input.byte()?;
                self.remember(slot.into())?;
            }
            b'r' => {
                let slot = input.u32()?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let slot = input.byte()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = input.u32()?;
                self.recall(slot)?;
            }
            b')' => self.push(Value::Tuple(vec![]))?,
            code @ 0x85..=0x87 => {
                let mut items = (0x85..=code).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
                items.reverse();
                self.push(Value::Tuple(items))?;
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))?;
            }
            b']' => self.push(Value::List(vec![]))?,
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Value::Dict(vec![]))?,
            b'd' => {
                let pairs = self.pop_pairs()?;
                self.push(Value::Dict(pairs))?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = self.pop_pairs()?;
                self.set_items(pairs)?;
            }
            // Sets: no weights are in them.
            0x8f => self.push(Value::Aside)?,
            0x90 => drop(self.pop_to_mark()?),
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Aside)?;
            }
            b'c' => {
                let (module, name) = (input.line()?, input.line()?);
                let global = named(module, name)?;
                self.push(Value::Global(global))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = named(self.text(module)?, self.text(name)?)?;
                self.push(Value::Global(global))?;
            }
            // REDUCE and NEWOBJ: a function or class and its arguments.
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                let built = self.build(callee, arguments)?;
                self.push(built)?;
            }
            // NEWOBJ_EX has named arguments too.
            0x92 => {
                let (_, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                let built = self.build(callee, arguments)?;
                self.push(built)?;
            }
            // BUILD gives attributes to an object; what is kept here has none.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage)?;
            }
            other => {
                return Err(unsupported(format!("holds the instruction {other:#04x}, which PyTorch does not write")));
            }
        }
        Ok(None)
    }

    fn push_text(&mut self, bytes: &[u8]) -> Result<()> {
        // Python may write half a surrogate pair; such a text is no name of a tensor.
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.push(Value::Text(text))
    }

    fn remember(&mut self, slot: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        let id = self.memo.get(&slot).ok_or_else(|| damaged("recalls a value that it did not keep"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.values[list as usize] {
            Value::List(list) => list.extend(items),
            Value::Aside => {}
            _ => return Err(damaged("appends to what is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<(Id, Id)>) -> Result<()> {
        let dict = self.top()?;
        match &mut self.values[dict as usize] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Aside => {}
            _ => return Err(damaged("puts items into what is no dictionary")),
        }
        Ok(())
    }
}

/// Little-endian two's complement of any length; what does not fit is of no use here.
fn whole(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Aside;
    }
    let negative = bytes.last().is_some_and(|&last| last & 0x80 != 0);
    let mut wide = if negative { [0xff; 8] } else { [0; 8] };
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}

/// What a name stands for.
fn named(module: &str, name: &str) -> Result<Global> {
    let short = |text: &str| text.chars().take(60).collect::<String>().escape_debug().to_string();
    lookup(module, name).ok_or_else(|| Refusal {
        kind: WeightErrorKind::Unsafe,
        why: format!("asks for {}.{}, which no weight file needs", short(module), short(name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(bytes: &[u8]) -> String {
        interpret(bytes).unwrap_err().why
    }

    #[test]
    fn plain_values_are_read() {
        let (pickle, root) = interpret(b"\x80\x02K\x01M\x00\x01J\xff\xff\xff\xff\x87.").unwrap();
        let numbers: Vec<_> = pickle.items(root).unwrap().iter().map(|&i| format!("{:?}", pickle.value(i))).collect();
        assert_eq!(numbers, ["Int(1)", "Int(256)", "Int(-1)"]);
        let (pickle, root) = interpret(b"\x8a\x02\xff\x7f.").unwrap();
        assert_eq!(pickle.size(root), Ok(32767));
        let (pickle, root) = interpret(b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(\x8c\x01aK\x07X\x01\0\0\0bNu.").unwrap();
        assert!(matches!(pickle.value(root), Value::Dict(pairs) if pairs.len() == 2));
    }

    #[test]
    fn code_is_refused_by_name() {
        let refusal = interpret(b"\x80\x02cos\nsystem\n(X\x02\0\0\0lstR.").unwrap_err();
        assert_eq!(refusal.kind, WeightErrorKind::Unsafe);
        assert!(refusal.why.contains("os.system"), "{}", refusal.why);
        assert!(why(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.").contains("posix.system"));
        assert!(why(b"\x80\x02\x82\x01.").contains("instruction 0x82"), "an extension");
        assert!(why(b"\x80\x02(ios\nsystem\n.").contains("instruction 0x69"), "INST");
        assert!(why(b"\x80\x02(cos\nsystem\no.").contains("os.system"));
    }

    /// Doublings that would fill any memory, and a depth that would overflow any stack, if values were copied or owned each other.
    #[test]
    fn small_pickles_stay_small() {
        let mut laughs = vec![b')', b'q', 0];
        laughs.extend([b'h', 0, b'h', 0, 0x86, b'q', 0].repeat(200));
        laughs.push(b'.');
        assert!(interpret(&laughs).is_ok());
        let mut deep = vec![b')'];
        deep.extend([0x85].repeat(2_000_000));
        deep.push(b'.');
        assert!(interpret(&deep).is_ok());
        let mut itself = b"]q\x00h\x00a.".to_vec();
        assert!(interpret(&itself).is_ok(), "a list in itself");
        itself = vec![b'N'; VALUES + 2];
        assert!(why(&itself).contains("more than 4000000 values"));
    }

    #[test]
    fn lengths_are_not_believed() {
        for claim in
            [b"X\xff\xff\xff\xff.".as_slice(), b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", b"\x8b\xff\xff\xff\x7f."]
        {
            assert_eq!(why(claim), "breaks off");
        }
    }

    /// Every beginning and every changed byte of a real pickle: an answer, never a panic.
    #[test]
    fn damage_is_an_error() {
        let whole: &[u8] = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x06\0\0\0weightq\x02ctorch._utils\n_rebuild_tensor_v2\nq\x03((\
            X\x07\0\0\0storageq\x04ctorch\nFloatStorage\nq\x05X\x01\0\0\x000q\x06X\x03\0\0\0cpuq\x07K\x06tq\x08QK\x00K\x02K\x03\x86q\x09\
            K\x03K\x01\x86q\x0a\x89h\x00)Rq\x0btq\x0cRq\x0du.";
        let (pickle, root) = interpret(whole).unwrap();
        assert!(matches!(pickle.value(root), Value::Dict(pairs) if pairs.len() == 1));
        for end in 0..whole.len() {
            assert!(interpret(&whole[..end]).is_err());
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.to_vec();
                changed[at] = byte;
                let _ = interpret(&changed);
            }
        }
    }
}
