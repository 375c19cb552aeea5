//! The text forms of a host, of its VMs and of applications: what is written, read into what the rest
//! reckons with.
//!
//! All are TOML, and all come from outside: whatever the text holds, the answer is either a coherent
//! value or a [`DescribeError`] with the line to look at. Parts refer to each other by name; ids are
//! given in the order of the file, so that one text always makes one and the same host. Nothing here
//! opens a file: the caller reads it and puts its name before the error.

mod application;
mod changes;
mod devices;
mod element;
mod fabric;
mod form;
mod gpus;
mod host;
mod names;
mod text;
mod vms;

pub use application::{parse_application, write_application};
pub use changes::typical;
pub use host::{Host, parse_host};
pub use names::{NAME_RULE, is_name};
pub use vms::{MOST_VMS, parse_vms};

/// The longest text that is looked at, in bytes: room for [`MOST_VMS`] VMs of 800 bytes each. The worst
/// text costs the parser some 170 times its size in memory before it is refused.
pub const MOST_BYTES: usize = 8 << 20;

/// The most characters of hostile text that one message repeats.
const MOST_CHARS: usize = 400;

/// What is wrong in a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {element}: {problem}")]
pub struct DescribeError {
    /// The line, counted from 1.
    pub line: usize,
    /// The part of the host, or the section of the text, that it is about.
    pub element: String,
    /// What is wrong and what to do about it.
    pub problem: String,
}

impl DescribeError {
    fn new(line: usize, element: &str, problem: &str) -> Self {
        Self { line, element: printable(element), problem: printable(problem) }
    }
}

/// Short enough for a terminal, and without the characters that would steer one.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(MOST_CHARS).map(clean).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        short.push('…');
    }
    short
}
