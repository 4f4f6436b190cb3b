//! The derives against the real trait, with this test crate standing in for the SDK.

extern crate self as fer_sdk;

pub use fer_abi as abi;

#[path = "../../src/options.rs"]
pub mod options;

use abi::{NamedOption, OptionValue, abi_stable::std_types::ROption, option_kind};
use fer_sdk_derive::{OptionEnum, Options};
use options::Options as _;

#[derive(OptionEnum, Clone, Copy, Debug, PartialEq)]
enum Scheme {
    BatchNorm,
    LayerNorm,
    L2,
}

#[derive(Options, Debug, PartialEq)]
struct Everything {
    /// Weight of the annotated label
    /// against its prior.
    ///
    /// Zero ignores the label.
    #[option(default = 0.8, range = 0.0..=1.0)]
    alpha: f64,
    #[option(default = -3, range = -4..)]
    shift: i64,
    #[option(default = true)]
    bias: bool,
    #[option(default = 7, min = 1)]
    window: usize,
    #[option(default = 2)]
    heads: u32,
    #[option(default = "mean", choices("mean", "sum"))]
    reduction: String,
    #[option(default = [2, 2, 6, 2])]
    depths: Vec<usize>,
    #[option(default = vec![-1, 1])]
    offsets: Vec<i64>,
    #[option(default = [0.5], max = 1)]
    scales: Vec<f64>,
    #[option(default = Scheme::LayerNorm)]
    norm: Scheme,
    /// A `type` is a fine name for an option.
    r#type: Option<String>,
    #[option(min = 0)]
    dropout: Option<f64>,
    other_norm: Option<Scheme>,
    /// Nobody can guess this one.
    size: usize,
}

#[derive(Options, Debug, PartialEq)]
struct Nothing;

fn named(name: &str, value: OptionValue) -> NamedOption {
    NamedOption { name: name.into(), value }
}

fn defaults() -> Vec<NamedOption> {
    Everything::schema()
        .into_iter()
        .filter_map(|spec| Some((spec.name, spec.default.into_option()?)))
        .map(|(name, value)| NamedOption { name, value })
        .collect()
}

#[test]
fn the_schema_says_what_the_struct_says() {
    let schema = Everything::schema();
    let find = |name: &str| schema.iter().find(|spec| spec.name == name).expect("in the schema");
    let alpha = find("alpha");
    assert_eq!(alpha.doc, "Weight of the annotated label against its prior.\nZero ignores the label.");
    assert_eq!(alpha.kind, option_kind::FLOAT);
    assert_eq!(alpha.default, ROption::RSome(OptionValue::Float(0.8)));
    assert_eq!((alpha.min, alpha.max), (ROption::RSome(0.0), ROption::RSome(1.0)));
    assert_eq!(find("shift").min, ROption::RSome(-4.0));
    assert_eq!(find("window").min, ROption::RSome(1.0));
    assert_eq!(find("heads").max, ROption::RSome(f64::from(u32::MAX)));
    assert_eq!(find("size").min, ROption::RSome(0.0));
    assert_eq!(find("depths").kind, option_kind::INTS);
    assert_eq!(find("scales").kind, option_kind::FLOATS);
    assert_eq!(find("reduction").choices.as_slice(), ["mean", "sum"]);
    assert_eq!(find("norm").choices.as_slice(), ["batch-norm", "layer-norm", "l2"]);
    assert_eq!(find("norm").default, ROption::RSome(OptionValue::Text("layer-norm".into())));
    assert!(find("type").optional && find("type").default.is_none());
    assert!(find("other_norm").optional && find("other_norm").choices.len() == 3);
    assert!(!find("size").optional && find("size").default.is_none());
    assert_eq!(Nothing::schema(), []);
    assert_eq!(<()>::schema(), []);
}

#[test]
fn the_schemas_defaults_read_back() {
    let expected = Everything {
        alpha: 0.8,
        shift: -3,
        bias: true,
        window: 7,
        heads: 2,
        reduction: "mean".into(),
        depths: vec![2, 2, 6, 2],
        offsets: vec![-1, 1],
        scales: vec![0.5],
        norm: Scheme::LayerNorm,
        r#type: None,
        dropout: None,
        other_norm: None,
        size: 224,
    };
    let size = named("size", OptionValue::Int(224));
    let filled: Vec<_> = defaults().into_iter().chain([size.clone()]).collect();
    assert_eq!(Everything::from_values(&filled), Ok(expected));
    // The parser fills in the same defaults itself.
    assert_eq!(Everything::from_values(&filled), Everything::from_values(&[size]));
    assert_eq!(Nothing::from_values(&[]), Ok(Nothing));
}

#[test]
fn given_values_win() {
    let read = Everything::from_values(&[
        named("size", OptionValue::Int(1)),
        named("type", OptionValue::Text("a".into())),
        named("norm", OptionValue::Text("batch-norm".into())),
        named("other_norm", OptionValue::Text("l2".into())),
        named("dropout", OptionValue::Float(0.5)),
        named("depths", OptionValue::Ints(vec![1].into())),
    ])
    .expect("good values");
    assert_eq!(read.r#type.as_deref(), Some("a"));
    assert_eq!((read.norm, read.other_norm), (Scheme::BatchNorm, Some(Scheme::L2)));
    assert_eq!((read.dropout, read.depths), (Some(0.5), vec![1]));
}

#[test]
fn wrong_values_name_their_option() {
    for (name, value, message) in [
        ("size", OptionValue::Float(1.0), "cannot be 1.0"),
        ("size", OptionValue::Int(-1), "cannot be -1"),
        ("alpha", OptionValue::Float(1.5), "cannot be 1.5"),
        ("alpha", OptionValue::Float(f64::NAN), "cannot be NaN"),
        ("heads", OptionValue::Int(1 << 40), "cannot be"),
        ("depths", OptionValue::Ints(vec![1, -1].into()), "cannot be [1, -1]"),
        ("scales", OptionValue::Floats(vec![2.0].into()), "cannot be [2.0]"),
        ("reduction", OptionValue::Text("max".into()), "cannot be \"max\""),
        ("norm", OptionValue::Text("LayerNorm".into()), "cannot be"),
        ("alfa", OptionValue::Int(1), "there is no option \"alfa\""),
    ] {
        let mut values = vec![named(name, value)];
        if name != "size" {
            values.push(named("size", OptionValue::Int(1)));
        }
        let error = Everything::from_values(&values).expect_err(name);
        assert_eq!(error.option, name);
        assert!(error.message.contains(message), "{error:?}");
        assert!(!error.help.is_empty() && !error.panicked, "{error:?}");
    }
    let missing = Everything::from_values(&[]).expect_err("size is required");
    assert_eq!(missing.message, "the option \"size\" is missing");
    let size = named("size", OptionValue::Int(1));
    let twice = Everything::from_values(&[size.clone(), size]).expect_err("given twice");
    assert!(twice.message.contains("twice"));
    assert!(<()>::from_values(&[named("a", OptionValue::Bool(true))]).is_err());
}
