//! Images in the cells of Parquet files, read at random.
//!
//! The footer of a file is read once and its handle kept. To reach a row, the reader skips to it inside
//! its row group: by the file's offset index where there is one, else page by page, so no more than a page
//! is in memory at a time. Rows that are asked for in rising order are read in one pass, and all images of
//! one row at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use parquet::basic::{LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::{Flaw, decoded};

/// Columns that hold encoded images: bytes, or a group with `bytes`, or a list of either.
pub const BINARY_COLUMNS: [&str; 2] = ["images", "image"];
/// Columns that hold base64 text, or lists of it (M3IT).
pub const TEXT_COLUMNS: [&str; 2] = ["image_base64_str", "image_str"];
/// Files whose footers and handles are kept.
const KEPT: usize = 16;

/// The column of a Parquet file that holds its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageColumn {
    /// Index among the leaf columns.
    pub leaf: usize,
    /// Whether it holds base64 text instead of bytes.
    pub base64: bool,
    /// Definition level from which on there is an element, if only an empty one.
    element: i16,
}

/// Finds the column of images by name and type; the first that fits, bytes before base64 text.
pub fn image_column(schema: &SchemaDescriptor) -> Option<ImageColumn> {
    let leaves = || schema.columns().iter().enumerate();
    let root = |column: &ColumnDescriptor| column.path().parts()[0].clone();
    let binary = |wanted: &str| {
        leaves().find(|(_, column)| {
            let named = column.path().parts().last().is_some_and(|name| name == "bytes");
            root(column) == wanted && is_binary(column) && (named || !is_text(column))
        })
    };
    let text = |wanted: &str| leaves().find(|(_, column)| root(column) == wanted && is_binary(column));
    let found = BINARY_COLUMNS.iter().find_map(|name| binary(name)).map(|found| (found, false));
    let found = found.or_else(|| TEXT_COLUMNS.iter().find_map(|name| text(name)).map(|found| (found, true)));
    found.map(|((leaf, column), base64)| ImageColumn { leaf, base64, element: element_level(column) })
}

fn is_binary(column: &ColumnDescriptor) -> bool {
    column.physical_type() == Physical::BYTE_ARRAY
}

fn is_text(column: &ColumnDescriptor) -> bool {
    column.logical_type_ref() == Some(&LogicalType::String)
        || column.converted_type() == parquet::basic::ConvertedType::UTF8
}

/// The definition level from which on there is an element: that of the list, or the column's own.
fn element_level(column: &ColumnDescriptor) -> i16 {
    if column.max_rep_level() > 0 { column.repeated_ancestor_def_level() } else { column.max_def_level() }
}

/// The encoded image `image` of row `row`.
pub(super) fn bytes(file: &Path, row: u64, image: u32) -> Result<Vec<u8>, Flaw> {
    let opened = open(file)?;
    let found = opened.images(row)?.into_iter().nth(image as usize).flatten().ok_or(Flaw::Missing)?;
    match opened.column.base64 {
        true => decoded(found.data()),
        false => Ok(found.data().to_vec()),
    }
}

/// What tells one state of a file from another.
type Stamp = (u64, Option<SystemTime>);

/// An open file.
struct Opened {
    stamp: Stamp,
    reader: SerializedFileReader<File>,
    /// First row of each row group, and the number of rows.
    starts: Vec<u64>,
    column: ImageColumn,
    cursor: Mutex<Option<Cursor>>,
}

/// Where the reading of a row group stands.
struct Cursor {
    group: usize,
    /// The row that is read next, counted from 0 in the file.
    next: u64,
    column: ColumnReaderImpl<ByteArrayType>,
    /// The images of the row before it.
    last: Vec<Option<ByteArray>>,
}

/// Open files, the latest used last.
static OPEN: Mutex<Vec<(PathBuf, Arc<Opened>)>> = Mutex::new(Vec::new());

fn open(file: &Path) -> Result<Arc<Opened>, Flaw> {
    let metadata = fs::metadata(file)?;
    let stamp = (metadata.len(), metadata.modified().ok());
    let mut open = lock(&OPEN);
    let known = open.iter().position(|(path, opened)| path == file && opened.stamp == stamp);
    let entry = match known {
        Some(index) => open.remove(index),
        None => (file.to_path_buf(), Arc::new(Opened::new(file, stamp)?)),
    };
    let opened = Arc::clone(&entry.1);
    open.push(entry);
    if open.len() > KEPT {
        open.remove(0);
    }
    Ok(opened)
}

impl Opened {
    fn new(file: &Path, stamp: Stamp) -> Result<Opened, Flaw> {
        let options = ReadOptionsBuilder::new().with_page_index().build();
        let reader = SerializedFileReader::new_with_options(File::open(file)?, options)?;
        let no_column = || Flaw::Unreadable("the Parquet file has no column of images".into());
        let column = image_column(reader.metadata().file_metadata().schema_descr()).ok_or_else(no_column)?;
        let mut starts = vec![0];
        for group in reader.metadata().row_groups() {
            starts.push(starts[starts.len() - 1] + group.num_rows() as u64);
        }
        Ok(Opened { stamp, reader, starts, column, cursor: Mutex::new(None) })
    }

