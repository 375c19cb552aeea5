//! The resource monitoring unit: what every VM used, waited for and moved, read many times a second at a cost
//! that nobody notices.
//!
//! ```text
//!  control groups ─┐                        each source has its own pace; between two readings the last
//!  /proc ──────────┤                        one stands, and what could not be read is none
//!  resctrl ────────┼─► Sampler ─► VmSample  what decisions rest on
//!  sysfs ──────────┤       └────► VmDetail  what people want to see beside it
//!  QEMU, guests ───┤ (asked, never waited for)
//!  GPUs ───────────┘ (read by a thread of their own)
//! ```
//!
//! Whoever runs the control cycle calls [`Sampler::sample`] each time; files stay open between calls, about a
//! dozen for each VM and one for each vCPU, so that a service with many VMs needs a higher limit of open files
//! than the usual 1024. Counters are raw: one that goes down was reset, which rates take for a gap.
//!
//! What is counted where, and why:
//!
//! - CPU time used is the control group's. Where that keeps no account it is the process's: threads to the
//!   nanosecond, or the whole process in ticks where that is more, as threads may have lived too shortly to
//!   be seen.
//! - CPU time waited for is what the scheduler says of the vCPU threads (the second figure of `schedstat`).
//!   Time for which a quota holds threads back is part of it, as they stay runnable; adding the group's
//!   `throttled_usec` would count it twice.
//! - The scheduler charges a thread that is just running when it stops or at its next tick, so that both figures
//!   may be some milliseconds late.
//! - Time stood still is PSI's `some` of the group: a guest of which one vCPU stands still is held up.
//! - The working set is what the guest says that it uses and a quarter of that, if it said it lately. The process's `Referenced` would cost a walk
//!   through its page tables and leave out what guests touch through the second level of translation, and
//!   memory that was once touched stays resident, so that neither stands in for it. The kernel's lists of
//!   active pages do, but only while it ages pages.

mod around;
mod calm;
mod detail;
mod gpu;
mod group;
mod guest;
mod peer;
mod process;
mod source;
mod threads;
mod tracked;

use std::collections::BTreeMap;
use std::sync::Arc;

use halcyon_model::{HostTime, VmId, VmSample};

pub use around::LinkState;
pub use detail::{VmDetail, WorkingSetFrom};
pub use guest::{Counted, Guest, Paces, Process, Roots};
pub(crate) use process::started_ticks;
pub use source::{Kind, Trouble};

use crate::nvml::Reading;
use calm::Calm;
use process::Units;
use source::{Due, Moment};
use tracked::{Sweep, Tracked};

/// Says what GPUs did last. It is called by the control cycle and so must not wait.
pub type LatestGpus = Box<dyn FnMut() -> Option<Arc<Reading>> + Send>;

/// Reads all VMs.
pub struct Sampler {
    roots: Roots,
    paces: Paces,
    units: Units,
    vms: BTreeMap<VmId, Tracked>,
    /// Memory and I/O pressure of the host.
    calm: [Calm; 2],
    /// When VMs were sampled last.
    now: HostTime,
    latest_gpus: Option<LatestGpus>,
    gpus: Option<Arc<Reading>>,
    gpus_due: Due,
    /// The text of one file after the other.
    buffer: String,
}

impl Sampler {
    /// A sampler that tracks no VM yet.
    #[must_use]
    pub fn new(roots: Roots, paces: Paces) -> Self {
        let units = Units {
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            page_bytes: rustix::param::page_size() as u64,
        };
        Self {
            calm: ["memory", "io"].map(|of| Calm::new(&roots.proc, of)),
            roots,
            paces,
            units,
            vms: BTreeMap::new(),
            now: HostTime::ZERO,
            latest_gpus: None,
            gpus: None,
            gpus_due: Due::default(),
            buffer: String::with_capacity(4096),
        }
    }

    /// With GPUs, such as those of [`nvml::Watch`](crate::nvml).
    #[must_use]
    pub fn with_gpus(mut self, latest: impl FnMut() -> Option<Arc<Reading>> + Send + 'static) -> Self {
        self.latest_gpus = Some(Box::new(latest));
        self
    }

    /// Tracks a VM from now on. Where it is tracked already, sources that stay as they were go on, and those
    /// that changed begin anew: a VM that gets another device or class of service keeps its counters, and one
    /// that was restarted, under a new process, starts with new ones.
    pub fn track(&mut self, guest: Guest) {
        let earlier = self.vms.remove(&guest.vm);
        self.vms.insert(guest.vm, Tracked::new(guest, &self.roots, earlier));
    }

    /// Tracks a VM no more, and closes its files.
    pub fn forget(&mut self, vm: VmId) {
        self.vms.remove(&vm);
    }

    /// Reads what is due, and overwrites `samples` with what is known of each VM, ordered by VM; passing
    /// the same vector again spares allocations. `signal` and `refuses_memory_until` are others' to fill in.
    ///
    /// `now` is any clock that does not stop; one that steps costs one reading of each source too many, or
    /// a pause of one interval. Waits for no guest, and for no disk but the kernel's own trees.
    pub fn sample(&mut self, now: HostTime, samples: &mut Vec<VmSample>) {
        self.now = now;
        self.look_at_gpus(now);
        samples.resize_with(self.vms.len(), VmSample::default);
        let units = self.units;
        let gpus = self.gpus.as_deref();
        let buffer = &mut self.buffer;
        let changes = self.calm.each_mut().map(|calm| calm.changes(buffer));
        let mut sweep = Sweep { now, paces: &self.paces, gpus, changes, buffer };
        for (tracked, sample) in self.vms.values_mut().zip(samples) {
            tracked.refresh(&mut sweep);
            tracked.write(now, units, sample);
        }
    }

    fn look_at_gpus(&mut self, now: HostTime) {
        let Some(latest) = &mut self.latest_gpus else { return };
        if self.gpus_due.is(now) {
            self.gpus = latest();
            self.gpus_due.done(Moment { now, vm: VmId::default() }, Kind::Gpus, self.paces.gpus);
        }
    }

    /// What is counted of each VM beyond its sample, as of the last call of [`sample`](Self::sample),
    /// ordered by VM. It is put together when it is asked for.
    pub fn details(&self) -> impl Iterator<Item = VmDetail> {
        self.vms.values().map(|tracked| tracked.detail(self.now, self.units))
    }

    /// What is counted of one VM beyond its sample.
    #[must_use]
    pub fn detail(&self, vm: VmId) -> Option<VmDetail> {
        self.vms.get(&vm).map(|tracked| tracked.detail(self.now, self.units))
    }

    /// Which sources give nothing and why. What a host or VM does not have at all is no trouble.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> {
        self.vms.values().flat_map(Tracked::troubles)
    }

    /// The VMs that are tracked, in order.
    pub fn vms(&self) -> impl Iterator<Item = VmId> {
        self.vms.keys().copied()
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("vms", &self.vms).field("paces", &self.paces).finish_non_exhaustive()
    }
}
