//! The numbers of a figure: what is written beside it as CSV, and compared with a golden.

use anyhow::{Context as _, ensure};

/// Numbers in rows. The columns that are no numbers say which row it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// The columns.
    pub columns: Vec<NumberColumn>,
    /// The rows, with an entry for each column.
    pub rows: Vec<Vec<Entry>>,
}

/// A column of numbers or words.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberColumn {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub role: Role,
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// It says which row it is.
    Key,
    /// A number or word that may be this far from the golden.
    Compared(f64),
    /// It is for readers only.
    Shown,
}

/// A number or a word in a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A word.
    Word(String),
    /// A number, where it is known.
    Number(Option<f64>),
}

impl From<&str> for Entry {
    fn from(word: &str) -> Entry {
        Entry::Word(word.to_string())
    }
}

impl From<f64> for Entry {
    fn from(number: f64) -> Entry {
        Entry::Number(Some(number))
    }
}

impl From<Option<f64>> for Entry {
    fn from(number: Option<f64>) -> Entry {
        Entry::Number(number)
    }
}

impl From<usize> for Entry {
    fn from(number: usize) -> Entry {
        Entry::Word(number.to_string())
    }
}

impl Entry {
    /// At most four decimals, as many as say something.
    fn text(&self) -> String {
        match self {
            Entry::Word(word) => word.clone(),
            Entry::Number(None) => String::new(),
            Entry::Number(Some(value)) => {
                let text = format!("{value:.4}");
                let text = text.trim_end_matches('0').trim_end_matches('.');
                if text == "-0" { "0".to_string() } else { text.to_string() }
            }
        }
    }
}

impl Numbers {
    /// Columns without rows.
    pub fn new(columns: &[(&'static str, Role)]) -> Numbers {
        let columns = columns.iter().map(|(name, role)| NumberColumn { name, role: *role }).collect();
        Numbers { columns, rows: Vec::new() }
    }

    /// A row as JSON.
    pub fn to_json(&self, row: &[Entry]) -> serde_json::Value {
        let value = |entry: &Entry| match entry {
            Entry::Word(word) => word.as_str().into(),
            Entry::Number(number) => serde_json::Value::from(*number),
        };
        let entries = self.columns.iter().zip(row).map(|(column, entry)| (column.name.to_string(), value(entry)));
        serde_json::Value::Object(entries.collect())
    }

    /// The numbers as CSV, with a heading.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut write = |record: Vec<String>| writer.write_record(record).expect("BUG: memory can be written");
        write(self.columns.iter().map(|column| column.name.to_string()).collect());
        self.rows.iter().for_each(|row| write(row.iter().map(Entry::text).collect()));
        let bytes = writer.into_inner().expect("BUG: memory can be written");
        String::from_utf8(bytes).expect("BUG: CSV of texts is text")
    }

    /// In what these numbers differ from the golden, which was written with [`Numbers::to_csv`].
    ///
    /// # Errors
    ///
    /// If the text is no such CSV.
    pub fn differences(&self, golden: &str) -> anyhow::Result<Vec<String>> {
        let mut reader = csv::Reader::from_reader(golden.as_bytes());
        let heads: Vec<String> = reader.headers().context("it has no heading")?.iter().map(str::to_string).collect();
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let mut differences = Vec::new();
        if heads != names {
            differences.push(format!("columns: {} -> {}", heads.join(", "), names.join(", ")));
            return Ok(differences);
        }
        let golden: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().context("it is no table")?;
        let key = |row: &[String]| -> Vec<String> {
            let keys = self.columns.iter().zip(row).filter(|(column, _)| column.role == Role::Key);
            keys.map(|(_, text)| text.clone()).collect()
        };
        let texts = |row: &Vec<Entry>| row.iter().map(Entry::text).collect::<Vec<String>>();
        let rows: Vec<Vec<String>> = self.rows.iter().map(texts).collect();
        let golden: Vec<Vec<String>> = golden.iter().map(|row| row.iter().map(str::to_string).collect()).collect();
        ensure!(golden.iter().all(|row| row.len() == names.len()), "a row has other columns than the heading");
        for row in golden.iter().filter(|row| !rows.iter().any(|other| key(other) == key(row))) {
            differences.push(format!("{}: present -> absent", key(row).join(", ")));
        }
        for row in &rows {
            let Some(expected) = golden.iter().find(|other| key(other) == key(row)) else {
                differences.push(format!("{}: absent -> present", key(row).join(", ")));
                continue;
            };
            for (place, column) in self.columns.iter().enumerate() {
                let Role::Compared(tolerance) = column.role else { continue };
                let (expected, found) = (&expected[place], &row[place]);
                let near = match (expected.parse::<f64>(), found.parse::<f64>()) {
                    (Ok(expected), Ok(found)) => (expected - found).abs() <= tolerance,
                    _ => expected == found,
                };
                if !near {
                    let known = |text: &str| if text.is_empty() { "–".to_string() } else { text.to_string() };
                    let (place, name) = (key(row).join(", "), column.name);
                    let (expected, found) = (known(expected), known(found));
                    differences.push(format!("{place}, {name}: {expected} -> {found} (tolerance {tolerance})"));
                }
            }
        }
        Ok(differences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(value: f64) -> Numbers {
        let mut numbers =
            Numbers::new(&[("arm", Role::Key), ("mean", Role::Compared(2.0)), ("deviation", Role::Shown)]);
        numbers.rows.push(vec!["A, or B".into(), value.into(), 1.5.into()]);
        numbers.rows.push(vec!["C".into(), None.into(), None.into()]);
        numbers
    }

    #[test]
    fn numbers_are_written_and_compared_within_their_tolerance() {
        let golden = numbers(50.0).to_csv();
        assert_eq!(golden, "arm,mean,deviation\n\"A, or B\",50,1.5\nC,,\n");
        assert_eq!(numbers(51.99).differences(&golden).unwrap(), Vec::<String>::new());
        assert_eq!(numbers(52.5).differences(&golden).unwrap(), ["A, or B, mean: 50 -> 52.5 (tolerance 2)"]);
        let mut fewer = numbers(50.0);
        fewer.rows[1][0] = "D".into();
        assert_eq!(fewer.differences(&golden).unwrap(), ["C: present -> absent", "D: absent -> present"]);
        assert!(numbers(0.0).differences("arm,median\n").unwrap()[0].starts_with("columns: arm, median ->"));
    }
}
