//! Finds grants that swing to and fro.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::{ChangeKind, HostTime, NodeId, Plan, Step, VmId};

/// A swing is a change of more than this share, back to where the grant was two changes ago.
const SWING: f64 = 0.10;
/// How near "back" is, as a share.
const BACK: f64 = 0.05;
/// So many swings in a row, each within [`PERIOD`] of the last, are a limit cycle.
const SWINGS: u32 = 6;
const PERIOD: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, Default)]
struct Swing {
    last: f64,
    before: f64,
    count: u32,
    at: HostTime,
}

/// Watches the plans of one run.
#[derive(Debug, Default)]
pub(crate) struct LimitCycles {
    /// By VM, kind of change and, for memory, node.
    grants: BTreeMap<(VmId, ChangeKind, Option<NodeId>), Swing>,
    found: u64,
}

impl LimitCycles {
    pub(crate) fn watch(&mut self, plan: &Plan, at: HostTime) {
        for change in plan.changes() {
            let (vm, to) = match &change.step {
                Step::SetCpu { vm, to, .. } => (*vm, to.share.as_f64()),
                Step::SetMemoryBandwidth { vm, to, .. } => (*vm, to.ceiling.as_f64()),
                Step::SetMemory { vm, to, .. } => (*vm, to.as_f64()),
                Step::Place { vm, to, .. } => (*vm, f64::from(to.socket.0 + 1)),
                _ => continue,
            };
            let node = match &change.step {
                Step::SetMemory { node, .. } => Some(*node),
                _ => None,
            };
            self.change((vm, change.step.kind(), node), to, at);
        }
    }

    fn change(&mut self, grant: (VmId, ChangeKind, Option<NodeId>), to: f64, at: HostTime) {
        let swing = self.grants.entry(grant).or_default();
        let near = |a: f64, b: f64, share: f64| (a - b).abs() <= share * a.abs().max(b.abs());
        let back = swing.before > 0.0 && near(to, swing.before, BACK) && !near(to, swing.last, SWING);
        swing.count = if back && at <= swing.at + PERIOD { swing.count + 1 } else { 0 };
        if swing.count == SWINGS {
            swing.count = 0;
            self.found += 1;
        }
        *swing = Swing { before: swing.last, last: to, at, count: swing.count };
    }

    pub(crate) fn found(&self) -> u64 {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_that_swings_is_found_and_one_that_follows_demand_is_not() {
        let mut cycles = LimitCycles::default();
        let cpu = |vm| (VmId(vm), ChangeKind::Cpu, None);
        let second = Duration::from_secs;
        for time in 0..20 {
            cycles.change(cpu(1), if time % 2 == 0 { 1000.0 } else { 2000.0 }, second(time));
            cycles.change(cpu(2), 1000.0 + 300.0 * f64::from(u32::try_from(time).unwrap()), second(time));
            // Once an hour is a daily rhythm, not a limit cycle.
            cycles.change(cpu(3), if time % 2 == 0 { 1000.0 } else { 2000.0 }, second(3600 * time));
        }
        assert_eq!(cycles.found(), 3);
    }
}
