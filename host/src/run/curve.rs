//! `curve.svg`: loss and accuracy, epoch by epoch.

use serde::{Deserialize, Deserializer};

use super::svg::{Anchor, Axis, FRAME, GRID, INK, MUTED, Style, Svg, drawable, shortened, width_of};

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 452.0;
/// Top and bottom of both panels' frames.
const TOP: f64 = 140.0;
const BOTTOM: f64 = 394.0;
/// Left and right of each panel's frame.
const PANELS: [(f64, f64); 2] = [(64.0, 474.0), (554.0, 964.0)];
/// With more epochs than this, dots would run into one another.
const DOTTED: usize = 40;

// Told apart by any common colour vision, and by their dashes in grey.
const BLUE: &str = "#0072b2";
const ORANGE: &str = "#d55e00";
const GREEN: &str = "#009e73";

/// What the log says of an epoch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EpochPoint {
    /// From 1.
    pub epoch: usize,
    pub train: Trained,
    pub validation: Validated,
    /// Whether it was the best so far.
    pub best: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Trained {
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    #[serde(deserialize_with = "number")]
    pub accuracy: f64,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Validated {
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    #[serde(deserialize_with = "number")]
    pub accuracy: f64,
    #[serde(deserialize_with = "number")]
    pub balanced_accuracy: f64,
}

/// JSON has no word for what is not finite and writes null; the curve has a gap there.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// One line in a panel.
struct Series {
    name: &'static str,
    colour: &'static str,
    dash: &'static str,
    values: Vec<f64>,
}

/// Loss on the left, accuracies in percent on the right, the best epoch marked in both.
pub fn curve(points: &[EpochPoint], title: &str) -> String {
    let mut svg = Svg::new(WIDTH, HEIGHT, title);
    svg.text((24.0, 34.0), Style::new(17.0, INK, Anchor::Start).bold(), &shortened(title, 100));
    let best = points.iter().rposition(|p| p.best);
    if let Some(p) = best.map(|i| &points[i]) {
        let line = format!(
            "best epoch {} of {}: validation loss {:.4}, accuracy {:.1} %, balanced accuracy {:.1} %",
            p.epoch,
            points.len(),
            p.validation.loss,
            100.0 * p.validation.accuracy,
            100.0 * p.validation.balanced_accuracy
        );
        svg.text((24.0, 55.0), Style::new(13.0, MUTED, Anchor::Start), &line);
    }
    let series = |name, colour, dash, value: fn(&EpochPoint) -> f64| Series {
        name,
        colour,
        dash,
        values: points.iter().map(value).collect(),
    };
    let loss = [series("train", BLUE, "", |p| p.train.loss), series("validation", ORANGE, "", |p| p.validation.loss)];
    let accuracy = [
        series("train", BLUE, "", |p| 100.0 * p.train.accuracy),
        series("validation", ORANGE, "", |p| 100.0 * p.validation.accuracy),
        series("validation, balanced", GREEN, "6 4", |p| 100.0 * p.validation.balanced_accuracy),
    ];
    let epochs: Vec<usize> = points.iter().map(|p| p.epoch).collect();
    let around = |series: &[Series], within| {
        Axis::around(series.iter().flat_map(|s| s.values.iter().copied()), within, BOTTOM, TOP)
    };
    let (losses, percents) = (around(&loss, (0.0, f64::INFINITY)), around(&accuracy, (0.0, 100.0)));
    panel(&mut svg, PANELS[0], "Loss", &losses, &epochs, &loss, best);
    panel(&mut svg, PANELS[1], "Accuracy, %", &percents, &epochs, &accuracy, best);
    svg.finish()
}

fn panel(
    svg: &mut Svg,
    (left, right): (f64, f64),
    heading: &str,
    y: &Axis,
    epochs: &[usize],
    series: &[Series],
    best: Option<usize>,
) {
    let first = epochs.first().copied().unwrap_or(1);
    let x = Axis::counting(first, epochs.last().copied().unwrap_or(first), left + 10.0, right - 10.0);

    let small = |anchor| Style::new(12.0, MUTED, anchor);
    svg.text((left, 88.0), Style::new(14.0, INK, Anchor::Start).bold(), heading);
    legend(svg, left, series);
    for (at, label) in y.ticks() {
        svg.line((left, at), (right, at), GRID, 1.0, "");
        svg.text((left - 8.0, at + 4.0), small(Anchor::End), &label);
    }
    for (at, label) in x.ticks() {
        svg.line((at, BOTTOM), (at, BOTTOM + 5.0), FRAME, 1.0, "");
        svg.text((at, BOTTOM + 20.0), small(Anchor::Middle), &label);
    }
    svg.text(((left + right) / 2.0, BOTTOM + 42.0), small(Anchor::Middle), "epoch");
    if let Some(i) = best {
        let at = x.place(epochs[i] as f64);
        svg.line((at, TOP), (at, BOTTOM), FRAME, 1.0, "3 3");
        svg.text((at, TOP - 6.0), small(Anchor::Middle), "best");
    }
    svg.line((left, TOP), (left, BOTTOM), FRAME, 1.0, "");
    svg.line((left, BOTTOM), (right, BOTTOM), FRAME, 1.0, "");

    for s in series {
        let places: Vec<Option<(f64, f64)>> = epochs
            .iter()
            .zip(&s.values)
            .map(|(&epoch, &value)| drawable(value).then(|| (x.place(epoch as f64), y.place(value))))
            .collect();
        for run in places.split(Option::is_none) {
            let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
            if run.len() > 1 {
                svg.path(&run, s.colour, s.dash);
            }
            if run.len() == 1 || epochs.len() <= DOTTED {
                run.iter().for_each(|&at| svg.circle(at, 2.0, s.colour, s.colour));
            }
        }
        if let Some(at) = best.and_then(|i| places[i]) {
            svg.circle(at, 4.5, "#ffffff", s.colour);
        }
    }
}

/// Lines and names of the series, from the panel's left edge.
fn legend(svg: &mut Svg, left: f64, series: &[Series]) {
    let mut at = left;
    for s in series {
        svg.line((at, 106.0), (at + 24.0, 106.0), s.colour, 2.5, s.dash);
        svg.text((at + 30.0, 110.0), Style::new(12.0, INK, Anchor::Start), s.name);
        at += 30.0 + width_of(s.name, 12.0) + 16.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::svg::tests::assert_well_formed;

    fn point(epoch: usize, loss: f64, best: bool) -> EpochPoint {
        let accuracy = 1.0 / (1.0 + loss);
        EpochPoint {
            epoch,
            train: Trained { loss, accuracy },
            validation: Validated { loss: loss + 0.1, accuracy, balanced_accuracy: accuracy / 2.0 },
            best,
        }
    }

    #[test]
    fn any_number_of_epochs_and_any_values_draw() {
        let falling = |n: usize| -> Vec<_> { (1..=n).map(|e| point(e, 3.0 / e as f64, e % 2 == 1)).collect() };
        let equal = vec![point(1, 0.0, true), point(2, 0.0, false)];
        let broken = vec![point(1, 1.0, true), point(2, f64::NAN, false), point(3, f64::INFINITY, false)];
        let never = vec![point(1, f64::NAN, true)];
        for points in [vec![], falling(1), falling(2), falling(7), falling(300), equal, broken, never] {
            assert_well_formed(&curve(&points, "a run"));
        }
    }

    #[test]
    fn the_last_best_epoch_is_marked() {
        let svg = curve(&[point(1, 1.0, true), point(2, 0.5, true), point(3, 0.7, false)], "a run");
        assert!(svg.contains("best epoch 2 of 3"));
        assert_eq!(svg.matches("fill=\"#ffffff\" stroke=").count(), 5, "a ring for each series");
    }

    #[test]
    fn a_title_is_text() {
        let svg = curve(&[point(1, 1.0, true)], "a <b> & \"c\"");
        assert_well_formed(&svg);
        assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
    }
}
