//! The text itself: reads it as TOML and finds the line of every complaint.

use std::ops::Range;

use serde::de::DeserializeOwned;

use super::{DescribeError, MOST_BYTES};

/// A text with the start of each of its lines.
pub(super) struct Text<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    /// Takes a text that is short enough to be looked at.
    pub(super) fn open(text: &'a str) -> Result<Self, DescribeError> {
        if text.len() > MOST_BYTES {
            let problem = format!("has {} bytes; at most {MOST_BYTES} are read", text.len());
            return Err(DescribeError::new(1, "the file", &problem));
        }
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Ok(Self { text, lines: std::iter::once(0).chain(breaks).collect() })
    }

    /// Reads the text as TOML of the form `T`. TOML nested deeper than 80 levels is refused by the parser.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, DescribeError> {
        toml::from_str(self.text).map_err(|error| {
            let line = self.line(&error.span().unwrap_or(0..0));
            DescribeError::new(line, &self.section(line), &plain(error.message()))
        })
    }

    /// The line on which a span starts, counted from 1. A span at the very end belongs to the last line
    /// that has something on it.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let start = span.start.min(self.text.trim_end().len());
        self.lines.partition_point(|line| *line <= start).max(1)
    }

    /// The header of the table that a line lies in.
    fn section(&self, line: usize) -> String {
        let above = self.text.lines().take(line).filter_map(header).last();
        above.map_or_else(|| "the file".into(), |header| format!("in {header}"))
    }
}

/// `[[device]]` of a line that opens a table; lines of a nested array look alike, but hold numbers.
fn header(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = line.rfind(']')? + 1;
    let inner = line[..end].strip_prefix('[')?.trim_matches(['[', ']']);
    let named = inner.starts_with(|c: char| c.is_ascii_alphabetic())
        && inner.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    named.then_some(&line[..end])
}

/// The parser's words, with what they ask for in a person's.
fn plain(message: &str) -> String {
    let (start, wanted) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    let wanted = match wanted {
        "u8" | "u32" | "u64" | "usize" => "a whole number, neither negative nor huge",
        "f64" => "a number",
        "a string" | "a string or table" => "text in quotes; amounts have their unit, as in \"16GiB\"",
        _ => return message.to_owned(),
    };
    format!("{start}, expected {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_never_run_past_the_end() {
        let text = Text::open("a\nb\n\nc\n\n").unwrap();
        let line = |at| text.line(&(at..at));
        assert_eq!([line(0), line(1), line(2), line(5), line(7), line(900)], [1, 1, 2, 4, 4, 4]);
        assert_eq!(Text::open("").unwrap().line(&(0..0)), 1);
    }

    #[test]
    fn headers_are_told_from_arrays() {
        assert_eq!(header("[[device]] # three of them"), Some("[[device]]"));
        assert_eq!(header("  [change.cpu]"), Some("[change.cpu]"));
        assert_eq!(header("[10, 21],"), None);
        assert_eq!(header("starts = [1]"), None);
    }
}
