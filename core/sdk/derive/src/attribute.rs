//! `#[option(...)]` on a field: read, and refused where it contradicts the field's type or itself.

use syn::{
    Attribute, Error, Expr, ExprLit, ExprRange, ExprUnary, Field, Lit, LitStr, Meta, RangeLimits, Result, Token, Type,
    UnOp, meta::ParseNestedMeta, punctuated::Punctuated, spanned::Spanned,
};

/// What a field's type looks like. A derive sees names, not types, so an alias counts as `Other` (numbers and enums).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Bool,
    Text,
    List,
    Optional,
    Other,
}

/// The attribute of one field.
#[derive(Default)]
pub struct OptionAttribute {
    pub default: Option<Expr>,
    pub min: Option<Expr>,
    pub max: Option<Expr>,
    pub choices: Vec<LitStr>,
}

impl Shape {
    /// The shape of a type, by its last path segment.
    pub fn of(ty: &Type) -> Shape {
        match last_segment(ty).map(|segment| segment.ident.to_string()) {
            Some(name) if name == "bool" => Shape::Bool,
            Some(name) if name == "String" => Shape::Text,
            Some(name) if name == "Vec" => Shape::List,
            Some(name) if name == "Option" => Shape::Optional,
            _ => Shape::Other,
        }
    }
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
}

/// The shape that bounds and choices apply to: `T` of an `Option<T>`.
fn inner_shape(ty: &Type) -> Shape {
    match last_segment(ty) {
        Some(segment) if segment.ident == "Option" => match &segment.arguments {
            syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(syn::GenericArgument::Type(inner)) => Shape::of(inner),
                _ => Shape::Other,
            },
            _ => Shape::Other,
        },
        _ => Shape::of(ty),
    }
}

impl OptionAttribute {
    /// Reads every `#[option(...)]` of a field and checks it.
    pub fn of(field: &Field) -> Result<OptionAttribute> {
        let mut read = OptionAttribute::default();
        for attribute in &field.attrs {
            if attribute.path().is_ident("option") {
                read.read(attribute, &field.ty)?;
            }
        }
        read.check_bounds()?;
        Ok(read)
    }

    fn read(&mut self, attribute: &Attribute, ty: &Type) -> Result<()> {
        if !matches!(attribute.meta, Meta::List(_)) {
            return Err(Error::new_spanned(attribute, "write #[option(default = ..., range = a..=b)]"));
        }
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            match name.as_str() {
                "default" => self.read_default(&meta, ty),
                "min" => set(&mut self.min, &meta, ty, |meta| meta.value()?.parse()),
                "max" => set(&mut self.max, &meta, ty, |meta| meta.value()?.parse()),
                "range" => self.read_range(&meta, ty),
                "choices" => self.read_choices(&meta, ty),
                _ => Err(meta.error("unknown key: an option has default, range, min, max and choices")),
            }
        })
    }

    fn read_default(&mut self, meta: &ParseNestedMeta, ty: &Type) -> Result<()> {
        if Shape::of(ty) == Shape::Optional {
            return Err(
                meta.error("an Option<T> has no default: it is None when left out; use T for an option with a default")
            );
        }
        if self.default.is_some() {
            return Err(meta.error("default is given twice"));
        }
        self.default = Some(meta.value()?.parse()?);
        Ok(())
    }

    fn read_range(&mut self, meta: &ParseNestedMeta, ty: &Type) -> Result<()> {
        let expression: Expr = meta.value()?.parse()?;
        let Expr::Range(ExprRange { start, end, limits, .. }) = &expression else {
            return Err(Error::new_spanned(expression, "a range is written a..=b, a.. or ..=b"));
        };
        if end.is_some() && matches!(limits, RangeLimits::HalfOpen(_)) {
            return Err(Error::new_spanned(&expression, "bounds are inclusive: write a..=b"));
        }
        if start.is_none() && end.is_none() {
            return Err(Error::new_spanned(&expression, "a range needs at least one bound"));
        }
        if let Some(start) = start {
            set(&mut self.min, meta, ty, |_| Ok((**start).clone()))?;
        }
        if let Some(end) = end {
            set(&mut self.max, meta, ty, |_| Ok((**end).clone()))?;
        }
        Ok(())
    }

    fn read_choices(&mut self, meta: &ParseNestedMeta, ty: &Type) -> Result<()> {
        if inner_shape(ty) != Shape::Text {
            return Err(meta.error("choices are for a String; an enum with #[derive(OptionEnum)] has its own"));
        }
        let content;
        syn::parenthesized!(content in meta.input);
        let words = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
        if words.is_empty() {
            return Err(meta.error("choices need at least one word"));
        }
        for word in words {
            if self.choices.iter().any(|other| other.value() == word.value()) {
                return Err(Error::new_spanned(word, "this choice is given twice"));
            }
            self.choices.push(word);
        }
        Ok(())
    }

    /// Contradictions that literals show; other expressions are met by the host when it reads the schema.
    fn check_bounds(&self) -> Result<()> {
        let min = self.min.as_ref().and_then(number);
        let max = self.max.as_ref().and_then(number);
        if let (Some(min), Some(max), Some(at)) = (min, max, &self.max)
            && min > max
        {
            return Err(Error::new(at.span(), format!("the bounds exclude everything: {min} is above {max}")));
        }
        let Some(default) = &self.default else {
            return Ok(());
        };
        for value in numbers(default) {
            if min.is_some_and(|min| value < min) || max.is_some_and(|max| value > max) {
                return Err(Error::new_spanned(
                    default,
                    format!("the default {value} is outside the option's own bounds"),
                ));
            }
        }
        match default {
            Expr::Lit(ExprLit { lit: Lit::Str(word), .. })
                if !self.choices.is_empty() && self.choices.iter().all(|other| other.value() != word.value()) =>
            {
                Err(Error::new_spanned(default, "the default is not one of the choices"))
            }
            _ => Ok(()),
        }
    }
}

fn set(
    bound: &mut Option<Expr>,
    meta: &ParseNestedMeta,
    ty: &Type,
    read: impl FnOnce(&ParseNestedMeta) -> Result<Expr>,
) -> Result<()> {
    if matches!(inner_shape(ty), Shape::Bool | Shape::Text) {
        return Err(meta.error("only a number or a list of numbers has bounds"));
    }
    if bound.is_some() {
        return Err(meta.error("this bound is given twice"));
    }
    *bound = Some(read(meta)?);
    Ok(())
}

/// A literal number, also behind a minus sign.
fn number(expression: &Expr) -> Option<f64> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Float(float), .. }) => float.base10_parse().ok(),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => number(expr).map(|value| -value),
        Expr::Paren(inner) => number(&inner.expr),
        _ => None,
    }
}

/// The literal numbers of a default, which may be a list.
fn numbers(expression: &Expr) -> Vec<f64> {
    match expression {
        Expr::Array(list) => list.elems.iter().filter_map(number).collect(),
        _ => number(expression).into_iter().collect(),
    }
}

/// A doc comment's text: lines of a paragraph joined by spaces, paragraphs by a line break.
pub fn doc(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    let mut paragraph_ended = false;
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else {
            continue;
        };
        let (true, Expr::Lit(ExprLit { lit: Lit::Str(comment), .. })) = (pair.path.is_ident("doc"), &pair.value) else {
            continue;
        };
        for line in comment.value().split('\n').map(str::trim) {
            if line.is_empty() {
                paragraph_ended = true;
                continue;
            }
            if !text.is_empty() {
                text.push(if paragraph_ended { '\n' } else { ' ' });
            }
            paragraph_ended = false;
            text.push_str(line);
        }
    }
    text
}
