//! A table as JSON that people can read and compare line by line.

use serde_json::Value;

use super::Table;

/// A value that fits within so many characters is written on one line.
const LINE: usize = 120;

impl Table {
    /// The table as JSON, with every value that it aggregates.
    pub fn to_json(&self) -> String {
        let value = serde_json::to_value(self).expect("BUG: a table is plain data");
        let mut text = String::new();
        write(&value, 0, &mut text);
        text.push('\n');
        text
    }

    /// Reads a table that was written with [`Table::to_json`].
    ///
    /// # Errors
    ///
    /// If the text is not one.
    pub fn from_json(text: &str) -> Result<Table, serde_json::Error> {
        serde_json::from_str(text)
    }
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let short = value.to_string();
    let items: Vec<(Option<&String>, &Value)> = match value {
        Value::Array(items) if short.len() > LINE => items.iter().map(|item| (None, item)).collect(),
        Value::Object(entries) if short.len() > LINE => entries.iter().map(|(key, item)| (Some(key), item)).collect(),
        _ => return text.push_str(&short),
    };
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    text.push(open);
    for (place, (key, item)) in items.into_iter().enumerate() {
        text.push_str(if place == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        if let Some(key) = key {
            text.push_str(&Value::from(key.as_str()).to_string());
            text.push_str(": ");
        }
        write(item, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(close);
}
