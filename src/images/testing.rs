//! Writes small Parquet files for tests: rows of texts, bytes, groups and lists, shredded into columns as
//! Dremel has it. Every leaf is a byte array.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

/// A value in a row.
#[derive(Debug, Clone)]
pub enum Cell {
    Null,
    Bytes(Vec<u8>),
    /// One value per field.
    Group(Vec<Cell>),
    List(Vec<Cell>),
}

impl Cell {
    pub fn text(text: &str) -> Cell {
        Cell::Bytes(text.as_bytes().to_vec())
    }
}

/// A file in the making.
pub struct Table {
    schema: TypePtr,
    rows: Vec<Vec<Cell>>,
    rows_per_group: usize,
    rows_per_page: usize,
    zstd: bool,
    index: bool,
}

/// The values of a leaf column in a row group, with their levels.
#[derive(Default, Clone)]
struct Leaf {
    repeated: Vec<i16>,
    defined: Vec<i16>,
    values: Vec<ByteArray>,
}

#[allow(dead_code, reason = "tests of several crates include this file, and not each uses all of it")]
impl Table {
    /// A file with this schema, such as `message m { required binary id (string); }`.
    pub fn new(message: &str, rows_per_group: usize) -> Table {
        let schema = Arc::new(parse_message_type(message).unwrap());
        Table { schema, rows: vec![], rows_per_group, rows_per_page: 1000, zstd: false, index: true }
    }

    pub fn schema(&self) -> SchemaDescriptor {
        SchemaDescriptor::new(Arc::clone(&self.schema))
    }

    pub fn rows_per_page(mut self, rows: usize) -> Table {
        self.rows_per_page = rows;
        self
    }

    /// Compressed by Zstandard instead of Snappy.
    pub fn zstd(mut self) -> Table {
        self.zstd = true;
        self
    }

    /// Without the index of pages, as older writers leave it out.
    pub fn without_index(mut self) -> Table {
        self.index = false;
        self
    }

    /// Adds a row: one value per field.
    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.schema.get_fields().len());
        self.rows.push(cells);
    }

    pub fn write(&self, file: &Path) {
        let compression = if self.zstd { Compression::ZSTD(ZstdLevel::default()) } else { Compression::SNAPPY };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_data_page_row_count_limit(self.rows_per_page)
            .set_write_batch_size(1)
            .set_dictionary_enabled(false)
            .set_offset_index_disabled(!self.index)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .build();
        let schema = Arc::clone(&self.schema);
        let mut writer = SerializedFileWriter::new(File::create(file).unwrap(), schema, Arc::new(properties)).unwrap();
        for rows in self.rows.chunks(self.rows_per_group) {
            let mut leaves = vec![Leaf::default(); self.schema().num_columns()];
            for row in rows {
                let mut leaf = 0;
                for (field, cell) in self.schema.get_fields().iter().zip(row) {
                    leaf += shred(field, cell, Level::default(), &mut leaves[leaf..]);
                }
            }
            let mut group = writer.next_row_group().unwrap();
            for leaf in leaves {
                let mut column = group.next_column().unwrap().unwrap();
                let levels = (Some(leaf.defined.as_slice()), Some(leaf.repeated.as_slice()));
                column.typed::<ByteArrayType>().write_batch(&leaf.values, levels.0, levels.1).unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }
}

/// How many optional and repeated nodes above a value are there, and at which of the latter it repeats.
#[derive(Default, Clone, Copy)]
struct Level {
    defined: i16,
    repeated: i16,
    lists: i16,
}

/// Appends a value to the leaves below its node, and says how many those are.
fn shred(node: &Type, cell: &Cell, mut level: Level, leaves: &mut [Leaf]) -> usize {
    if matches!(cell, Cell::Null) {
        return absent(node, level, leaves);
    }
    level.defined += i16::from(node.is_optional());
    match cell {
        Cell::Null => unreachable!("handled above"),
        Cell::Bytes(bytes) => {
            leaves[0].values.push(ByteArray::from(bytes.clone()));
            leaves[0].defined.push(level.defined);
            leaves[0].repeated.push(level.repeated);
            1
        }
        Cell::Group(cells) => {
            let mut leaf = 0;
            for (field, cell) in node.get_fields().iter().zip(cells) {
                leaf += shred(field, cell, level, &mut leaves[leaf..]);
            }
            leaf
        }
        Cell::List(cells) => {
            assert_eq!(node.get_basic_info().converted_type(), ConvertedType::LIST);
            let element = &node.get_fields()[0].get_fields()[0];
            if cells.is_empty() {
                return absent(element, level, leaves);
            }
            let mut count = 0;
            for (number, cell) in cells.iter().enumerate() {
                let lists = level.lists + 1;
                let repeated = if number == 0 { level.repeated } else { lists };
                count = shred(element, cell, Level { defined: level.defined + 1, repeated, lists }, leaves);
            }
            count
        }
    }
}

fn absent(node: &Type, level: Level, leaves: &mut [Leaf]) -> usize {
    if node.is_primitive() {
        leaves[0].defined.push(level.defined);
        leaves[0].repeated.push(level.repeated);
        return 1;
    }
    let mut leaf = 0;
    for field in node.get_fields() {
        leaf += absent(field, level, &mut leaves[leaf..]);
    }
    leaf
}
