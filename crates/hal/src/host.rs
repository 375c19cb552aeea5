//! The two halves of every driver: one that reads and one that changes. Observers get only the first.

use std::sync::Arc;
use std::time::Duration;

use halcyon_model::profile::Profiles;
use halcyon_model::{Assignment, Capabilities, Snapshot, Step, Topology, VmSpec, World};

/// What a host has and may do. Replaced as a whole when VMs come or go.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The host.
    pub topology: Topology,
    /// Its VMs, ordered by id.
    pub vms: Vec<VmSpec>,
    /// What can be changed on it.
    pub capabilities: Capabilities,
    /// What is known of the programs that VMs run.
    pub profiles: Arc<Profiles>,
}

impl Inventory {
    /// The inventory as decisions see it.
    #[must_use]
    pub fn world(&self) -> World<'_> {
        World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities }
    }
}

/// The half of a driver that reads.
pub trait Observe {
    /// What the host has and may do now.
    fn inventory(&self) -> Arc<Inventory>;

    /// Reads the machine. `snapshot` is overwritten; passing the last but one again spares allocations.
    /// The driver fills in everything but `generation` and `busy`.
    ///
    /// # Errors
    /// When the host as a whole cannot be read. What cannot be read of a single VM is `None`.
    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError>;
}

/// The half of a driver that changes.
pub trait Actuate {
    /// How long a step is likely to take. Far longer counts as no answer.
    fn estimate(&self, step: &Step) -> Duration;

    /// Begins a change. A step that is already done is done at once: beginning twice does no harm.
    ///
    /// # Errors
    /// When the change was not begun; the machine is as before.
    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError>;

    /// How a change that was under way is doing. Once it ended, its ticket is spent.
    fn poll(&mut self, ticket: Ticket) -> Progress;
}

/// One mechanism of a host: it reads and changes some of what is held, and knows nothing of the rest.
pub trait Driver: Actuate + Send {
    /// What the journal and alarms call it.
    fn name(&self) -> &'static str;

    /// The kinds of change that it makes, with their pace and cost.
    fn capabilities(&self) -> Capabilities;

    /// Reads the machine. `held` comes as it is believed to be, and leaves with what this driver changes
    /// replaced by what the machine says; the rest is not touched.
    ///
    /// Where the machine is coarser than what is held (a weight of 1 to 10,000, a throttle in tenths), what
    /// was read stands for many amounts. If the believed one is among them, it stays; otherwise the nearest
    /// that the machine can mean takes its place. So the answer rests on the machine and on `held` alone,
    /// and a driver that was just started gives the same as one that made the change.
    ///
    /// # Errors
    /// When the mechanism as a whole cannot be read. What cannot be read of a single VM keeps what was
    /// believed.
    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError>;
}

/// A whole host.
pub trait Host: Observe + Actuate {}

impl<T: Observe + Actuate> Host for T {}

/// Names a change under way, to the driver that began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How a change is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It takes its time.
    UnderWay(Ticket),
    /// The machine is as the step says.
    Done,
    /// The guest would not have it; the machine is as before, and nobody was harmed.
    Refused {
        /// What the guest or hypervisor said.
        why: String,
    },
    /// It went wrong; the machine has to be led back.
    Failed {
        /// What went wrong.
        why: String,
    },
}

/// Why a host could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} of the host")]
pub struct ObserveError {
    /// What was to be read.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a change was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot begin `{step}`: {why}")]
pub struct ActuateError {
    /// The step, as text.
    pub step: String,
    /// What stands against it.
    pub why: String,
}
