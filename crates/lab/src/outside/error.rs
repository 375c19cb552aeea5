//! What is wrong with a peer: who it is, where on its output, and what to do.

use std::fmt;

/// The most characters of a peer's text that one message repeats.
const MOST_CHARS: usize = 300;

/// What a peer is to Halcyon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It simulates a host.
    World,
    /// It decides.
    Policy,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::World => "world",
            Self::Policy => "policy",
        })
    }
}

/// A peer that is dead, slow, or says what cannot be.
#[derive(Debug, thiserror::Error)]
pub struct OutsideError {
    /// What it is.
    pub role: Role,
    /// Its command.
    pub command: Box<str>,
    /// The line of its output, counted from 1, if it is about one.
    pub line: Option<u64>,
    /// The field of the message, if it is about one.
    pub field: Option<Box<str>>,
    /// What is wrong and what to do about it.
    pub problem: Box<str>,
    /// What it last wrote to its standard error.
    pub stderr: Vec<String>,
    /// The cause.
    #[source]
    pub source: Option<std::io::Error>,
}

impl fmt::Display for OutsideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}`", self.role, printable(&self.command))?;
        if let Some(line) = self.line {
            write!(f, ", line {line} of its output")?;
        }
        if let Some(field) = &self.field {
            write!(f, ", {}", printable(field))?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some((last, before)) = self.stderr.split_last() {
            write!(f, "; it wrote to its standard error:")?;
            before.iter().try_for_each(|line| write!(f, " {line} |"))?;
            write!(f, " {last}")?;
        }
        Ok(())
    }
}

/// Something in a message that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) field: String,
    pub(super) problem: String,
}

impl Flaw {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

pub(super) fn ensure(
    condition: bool,
    field: impl FnOnce() -> String,
    problem: impl FnOnce() -> String,
) -> Result<(), Flaw> {
    if condition { Ok(()) } else { Err(Flaw::new(field(), problem())) }
}

/// Short enough for a terminal, and without the characters that would steer one.
pub(super) fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(MOST_CHARS).map(clean).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        short.push('…');
    }
    short
}
