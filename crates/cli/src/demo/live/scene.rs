//! What is shown, as plain values: drawing needs nothing else, and so it can be tested without a run.

use std::sync::Arc;
use std::time::Duration;

use halcyon_lab::Explained;
use halcyon_model::{HostTime, LinkSetting, Objective};

/// A figure under the policy that is watched and under the static assignment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Beside<T> {
    pub(super) watched: T,
    pub(super) fixed: T,
}

/// How much of something is used, wanted and granted; all in the same unit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Meter {
    pub(super) used: f64,
    pub(super) wanted: f64,
    /// What is set aside, where that is not the same as what is used.
    pub(super) share: Option<f64>,
    pub(super) ceiling: f64,
    /// What a full bar stands for.
    pub(super) whole: f64,
}

impl Meter {
    /// Something of which only the use is known.
    pub(super) fn of(used: f64, whole: f64) -> Self {
        Self { used, wanted: used, share: None, ceiling: whole, whole }
    }
}

/// A unit that a row of the host is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Cores,
    Gib,
    GbPerSecond,
    Lanes,
}

/// Who holds a device.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owner {
    Vm(String),
    Nobody,
    Host,
    /// Not to be owned: a port, a switch, or a device that is divided.
    Divided,
}

/// One line about the host, from the top of its topology to the bottom.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HostRow {
    /// Something that is divided among VMs.
    Meter { name: String, what: &'static str, meter: Meter, unit: Unit },
    /// A part of the fabric; `branch` is the tree's line before its name, `carries` what its narrowest
    /// link or it can move, in bytes per second.
    Fabric { branch: String, name: String, link: Option<LinkSetting>, owner: Owner, flow: f64, carries: f64 },
}

/// One VM.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VmRow {
    pub(super) name: String,
    pub(super) objective: Objective,
    /// In cores.
    pub(super) cpu: Meter,
    pub(super) memory_bytes: f64,
    pub(super) working_set_bytes: f64,
    pub(super) io_bytes_s: f64,
    /// Work that waits, in seconds of one core.
    pub(super) backlog_s: f64,
    /// In the last window; nothing where nothing was asked of it.
    pub(super) utility: Beside<Option<f64>>,
    /// Whether its objective was missed in the last window.
    pub(super) violating: Beside<bool>,
}

/// A change and its reason, or what went wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    pub(super) at: HostTime,
    pub(super) what: String,
    pub(super) why: String,
    pub(super) bad: bool,
}

/// The host's utility in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) at_s: f64,
    pub(super) utility: Beside<f64>,
}

/// How fast simulated time runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tempo {
    /// Simulated seconds per second; infinite for as fast as possible.
    pub(super) speed: f64,
    pub(super) paused: bool,
}

/// All that is shown of the two runs at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) host: String,
    pub(super) policy: String,
    pub(super) now: HostTime,
    pub(super) duration: Duration,
    pub(super) tempo: Tempo,
    /// Since the start, less the cost of changes.
    pub(super) utility: Beside<f64>,
    /// VMs that missed their objective in the last window.
    pub(super) violating: Beside<usize>,
    /// VMs that have an objective to miss.
    pub(super) judged: usize,
    pub(super) host_rows: Vec<HostRow>,
    pub(super) vms: Vec<VmRow>,
    /// Newest first.
    pub(super) notes: Vec<Arc<Note>>,
    /// Changes of CPU and bandwidth shares per simulated second, too many to be noted.
    pub(super) shares_per_s: f64,
    /// The last plan that was explained.
    pub(super) why: Option<Arc<Explained>>,
    pub(super) curve: Arc<Vec<Point>>,
}