    /// The images of a row.
    fn images(&self, row: u64) -> Result<Vec<Option<ByteArray>>, Flaw> {
        let group = self.starts.partition_point(|start| *start <= row) - 1;
        if group + 1 == self.starts.len() {
            return Err(Flaw::Missing);
        }
        let mut place = lock(&self.cursor);
        // A cursor at which something went wrong is not put back.
        let mut cursor = match place.take() {
            Some(cursor) if cursor.group == group && cursor.next == row + 1 => {
                let images = cursor.last.clone();
                *place = Some(cursor);
                return Ok(images);
            }
            Some(cursor) if cursor.group == group && cursor.next <= row => cursor,
            _ => self.start(group)?,
        };
        let skip = (row - cursor.next) as usize;
        if cursor.column.skip_records(skip)? != skip {
            return Err(Flaw::Unreadable(format!("the Parquet file ends before row {row}")));
        }
        cursor.next = row + 1;
        cursor.last = self.read(&mut cursor.column)?;
        let images = cursor.last.clone();
        *place = Some(cursor);
        Ok(images)
    }

    fn start(&self, group: usize) -> Result<Cursor, Flaw> {
        let reader = self.reader.get_row_group(group)?.get_column_reader(self.column.leaf)?;
        let column = get_typed_column_reader::<ByteArrayType>(reader);
        Ok(Cursor { group, next: self.starts[group], column, last: Vec::new() })
    }

    /// The next row's images; an element without content is `None`.
    fn read(&self, column: &mut ColumnReaderImpl<ByteArrayType>) -> Result<Vec<Option<ByteArray>>, Flaw> {
        let descriptor = self.reader.metadata().file_metadata().schema_descr().column(self.column.leaf);
        let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
        column.read_records(1, Some(&mut defined), Some(&mut repeated), &mut values)?;
        if descriptor.max_def_level() == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        let elements = defined.into_iter().filter(|level| *level >= self.column.element);
        Ok(elements.map(|level| if level == descriptor.max_def_level() { values.next() } else { None }).collect())
    }
}

/// What the locks guard is whole at every moment, so a panic elsewhere does not make it unusable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<ParquetError> for Flaw {
    fn from(error: ParquetError) -> Flaw {
        Flaw::Unreadable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cell, Table};
    use super::super::{Part, Place};
    use super::*;

    const IMAGES: &str = "message m {
        required binary id (string);
        optional group images (list) { repeated group list { optional group element {
            optional binary bytes; optional binary path (string); } } }
    }";

    /// Rows with 0, 1, 2, 0, 1, 2… images, each image a text that tells its place.
    fn table(rows: usize, rows_per_group: usize) -> Table {
        let mut table = Table::new(IMAGES, rows_per_group);
        for row in 0..rows {
            let image = |image: usize| Cell::Group(vec![Cell::text(&format!("{row}:{image}")), Cell::Null]);
            table.row(vec![Cell::text(&row.to_string()), Cell::List((0..row % 3).map(image).collect())]);
        }
        table
    }

    fn text(file: &Path, row: u64, image: u32) -> Result<String, Flaw> {
        let place = Place { file: file.to_path_buf(), part: Part::Cell { row, image } };
        place.bytes().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn cells_are_read_in_any_order_across_row_groups_and_pages() {
        let directory = tempfile::tempdir().unwrap();
        let made = || table(100, 30).rows_per_page(7);
        for (number, table) in [made(), made().without_index().zstd()].iter().enumerate() {
            let file = directory.path().join(number.to_string());
            table.write(&file);
            for row in (0..100).chain((0..100).rev()).chain((0..100).map(|step| step * 37 % 100)) {
                for image in 0..row % 3 {
                    assert_eq!(text(&file, row, image as u32).unwrap(), format!("{row}:{image}"));
                }
                assert!(matches!(text(&file, row, (row % 3) as u32), Err(Flaw::Missing)));
            }
            assert!(matches!(text(&file, 100, 0), Err(Flaw::Missing)));
        }
    }

    #[test]
    fn a_file_that_changed_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.parquet");
        table(3, 10).write(&file);
        assert_eq!(text(&file, 2, 1).unwrap(), "2:1");
        table(300, 10).write(&file);
        assert_eq!(text(&file, 299, 0).unwrap(), "299:0");
    }

    #[test]
    fn an_element_without_bytes_keeps_its_place_in_the_list() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.parquet");
        let mut table = Table::new(IMAGES, 10);
        let by_path = Cell::Group(vec![Cell::Null, Cell::text("a.png")]);
        let inside = Cell::Group(vec![Cell::text("inside"), Cell::Null]);
        table.row(vec![Cell::text("0"), Cell::List(vec![by_path, Cell::Null, inside])]);
        table.row(vec![Cell::text("1"), Cell::Null]);
        table.write(&file);
        assert!(matches!(text(&file, 0, 0), Err(Flaw::Missing)));
        assert!(matches!(text(&file, 0, 1), Err(Flaw::Missing)));
        assert_eq!(text(&file, 0, 2).unwrap(), "inside");
        assert!(matches!(text(&file, 1, 0), Err(Flaw::Missing)));
    }

    #[test]
    fn the_column_of_images_is_found_by_name_and_type() {
        let found = |message: &str| {
            let table = Table::new(message, 1);
            image_column(&table.schema()).map(|column| (column.leaf, column.base64))
        };
        assert_eq!(found(IMAGES), Some((1, false)));
        assert_eq!(
            found("message m { optional group image { optional binary path (string); optional binary bytes; } }"),
            Some((1, false))
        );
        assert_eq!(found("message m { required binary image; }"), Some((0, false)));
        assert_eq!(found("message m { optional binary image (string); }"), None);
        let text = "message m { optional group image_base64_str (list) { repeated group list { optional binary element (string); } } }";
        assert_eq!(found(text), Some((0, true)));
    }

    #[test]
    fn what_is_no_parquet_file_is_unreadable() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.parquet");
        std::fs::write(&file, "PAR1 and no more").unwrap();
        assert!(matches!(text(&file, 0, 0), Err(Flaw::Unreadable(_))));
        assert!(matches!(text(&directory.path().join("gone"), 0, 0), Err(Flaw::Missing)));
    }
}
