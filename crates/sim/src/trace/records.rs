//! Delimited text, record by record, in memory that no input can make grow.

use std::io::{BufRead, Read};

use csv_core::ReadRecordResult;

use super::error::{Place, Problem, TraceError};
use super::limits::{MAX_FIELDS, MAX_RECORD_BYTES};

/// Reads records into a buffer of fixed size.
pub(crate) struct Records<R> {
    input: R,
    parser: csv_core::Reader,
    bytes: Box<[u8]>,
    ends: Box<[usize]>,
    fields: usize,
    line: u64,
    place: Place,
}

impl<R: BufRead> Records<R> {
    /// Reads `input`, whose fields are split by `delimiter` and may be quoted if `quotes`.
    pub(crate) fn new(input: R, delimiter: u8, quotes: bool, place: Place) -> Self {
        Self {
            input,
            parser: csv_core::ReaderBuilder::new().delimiter(delimiter).quoting(quotes).build(),
            bytes: vec![0; MAX_RECORD_BYTES].into(),
            ends: vec![0; MAX_FIELDS].into(),
            fields: 0,
            line: 0,
            place,
        }
    }

    /// Moves to the next record that is not blank; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, TraceError> {
        let (mut filled, mut last) = (0, 0);
        self.fields = 0;
        loop {
            let here = self.parser.line();
            let input = self.input.fill_buf().map_err(|error| self.place.at_line(here).unreadable(error))?;
            let (result, consumed, written, ends) =
                self.parser.read_record(input, &mut self.bytes[filled..], &mut self.ends[self.fields..]);
            last = consumed.checked_sub(1).map_or(last, |index| input[index]);
            self.input.consume(consumed);
            filled += written;
            self.fields += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Err(self.too_long()),
                ReadRecordResult::OutputEndsFull => return Err(self.too_wide()),
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::Record => {
                    self.line = self.parser.line() - u64::from(last == b'\n');
                    return Ok(true);
                }
            }
        }
    }

    /// The number of fields of the current record.
    pub(crate) const fn len(&self) -> usize {
        self.fields
    }

    /// A field of the current record; nothing where the record is shorter.
    pub(crate) fn field(&self, index: usize) -> &[u8] {
        if index >= self.fields {
            return &[];
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// The line of the current record, from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// An error at the current record.
    pub(crate) fn wrong(&self, problem: Problem) -> TraceError {
        self.place.at_line(self.line).wrong(problem)
    }

    /// Refuses a record that has not exactly `fields` fields.
    pub(crate) fn expect_fields(&self, fields: usize) -> Result<(), TraceError> {
        if self.fields == fields {
            return Ok(());
        }
        Err(self.wrong(Problem::new(format!("{} fields", self.fields), format!("{fields} fields"))))
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Gives the input back, at the end of which this reader stands.
    pub(crate) fn into_input(self) -> R {
        self.input
    }

    fn too_long(&self) -> TraceError {
        let expected = format!("at most {MAX_RECORD_BYTES} bytes");
        self.place.at_line(self.parser.line()).wrong(Problem::new("a longer record", expected))
    }

    fn too_wide(&self) -> TraceError {
        let expected = format!("at most {MAX_FIELDS}");
        self.place.at_line(self.parser.line()).wrong(Problem::new("more fields in one record", expected))
    }
}

/// For importers that read several inputs one after another.
pub(crate) type TextRecords = Records<std::io::BufReader<Box<dyn Read + Send>>>;
