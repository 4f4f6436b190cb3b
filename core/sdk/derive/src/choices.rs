//! `#[derive(OptionEnum)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result, ext::IdentExt};

/// The impl of `OptionField` for an enum without fields.
pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "#[derive(OptionEnum)] is for enums; a struct takes #[derive(Options)]",
        ));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "an option's enum cannot be generic"));
    }
    if data.variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "an option's enum needs at least one variant"));
    }
    let mut variants = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(&variant.fields, "a choice is a word: its variant has no fields"));
        }
        let word = kebab(&variant.ident.unraw().to_string());
        if words.contains(&word) {
            return Err(Error::new_spanned(&variant.ident, format!("two variants become the word \"{word}\"")));
        }
        variants.push(&variant.ident);
        words.push(word);
    }
    let ident = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl ::fer_sdk::options::OptionField for #ident {
            const KIND: &'static str = ::fer_sdk::abi::option_kind::TEXT;
            const CHOICES: &'static [&'static str] = &[#(#words),*];

            fn from_value(
                value: &::fer_sdk::abi::OptionValue,
            ) -> ::std::option::Option<Self> {
                match value {
                    ::fer_sdk::abi::OptionValue::Text(word) => match word.as_str() {
                        #(#words => ::std::option::Option::Some(Self::#variants),)*
                        _ => ::std::option::Option::None,
                    },
                    _ => ::std::option::Option::None,
                }
            }

            fn to_value(&self) -> ::std::option::Option<::fer_sdk::abi::OptionValue> {
                let word = match self {
                    #(Self::#variants => #words,)*
                };
                ::std::option::Option::Some(::fer_sdk::abi::OptionValue::Text(word.into()))
            }
        }

        #[automatically_derived]
        impl ::fer_sdk::options::PlainField for #ident {}
    })
}

/// `BatchNorm` becomes `batch-norm`, `NCHWLayout` `nchw-layout`, `L2` `l2`.
fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut word = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if letter == '_' {
            word.push('-');
            continue;
        }
        if starts_word {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_become_kebab_words() {
        for (name, word) in [
            ("Bilinear", "bilinear"),
            ("BatchNorm", "batch-norm"),
            ("NCHWLayout", "nchw-layout"),
            ("NCHW", "nchw"),
            ("L2", "l2"),
            ("Scale2Then3", "scale2-then3"),
            ("Half_Pixel", "half-pixel"),
        ] {
            assert_eq!(kebab(name), word);
        }
    }

    #[test]
    fn only_plain_enums_have_words() {
        for (text, part) in [
            ("struct A;", "for enums"),
            ("enum A {}", "at least one"),
            ("enum A { B(i64) }", "no fields"),
            ("enum A { Ab, AB }", "ab"),
            ("enum A { HalfPixel, Half_Pixel }", "half-pixel"),
            ("enum A<T> { B }", "generic"),
        ] {
            let input: DeriveInput = syn::parse_str(text).expect("the test's own syntax");
            let error = expand(&input).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
