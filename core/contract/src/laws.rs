//! Claims that a component makes of itself ([`fer_abi::law`]), and the properties that hold it to them.

use fer_abi::{Attribute, OptionValue, kind, law};
use fer_graph::Role;

use crate::{Case, Model, Outcome, Property, Setup, Subject, Trouble, ensure, images, losses, resizers, written};

/// Looked at for every component: a claim that nobody understands holds nobody to anything.
pub const CLAIMS: Property<'static> =
    Property { name: "its claims can be read", cases: 1, wide: false, check: &readable };

/// The size that the options promise is the size of the graph's output.
pub const OUTPUT_SIZE: Property<'static> =
    Property { name: "gives the size it promises", cases: 24, wide: false, check: &output_size };

/// Drawn first values have the mean and the deviation that were claimed.
pub const INITIAL_DEVIATION: Property<'static> =
    Property { name: "parameters start with the deviation it claims", cases: 6, wide: false, check: &deviation };

/// The problems that it claims to take are taken.
pub const TAKES: Property<'static> =
    Property { name: "takes what it claims to take", cases: 1, wide: false, check: &takes };

/// The properties that belong to a component's claims, each once, in the order of the claims. What cannot be read is left to
/// [`CLAIMS`].
pub fn declared(subject: &Subject) -> Vec<Property<'static>> {
    let mut found: Vec<Property<'static>> = vec![];
    for (name, claim) in claims(subject) {
        if let Ok(Some(property)) = meaning(subject, name, claim)
            && found.iter().all(|known| known.name != property.name)
        {
            found.push(property);
        }
    }
    found
}

/// What a component says of itself and this host does not understand: a word of a later version, or a slip.
pub fn unknown(subject: &Subject) -> Vec<String> {
    let other = [fer_abi::property::LAYOUT, fer_abi::property::KERNEL, fer_abi::property::ABI];
    let known = |name: &str| other.contains(&name) || table(name).is_some();
    claims(subject).map(|(name, _)| name.to_owned()).filter(|name| !known(name)).collect()
}

fn claims(subject: &Subject) -> impl Iterator<Item = (&str, &Attribute)> {
    subject.properties().iter().map(|p| (p.name.as_str(), &p.value))
}

/// Whether it is a flag, the kinds that may make it, and the property.
fn table(name: &str) -> Option<(bool, &'static [&'static str], Property<'static>)> {
    const LOSS: &[&str] = &[kind::LOSS];
    const RESIZER: &[&str] = &[kind::RESIZER];
    const IMAGES: &[&str] = &[kind::RESIZER, kind::BACKBONE];
    Some(match name {
        law::NON_NEGATIVE => (true, LOSS, losses::NON_NEGATIVE),
        law::SHIFT_INVARIANT => (true, LOSS, losses::SHIFT_INVARIANT),
        law::CLASS_SYMMETRIC => (true, LOSS, losses::CLASS_SYMMETRIC),
        law::LEAST_AT_TRUTH => (true, LOSS, losses::LEAST_AT_TRUTH),
        law::KEEPS_CONSTANTS => (true, RESIZER, resizers::KEEPS_CONSTANTS),
        law::STARTS_AS_IDENTITY => (true, RESIZER, resizers::STARTS_AS_IDENTITY),
        law::STARTS_AS_BILINEAR => (true, RESIZER, resizers::STARTS_AS_BILINEAR),
        law::TORCH_CONVOLUTIONS => (true, IMAGES, resizers::CONVOLUTIONS_START_AS_TORCH_S),
        law::OUTPUT_SIZE => (false, RESIZER, OUTPUT_SIZE),
        law::INITIAL_DEVIATION => (false, IMAGES, INITIAL_DEVIATION),
        law::TAKES => (false, IMAGES, TAKES),
        _ => return None,
    })
}

/// `None`: it claims nothing, or nothing known.
fn meaning(subject: &Subject, name: &str, claim: &Attribute) -> Result<Option<Property<'static>>, String> {
    let Some((flag, kinds, property)) = table(name) else { return Ok(None) };
    if !kinds.contains(&subject.kind()) {
        return Err(format!("claims {name}, which is for a {}, not a {}", kinds.join(" or a "), subject.kind()));
    }
    match claim {
        Attribute::Bool(false) if flag => Ok(None),
        Attribute::Bool(true) if flag => Ok(Some(property)),
        Attribute::Text(text) if !flag => {
            let fault = match name {
                law::OUTPUT_SIZE => Size::read(subject, text).err(),
                law::INITIAL_DEVIATION => Spread::read(text).err(),
                _ => Problem::read(subject, text).err(),
            };
            fault.map_or(Ok(Some(property)), |fault| Err(format!("claims {name}: {text:?}, where {fault}")))
        }
        other => {
            let expected = if flag { "true or false" } else { "a text" };
            Err(format!("claims {name} as {other:?}, where {expected} is expected"))
        }
    }
}

fn readable(subject: &Subject, _: &Case) -> Outcome {
    for (name, claim) in claims(subject) {
        meaning(subject, name, claim).map_err(Trouble::Broken)?;
    }
    Ok(())
}

