//! The pictures in a run folder, drawn from what its other files say: `curve.svg` anew after each epoch, `confusion.svg`
//! at the end.

use fer_train::write_atomically;
use serde::Deserialize;

use super::{
    confusion::confusion,
    curve::{EpochPoint, curve},
    folder::RunFolder,
    material::Material,
    record::Results,
};
use crate::{
    failure::{Failure, Result},
    session::Session,
};

/// Draws the epochs in the log, among them those before a resume.
///
/// # Errors
/// A log that cannot be read, a folder that cannot be written to.
pub fn draw_curve(folder: &RunFolder, session: &Session, material: &Material) -> Result<()> {
    let (log, experiment) = (folder.metrics(), &session.resolved.experiment);
    let text =
        std::fs::read_to_string(&log).map_err(|e| Failure::new(format!("cannot read {}: {e}", log.display())))?;
    let points = epochs(&text)
        .map_err(|(line, e)| Failure::new(format!("{}:{line} is no line of a log: {e}", log.display())))?;
    let data = &material.dataset;
    let title = title(&experiment.name, &data.name, data.substitute_for.as_deref(), experiment.paper_compat);
    Ok(write_atomically(&folder.curve(), curve(&points, &title).as_bytes())?)
}

/// Draws what the test images were taken for.
///
/// # Errors
/// A folder that cannot be written to.
pub fn draw_confusion(folder: &RunFolder, results: &Results) -> Result<()> {
    let data = &results.data;
    let title = title(&results.name, &data.name, data.substitute_for.as_deref(), results.paper_compat);
    let title = format!("{title}, test split");
    let picture = confusion(&data.classes, &results.test.metrics.confusion, &title);
    Ok(write_atomically(&folder.confusion(), picture.as_bytes())?)
}

/// Pictures are passed on without their folder, so they say themselves what would mislead.
fn title(name: &str, data: &str, substitute_for: Option<&str>, paper_compat: bool) -> String {
    // The place where it was looked for, in brackets, is nobody else's concern.
    let absent = substitute_for.map(|s| s.split_once(" (").map_or(s, |(set, _)| set));
    let place = absent.map_or(String::new(), |set| format!(" in place of {set}"));
    let compat = if paper_compat { " (paper_compat: validated on test)" } else { "" };
    format!("{name}: {data}{place}{compat}")
}

/// A line of the log; those of steps are passed over.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Epoch(EpochPoint),
    #[serde(other)]
    Other,
}

/// The epochs of a log, or the number of the line that is none.
fn epochs(log: &str) -> Result<Vec<EpochPoint>, (usize, serde_json::Error)> {
    let mut points = vec![];
    for (i, line) in log.lines().enumerate() {
        if let Line::Epoch(point) = serde_json::from_str(line).map_err(|e| (i + 1, e))? {
            points.push(point);
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"kind":"step","epoch":1,"global_step":1,"loss":1.5}
{"kind":"epoch","epoch":1,"global_step":1,"train":{"loss":1.5,"accuracy":0.25},"validation":{"loss":null,"accuracy":0.5,"balanced_accuracy":0.5,"macro_f1":0.5},"best":true,"images_per_second":9.5}
"#;

    #[test]
    fn epochs_are_read_from_among_the_steps() {
        let points = epochs(LOG).unwrap();
        assert_eq!(points.len(), 1);
        assert_eq!((points[0].epoch, points[0].train.loss, points[0].best), (1, 1.5, true));
        assert!(points[0].validation.loss.is_nan());
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(epochs(&format!("{LOG}{{\"kind\":\"epoch\"}}\n")).unwrap_err().0, 3);
    }

    #[test]
    fn a_title_says_what_would_mislead() {
        assert_eq!(title("swin", "FERPlus", None, false), "swin: FERPlus");
        let compat = title("swin", "Built-in faces", Some("FERPlus (data/ferplus not found)"), true);
        assert_eq!(compat, "swin: Built-in faces in place of FERPlus (paper_compat: validated on test)");
    }
}
