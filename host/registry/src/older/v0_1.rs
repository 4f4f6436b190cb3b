//! fer-abi 0.1: everything of today but the ops that a plugin brings along, and their kernels.

use abi_stable::std_types::{RResult, RVec};
use fer_abi as new;
use fer_abi_0_1 as old;

pub(crate) fn descriptors(given: RVec<old::Descriptor>) -> Vec<new::Descriptor> {
    given.into_iter().map(descriptor).collect()
}

fn descriptor(given: old::Descriptor) -> new::Descriptor {
    let old::Descriptor { id, kind, version, summary, doc, options, properties } = given;
    let options = options.into_iter().map(option).collect();
    new::Descriptor { id, kind, version, summary, doc, options, properties: attributes(properties) }
}

fn option(given: old::OptionSpec) -> new::OptionSpec {
    let old::OptionSpec { name, kind, optional, default, min, max, choices, doc } = given;
    let default = default.map(|value| match value {
        old::OptionValue::Bool(v) => new::OptionValue::Bool(v),
        old::OptionValue::Int(v) => new::OptionValue::Int(v),
        old::OptionValue::Float(v) => new::OptionValue::Float(v),
        old::OptionValue::Text(v) => new::OptionValue::Text(v),
        old::OptionValue::Ints(v) => new::OptionValue::Ints(v),
        old::OptionValue::Floats(v) => new::OptionValue::Floats(v),
    });
    new::OptionSpec { name, kind, optional, default, min, max, choices, doc }
}

fn attributes(given: RVec<old::NamedAttribute>) -> RVec<new::NamedAttribute> {
    let value = |value| match value {
        old::Attribute::Int(v) => new::Attribute::Int(v),
        old::Attribute::Float(v) => new::Attribute::Float(v),
        old::Attribute::Bool(v) => new::Attribute::Bool(v),
        old::Attribute::Text(v) => new::Attribute::Text(v),
        old::Attribute::Ints(v) => new::Attribute::Ints(v),
        old::Attribute::Floats(v) => new::Attribute::Floats(v),
    };
    given.into_iter().map(|a| new::NamedAttribute { name: a.name, value: value(a.value) }).collect()
}

fn tensor_type(given: old::TensorType) -> new::TensorType {
    new::TensorType { dtype: given.dtype, shape: given.shape }
}

/// The request as the library knows it.
pub(crate) fn request(given: &new::BuildRequest) -> old::BuildRequest {
    let new::BuildRequest { component, kind, options, training, inputs, properties } = given;
    let options = options.iter().map(|option| old::NamedOption {
        name: option.name.clone(),
        value: match &option.value {
            new::OptionValue::Bool(v) => old::OptionValue::Bool(*v),
            new::OptionValue::Int(v) => old::OptionValue::Int(*v),
            new::OptionValue::Float(v) => old::OptionValue::Float(*v),
            new::OptionValue::Text(v) => old::OptionValue::Text(v.clone()),
            new::OptionValue::Ints(v) => old::OptionValue::Ints(v.clone()),
            new::OptionValue::Floats(v) => old::OptionValue::Floats(v.clone()),
        },
    });
    let properties = properties.iter().map(|property| old::NamedAttribute {
        name: property.name.clone(),
        value: match &property.value {
            new::Attribute::Int(v) => old::Attribute::Int(*v),
            new::Attribute::Float(v) => old::Attribute::Float(*v),
            new::Attribute::Bool(v) => old::Attribute::Bool(*v),
            new::Attribute::Text(v) => old::Attribute::Text(v.clone()),
            new::Attribute::Ints(v) => old::Attribute::Ints(v.clone()),
            new::Attribute::Floats(v) => old::Attribute::Floats(v.clone()),
        },
    });
    let inputs = inputs.iter().map(|input| old::NamedTensorType {
        name: input.name.clone(),
        ty: old::TensorType { dtype: input.ty.dtype.clone(), shape: input.ty.shape.clone() },
    });
    old::BuildRequest {
        component: component.clone(),
        kind: kind.clone(),
        options: options.collect(),
        training: *training,
        inputs: inputs.collect(),
        properties: properties.collect(),
    }
}

/// What the library answered.
pub(crate) fn built(
    given: RResult<old::Fragment, old::BuildError>,
) -> std::result::Result<new::Fragment, new::BuildError> {
    match given {
        RResult::ROk(built) => Ok(fragment(built)),
        RResult::RErr(old::BuildError { message, option, help, panicked }) => {
            Err(new::BuildError { message, option, help, panicked })
        }
    }
}

fn fragment(given: old::Fragment) -> new::Fragment {
    let old::Fragment { name, arguments, nodes, outputs, updates } = given;
    new::Fragment {
        name,
        definitions: RVec::new(),
        arguments: arguments.into_iter().map(argument).collect(),
        nodes: nodes.into_iter().map(node).collect(),
        outputs: outputs.into_iter().map(|o| new::Output { name: o.name, value: o.value }).collect(),
        updates: updates.into_iter().map(|u| new::Update { state: u.state, value: u.value }).collect(),
    }
}

fn argument(given: old::Argument) -> new::Argument {
    let old::Argument { name, role, ty, init, init_attributes, properties } = given;
    new::Argument {
        name,
        role,
        ty: tensor_type(ty),
        init,
        init_attributes: attributes(init_attributes),
        properties: attributes(properties),
    }
}

fn node(given: old::Node) -> new::Node {
    let old::Node { op, version, operands, attributes: given, scope } = given;
    new::Node { op, version, operands, attributes: attributes(given), scope }
}
