//! Just enough SVG for a run's pictures: shapes, text, and axes with round ticks.
//!
//! Every picture has a white ground and its own colours, so that a dark viewer shows it as a light one does.

use std::fmt::Write as _;

pub const INK: &str = "#1f2328";
pub const MUTED: &str = "#59636e";
pub const GRID: &str = "#e6e8eb";
pub const FRAME: &str = "#9aa2ab";

/// Beyond this an axis could overflow; such a value is drawn as a gap, as one that is no number.
const LARGEST: f64 = 1e100;

/// A value that can be placed on an axis.
pub fn drawable(value: f64) -> bool {
    value.is_finite() && value.abs() < LARGEST
}

/// Where a text stands on its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Size, colour, weight, place and turn of a text.
#[derive(Clone, Copy)]
pub struct Style {
    pub size: f64,
    pub fill: &'static str,
    pub bold: bool,
    pub anchor: Anchor,
    /// Degrees around its point, clockwise.
    pub turn: f64,
}

impl Style {
    pub const fn new(size: f64, fill: &'static str, anchor: Anchor) -> Style {
        Style { size, fill, bold: false, anchor, turn: 0.0 }
    }

    pub const fn bold(self) -> Style {
        Style { bold: true, ..self }
    }

    pub const fn turned(self, degrees: f64) -> Style {
        Style { turn: degrees, ..self }
    }
}

/// A drawing that grows shape by shape; the order is that of the calls.
pub struct Svg {
    text: String,
}

// Writing to a string cannot fail, so the results of `write!` are dropped.
impl Svg {
    pub fn new(width: f64, height: f64, title: &str) -> Svg {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\">\n\
             <title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
            escape(title)
        );
        Svg { text }
    }

    pub fn text(&mut self, (x, y): (f64, f64), style: Style, words: &str) {
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if style.bold { " font-weight=\"600\"" } else { "" };
        let turn = match style.turn {
            0.0 => String::new(),
            degrees => format!(" transform=\"rotate({degrees:.0} {x:.1} {y:.1})\""),
        };
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{:.1}\" fill=\"{}\" text-anchor=\"{anchor}\"{weight}{turn}>{}</text>",
            style.size,
            style.fill,
            escape(words)
        );
    }

    /// `dash` as in `stroke-dasharray`; empty for a whole line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str, width: f64, dash: &str) {
        let _ = writeln!(
            self.text,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\" \
             stroke-width=\"{width:.1}\"{}/>",
            dashes(dash)
        );
    }

    pub fn path(&mut self, points: &[(f64, f64)], stroke: &str, dash: &str) {
        let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"2\" stroke-linejoin=\"round\" \
             stroke-linecap=\"round\"{}/>",
            places.join(" "),
            dashes(dash)
        );
    }

    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, fill: &str, stroke: &str) {
        let _ = writeln!(
            self.text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"2\"/>"
        );
    }

    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str, stroke: &str) {
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\" stroke=\"{stroke}\"/>"
        );
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

fn dashes(dash: &str) -> String {
    if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") }
}

/// Text for between tags and in attributes; what XML cannot hold at all is replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most `chars` characters, the last of them an ellipsis where some are left out.
pub fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}

/// About how wide a text is drawn; nobody tells the writer of an SVG which font its reader has.
pub fn width_of(text: &str, size: f64) -> f64 {
    0.56 * size * text.chars().count() as f64
}

