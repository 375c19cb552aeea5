//! What a group may use, as its `schemata` file has it: `L3:0=fffff;1=3c0`, one line for each resource.
//!
//! Masks are hexadecimal, bandwidth is decimal. A file that is read names every domain of every resource; one
//! that is written may leave out lines and domains, which then stay as they are. Lines of resources that are
//! not known are passed over, as newer kernels have more of them.

use std::collections::BTreeMap;
use std::fmt;

use super::error::start_of;

/// A resource that groups divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Resource {
    L3,
    L3Code,
    L3Data,
    L2,
    L2Code,
    L2Data,
    /// Memory bandwidth.
    Bandwidth,
    /// Bandwidth of slow memory, which on AMD is what hangs on CXL.
    SlowBandwidth,
}

impl Resource {
    /// Every resource that is known.
    pub const ALL: [Self; 8] = [
        Self::L3,
        Self::L3Code,
        Self::L3Data,
        Self::L2,
        Self::L2Code,
        Self::L2Data,
        Self::Bandwidth,
        Self::SlowBandwidth,
    ];

    /// Its name in `info/` and in `schemata`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L3 => "L3",
            Self::L3Code => "L3CODE",
            Self::L3Data => "L3DATA",
            Self::L2 => "L2",
            Self::L2Code => "L2CODE",
            Self::L2Data => "L2DATA",
            Self::Bandwidth => "MB",
            Self::SlowBandwidth => "SMBA",
        }
    }

    /// Whether its values are masks of ways, in hexadecimal.
    #[must_use]
    pub const fn is_cache(self) -> bool {
        !matches!(self, Self::Bandwidth | Self::SlowBandwidth)
    }

    fn radix(self) -> u32 {
        if self.is_cache() { 16 } else { 10 }
    }
}

/// Values by domain, by resource. A domain is a cache, named by its id; ids may have gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schemata {
    /// The lines.
    pub lines: BTreeMap<Resource, BTreeMap<u32, u32>>,
}

/// Why a text is no schemata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{found}` is no {expected}")]
pub struct SchemataError {
    /// The line, from 1.
    pub line: usize,
    /// The start of what is there.
    pub found: String,
    /// What should be there.
    pub expected: &'static str,
}

impl Schemata {
    /// Reads the text of a `schemata` file.
    ///
    /// # Errors
    /// For a line without a name, a value that is no number of 32 bits, and what is there twice.
    pub fn parse(text: &str) -> Result<Self, SchemataError> {
        let mut lines = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let wrong =
                |found: &str, expected| SchemataError { line: index + 1, found: start_of(found), expected };
            if line.trim().is_empty() {
                continue;
            }
            let (name, values) =
                line.split_once(':').ok_or_else(|| wrong(line, "line such as `L3:0=ff;1=f`"))?;
            let name = name.trim();
            let Some(resource) = Resource::ALL.into_iter().find(|known| known.name() == name) else {
                continue;
            };
            let values =
                parse_values(resource, values).map_err(|(found, expected)| wrong(found, expected))?;
            if lines.insert(resource, values).is_some() {
                return Err(wrong(name, "resource that was not there before"));
            }
        }
        Ok(Self { lines })
    }

    /// The value of one domain.
    #[must_use]
    pub fn get(&self, resource: Resource, domain: u32) -> Option<u32> {
        self.lines.get(&resource)?.get(&domain).copied()
    }

    /// With one value more, or another one.
    #[must_use]
    pub fn with(mut self, resource: Resource, domain: u32, value: u32) -> Self {
        self.lines.entry(resource).or_default().insert(domain, value);
        self
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.values().all(BTreeMap::is_empty)
    }
}

type Values = BTreeMap<u32, u32>;

fn parse_values(resource: Resource, text: &str) -> Result<Values, (&str, &'static str)> {
    let mut values = BTreeMap::new();
    for part in text.trim().split(';') {
        let (domain, value) = part.split_once('=').ok_or((part, "domain and value such as `0=ff`"))?;
        let id = number(domain, 10).ok_or((domain, "domain, which is a decimal number"))?;
        let expected = if resource.is_cache() { "hexadecimal mask" } else { "decimal bandwidth" };
        let value = number(value, resource.radix()).ok_or((value, expected))?;
        if values.insert(id, value).is_some() {
            return Err((part, "domain that was not there before"));
        }
    }
    Ok(values)
}

/// Digits and nothing else: the library's own form takes a sign as well.
pub(super) fn number(text: &str, radix: u32) -> Option<u32> {
    let text = text.trim();
    text.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(text, radix).ok()).flatten()
}

impl fmt::Display for Schemata {
    /// The text that the kernel takes: whole lines, each with its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (resource, values) in self.lines.iter().filter(|(_, values)| !values.is_empty()) {
            write!(f, "{}:", resource.name())?;
            for (index, (domain, value)) in values.iter().enumerate() {
                let between = if index == 0 { "" } else { ";" };
                if resource.is_cache() {
                    write!(f, "{between}{domain}={value:x}")?;
                } else {
                    write!(f, "{between}{domain}={value}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
