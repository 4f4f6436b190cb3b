//! `confusion.svg`: which classes a run's best weights take for which, on the test split.

use super::svg::{Anchor, FRAME, INK, MUTED, Style, Svg, shortened, width_of};

/// Room for the title and the line below it.
const TOP: f64 = 78.0;
/// Class names longer than this would leave no room for the cells.
const NAME: usize = 22;
/// A cell must be this wide to hold its share, and its count too.
const SHARE: f64 = 28.0;
const COUNT: f64 = 46.0;

/// Rows are the truth and columns the answers; each row's shares in percent, with the counts below where there is room.
pub fn confusion(classes: &[String], matrix: &[Vec<u64>], title: &str) -> String {
    let n = classes.len().max(1) as f64;
    let cell = (480.0 / n).clamp(9.0, 60.0).floor();
    let names: Vec<String> = classes.iter().map(|c| shortened(c, NAME)).collect();
    let longest = names.iter().map(|c| width_of(c, 13.0)).fold(40.0, f64::max);
    let total = |row: &[u64]| row.iter().sum::<u64>();
    // Row names also say how many images there are.
    let left = 34.0 + longest + width_of(" (99999)", 13.0);
    let side = n * cell;
    // Column names hang below their cells, turned by 40 degrees.
    let bottom = TOP + side + 24.0 + 0.65 * longest;
    let title = shortened(title, 100);
    let width = (left + side + 28.0).max(48.0 + width_of(&title, 17.0) * 1.06);
    let mut svg = Svg::new(width, bottom + 26.0, &title);
    svg.text((24.0, 34.0), Style::new(17.0, INK, Anchor::Start).bold(), &title);
    let line = "percent of each true class, with the number of images below";
    svg.text(
        (24.0, 55.0),
        Style::new(13.0, MUTED, Anchor::Start),
        if cell < COUNT { "percent of each true class" } else { line },
    );
    svg.text((20.0, TOP + side / 2.0), Style::new(13.0, MUTED, Anchor::Middle).turned(-90.0), "truth");
    svg.text((left + side / 2.0, bottom + 12.0), Style::new(13.0, MUTED, Anchor::Middle), "answer");

    let label = cell.clamp(8.0, 13.0);
    for (i, (name, row)) in names.iter().zip(matrix).enumerate() {
        let middle = (i as f64 + 0.5) * cell;
        let words = format!("{name} ({})", total(row));
        svg.text((left - 8.0, TOP + middle + 0.35 * label), Style::new(label, INK, Anchor::End), &words);
        let below = (left + middle + 0.35 * label, TOP + side + 16.0);
        svg.text(below, Style::new(label, INK, Anchor::End).turned(-40.0), name);
        for (j, &count) in row.iter().enumerate() {
            let corner = (left + j as f64 * cell, TOP + i as f64 * cell);
            square(&mut svg, corner, cell, count, total(row));
        }
    }
    // The right answers.
    for i in 0..classes.len() {
        let corner = (left + i as f64 * cell, TOP + i as f64 * cell);
        svg.rect(corner, (cell, cell), "none", MUTED);
    }
    svg.rect((left, TOP), (side, side), "none", FRAME);
    svg.finish()
}

/// A cell of a row that has `total` images; a class without any is grey and says nothing.
fn square(svg: &mut Svg, (x, y): (f64, f64), cell: f64, count: u64, total: u64) {
    if total == 0 {
        return svg.rect((x, y), (cell, cell), "#f3f4f6", "#ffffff");
    }
    let share = count as f64 / total as f64;
    svg.rect((x, y), (cell, cell), &shade(share), "#ffffff");
    let fill = match share {
        _ if count == 0 => "#b6bcc3",
        s if s > 0.5 => "#ffffff",
        _ => INK,
    };
    let (middle, percent) = (x + cell / 2.0, percent(share));
    if cell >= COUNT && count > 0 {
        svg.text((middle, y + cell / 2.0 + 1.0), Style::new(15.0, fill, Anchor::Middle), &percent);
        svg.text((middle, y + cell / 2.0 + 17.0), Style::new(10.5, fill, Anchor::Middle), &count.to_string());
    } else if cell >= SHARE {
        svg.text((middle, y + cell / 2.0 + 4.0), Style::new(11.0, fill, Anchor::Middle), &percent);
    }
}

/// Whole percents, but never a 0 or a 100 that is none.
fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p > 0.0 && p < 0.5 => "<1".into(),
        p if p < 100.0 && p > 99.0 => "99".into(),
        p => format!("{p:.0}"),
    }
}

/// From white to a deep blue, a little quicker at first so that rare mistakes can be seen.
fn shade(share: f64) -> String {
    let t = share.clamp(0.0, 1.0).powf(0.8);
    let mix = |from: f64, to: f64| (from + (to - from) * t).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(255.0, 8.0), mix(255.0, 69.0), mix(255.0, 148.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::svg::tests::assert_well_formed;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn rows_are_shares_of_the_truth() {
        let svg = confusion(&names(&["happy", "sad"]), &[vec![3, 1], vec![0, 8]], "a run");
        assert_well_formed(&svg);
        for part in [">75<", ">25<", ">100<", ">happy (4)<", ">sad (8)<", ">3<"] {
            assert!(svg.contains(part), "{part}");
        }
    }

    #[test]
    fn any_size_draws_and_empty_classes_do() {
        let many: Vec<String> = (0..60).map(|i| format!("class {i} with quite a long name")).collect();
        let counts = vec![vec![1; 60]; 60];
        for (classes, matrix) in [
            (vec![], vec![]),
            (names(&["only"]), vec![vec![0]]),
            (names(&["a", "b"]), vec![vec![0, 0], vec![2, 1]]),
            (many, counts),
        ] {
            assert_well_formed(&confusion(&classes, &matrix, "a run"));
        }
    }

    #[test]
    fn names_are_text() {
        let svg = confusion(&names(&["<not> & \"a tag\""]), &[vec![1]], "<t>");
        assert_well_formed(&svg);
        assert!(svg.contains("&lt;not&gt; &amp; &quot;a tag&quot; (1)"));
    }

    #[test]
    fn a_percent_is_never_rounded_to_all_or_nothing() {
        assert_eq!([0.0, 0.001, 0.5, 0.9999, 1.0].map(percent), ["0", "<1", "50", "99", "100"]);
    }
}
