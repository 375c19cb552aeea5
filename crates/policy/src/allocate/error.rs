//! Why there is no allocation.

use halcyon_model::{AdmissionError, ChangeKind, HostTime, Violations};

use crate::NetworkError;

/// Why there is no allocation. The allocator is as it was, but after [`AllocateError::Infeasible`], when it
/// remembers what was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// A VM's data cannot be.
    #[error("VM `{vm}`, {field}: {problem}")]
    Vm {
        /// The VM's name, shortened and without characters that would steer a terminal.
        vm: String,
        /// The field of [`VmData`](super::VmData).
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// More VMs than one host runs.
    #[error("{found} VMs; one host runs at most {most}")]
    TooMany {
        /// How many were told.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// The time stamp is not after that of the last call.
    #[error("at: {at:?} is not at least {least:?} after the last call, which was at {last:?}")]
    Stale {
        /// This call's.
        at: HostTime,
        /// The last call's.
        last: HostTime,
        /// [`LEAST_INTERVAL`](super::LEAST_INTERVAL).
        least: std::time::Duration,
    },
    /// The time stamp is beyond any clock.
    #[error("at: {at:?} is more than a thousand years; give the time since the host or the clock started")]
    Far {
        /// This call's.
        at: HostTime,
    },
    /// The reservations do not fit on the host together.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// What is said to be held now is not of this host, or breaks its rules.
    #[error("what is said to be held now cannot be: {0}")]
    Held(Violations),
    /// VMs that came would need room that others cannot give up on this host.
    #[error(
        "there is no room for VMs that came: `{vm}` would have to give something up, and the host cannot change {kind}"
    )]
    NoRoom {
        /// The VM that is there already.
        vm: String,
        /// What would have to be changed.
        kind: ChangeKind,
    },
    /// The weights cannot be used.
    #[error("the weights of the learned policy cannot be used")]
    Model(#[from] NetworkError),
    /// With what can be changed on this host, no allocation keeps every rule.
    #[error("no allocation that this host can change to keeps every rule: {0}")]
    Infeasible(Violations),
}
