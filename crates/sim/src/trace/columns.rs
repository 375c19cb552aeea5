//! Flat columns of a Parquet file, in batches, from a file that may lie about its sizes.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::{LogicalType, TimeUnit, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use super::error::{Place, Problem, TraceError};
use super::input;

/// How many rows are decoded at once.
pub(crate) const BATCH: usize = 4096;
/// The largest page that is decompressed; writers make pages of about 1 MiB.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// The end of a file: the length of its description and a magic word.
const FOOTER_BYTES: u64 = 8;

/// A file and where its wanted columns stand.
pub(crate) struct Table {
    reader: SerializedFileReader<Guarded>,
    columns: Vec<usize>,
    pub(crate) place: Place,
}

/// What a batch of a column holds.
pub(crate) enum Values {
    Numbers(Vec<Option<f64>>),
    Names(Vec<Option<Vec<u8>>>),
}

impl Table {
    /// Opens a file that must have all of `names` as columns without nesting.
    pub(crate) fn open(path: &Path, names: &[&str]) -> Result<Self, TraceError> {
        let place = Place::file(path);
        let file = input::open_plain(path)?;
        let reader = guarded(&place, || SerializedFileReader::new(Guarded(file)))?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let find = |name: &&str| {
            let index = schema.columns().iter().position(|column| column.path().string() == **name);
            let flat = |index: &usize| {
                let column = schema.column(*index);
                column.max_rep_level() == 0 && column.max_def_level() <= 1
            };
            index.filter(flat).ok_or_else(|| {
                place.wrong(Problem::new("no such column", format!("a column `{name}` without nesting")))
            })
        };
        let columns = names.iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { reader, columns, place })
    }

    pub(crate) fn row_groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    /// How many of the unit of a column of times make a second; plain integers are milliseconds.
    pub(crate) fn ticks_per_second(&self, column: usize) -> f64 {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        match schema.column(self.columns[column]).logical_type_ref() {
            Some(LogicalType::Timestamp(stamp)) => match stamp.unit {
                TimeUnit::MILLIS => 1e3,
                TimeUnit::MICROS => 1e6,
                TimeUnit::NANOS => 1e9,
            },
            _ => 1e3,
        }
    }

    /// Readers of the wanted columns of one row group.
    pub(crate) fn group(&self, group: usize) -> Result<Vec<ColumnReader>, TraceError> {
        guarded(&self.place, || {
            let group = self.reader.get_row_group(group)?;
            self.columns.iter().map(|column| group.get_column_reader(*column)).collect()
        })
    }

    /// The next values of a column; none at the end of its row group.
    pub(crate) fn batch(&self, reader: &mut ColumnReader) -> Result<Values, TraceError> {
        guarded(&self.place, || {
            Ok(match reader {
                ColumnReader::Int32ColumnReader(reader) => Values::Numbers(read(reader, |v| f64::from(*v))?),
                ColumnReader::Int64ColumnReader(reader) => Values::Numbers(read(reader, lossy)?),
                ColumnReader::FloatColumnReader(reader) => Values::Numbers(read(reader, |v| f64::from(*v))?),
                ColumnReader::DoubleColumnReader(reader) => Values::Numbers(read(reader, |v| *v)?),
                ColumnReader::ByteArrayColumnReader(reader) => {
                    Values::Names(read(reader, |name| name.data().to_vec())?)
                }
                _ => return Err(ParquetError::General("a column of an unexpected type".into())),
            })
        })
    }

    /// Whether a column holds names and not numbers.
    pub(crate) fn is_name(&self, column: usize) -> bool {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        schema.column(self.columns[column]).physical_type() == Type::BYTE_ARRAY
    }
}

#[allow(clippy::cast_precision_loss)]
fn lossy(value: &i64) -> f64 {
    *value as f64
}

fn read<T: DataType, V>(
    reader: &mut ColumnReaderImpl<T>,
    value: impl Fn(&T::T) -> V,
) -> ParquetResult<Vec<Option<V>>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (records, present, _) = reader.read_records(BATCH, Some(&mut levels), None, &mut values)?;
    if levels.is_empty() {
        return Ok(values.iter().map(|v| Some(value(v))).collect());
    }
    if levels.len() != records || values.len() != present {
        return Err(ParquetError::General("levels and values of a column disagree".into()));
    }
    let mut values = values.iter();
    Ok(levels.iter().map(|level| if *level > 0 { values.next().map(&value) } else { None }).collect())
}

/// Runs the decoder, which has panicked on damaged files before, and turns that into an error.
fn guarded<T>(place: &Place, decode: impl FnOnce() -> ParquetResult<T>) -> Result<T, TraceError> {
    let result = catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(ParquetError::General("the file is damaged in a way not foreseen".into())));
    result.map_err(|source| TraceError::Parquet { place: Box::new(place.clone()), source })
}

/// A file that does not let the decoder allocate what no honest page needs.
struct Guarded(File);

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Guarded {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let mut file = self.0.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        let mut reader = BufReader::new(file);
        if start.saturating_add(FOOTER_BYTES) != self.len() {
            check_page_header(reader.fill_buf()?)?;
        }
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<bytes::Bytes> {
        if (length as u64).saturating_add(start) > self.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} lie beyond the file's end")));
        }
        self.0.get_bytes(start, length)
    }
}

/// Judges the size that a page claims before the decoder allocates it. The decoder asks for a reader
/// only at the footer and at page headers, which begin with their fields 1 to 3 as `0x15` and a zigzag number each
/// (parquet.thrift, `PageHeader`, in Thrift's compact protocol): type, size, compressed size.
fn check_page_header(head: &[u8]) -> ParquetResult<()> {
    let refuse = |what: &str| Err(ParquetError::General(format!("a page header that {what}")));
    let mut rest = head;
    for field in 0..3 {
        let Some((0x15, tail)) = rest.split_first() else { return refuse("is not one") };
        let Some((size, tail)) = zigzag(tail) else { return refuse("is cut off") };
        if field > 0 && !(0..=i64::try_from(MAX_PAGE_BYTES).unwrap_or(i64::MAX)).contains(&size) {
            return refuse("claims more than 64 MiB");
        }
        rest = tail;
    }
    Ok(())
}

#[allow(clippy::cast_possible_wrap)]
fn zigzag(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), &bytes[index + 1..]));
        }
    }
    None
}
