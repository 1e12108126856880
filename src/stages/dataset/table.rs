//! Rows of a Parquet file: only the columns that some layout uses are read, a few rows at a time.
//! Unaware of what layouts make of them.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use parquet::file::reader::FileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use parquet::schema::types::Type;
use serde_json::Value;

use super::row::{Loose, Message, Picture, Pictures, Row};
use crate::images::cells::{BINARY_COLUMNS, TEXT_COLUMNS, image_column};
use crate::stages::files;

/// Columns that layouts use, besides those of images.
const COLUMNS: [&str; 16] = [
    "id",
    "conversations",
    "conversation",
    "messages",
    "instruction",
    "input",
    "inputs",
    "output",
    "outputs",
    "image_id",
    "caption",
    "skill",
    "task_type",
    "source",
    "subset",
    "task_name",
];
/// Rows that are decoded together, of files with images and without.
const STEP: [usize; 2] = [32, 1024];

/// The rows of a file.
pub struct Rows {
    rows: RowIter<'static>,
    /// The column of images that lie in the file.
    inside: Option<(String, bool)>,
    path: String,
}

/// The names of a file's columns.
///
/// # Errors
///
/// If it is not a Parquet file.
pub fn columns(path: &Path) -> anyhow::Result<Vec<String>> {
    let reader = files::parquet(path)?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    Ok(fields.iter().map(|field| field.name().to_string()).collect())
}

impl Rows {
    /// Starts to read a file.
    ///
    /// # Errors
    ///
    /// If it is not a Parquet file.
    pub fn open(path: &Path) -> anyhow::Result<Rows> {
        let problem = || format!("cannot read `{}`", path.display());
        let reader = files::parquet(path)?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let inside = image_column(schema);
        let inside = inside.map(|column| (schema.column(column.leaf).path().parts()[0].clone(), column.base64));
        let wanted = |field: &&Arc<Type>| {
            let name = field.name();
            let image = BINARY_COLUMNS.contains(&name) || TEXT_COLUMNS.contains(&name);
            // Of several columns of images only the one in which they are found again is read.
            let other = image && inside.as_ref().is_some_and(|(column, _)| column != name);
            (COLUMNS.contains(&name) || image) && !other
        };
        let fields = schema.root_schema().get_fields().iter().filter(wanted).cloned().collect();
        let projection = Type::group_type_builder(schema.root_schema().name()).with_fields(fields).build();
        let projection = projection.with_context(problem)?;
        let step = STEP[usize::from(inside.is_none())];
        let rows = RowIter::from_file_into(Box::new(reader)).project(Some(projection)).with_context(problem)?;
        Ok(Rows { rows: rows.with_batch_size(step), inside, path: path.display().to_string() })
    }

    /// The next row.
    ///
    /// # Errors
    ///
    /// If it cannot be decoded.
    pub fn next(&mut self) -> Option<anyhow::Result<Row<'static>>> {
        let record = self.rows.next()?;
        Some(record.map(|record| self.row(record)).with_context(|| format!("cannot read `{}`", self.path)))
    }

    fn row(&self, record: Record) -> Row<'static> {
        let mut row = Row::default();
        for (name, field) in record.into_columns() {
            if let Some((_, base64)) = self.inside.as_ref().filter(|(column, _)| *column == name) {
                row.images = pictures(field, *base64);
                continue;
            }
            match name.as_str() {
                "image" | "images" => row.images.0.append(&mut pictures(field, false).0),
                "conversations" | "conversation" | "messages" => row.conversations = conversation(&field),
                "id" => row.id = loose(&field).text().map_or(Value::Null, Value::from),
                "instruction" => row.instruction = loose(&field),
                "input" | "inputs" => row.input = loose(&field),
                "output" | "outputs" => row.output = loose(&field),
                "image_id" => row.image_id = loose(&field),
                "caption" => row.caption = loose(&field),
                "skill" => row.skill = loose(&field),
                "task_type" => row.task_type = loose(&field),
                "source" | "subset" | "task_name" => row.source = loose(&field),
                _ => {}
            }
        }
        row
    }
}

/// What the elements of a cell are, in order.
fn pictures(field: Field, base64: bool) -> Pictures<'static> {
    Pictures(match field {
        Field::Null => vec![],
        Field::ListInternal(list) => list.elements().iter().map(|element| picture(element, base64)).collect(),
        single => match picture(&single, base64) {
            Picture::Nothing => vec![],
            picture => vec![picture],
        },
    })
}

fn picture(field: &Field, base64: bool) -> Picture<'static> {
    match field {
        Field::Bytes(bytes) => Picture::Cell(bytes.clone()),
        Field::Str(text) if base64 => Picture::TextCell(text.clone()),
        Field::Str(path) => Picture::File(Cow::Owned(path.clone())),
        Field::Group(group) => {
            let named =
                |wanted: &str| group.get_column_iter().find(|(name, _)| *name == wanted).map(|(_, field)| field);
            match (named("bytes"), named("path")) {
                (Some(Field::Bytes(bytes)), _) => Picture::Cell(bytes.clone()),
                (_, Some(Field::Str(path))) => Picture::File(Cow::Owned(path.clone())),
                _ => Picture::Nothing,
            }
        }
        _ => Picture::Nothing,
    }
}

/// A list of groups; or a group of lists, as `datasets` turns a `Sequence` of dictionaries.
fn conversation(field: &Field) -> Option<Vec<Message<'static>>> {
    const FROM: [&str; 2] = ["from", "role"];
    const VALUE: [&str; 2] = ["value", "content"];
    let of = |group: &Record, names: [&str; 2]| {
        group.get_column_iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, field)| field.clone())
    };
    match field {
        Field::ListInternal(list) => {
            let message = |element: &Field| match element {
                Field::Group(group) => {
                    let text = |names| of(group, names).map_or(Loose::default(), |field| loose(&field));
                    Some(Message { from: text(FROM), value: text(VALUE) })
                }
                _ => None,
            };
            list.elements().iter().map(message).collect()
        }
        Field::Group(group) => match (of(group, FROM), of(group, VALUE)) {
            (Some(Field::ListInternal(from)), Some(Field::ListInternal(value))) if from.len() == value.len() => {
                let pairs = from.elements().iter().zip(value.elements());
                Some(pairs.map(|(from, value)| Message { from: loose(from), value: loose(value) }).collect())
            }
            _ => None,
        },
        _ => None,
    }
}

fn loose(field: &Field) -> Loose<'static> {
    Loose(match field {
        Field::Str(text) => Some(Cow::Owned(text.clone())),
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).ok().map(|text| Cow::Owned(text.to_string())),
        Field::Int(number) => Some(Cow::Owned(number.to_string())),
        Field::Long(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    })
}
