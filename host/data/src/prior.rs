//! The class prior of PDLS: how annotators spread their votes over the expressions, given what most of them saw.
//!
//! Row k is the mean vote share over training images whose majority label is k (Vo et al. 2020).

use std::path::Path;

use crate::classes::{FERPLUS, ferplus_index, prior_rows};
use crate::dataset::Sample;
use crate::error::{DataError, Result};
use crate::spec::LabelMode;
use crate::table::Table;
use crate::votes::{Verdict, decide};

/// FERPlus's prior as printed in Hwang et al. 2022; rows and columns in the order of [`FERPLUS`].
pub const FERPLUS_PRIOR: [[f64; 8]; 8] = [
    [0.777334, 0.03261, 0.017447, 0.114091, 0.026224, 0.007145, 0.004379, 0.020772],
    [0.042842, 0.917618, 0.023221, 0.004816, 0.004217, 0.001969, 0.001755, 0.003563],
    [0.058354, 0.035775, 0.787254, 0.01037, 0.014319, 0.003015, 0.088513, 0.0024],
    [0.170124, 0.013292, 0.008632, 0.747902, 0.022808, 0.011237, 0.015923, 0.010082],
    [0.074781, 0.02535, 0.060215, 0.031924, 0.740551, 0.034938, 0.023251, 0.008989],
    [0.08959, 0.017445, 0.016911, 0.088629, 0.125152, 0.620813, 0.007788, 0.033671],
    [0.042815, 0.012239, 0.169483, 0.072557, 0.027228, 0.013045, 0.658964, 0.003671],
    [0.147933, 0.022174, 0.00989, 0.042923, 0.033551, 0.059924, 0.005507, 0.678099],
];

/// A square table over named classes; every row sums to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorTable {
    pub classes: Vec<String>,
    /// `[class][class]`: row = label, column = what annotators said.
    pub rows: Vec<Vec<f64>>,
}

impl PriorTable {
    /// Row by row, `classes * classes` values.
    pub fn flat(&self) -> Vec<f32> {
        self.rows.iter().flatten().map(|v| *v as f32).collect()
    }

    /// The table for other classes, found by name and renormalised by row; a class it lacks is an error.
    pub fn select(&self, classes: &[String]) -> Result<Self> {
        let mine = prior_rows(&self.classes)?;
        let theirs = prior_rows(classes)?;
        let mut at = Vec::with_capacity(classes.len());
        for (class, wanted) in classes.iter().zip(&theirs) {
            at.push(mine.iter().position(|m| m == wanted).ok_or_else(|| DataError::UnknownClass {
                found: class.clone(),
                place: "the prior table".into(),
                known: self.classes.join(", "),
            })?);
        }
        let rows = at
            .iter()
            .map(|&i| {
                let row: Vec<f64> = at.iter().map(|&j| self.rows[i][j]).collect();
                let sum: f64 = row.iter().sum();
                row.into_iter().map(|v| v / sum).collect()
            })
            .collect();
        Ok(Self { classes: classes.to_vec(), rows })
    }
}

/// FERPlus's table as published.
pub fn ferplus_prior() -> PriorTable {
    PriorTable {
        classes: FERPLUS.iter().map(|c| (*c).to_owned()).collect(),
        rows: FERPLUS_PRIOR.iter().map(|r| r.to_vec()).collect(),
    }
}

/// FERPlus's table for the classes of any data set, found by name and renormalised by row.
pub fn prior_for(classes: &[String]) -> Result<PriorTable> {
    ferplus_prior().select(classes)
}

/// Estimates the FERPlus-ordered table from samples with votes: for each majority label the mean share of the votes
/// that each expression got (`unknown` and `not a face` left out).
///
/// Samples without votes or majority are passed over; a class without any sample is an error.
pub fn estimate_prior(samples: &[Sample]) -> Result<PriorTable> {
    let mut sums = [[0f64; 8]; 8];
    let mut counts = [0usize; 8];
    for votes in samples.iter().filter_map(|s| s.votes.as_ref()) {
        let Verdict::Label { label, .. } = decide(votes, LabelMode::Majority) else {
            continue;
        };
        let total: f64 = votes[..8].iter().map(|v| f64::from(*v)).sum();
        for (sum, vote) in sums[label].iter_mut().zip(votes) {
            *sum += f64::from(*vote) / total;
        }
        counts[label] += 1;
    }
    if let Some(empty) = counts.iter().position(|&n| n == 0) {
        return Err(DataError::Prior {
            place: "estimated from votes".into(),
            found: format!("no training image whose majority is `{}`", FERPLUS[empty]),
            expected: "votes on every expression; use FERPlus's published table instead".into(),
        });
    }
    let rows = sums.iter().zip(counts).map(|(row, n)| row.iter().map(|v| v / n as f64).collect()).collect();
    Ok(PriorTable { rows, ..ferplus_prior() })
}

