//! Which cases are tried: strategies over options and inputs, from a component's schema or its author's hand.

use fer_abi::{NamedOption, OptionSpec, OptionValue, kind, option_kind};
use proptest::{prelude::*, strategy::Union};

use crate::{
    Subject,
    case::{Inputs, images, truth},
};

/// Options and inputs; mode and seed are drawn for every component alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub options: Vec<NamedOption>,
    pub inputs: Inputs,
}

/// Where cases come from.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Small problems, nearly all of which the component accepts: these are executed.
    pub ordinary: BoxedStrategy<Setup>,
    /// Anything within the schema that is affordable to build: these are only built.
    pub wide: BoxedStrategy<Setup>,
}

impl Domain {
    /// Both from one strategy.
    pub fn new(ordinary: impl Strategy<Value = Setup> + 'static) -> Domain {
        let ordinary = ordinary.boxed();
        Domain { wide: ordinary.clone(), ordinary }
    }

    /// Independent options and inputs.
    pub fn product(options: Choices, inputs: impl Strategy<Value = Inputs> + 'static) -> Domain {
        Domain::new((options.strategy(), inputs).prop_map(|(options, inputs)| Setup { options, inputs }))
    }

    /// The same with other cases to build only.
    #[must_use]
    pub fn with_wide(self, options: Choices, inputs: impl Strategy<Value = Inputs> + 'static) -> Domain {
        Domain { wide: Domain::product(options, inputs).ordinary, ..self }
    }

    /// What can be said of a component about which nothing is known but its schema: half of the cases leave everything to the
    /// defaults, since a random combination may be one that the component refuses.
    pub fn of(subject: &Subject) -> Domain {
        let inputs = |wide: bool| match subject.kind() {
            kind::LOSS => small_truth(),
            _ if wide => any_images(),
            // Multiples of 8 suit most patches and windows.
            _ => (1..=3usize, 2..=4usize, 2..=4usize).prop_map(|(n, h, w)| images([n, 3, 8 * h, 8 * w])).boxed(),
        };
        let required = |spec: &&OptionSpec| !spec.optional && spec.default.is_none();
        let required: Vec<OptionSpec> = subject.options().iter().filter(required).cloned().collect();
        let [least, some] = [Choices::ordinary(&required), Choices::ordinary(subject.options())];
        let options = prop_oneof![least.strategy(), some.strategy()];
        let ordinary = (options, inputs(false)).prop_map(|(options, inputs)| Setup { options, inputs });
        Domain::new(ordinary).with_wide(Choices::wide(subject.options()), inputs(true))
    }
}

/// Images of any small shape, also ones that few components can take.
pub(crate) fn any_images() -> BoxedStrategy<Inputs> {
    (1..=4usize, 1..=4usize, 1..=40usize, 1..=40usize).prop_map(|(n, c, h, w)| images([n, c, h, w])).boxed()
}

/// Small batches, few classes.
pub(crate) fn small_truth() -> BoxedStrategy<Inputs> {
    (1..=5usize, 2..=9usize).prop_map(|(n, classes)| truth(n, classes)).boxed()
}

/// A strategy for every option.
#[derive(Clone, Debug)]
pub struct Choices(Vec<(String, BoxedStrategy<Option<OptionValue>>)>);

/// A strategy's numbers as the value of an option.
pub fn given<V: std::fmt::Debug>(
    strategy: impl Strategy<Value = V> + 'static,
    value: impl Fn(V) -> OptionValue + 'static,
) -> BoxedStrategy<Option<OptionValue>> {
    strategy.prop_map(move |v| Some(value(v))).boxed()
}

/// An option that is left out.
pub fn absent() -> BoxedStrategy<Option<OptionValue>> {
    Just(None).boxed()
}

impl Choices {
    /// Small values within the schema.
    pub fn ordinary(schema: &[OptionSpec]) -> Choices {
        Choices(schema.iter().map(|spec| (spec.name.to_string(), left_open(spec, small(spec)))).collect())
    }

    /// Small values and the schema's bounds themselves.
    pub fn wide(schema: &[OptionSpec]) -> Choices {
        let of = |spec: &OptionSpec| {
            let edges = edges(spec);
            let any = if edges.is_empty() {
                small(spec)
            } else {
                prop_oneof![3 => small(spec), 1 => proptest::sample::select(edges)].boxed()
            };
            left_open(spec, any)
        };
        Choices(schema.iter().map(|spec| (spec.name.to_string(), of(spec))).collect())
    }

    /// Another strategy for one option.
    ///
    /// # Panics
    /// When the schema has no option of that name.
    #[must_use]
    pub fn set(mut self, name: &str, strategy: impl Strategy<Value = Option<OptionValue>> + 'static) -> Choices {
        let slot = self.0.iter_mut().find(|(n, _)| n == name);
        slot.unwrap_or_else(|| panic!("there is no option {name:?}")).1 = strategy.boxed();
        self
    }

