//! Components made of a function, for tests of the contract itself.

use fer_abi::{BuildError, BuildRequest, Descriptor, Fragment, kind};
use fer_graph::{Builder, Init, Result, TensorType, Value, export};

/// What a fake component adds to its graph between the offered inputs and the output of its kind.
pub type Body = fn(&Builder, &[Value], bool) -> Result<Value>;

pub fn refusal(message: &str, option: &str) -> BuildError {
    BuildError { message: message.into(), option: option.into(), help: "".into(), panicked: false }
}

pub fn fragment(request: &BuildRequest, output: &str, body: Body) -> std::result::Result<Fragment, BuildError> {
    if let Some(option) = request.options.first() {
        return Err(refusal("there is no such option", &option.name));
    }
    let wanted = if request.kind == kind::LOSS { 4 } else { 1 };
    if request.inputs.len() != wanted {
        return Err(refusal("an input is missing", ""));
    }
    // So that bodies may index shapes.
    let rank = if request.kind == kind::LOSS { 2 } else { 4 };
    if request.inputs[0].ty.shape.len() != rank {
        return Err(refusal(&format!("inputs of {rank} axes are expected"), ""));
    }
    let b = Builder::new(&request.component);
    let build = || -> Result<()> {
        let mut inputs = vec![];
        for input in request.inputs.iter() {
            let dtype = input.ty.dtype.parse().expect("tests offer known element types");
            let shape: Vec<usize> = input.ty.shape.iter().map(|&d| d as usize).collect();
            inputs.push(b.input(&input.name, TensorType::new(dtype, shape))?);
        }
        let result = body(&b, &inputs, request.training)?;
        b.output(output, result);
        Ok(())
    };
    build().map_err(|e| refusal(&e.to_string(), ""))?;
    Ok(export(&b.finish()))
}

pub fn descriptor(kind: &str) -> Descriptor {
    Descriptor {
        id: "fake".into(),
        kind: kind.into(),
        version: "0".into(),
        summary: "".into(),
        doc: "".into(),
        options: vec![].into(),
        properties: vec![].into(),
    }
}

/// A mean over pixels, a weight: `[n, 3]`.
pub fn honest(b: &Builder, x: &[Value], _: bool) -> Result<Value> {
    let weight = b.parameter("weight", &[3], Init::Ones)?;
    b.multiply(b.mean(x[0], &[2, 3])?, weight)
}

pub fn cross_entropy(b: &Builder, x: &[Value], _: bool) -> Result<Value> {
    let terms = b.reduce_sum(b.multiply(x[1], b.log_softmax(x[0], -1)?)?, &[1])?;
    b.negate(b.mean(b.multiply(terms, x[3])?, &[0])?)
}