/// A range of values on a range of pixels, with round ticks.
pub struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// Holds all drawable `values` between two round numbers, which lie on the pixels `from` and `to`. Equal values get
    /// room on both sides, but not beyond what is possible, `within`.
    pub fn around(values: impl IntoIterator<Item = f64>, within: (f64, f64), from: f64, to: f64) -> Axis {
        let drawn = values.into_iter().filter(|v| drawable(*v));
        let (mut low, mut high) = drawn.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // Values that hardly differ are a flat line in the middle, not noise blown up to the whole height.
        let least = (1e-3 * low.abs().max(high.abs())).max(1e-6);
        if high - low < least {
            // Never less than the values themselves, should they break the rule.
            low = (low - 50.0 * least).max(within.0.min(low));
            high = (high + 50.0 * least).min(within.1.max(high));
        }
        let step = round_step((high - low) / 5.0);
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, from, to, step }
    }

    /// Whole numbers from `first` to `last` with a tick at most every 30 pixels or so.
    pub fn counting(first: usize, last: usize, from: f64, to: f64) -> Axis {
        let (low, high) = (first as f64, last as f64);
        let step = round_step((high - low) * 30.0 / (to - from).abs()).max(1.0);
        let (low, high) = if first < last { (low, high) } else { (low - 0.5, low + 0.5) };
        Axis { low, high, from, to, step }
    }

    pub fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Where ticks stand, and what is written at them.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        // Half a thousandth of a step makes up for what rounding took away.
        let (first, last) =
            ((self.low / self.step - 5e-4).ceil() as i64, (self.high / self.step + 5e-4).floor() as i64);
        (first..=last).map(|i| i as f64 * self.step).map(|v| (self.place(v), self.label(v))).collect()
    }

    fn label(&self, value: f64) -> String {
        let greatest = self.low.abs().max(self.high.abs());
        if !(1e-3..1e6).contains(&greatest) {
            return if value == 0.0 { "0".into() } else { format!("{value:.1e}") };
        }
        let decimals = (-self.step.log10()).ceil().clamp(0.0, 9.0) as usize;
        format!("{value:.decimals$}")
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    if step <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= step * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every tag is closed in order, and no number went wrong.
    #[track_caller]
    pub fn assert_well_formed(svg: &str) {
        let mut open: Vec<&str> = vec![];
        for tag in svg.split('<').skip(1) {
            let (tag, rest) = tag.split_once('>').expect("a tag without an end");
            assert!(!rest.contains('>'), "unescaped in {rest:?}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            for value in tag.split('"').skip(1).step_by(2) {
                assert!(!value.contains("NaN") && !value.contains("inf"), "{tag}");
            }
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name)),
                (_, true) => {}
                _ => open.push(name),
            }
        }
        assert!(open.is_empty() && svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{open:?}");
    }

    #[test]
    fn steps_are_round() {
        for (given, round) in [(1.0, 1.0), (1.1, 2.0), (2.5, 5.0), (6.0, 10.0), (0.03, 0.05), (0.2, 0.2), (0.0, 1.0)] {
            assert!((round_step(given) - round).abs() < 1e-9, "{given} gives {}", round_step(given));
        }
    }

    #[test]
    fn an_axis_holds_its_values_between_round_numbers() {
        let axis = Axis::around([0.137, f64::NAN, 1.21, f64::INFINITY], (0.0, f64::INFINITY), 0.0, 100.0);
        let ticks: Vec<String> = axis.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(ticks, ["0.0", "0.5", "1.0", "1.5"]);
        assert!(axis.place(0.137) > 0.0 && axis.place(1.21) < 100.0);
    }

    #[test]
    fn an_axis_of_equal_none_or_extreme_values_is_finite() {
        for values in
            [vec![], vec![0.0], vec![2.5, 2.5], vec![-1.0], vec![100.0], vec![1e99, -1e99], vec![1e-300], vec![3e38]]
        {
            let axis = Axis::around(values.iter().copied(), (0.0, 100.0), 300.0, 50.0);
            let ticks = axis.ticks();
            assert!((1..15).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(values.iter().all(|v| (50.0..=300.0).contains(&axis.place(*v))), "{values:?}");
        }
    }

    #[test]
    fn epochs_get_whole_ticks() {
        let labels = |first, last| Axis::counting(first, last, 0.0, 400.0).ticks().into_iter().map(|t| t.1).collect();
        let one: Vec<String> = labels(1, 1);
        assert_eq!(one, ["1"]);
        let hundred: Vec<String> = labels(1, 100);
        assert_eq!(hundred, ["10", "20", "30", "40", "50", "60", "70", "80", "90", "100"]);
    }

    #[test]
    fn text_is_escaped_and_cut() {
        assert_eq!(escape("<a & \"b'\u{1}>"), "&lt;a &amp; &quot;b&apos;\u{fffd}&gt;");
        assert_eq!((shortened("abcd", 4), shortened("abcde", 4)), ("abcd".into(), "abc…".into()));
    }
}
