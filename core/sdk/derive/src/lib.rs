//! The derives of the SDK: an option schema and its parser from a struct, and an option's words from an enum.
//!
//! The code they write refers to `::fer_sdk::options` and `::fer_sdk::abi` only. A crate that stands in for the SDK (the
//! SDK itself, or this crate's tests) says `extern crate self as fer_sdk;`.

mod attribute;
mod choices;
mod schema;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `Options` for a struct with named fields.
///
/// A field's doc comment is its documentation. Its attribute says the rest:
///
/// ```text
/// #[option(default = 0.8, range = 0.0..=1.0)]   // inclusive; `0.0..` and `..=1.0` leave one side open
/// #[option(default = 2, min = 1)]               // or each bound for itself
/// #[option(default = "mean", choices("mean", "sum"))]
/// ```
///
/// Without a default the option is required, unless its type is `Option<T>`.
#[proc_macro_derive(Options, attributes(option))]
pub fn derive_options(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    schema::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets an enum without fields be the type of an option: `BatchNorm` is the word `batch-norm`.
#[proc_macro_derive(OptionEnum)]
pub fn derive_option_enum(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choices::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
