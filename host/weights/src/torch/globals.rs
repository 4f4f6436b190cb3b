//! The classes and functions that a pickle may name. Nothing is called: a name stands for what is built here in its place.

use crate::stored::StoredType;

/// What a name of a pickle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    /// `collections.OrderedDict` and the like.
    Dictionary,
    /// `torch._utils._rebuild_tensor_v2`: storage, offset, size, strides.
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: the same with the element type after them, over a storage of bytes.
    TypedTensor,
    /// `torch._utils._rebuild_parameter`: a tensor, and what training wants to know.
    Parameter,
    /// `torch._tensor._rebuild_from_type_v2`: another function and its arguments.
    Subclass,
    /// A class of storages, and the type of their elements.
    Storage(StoredType),
    /// A storage that leaves its element type to the tensor.
    Bytes,
    Element(StoredType),
    /// A tensor of a kind that is not read.
    Unsupported(&'static str),
    /// A class of what checkpoints hold beside tensors, such as the arguments of a training script. Left aside.
    Aside,
}

const COMPLEX_HALF: StoredType = StoredType::Other("C32", 4);
const COMPLEX_FLOAT: StoredType = StoredType::Other("C64", 8);
const COMPLEX_DOUBLE: StoredType = StoredType::Other("C128", 16);

/// What a name stands for; `None` for what no weight file needs.
pub fn lookup(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") => Global::Dictionary,
        ("torch._utils", "_rebuild_tensor_v2") => Global::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Global::TypedTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::Subclass,
        ("torch", "QInt8Storage" | "QUInt8Storage" | "QInt32Storage" | "QUInt4x2Storage" | "QUInt2x4Storage")
        | ("torch._utils", "_rebuild_qtensor") => Global::Unsupported("a quantised tensor"),
        ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
            Global::Unsupported("a sparse tensor")
        }
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => Global::Unsupported("a tensor without elements (meta)"),
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Global::Bytes,
        ("torch", name) if storage(name).is_some() => Global::Storage(storage(name)?),
        ("torch", name) if element(name).is_some() => Global::Element(element(name)?),
        ("torch", "Tensor" | "Size" | "device") => Global::Aside,
        ("torch.nn.parameter", "Parameter" | "Buffer") => Global::Aside,
        (module, name) if is_aside(module, name) => Global::Aside,
        _ => return None,
    })
}

fn storage(name: &str) -> Option<StoredType> {
    Some(match name {
        "DoubleStorage" => StoredType::F64,
        "FloatStorage" => StoredType::F32,
        "HalfStorage" => StoredType::F16,
        "BFloat16Storage" => StoredType::BF16,
        "LongStorage" => StoredType::I64,
        "IntStorage" => StoredType::I32,
        "ShortStorage" => StoredType::I16,
        "CharStorage" => StoredType::I8,
        "ByteStorage" => StoredType::U8,
        "BoolStorage" => StoredType::Bool,
        "ComplexFloatStorage" => COMPLEX_FLOAT,
        "ComplexDoubleStorage" => COMPLEX_DOUBLE,
        _ => return None,
    })
}

fn element(name: &str) -> Option<StoredType> {
    Some(match name {
        "float64" => StoredType::F64,
        "float32" => StoredType::F32,
        "float16" => StoredType::F16,
        "bfloat16" => StoredType::BF16,
        "int64" => StoredType::I64,
        "int32" => StoredType::I32,
        "int16" => StoredType::I16,
        "int8" => StoredType::I8,
        "uint8" => StoredType::U8,
        "bool" => StoredType::Bool,
        "uint64" => StoredType::Other("U64", 8),
        "uint32" => StoredType::Other("U32", 4),
        "uint16" => StoredType::Other("U16", 2),
        "float8_e4m3fn" => StoredType::Other("F8_E4M3", 1),
        "float8_e5m2" => StoredType::Other("F8_E5M2", 1),
        "complex32" => COMPLEX_HALF,
        "complex64" => COMPLEX_FLOAT,
        "complex128" => COMPLEX_DOUBLE,
        _ => return None,
    })
}

/// Plain data that published checkpoints hold beside their tensors. Functions that run what they are given are not here, and
/// would not be run if they were.
fn is_aside(module: &str, name: &str) -> bool {
    match module {
        "argparse" => name == "Namespace",
        "types" => name == "SimpleNamespace",
        "collections" => name == "deque",
        "builtins" | "__builtin__" => [
            "set",
            "frozenset",
            "dict",
            "list",
            "tuple",
            "int",
            "float",
            "bool",
            "str",
            "bytearray",
            "complex",
            "slice",
        ]
        .contains(&name),
        "copyreg" | "copy_reg" => name == "_reconstructor",
        "_codecs" => name == "encode",
        "datetime" => ["datetime", "date", "time", "timedelta"].contains(&name),
        "pathlib" | "pathlib._local" => ["Path", "PosixPath", "WindowsPath", "PurePosixPath"].contains(&name),
        "numpy" => ["dtype", "ndarray", "float32", "float64", "int32", "int64", "bool_"].contains(&name),
        "numpy.core.multiarray" | "numpy._core.multiarray" => ["scalar", "_reconstruct"].contains(&name),
        "yacs.config" => name == "CfgNode",
        "easydict" => name == "EasyDict",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_no_meaning() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "exec"),
            ("builtins", "getattr"),
            ("builtins", "__import__"),
            ("subprocess", "Popen"),
            ("torch", "load"),
            ("torch.hub", "load"),
            ("torchvision.models.resnet", "ResNet"),
        ] {
            assert_eq!(lookup(module, name), None, "{module}.{name}");
        }
        assert_eq!(lookup("torch", "HalfStorage"), Some(Global::Storage(StoredType::F16)));
        assert_eq!(lookup("torch", "bfloat16"), Some(Global::Element(StoredType::BF16)));
        assert_eq!(lookup("argparse", "Namespace"), Some(Global::Aside));
    }
}
