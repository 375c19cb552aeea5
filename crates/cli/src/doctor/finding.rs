//! What a check says: one finding for each thing that Halcyon could use.
//!
//! Text in a finding may come from anywhere on the host, from a device's name to the command line of a
//! stranger's process. It is made printable and short here, once, so that no report can be used to
//! drive somebody's terminal.

use serde::Serialize;

use super::root::Unreadable;

/// Longer texts than this are cut: a report is read by a person.
const MAX_TEXT: usize = 600;

/// How far something is of use right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Halcyon can use it as it is.
    Ready,
    /// It is there, but not all of it works.
    Limited,
    /// It is not there, or not switched on.
    Missing,
    /// It could not be read, so nothing is claimed.
    Unknown,
}

/// The part of the host that a finding is about; the report groups by it, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Area {
    Host,
    Control,
    Cache,
    Memory,
    Vms,
    Devices,
    Fabric,
    Gpu,
}

impl Area {
    pub(crate) const ALL: [Area; 8] = [
        Area::Host,
        Area::Control,
        Area::Cache,
        Area::Memory,
        Area::Vms,
        Area::Devices,
        Area::Fabric,
        Area::Gpu,
    ];

    /// The heading of the area in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Area::Host => "This host",
            Area::Control => "CPU, memory and I/O control",
            Area::Cache => "Cache and memory bandwidth",
            Area::Memory => "Memory layout",
            Area::Vms => "Virtual machines",
            Area::Devices => "Devices",
            Area::Fabric => "PCIe links and fabric",
            Area::Gpu => "GPU",
        }
    }

    pub(crate) fn ready(self, name: &'static str, detail: impl AsRef<str>) -> Finding {
        Finding::new(self, name, Status::Ready, detail.as_ref())
    }

    pub(crate) fn limited(self, name: &'static str, detail: impl AsRef<str>) -> Finding {
        Finding::new(self, name, Status::Limited, detail.as_ref())
    }

    pub(crate) fn missing(self, name: &'static str, detail: impl AsRef<str>) -> Finding {
        Finding::new(self, name, Status::Missing, detail.as_ref())
    }

    /// What could not be read is neither there nor missing. The reason stands in the detail.
    pub(crate) fn unknown(self, name: &'static str, cause: &Unreadable) -> Finding {
        let finding = Finding::new(self, name, Status::Unknown, &cause.to_string());
        match cause {
            Unreadable::Denied { .. } => finding.enable("run as root: sudo halcyon doctor"),
            Unreadable::Absent { .. } | Unreadable::Broken { .. } => finding,
        }
    }
}

/// One thing that a check looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) area: Area,
    /// Stable within schema 1 of the JSON form.
    pub(crate) name: &'static str,
    pub(crate) status: Status,
    /// What was seen.
    pub(crate) detail: String,
    /// What a person can do to have more of it; `None` where nothing is to be done.
    pub(crate) enable: Option<String>,
}

impl Finding {
    pub(crate) fn new(area: Area, name: &'static str, status: Status, detail: &str) -> Self {
        Self { area, name, status, detail: printable(detail), enable: None }
    }

    pub(crate) fn enable(mut self, how: impl AsRef<str>) -> Self {
        self.enable = Some(printable(how.as_ref()));
        self
    }
}

/// The text without control characters and bidirectional overrides, cut to a readable length.
pub(crate) fn printable(text: &str) -> String {
    let reorders =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut clean: String = text
        .chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() || reorders(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        clean.push('…');
    }
    clean
}

/// "a, b, c and 4 more": at most `shown` of the items.
pub(crate) fn listing(items: &[String], shown: usize) -> String {
    let head = items.iter().take(shown).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(shown) {
        0 => head,
        more => format!("{head} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_cannot_be_driven_through_a_finding() {
        let finding = Area::Vms.ready("x", "vm \u{1b}]0;title\u{7}\u{202e}gpj\n");
        assert_eq!(finding.detail, "vm \u{fffd}]0;title\u{fffd}\u{fffd}gpj\u{fffd}");
        assert_eq!(printable(&"x".repeat(5000)).chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn long_lists_are_counted() {
        let items: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(listing(&items, 3), "a, b, c");
        assert_eq!(listing(&items, 1), "a and 2 more");
    }
}
