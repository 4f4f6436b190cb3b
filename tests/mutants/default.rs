//! A library whose component has a default that its own range refuses: no host can use it. The derive refuses to write such a
//! schema, so this one is written by hand.

use fer_sdk::{
    abi::{
        BuildError, NamedOption, OptionSpec, OptionValue,
        abi_stable::std_types::{RSome, RVec},
        option_kind,
    },
    options::Options,
    prelude::{GraphBuilder, Loss, LossInputs, Result, Value, export_plugin},
};

struct Contradicts {
    level: i64,
}

impl Options for Contradicts {
    fn schema() -> Vec<OptionSpec> {
        vec![OptionSpec {
            name: "level".into(),
            kind: option_kind::INT.into(),
            optional: false,
            default: RSome(OptionValue::Int(12)),
            min: RSome(1.0),
            max: RSome(9.0),
            choices: RVec::new(),
            doc: "From 1 to 9, and 12.".into(),
        }]
    }

    fn from_values(values: &[NamedOption]) -> Result<Self, BuildError> {
        let level = values.iter().find_map(|option| match option.value {
            OptionValue::Int(level) => Some(level),
            _ => None,
        });
        Ok(Contradicts { level: level.unwrap_or(12) })
    }
}

impl Loss for Contradicts {
    const ID: &'static str = "contradicts";
    const SUMMARY: &'static str = "a default out of its own range";

    fn build(&self, g: &GraphBuilder, batch: &LossInputs) -> Result<Value> {
        let loss = g.reduce_sum(g.multiply(batch.logits, batch.targets)?, &[1])?;
        g.weighted_mean(g.scale(loss, self.level as f64)?, batch.weights)
    }
}

export_plugin!(Contradicts);
