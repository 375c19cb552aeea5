//! The text in its sections, each of which is read by itself, so that no text makes the parser hold much
//! more than the scenario. Every section keeps a line break for each line of the others, so that
//! complaints find their lines.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::read::Complaint;
use super::{FileError, wrong};

/// The longest head, in bytes.
const MOST_HEAD: usize = 8 << 20;
/// The longest profile, and the longest demand of one VM, in bytes: a year of five-minute means.
const MOST_PART: usize = 2 << 20;
/// The most profiles.
const MOST_PROFILES: usize = 10_000;

/// A part of the text with its place in the whole.
pub(super) struct Part<'a> {
    pub(super) path: &'a Path,
    pub(super) text: String,
    /// The line of the whole on which it starts, counted from 1.
    pub(super) first: usize,
}

impl<'a> Part<'a> {
    fn starting(path: &'a Path, first: usize) -> Self {
        Self { path, text: String::new(), first }
    }

    fn push(&mut self, line: &str, most: usize) -> Result<(), String> {
        if self.text.len() + line.len() >= most {
            return Err(format!("makes its part of the file longer than {most} bytes; shorten it"));
        }
        self.text.push_str(line);
        self.text.push('\n');
        Ok(())
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.trim_end().len());
        self.first + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, element: &str) -> Result<T, FileError> {
        toml::from_str(&self.text).map_err(|error| {
            wrong(self.path, self.line(&error.span().unwrap_or(0..0)), element, error.message())
        })
    }

    pub(super) fn wrong(&self, element: &str, complaint: &Complaint) -> FileError {
        wrong(self.path, self.line(&complaint.span), element, &complaint.problem)
    }
}

/// What a VM is asked to do.
pub(super) struct RunPart<'a> {
    pub(super) run: Part<'a>,
    pub(super) response: Part<'a>,
}

/// The text in its parts.
pub(super) struct Sections<'a> {
    pub(super) head: Part<'a>,
    pub(super) specs: String,
    pub(super) profiles: Vec<Part<'a>>,
    pub(super) runs: Vec<RunPart<'a>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Section {
    Head,
    Profile,
    Spec,
    Run,
    Response,
}

/// The section that a line opens, if it is the header of a table.
fn opened(line: &str) -> Option<Section> {
    let inner = line.strip_prefix('[')?.trim_start_matches('[').trim_start();
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    Some(match line {
        _ if line.starts_with("[[vm]]") || line.starts_with("[[vm.") => Section::Spec,
        _ if line.starts_with("[vm.program.") => Section::Response,
        _ if line.starts_with("[vm.") => Section::Run,
        _ if line.starts_with("[[profile]]") || line.starts_with("[profile.") => Section::Profile,
        _ => Section::Head,
    })
}

impl<'a> Sections<'a> {
    pub(super) fn split(text: &str, path: &'a Path) -> Result<Self, FileError> {
        let mut all = Self {
            head: Part::starting(path, 1),
            specs: String::new(),
            profiles: Vec::new(),
            runs: Vec::new(),
        };
        let mut section = Section::Head;
        for (index, line) in text.lines().enumerate() {
            section = opened(line.trim_start()).unwrap_or(section);
            all.add(section, line, index + 1).map_err(|problem| wrong(path, index + 1, line, &problem))?;
        }
        Ok(all)
    }

    fn add(&mut self, section: Section, line: &str, number: usize) -> Result<(), String> {
        let (start, path) = (line.trim_start(), self.head.path);
        let only = |wanted| if section == wanted { line } else { "" };
        self.head.push(only(Section::Head), MOST_HEAD)?;
        self.specs.push_str(only(Section::Spec));
        self.specs.push('\n');
        match section {
            Section::Head => Ok(()),
            Section::Profile if start.starts_with("[[profile]]") => {
                if self.profiles.len() == MOST_PROFILES {
                    return Err(format!("is one profile too many; at most {MOST_PROFILES} are read"));
                }
                self.profiles.push(Part::starting(path, number));
                self.profiles.last_mut().map_or(Ok(()), |part| part.push("", MOST_PART))
            }
            Section::Profile => {
                let part =
                    self.profiles.last_mut().ok_or("belongs to no profile; write it below a [[profile]]")?;
                part.push(&alone(line, "[profile."), MOST_PART)
            }
            Section::Spec | Section::Run | Section::Response => {
                if start.starts_with("[[vm]]") {
                    let [run, response] = [(); 2].map(|()| Part::starting(path, number));
                    self.runs.push(RunPart { run, response });
                }
                let part =
                    self.runs.last_mut().ok_or("belongs to no VM; write it below the [[vm]] it is about")?;
                part.run.push(only(Section::Run), MOST_PART)?;
                part.response.push(&alone(only(Section::Response), "[vm.program."), MOST_PART)
            }
        }
    }
}

/// A line with the header of a nested table made that of a table by itself.
fn alone<'l>(line: &'l str, above: &str) -> Cow<'l, str> {
    match line.trim_start().strip_prefix(above) {
        Some(rest) => Cow::Owned(format!("[{rest}")),
        None => Cow::Borrowed(line),
    }
}
