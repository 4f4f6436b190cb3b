//! The published models, as configs name them: their parameters are counted as timm counts them, and `docs/models.md` lists them.

use std::path::Path;

use fer_abi::{NamedOption, OptionValue};
use fer_contract::{Case, Subject, component, images};

/// What timm says: `tests/golden/make.py` writes it.
struct Published {
    name: String,
    parameters: [usize; 2],
    weights: String,
    mean: String,
}

fn published() -> Vec<Published> {
    let rows = include_str!("golden/data/published.csv").lines().skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.split(',').collect();
        let number = |i: usize| cells[i].parse().unwrap();
        Published {
            name: cells[0].into(),
            parameters: [number(1), number(2)],
            weights: cells[3].into(),
            mean: cells[4].into(),
        }
    })
    .collect()
}

/// A published model in a config: plugin, options, and the side of the images it was trained on.
struct Named {
    plugin: &'static str,
    options: Vec<(&'static str, OptionValue)>,
    side: usize,
}

impl Named {
    /// Reads timm's name: `swin_base_patch4_window12_384`, `xcit_tiny_12_p8_224`, `convit_small`, `resnet50`.
    fn of(name: &str) -> Named {
        let word = |word: &str| OptionValue::Text(word.into());
        let after = |mark: &str| -> Option<i64> {
            let rest = &name[name.find(mark)? + mark.len()..];
            rest.split('_').next()?.parse().ok()
        };
        let size = ["nano", "tiny", "small", "medium", "base", "large"].into_iter().find(|size| name.contains(size));
        let size = size.unwrap_or_default();
        let side = name.rsplit('_').next().and_then(|s| s.parse().ok()).filter(|s| *s > 100).unwrap_or(224);
        let patch = |mark| ("patch_size", OptionValue::Int(after(mark).unwrap()));
        let family = name.split('_').next().unwrap();
        let (plugin, options) = match family {
            "vit" => ("vit", vec![("variant", word(size)), patch("patch")]),
            "deit" if name.contains("distilled") => {
                ("deit", vec![("variant", word(size)), ("distilled", OptionValue::Bool(true))])
            }
            "deit" => ("deit", vec![("variant", word(size))]),
            "convit" => ("convit", vec![("variant", word(size))]),
            "xcit" => {
                let depth = name.split('_').nth(2).unwrap();
                ("xcit", vec![("variant", word(&format!("{size}-{depth}"))), patch("_p")])
            }
            "swin" => {
                ("swin", vec![("variant", word(size)), ("window_size", OptionValue::Int(after("window").unwrap()))])
            }
            "vgg16" => ("vgg16-bn", vec![]),
            resnet => ("resnet", vec![("variant", word(resnet))]),
        };
        Named { plugin, options, side }
    }

    /// `plugin: "swin", variant: "base", window_size: 12`
    fn text(&self) -> String {
        let options = self.options.iter().map(|(name, value)| match value {
            OptionValue::Text(word) => format!(", {name}: \"{word}\""),
            OptionValue::Int(number) => format!(", {name}: {number}"),
            OptionValue::Bool(flag) => format!(", {name}: {flag}"),
            other => panic!("{other:?} is not used here"),
        });
        format!("plugin: \"{}\"{}", self.plugin, options.collect::<String>())
    }

    fn subject(&self) -> Subject {
        match self.plugin {
            "vit" | "deit" => component!("backbone", self.plugin, "backbone-vit"),
            "convit" => component!("backbone", "convit", "backbone-convit"),
            "xcit" => component!("backbone", "xcit", "backbone-xcit"),
            "swin" => component!("backbone", "swin", "backbone-swin"),
            "resnet" => component!("backbone", "resnet", "backbone-resnet"),
            _ => component!("backbone", "vgg16-bn", "backbone-vgg"),
        }
    }

    /// Parameters with linear heads for so many classes, and the operations of one image's forward pass.
    fn measure(&self, classes: usize) -> (usize, u64) {
        let options =
            self.options.iter().map(|(name, value)| NamedOption { name: (*name).into(), value: value.clone() });
        let inputs = images([1, 3, self.side, self.side]);
        let case = Case { options: options.collect(), inputs, training: false, seed: 0 };
        let graph = self.subject().graph(&case).unwrap();
        let widths = graph.outputs.iter().map(|(_, features)| graph.shape(*features)[1]);
        let (heads, head_flops) =
            widths.fold((0, 0), |(p, f), width| (p + (width + 1) * classes, f + 2 * width * classes));
        let flops: u64 = graph.nodes.iter().map(|n| graph.flops(n)).sum();
        (graph.parameter_count() + heads, flops + head_flops as u64)
    }
}

#[test]
fn parameters_are_counted_as_timm_counts_them() {
    let mut odd = vec![];
    for model in published() {
        let named = Named::of(&model.name);
        let ours = [1000, 8].map(|classes| named.measure(classes).0);
        if ours != model.parameters {
            odd.push(format!("{}: {ours:?}, timm {:?}", model.name, model.parameters));
        }
    }
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

/// 48,843,410
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn table() -> String {
    let mut text = String::from(
        "| timm | `backbone: (...)` | side | parameters, 1000 classes | 8 classes | GFLOP | weights on the hub |\n|---|---|--:|--:|--:|--:|---|\n",
    );
    for model in published() {
        let named = Named::of(&model.name);
        let gflop = named.measure(1000).1 as f64 / 1e9;
        let [many, few] = model.parameters.map(grouped);
        let note = if model.mean.starts_with("0.5 ") { " (1)" } else { "" };
        text += &format!(
            "| {} | `{}` | {} | {many} | {few} | {gflop:.2} | `{}`{note} |\n",
            model.name,
            named.text(),
            named.side,
            model.weights
        );
    }
    text
}

const BEGIN: &str =
    "<!-- from here to the mark below: FER_UPDATE_DOCS=1 cargo test -p fer-tests --test published -->\n\n";
const END: &str = "\n<!-- the mark -->\n";

/// `FER_UPDATE_DOCS=1 cargo test -p fer-tests --test published` writes the table anew.
#[test]
fn the_page_of_models_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/models.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("docs/models.md has the mark where the table begins");
    let (found, after) = rest.split_once(END).expect("docs/models.md has the mark where the table ends");
    let expected = table();
    if std::env::var_os("FER_UPDATE_DOCS").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(
        found == expected,
        "docs/models.md is out of date: FER_UPDATE_DOCS=1 cargo test -p fer-tests --test published"
    );
}