fn texts<'a>(subject: &'a Subject, law: &'static str) -> impl Iterator<Item = &'a str> {
    claims(subject).filter(move |(name, _)| *name == law).filter_map(|(_, claim)| match claim {
        Attribute::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// `same`, `square of OPTION`, `times OPTION`.
enum Size<'a> {
    Same,
    Square(&'a str),
    Times(&'a str),
}

impl<'a> Size<'a> {
    fn read(subject: &Subject, text: &'a str) -> Result<Size<'a>, String> {
        let size = match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["same"] => return Ok(Size::Same),
            ["square", "of", option] => (option, Size::Square(option)),
            ["times", option] => (option, Size::Times(option)),
            _ => return Err("\"same\", \"square of OPTION\" or \"times OPTION\" is expected".into()),
        };
        match subject.options().iter().any(|spec| spec.name == size.0) {
            true => Ok(size.1),
            false => Err(format!("there is no option {:?}", size.0)),
        }
    }

    /// `None`: its option is not given.
    fn of(&self, given: &dyn Fn(&str) -> Option<f64>, sides: [usize; 2]) -> Option<[usize; 2]> {
        match self {
            Size::Same => Some(sides),
            Size::Square(option) => given(option).map(|side| [side as usize; 2]),
            Size::Times(option) => given(option).map(|by| sides.map(|side| (side as f64 * by).floor() as usize)),
        }
    }
}

fn output_size(subject: &Subject, case: &Case) -> Outcome {
    let request = subject.request(case);
    let given = |name: &str| match request.options.iter().find(|o| o.name == name).map(|o| &o.value) {
        Some(OptionValue::Int(v)) => Some(*v as f64),
        Some(OptionValue::Float(v)) => Some(*v),
        _ => None,
    };
    // A refusal is as good as the promised size.
    subject.graph(case)?;
    resizers::size_is(subject, case, |_, sides| {
        let mut sizes = texts(subject, law::OUTPUT_SIZE).filter_map(|text| Size::read(subject, text).ok());
        sizes.find_map(|size| size.of(&given, sides))
    })
}

/// Names, and their deviation.
struct Spread<'a> {
    pattern: &'a str,
    deviation: f64,
}

impl<'a> Spread<'a> {
    fn read(text: &'a str) -> Result<Spread<'a>, String> {
        let parts = text.rsplit_once(' ').and_then(|(p, d)| Some((p.trim(), d.parse::<f64>().ok()?)));
        match parts {
            Some((pattern, deviation)) if !pattern.is_empty() && deviation > 0.0 && deviation.is_finite() => {
                Ok(Spread { pattern, deviation })
            }
            _ => Err("\"PATTERN DEVIATION\" is expected".into()),
        }
    }
}

/// `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).filter(|&i| name.is_char_boundary(i)).any(|i| matches(rest, &name[i..]))
        }),
    }
}

fn deviation(subject: &Subject, case: &Case) -> Outcome {
    let model = Model::initial(subject, case)?;
    let mut looked = false;
    for text in texts(subject, law::INITIAL_DEVIATION) {
        let Ok(Spread { pattern, deviation }) = Spread::read(text) else { continue };
        let mut all = vec![];
        for argument in model.graph.by_role(Role::Parameter).filter(|a| matches(pattern, &a.name)) {
            let values = model.values[&argument.name].to_f64();
            spread(&format!("{:?}", argument.name), &values, deviation)?;
            all.extend(values);
        }
        // Together they say more than each alone.
        spread(&format!("all that match {pattern:?} together"), &all, deviation)?;
        looked |= !all.is_empty();
    }
    if looked { Ok(()) } else { Err(Trouble::Idle("no parameter has a name of its claims".into())) }
}

/// The mean of n normal numbers has the deviation `s / sqrt(n)`, their root mean square `s / sqrt(2 n)`; five of them are allowed,
/// which a sound draw exceeds once in two million.
fn spread(what: &str, values: &[f64], deviation: f64) -> Outcome {
    if values.is_empty() {
        return Ok(());
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let root = (values.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
    ensure(mean.abs() <= 5.0 * deviation / n.sqrt(), || {
        format!("the {n} first values of {what} have the mean {mean:e}, claimed are 0 and the deviation {deviation}")
    })?;
    ensure((root - deviation).abs() <= 5.0 * deviation / (2.0 * n).sqrt(), || {
        format!("the {n} first values of {what} deviate by {root:e}, claimed are {deviation}")
    })
}

/// `NxCxHxW with OPTIONS`.
struct Problem;

impl Problem {
    fn read(subject: &Subject, text: &str) -> Result<Setup, String> {
        let (shape, options) = text.split_once(" with ").unwrap_or((text, ""));
        let sizes: Option<Vec<usize>> = shape.trim().split('x').map(|d| d.parse().ok()).collect();
        let shape: Option<[usize; 4]> = sizes.and_then(|sizes| sizes.try_into().ok());
        let shape = shape.ok_or("a shape NxCxHxW is expected first")?;
        Ok(Setup { options: written::read(subject.options(), options)?, inputs: images(shape) })
    }
}

/// The small problems that the component claims to take.
pub(crate) fn problems(subject: &Subject) -> Vec<Setup> {
    texts(subject, law::TAKES).filter_map(|text| Problem::read(subject, text).ok()).collect()
}

fn takes(subject: &Subject, case: &Case) -> Outcome {
    for setup in problems(subject) {
        for training in [false, true] {
            let case = Case { options: setup.options.clone(), inputs: setup.inputs.clone(), training, seed: case.seed };
            subject.graph(&case).map_err(|trouble| match trouble {
                Trouble::Skipped(said) | Trouble::Idle(said) | Trouble::Broken(said) => {
                    Trouble::Broken(format!("refuses what it claims to take: {said}\n  {case}"))
                }
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fits) in [
            ("*.qkv.weight", "blocks.0.qkv.weight", true),
            ("*.qkv.weight", "qkv.weight", false),
            ("a*b*", "a.b.c", true),
            ("pos", "pos_embed", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_spread_is_measured() {
        let values: Vec<f64> = (0..1000).map(|i| if i % 2 == 0 { 0.02 } else { -0.02 }).collect();
        assert_eq!(spread("x", &values, 0.02), Ok(()));
        assert!(spread("x", &values, 0.03).is_err());
        assert!(spread("x", &[0.02; 1000], 0.02).is_err());
    }
}