/// Reads a table `label,<class>,<class>,...` with one row a class, in any order of rows; rows must sum to 1 within
/// 0.001 and are then renormalised.
pub fn prior_from_csv(path: &Path) -> Result<PriorTable> {
    let mut table = Table::open(path)?;
    let Some(header) = table.next_row()? else {
        return Err(bad(path, "an empty file", "a header `label,<class>,...`"));
    };
    let classes =
        (1..header.len()).map(|c| header.text(c, "a class name").map(str::to_owned)).collect::<Result<Vec<_>>>()?;
    if let Some(unknown) = classes.iter().find(|c| ferplus_index(c).is_none()) {
        return Err(header.error(format!("class `{unknown}`"), format!("one of {}", FERPLUS.join(", "))));
    }
    prior_rows(&classes)?;
    let n = classes.len();
    let mut rows = vec![Vec::new(); n];
    while let Some(row) = table.next_row()? {
        let name = row.text(0, "a class name")?;
        let index = classes
            .iter()
            .position(|c| c == name)
            .ok_or_else(|| row.error(format!("row `{name}`"), format!("one of the columns {}", classes.join(", "))))?;
        if row.len() != n + 1 {
            return Err(row.error(format!("{} values", row.len() - 1), format!("{n}: the table is square")));
        }
        if !rows[index].is_empty() {
            return Err(row.error(format!("a second row `{name}`"), "each class once"));
        }
        let values = (1..=n).map(|c| row.number::<f64>(c, "a share 0..=1")).collect::<Result<Vec<_>>>()?;
        if let Some(v) = values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
            return Err(row.error(v.to_string(), "a share 0..=1"));
        }
        let sum: f64 = values.iter().sum();
        if (sum - 1.0).abs() > 1e-3 {
            return Err(row.error(format!("row `{name}` sums to {sum:.4}"), "1 within 0.001"));
        }
        rows[index] = values.into_iter().map(|v| v / sum).collect();
    }
    if let Some(missing) = rows.iter().position(Vec::is_empty) {
        return Err(bad(path, format!("no row `{}`", classes[missing]), "a square table: one row for each column"));
    }
    Ok(PriorTable { classes, rows })
}

fn bad(path: &Path, found: impl Into<String>, expected: &str) -> DataError {
    DataError::Prior { place: path.display().to_string(), found: found.into(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classes::{AFFECTNET, RAF_DB, owned};
    use crate::dataset::ImageSource;

    fn voted(votes: [u8; 10]) -> Sample {
        let mut sample = Sample::new("s", ImageSource::file("x".into()), 0);
        sample.votes = Some(votes);
        sample
    }

    #[test]
    fn published_rows_sum_to_one_and_peak_on_the_diagonal() {
        for (k, row) in FERPLUS_PRIOR.iter().enumerate() {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5);
            assert!(row.iter().all(|v| *v <= row[k]));
        }
    }

    #[test]
    fn other_sets_get_their_rows_by_name_renormalised() {
        let raf = prior_for(&owned(&RAF_DB)).unwrap();
        // d'[surprise][fear] = d[2][6] / (sum of row 2 without contempt).
        let expected = 0.088513 / (FERPLUS_PRIOR[2].iter().sum::<f64>() - 0.0024);
        assert!((raf.rows[0][1] - expected).abs() < 1e-12);
        assert_eq!((raf.rows.len(), raf.flat().len()), (7, 49));
        let affectnet = prior_for(&owned(&AFFECTNET)).unwrap();
        assert!((affectnet.rows[1][1] - 0.917618).abs() < 1e-5);
        assert!(prior_for(&owned(&["cat", "dog"])).unwrap_err().to_string().contains("`cat`"));
    }

    #[test]
    fn the_estimate_is_the_mean_share_by_majority() {
        let mut samples: Vec<Sample> = (0..8)
            .map(|k| {
                let mut votes = [0; 10];
                votes[k] = 10;
                voted(votes)
            })
            .collect();
        samples.push(voted([6, 2, 0, 0, 0, 0, 0, 0, 2, 0]));
        samples.push(voted([5, 5, 0, 0, 0, 0, 0, 0, 0, 0]));
        let prior = estimate_prior(&samples).unwrap();
        assert_eq!(prior.rows[0][..2], [(1.0 + 0.75) / 2.0, 0.125]);
        assert_eq!(prior.rows[1][1], 1.0);
        let error = estimate_prior(&samples[..3]).unwrap_err().to_string();
        assert!(error.contains("sadness"), "{error}");
    }

    #[test]
    fn tables_are_read_and_bad_ones_are_explained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prior.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            prior_from_csv(&path)
        };
        let good = read("label,happy,sad\nsad,0.25,0.75\nhappy,0.9,0.1\n").unwrap();
        assert_eq!(good.classes, ["happy", "sad"]);
        assert_eq!(good.rows, [[0.9, 0.1], [0.25, 0.75]]);
        for (text, parts) in [
            ("", vec!["empty file"]),
            ("label,happy,bored\n", vec![":1:", "`bored`"]),
            ("label,happy,sad\nhappy,1,0\n", vec!["no row `sad`"]),
            ("label,happy,sad\nhappy,1\n", vec![":2:", "1 values", "square"]),
            ("label,happy,sad\nhappy,0.9,0.3\n", vec![":2:", "sums to 1.2"]),
            ("label,happy,sad\nhappy,0.9,x\n", vec![":2:", "`x`"]),
            ("label,happy,sad\nfear,0.9,0.1\n", vec![":2:", "`fear`"]),
            ("label,happy,joy\n", vec!["`joy`"]),
        ] {
            let message = read(text).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "`{part}` is not in: {message}");
            }
        }
    }
}