    /// Integers of a range for one option.
    #[must_use]
    pub fn ints(self, name: &str, range: std::ops::RangeInclusive<i64>) -> Choices {
        self.set(name, given(range, OptionValue::Int))
    }

    /// Numbers of a range for one option.
    #[must_use]
    pub fn floats(self, name: &str, range: std::ops::RangeInclusive<f64>) -> Choices {
        self.set(name, given(range, OptionValue::Float))
    }

    pub fn strategy(self) -> BoxedStrategy<Vec<NamedOption>> {
        let (names, strategies): (Vec<String>, Vec<_>) = self.0.into_iter().unzip();
        strategies
            .prop_map(move |values| {
                let named = names.iter().zip(values);
                named.filter_map(|(name, v)| Some(NamedOption { name: name.as_str().into(), value: v? })).collect()
            })
            .boxed()
    }
}

/// The values, and nothing where the component decides or has a default.
fn left_open(spec: &OptionSpec, values: BoxedStrategy<OptionValue>) -> BoxedStrategy<Option<OptionValue>> {
    let given = values.prop_map(Some);
    if spec.optional || spec.default.is_some() {
        return prop_oneof![1 => Just(None), 2 => given].boxed();
    }
    given.boxed()
}

/// How far above its least value a number is ordinarily drawn where nothing else is said.
const REACH: f64 = 8.0;

fn default_numbers(spec: &OptionSpec) -> Vec<f64> {
    match spec.default.as_ref().into_option() {
        Some(OptionValue::Int(v)) => vec![*v as f64],
        Some(OptionValue::Float(v)) => vec![*v],
        Some(OptionValue::Ints(v)) => v.iter().map(|&i| i as f64).collect(),
        Some(OptionValue::Floats(v)) => v.to_vec(),
        _ => vec![],
    }
}

/// From the least value to the default, or a little further.
fn small_range(spec: &OptionSpec) -> (f64, f64) {
    let default = default_numbers(spec).into_iter().fold(f64::NEG_INFINITY, f64::max);
    let anchor = if default.is_finite() { default } else { 0.0 };
    let low = spec.min.into_option().unwrap_or(anchor - REACH);
    let high = spec.max.into_option().unwrap_or(f64::INFINITY).min((low + REACH).max(anchor));
    (low, high)
}

fn small(spec: &OptionSpec) -> BoxedStrategy<OptionValue> {
    let (low, high) = small_range(spec);
    let ints = low.ceil() as i64..=high.floor() as i64;
    let floats = low..=high;
    match spec.kind.as_str() {
        option_kind::BOOL => any::<bool>().prop_map(OptionValue::Bool).boxed(),
        option_kind::INT => ints.prop_map(OptionValue::Int).boxed(),
        option_kind::FLOAT => floats.prop_map(OptionValue::Float).boxed(),
        option_kind::INTS => prop::collection::vec(ints, 1..=4).prop_map(|v| OptionValue::Ints(v.into())).boxed(),
        option_kind::FLOATS => prop::collection::vec(floats, 1..=4).prop_map(|v| OptionValue::Floats(v.into())).boxed(),
        _ => words(spec),
    }
}

fn words(spec: &OptionSpec) -> BoxedStrategy<OptionValue> {
    let mut words: Vec<String> = spec.choices.iter().map(|w| w.to_string()).collect();
    if let Some(OptionValue::Text(word)) = spec.default.as_ref().into_option() {
        words.push(word.to_string());
    }
    let known = words.into_iter().map(|w| Just(OptionValue::Text(w.into())).boxed());
    let free = "[a-z]{0,8}".prop_map(|w| OptionValue::Text(w.into())).boxed();
    if spec.choices.is_empty() { Union::new(known.chain([free])).boxed() } else { Union::new(known).boxed() }
}

/// The schema's own bounds, and the default.
fn edges(spec: &OptionSpec) -> Vec<OptionValue> {
    let bounds = [spec.min.into_option(), spec.max.into_option()].into_iter().flatten();
    let numbers = bounds.chain(default_numbers(spec));
    match spec.kind.as_str() {
        option_kind::INT => numbers.map(|v| OptionValue::Int(v as i64)).collect(),
        option_kind::FLOAT => numbers.map(OptionValue::Float).collect(),
        option_kind::INTS => numbers.map(|v| OptionValue::Ints(vec![v as i64].into())).collect(),
        option_kind::FLOATS => numbers.map(|v| OptionValue::Floats(vec![v].into())).collect(),
        _ => vec![],
    }
}
