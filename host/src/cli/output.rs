//! Standard output that may be closed early (`fer-host graph ... | head`), and numbers as people read them.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::failure::{Failure, Result};

/// Writes a text and a line's end to standard output. A reader that has gone is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a value as indented JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
    print(&text)
}

/// `48843410` as `48,843,410`.
pub fn grouped(number: u64) -> String {
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

/// `9.1 G`, `12.3 M`: three digits and a decimal prefix.
pub fn decimal(number: f64) -> String {
    scaled(number, 1000.0, ["", " k", " M", " G", " T", " P"])
}

/// `9.1 GFLOP`, `160 FLOP`.
pub fn flop(number: f64) -> String {
    scaled(number, 1000.0, [" FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP", " PFLOP"])
}

/// `1.6 GiB`.
pub fn binary(bytes: f64) -> String {
    scaled(bytes, 1024.0, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

fn scaled(mut number: f64, step: f64, units: [&str; 6]) -> String {
    let mut unit = 0;
    while number >= step && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = if unit == 0 || number >= 99.95 { 0 } else { 1 };
    format!("{number:.digits$}{}", units[unit])
}

/// Columns of text: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(c, cell)| match c {
            0 => format!("{cell:<w$}", w = widths[0]),
            _ => format!("{cell:>w$}", w = widths[c]),
        });
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(48_843_410), "48,843,410");
        assert_eq!(
            (decimal(999.0), decimal(9_140_000_000.0), decimal(123_400.0)),
            ("999".into(), "9.1 G".into(), "123 k".into())
        );
        assert_eq!((flop(160.0), flop(9.1e9)), ("160 FLOP".into(), "9.1 GFLOP".into()));
        assert_eq!(binary(1.6 * 1024f64.powi(3)), "1.6 GiB");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        assert_eq!(table(&rows), "a       1\nlong   22");
    }
}
