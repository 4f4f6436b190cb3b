//! Comma-separated tables with file and line in every complaint.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use csv::StringRecord;

use crate::error::{DataError, Result};

/// One record and where it stands.
pub struct Row<'a> {
    path: &'a Path,
    pub line: u64,
    record: StringRecord,
}

impl Row<'_> {
    pub fn len(&self) -> usize {
        self.record.len()
    }

    /// Field `column`, trimmed; `what` says what it should be.
    pub fn text(&self, column: usize, what: &str) -> Result<&str> {
        self.record
            .get(column)
            .map(str::trim)
            .ok_or_else(|| self.error(format!("{} fields", self.len()), format!("{what} as field {}", column + 1)))
    }

    /// Field `column` as a number.
    pub fn number<T: FromStr>(&self, column: usize, what: &str) -> Result<T> {
        let text = self.text(column, what)?;
        text.parse().map_err(|_| self.error(format!("`{text}`"), what))
    }

    pub fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> DataError {
        DataError::Row {
            path: self.path.to_path_buf(),
            line: self.line,
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// A table being read, with or without a header line.
pub struct Table {
    path: PathBuf,
    reader: csv::Reader<File>,
    first: Option<StringRecord>,
}

impl Table {
    /// Opens a table; its first record stays available to [`Table::columns`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
        let mut table = Self { path: path.to_path_buf(), reader, first: None };
        let mut record = StringRecord::new();
        if table.read(&mut record)? {
            table.first = Some(record);
        }
        Ok(table)
    }

    /// Whether the first record begins with this word.
    pub fn starts_with(&self, word: &str) -> bool {
        self.first.as_ref().and_then(|r| r.get(0)).is_some_and(|f| f.trim_start_matches('\u{feff}').trim() == word)
    }

    /// Takes the first record as header and finds each name's column, in any order and whatever the blanks and case.
    pub fn columns<const N: usize>(&mut self, names: [&str; N]) -> Result<[usize; N]> {
        let header = self.first.take().unwrap_or_default();
        let found: Vec<String> =
            header.iter().map(|f| f.trim_start_matches('\u{feff}').trim().to_lowercase()).collect();
        let mut columns = [0; N];
        for (column, name) in columns.iter_mut().zip(names) {
            *column = found.iter().position(|f| *f == name.to_lowercase()).ok_or_else(|| DataError::Row {
                path: self.path.clone(),
                line: 1,
                found: format!("the columns `{}`", found.join(",")),
                expected: format!("a column `{name}`"),
            })?;
        }
        Ok(columns)
    }

    /// The next record, `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        let mut record = StringRecord::new();
        match self.first.take() {
            Some(first) => record = first,
            None if !self.read(&mut record)? => return Ok(None),
            None => {}
        }
        let line = record.position().map_or(0, csv::Position::line);
        Ok(Some(Row { path: &self.path, line, record }))
    }

    fn read(&mut self, record: &mut StringRecord) -> Result<bool> {
        self.reader.read_record(record).map_err(|e| DataError::Row {
            path: self.path.clone(),
            line: e.position().map_or(0, csv::Position::line),
            found: e.to_string(),
            expected: "a comma-separated record in UTF-8".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_order_and_errors_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, "emotion, Usage, pixels\n3,Training,1 2\nx,Training,1 2\n").unwrap();
        let mut table = Table::open(&path).unwrap();
        assert_eq!(table.columns(["pixels", "emotion", "usage"]).unwrap(), [2, 0, 1]);
        let row = table.next_row().unwrap().unwrap();
        assert_eq!((row.line, row.number::<u8>(0, "a label").unwrap()), (2, 3));
        let row = table.next_row().unwrap().unwrap();
        let message = row.number::<u8>(0, "a label 0..=6").unwrap_err().to_string();
        assert!(message.ends_with("t.csv:3: found `x`, expected a label 0..=6"), "{message}");
        assert!(row.text(5, "a name").unwrap_err().to_string().contains("3 fields"));
        assert!(table.next_row().unwrap().is_none());
        let mut table = Table::open(&path).unwrap();
        assert!(table.columns(["votes"]).unwrap_err().to_string().contains("`votes`"));
    }
}
