//! The independent judge of every plan, and in tests of every instant between two plans.
//!
//! The checker shares no arithmetic with the ledger, the projection or the diff: it adds up an
//! [`Assignment`] from scratch and applies one named rule for each thing that must always hold.

mod rules;

use std::fmt;

use crate::assignment::Assignment;
use crate::world::World;

/// What must hold at every instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Every VM, device, link and class of the host is in the assignment once, and nothing else is.
    Complete,
    /// In each locality domain, what is granted of a resource is at most what there is.
    Capacity,
    /// Every VM has at least its reservation and at most its limit.
    Bounds,
    /// A device has at most one owner, and only a VM that may own it.
    OneOwner,
    /// An IOMMU group moves whole.
    IommuGroupWhole,
    /// Lane widths are legal and within what the ports and their pool of lanes can carry.
    LaneWidth,
    /// Cache masks are contiguous, not empty, and within the cache.
    CacheMask,
    /// There are no more classes of service than the hardware has, and every VM is in one.
    ClassCount,
    /// GPU instances are of a profile that the GPU has, start where it may, and do not overlap.
    GpuPartition,
    /// A plan changes only what can be changed on this host.
    Capability,
    /// A plan answers the newest snapshot, and its number is above every earlier plan's.
    Generation,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 11] = [
        Self::Complete,
        Self::Capacity,
        Self::Bounds,
        Self::OneOwner,
        Self::IommuGroupWhole,
        Self::LaneWidth,
        Self::CacheMask,
        Self::ClassCount,
        Self::GpuPartition,
        Self::Capability,
        Self::Generation,
    ];

    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Capacity => "capacity",
            Self::Bounds => "bounds",
            Self::OneOwner => "one-owner",
            Self::IommuGroupWhole => "iommu-group-whole",
            Self::LaneWidth => "lane-width",
            Self::CacheMask => "cache-mask",
            Self::ClassCount => "class-count",
            Self::GpuPartition => "gpu-partition",
            Self::Capability => "capability",
            Self::Generation => "generation",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What breaks it, with the figures.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// All that is wrong with an assignment or a plan; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule(s) broken", self.0.len())?;
        // One line, however much is wrong.
        for violation in self.0.iter().take(3) {
            write!(f, "; {violation}")?;
        }
        Ok(())
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Violation>);

impl Findings {
    pub(crate) fn require(&mut self, holds: bool, rule: Rule, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation { rule, detail: detail() });
        }
    }

    pub(crate) fn into_result(self) -> Result<(), Violations> {
        if self.0.is_empty() { Ok(()) } else { Err(Violations(self.0)) }
    }
}

/// Checks that an assignment keeps every rule.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(world: World<'_>, assignment: &Assignment) -> Result<(), Violations> {
    let mut findings = Findings::default();
    rules::complete(world, assignment, &mut findings);
    // The other rules may index by the host's ids from here on.
    findings.into_result()?;
    let mut findings = Findings::default();
    rules::compute(world, assignment, &mut findings);
    rules::memory(world, assignment, &mut findings);
    rules::owners(world, assignment, &mut findings);
    rules::device_bounds(world, assignment, &mut findings);
    rules::links(world, assignment, &mut findings);
    rules::cache(world, assignment, &mut findings);
    rules::gpus(world, assignment, &mut findings);
    findings.into_result()
}
