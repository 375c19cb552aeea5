//! The names in one text: each is given once, whatever kind of part it is given to.
//!
//! One space of names for all kinds keeps plans and explanations unambiguous: `nvme3` is one thing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;

use super::DescribeError;
use super::element::Element;
use super::text::Text;

/// The most characters of a name.
const MOST_CHARS: usize = 64;
/// What a name is made of, as complaints say it.
pub const NAME_RULE: &str = "a name has 1 to 64 characters out of a-z, A-Z, 0-9, `-`, `_`, `.` and `:`";
/// The most names that a message lists as the ones to choose from.
const MOST_CHOICES: usize = 8;

/// What a name is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Socket,
    Memory,
    Pool,
    Port,
    /// The side of a switch that faces the root, which is named after its switch.
    Upstream,
    Switch,
    Device,
    Vm,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket",
            Self::Memory => "memory",
            Self::Pool => "lane pool",
            Self::Port => "port",
            Self::Upstream => "switch's upstream port",
            Self::Switch => "switch",
            Self::Device => "device",
            Self::Vm => "VM",
        })
    }
}

struct Entry {
    kind: Kind,
    index: usize,
    span: Range<usize>,
}

/// Every name of a text, and what has it.
pub(super) struct Names<'a> {
    text: &'a Text<'a>,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Names<'a> {
    /// No names yet.
    pub(super) fn new(text: &'a Text<'a>) -> Self {
        Self { text, entries: BTreeMap::new() }
    }

    /// Gives a name to the part at `index` of its kind.
    pub(super) fn give(
        &mut self,
        kind: Kind,
        index: usize,
        name: &Spanned<String>,
    ) -> Result<Element<'a>, DescribeError> {
        let element = self.element(kind, name);
        check_name(&element, name)?;
        self.enter(kind, index, name.get_ref().clone(), name.span())?;
        Ok(element)
    }

    /// Enters a name that is derived from one in the text.
    pub(super) fn enter(
        &mut self,
        kind: Kind,
        index: usize,
        name: String,
        span: Range<usize>,
    ) -> Result<(), DescribeError> {
        if let Some(other) = self.entries.get(&name) {
            // Parts are taken kind by kind; the complaint belongs to the one further down in the text.
            let (first, kind, second) = if other.span.start <= span.start {
                (&other.span, kind, &span)
            } else {
                (&span, other.kind, &other.span)
            };
            let line = self.text.line(first);
            let problem = format!("line {line} already has something called `{name}`; rename one of them");
            return Err(DescribeError::new(self.text.line(second), &format!("{kind} `{name}`"), &problem));
        }
        self.entries.insert(name, Entry { kind, index, span });
        Ok(())
    }

    /// The part of a kind that `name` refers to; `element` is the one that refers.
    pub(super) fn find(
        &self,
        element: &Element<'_>,
        kind: Kind,
        name: &Spanned<String>,
    ) -> Result<usize, DescribeError> {
        match self.entries.get(name.get_ref()) {
            Some(entry) if entry.kind == kind => Ok(entry.index),
            Some(entry) => {
                let (line, found) = (self.text.line(&entry.span), entry.kind);
                let problem = format!("`{}` (line {line}) is a {found}, not a {kind}", name.get_ref());
                Err(element.fault_at(&name.span(), &problem))
            }
            None => {
                let shown: String = name.get_ref().chars().take(MOST_CHARS).collect();
                let problem = format!("there is no {kind} `{shown}`; {}", self.choices(kind));
                Err(element.fault_at(&name.span(), &problem))
            }
        }
    }

    /// The part as complaints name it.
    pub(super) fn element(&self, kind: Kind, name: &Spanned<String>) -> Element<'a> {
        let shown: String = name.get_ref().chars().take(MOST_CHARS).collect();
        Element::new(self.text, format!("{kind} `{shown}`"), name.span())
    }

    /// The line of a name that is known, whatever it is given to.
    pub(super) fn place(&self, name: &str) -> Option<(Kind, usize)> {
        self.entries.get(name).map(|entry| (entry.kind, self.text.line(&entry.span)))
    }

    fn choices(&self, kind: Kind) -> String {
        let mut known = self.entries.iter().filter(|(_, entry)| entry.kind == kind).map(|(name, _)| name);
        let mut list: Vec<&str> = known.by_ref().take(MOST_CHOICES).map(String::as_str).collect();
        if known.next().is_some() {
            list.push("…");
        }
        if list.is_empty() { "the file has none".into() } else { format!("known are {}", list.join(", ")) }
    }
}

/// Names appear on terminals, in logs and in paths; they are short and plain.
pub(super) fn check_name(element: &Element<'_>, name: &Spanned<String>) -> Result<(), DescribeError> {
    element.ensure_at(name, is_name(name.get_ref()), || NAME_RULE.into())
}

/// Whether a text can be the name of a part of a host or of a VM; [`NAME_RULE`] says what can.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    !text.is_empty() && text.len() <= MOST_CHARS && text.chars().all(plain)
}
