//! The reference engine: primitives only, on dfdx tensors
