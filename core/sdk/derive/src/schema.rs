//! `#[derive(Options)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Expr, ExprArray, Field, Fields, Result, ext::IdentExt, spanned::Spanned};

use crate::attribute::{OptionAttribute, Shape, doc};

/// The impl of `Options` for a struct.
pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = fields(input)?;
    let mut idents = Vec::new();
    let mut names = Vec::new();
    let mut types = Vec::new();
    let mut attributes = Vec::new();
    for field in fields {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(field, "an option needs a name"));
        };
        let name = ident.unraw().to_string();
        attributes.push(attribute_of(&name, field)?);
        names.push(name);
        idents.push(ident);
        types.push(&field.ty);
    }
    let of_field: Vec<_> = types
        .iter()
        .zip(&attributes)
        .map(|(ty, attribute)| {
            // The field's type carries its own span, so that an unsupported one is shown where it is written.
            quote_spanned! { ty.span() => ::fer_sdk::options::derive::spec::<#ty>(&#attribute) }
        })
        .collect();
    let ident = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        // Bounds are written as the author likes (`min = 1`, `min = 1.0`) and cross as f64.
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
        impl ::fer_sdk::options::Options for #ident {
            fn schema() -> ::std::vec::Vec<::fer_sdk::abi::OptionSpec> {
                ::std::vec![#(#of_field),*]
            }

            fn from_values(
                values: &[::fer_sdk::abi::NamedOption],
            ) -> ::std::result::Result<Self, ::fer_sdk::abi::BuildError> {
                ::fer_sdk::options::derive::refuse_unknown(values, &[#(#names),*])?;
                ::std::result::Result::Ok(Self {
                    #(#idents: ::fer_sdk::options::derive::field::<#types>(values, #attributes)?,)*
                })
            }
        }
    })
}

fn fields(input: &DeriveInput) -> Result<Vec<&Field>> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "options cannot be generic: the host asks for one schema"));
    }
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields.named.iter().collect()),
            Fields::Unit => Ok(Vec::new()),
            Fields::Unnamed(fields) => {
                Err(Error::new_spanned(fields, "options need names: write a struct with named fields"))
            }
        },
        Data::Enum(data) => Err(Error::new_spanned(
            data.enum_token,
            "options are a struct; #[derive(OptionEnum)] makes an enum the type of one option",
        )),
        Data::Union(data) => Err(Error::new_spanned(data.union_token, "options are a struct with named fields")),
    }
}

/// The field's attribute as an expression of the type `derive::Attribute<T>`.
fn attribute_of(name: &str, field: &Field) -> Result<TokenStream> {
    let attribute = OptionAttribute::of(field)?;
    let doc = doc(&field.attrs);
    let default = match &attribute.default {
        None => quote! { ::std::option::Option::None },
        Some(value) => {
            let value = default_value(value, Shape::of(&field.ty));
            quote! { ::std::option::Option::Some(#value) }
        }
    };
    let min = bound(attribute.min.as_ref());
    let max = bound(attribute.max.as_ref());
    let choices = &attribute.choices;
    let ty = &field.ty;
    Ok(quote! {
        ::fer_sdk::options::derive::Attribute::<#ty> {
            name: #name,
            doc: #doc,
            default: #default,
            min: #min,
            max: #max,
            choices: &[#(#choices),*],
        }
    })
}

/// Lets `"mean"` be the default of a `String` and `[1, 2]` that of a `Vec`.
fn default_value(value: &Expr, shape: Shape) -> TokenStream {
    match (shape, value) {
        (Shape::Text, _) => {
            quote_spanned! { value.span() => ::std::string::String::from(#value) }
        }
        (Shape::List, Expr::Array(ExprArray { .. })) => {
            quote_spanned! { value.span() => ::std::vec::Vec::from(#value) }
        }
        _ => quote! { #value },
    }
}

fn bound(value: Option<&Expr>) -> TokenStream {
    match value {
        None => quote! { ::std::option::Option::None },
        Some(value) => {
            quote_spanned! { value.span() => ::std::option::Option::Some((#value) as f64) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let input: DeriveInput = syn::parse_str(text).expect("the test's own syntax");
        match expand(&input) {
            Ok(tokens) => panic!("accepted: {tokens}"),
            Err(error) => error.to_string(),
        }
    }

    fn field_error(field: &str) -> String {
        error(&format!("struct A {{ {field} }}"))
    }

    #[test]
    fn wrong_keys_and_contradictions_are_compile_errors() {
        for (field, part) in [
            ("#[option(defualt = 1)] a: i64", "unknown key"),
            ("#[option] a: i64", "write #[option("),
            ("#[option(default = 1)] a: Option<i64>", "None when left out"),
            ("#[option(range = 0.0..1.0)] a: f64", "inclusive"),
            ("#[option(range = ..)] a: f64", "at least one bound"),
            ("#[option(range = 3)] a: f64", "written a..=b"),
            ("#[option(min = 1)] a: String", "only a number"),
            ("#[option(range = 0..=1)] a: Option<bool>", "only a number"),
            ("#[option(choices(\"a\"))] a: i64", "for a String"),
            ("#[option(choices())] a: String", "at least one word"),
            ("#[option(choices(\"a\", \"a\"))] a: String", "given twice"),
            ("#[option(default = \"c\", choices(\"a\"))] a: String", "not one of the choices"),
            ("#[option(default = 2.0, range = 0.0..=1.0)] a: f64", "outside"),
            ("#[option(default = [1, -2], min = 0)] a: Vec<i64>", "outside"),
            ("#[option(range = 2..=-1)] a: i64", "exclude everything"),
            ("#[option(min = 1, range = 0..)] a: i64", "given twice"),
            ("#[option(default = 1, default = 2)] a: i64", "given twice"),
        ] {
            let message = field_error(field);
            assert!(message.contains(part), "{field}: {message}");
        }
    }

    #[test]
    fn only_structs_with_names_have_options() {
        assert!(error("struct A(i64);").contains("named fields"));
        assert!(error("enum A { B }").contains("OptionEnum"));
        assert!(error("union A { b: i64 }").contains("struct"));
        assert!(error("struct A<T> { b: T }").contains("generic"));
    }
}
