//! The checks, each of one promise of Halcyon.

use std::path::Path;

use anyhow::bail;

use crate::lab::Lab;

mod boot;
mod daemon;
mod device_move;
mod drive;
mod guest_dies;
mod killed;
mod limits;
mod memory;
mod slow_unplug;

pub(crate) use self::daemon::{Drive, run_daemon as drive};
pub(crate) use self::killed::{Execute, execute};

/// One check.
pub(crate) struct Check {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it proves, in one line.
    pub(crate) proves: &'static str,
    /// Does it, with its files in a folder; prints what it measured.
    pub(crate) run: fn(&Lab, &Path) -> anyhow::Result<()>,
}

/// Every check, in the order in which they run.
pub(crate) const ALL: &[Check] = &[
    Check {
        name: "boot",
        proves: "guests boot, answer, and go on after the host let go of them",
        run: boot::run,
    },
    Check {
        name: "device-move-acpi",
        proves: "a drive moves between running guests, by ACPI, as fast as by hand",
        run: device_move::acpi,
    },
    Check {
        name: "device-move-native",
        proves: "a drive moves between running guests, by the ports themselves",
        run: device_move::native,
    },
    Check {
        name: "memory",
        proves: "memory follows use between guests, and one that will not give keeps its share",
        run: memory::run,
    },
    Check {
        name: "cpu-and-disk",
        proves: "limits on CPU time and disk traffic are felt in the guest, and as large as they say",
        run: limits::run,
    },
    Check {
        name: "daemon",
        proves: "the daemon gives running guests what their changing load needs, and a static host does not",
        run: daemon::run,
    },
    Check {
        name: "killed",
        proves: "kill -9 of whoever carries plans out leaves the old plan or the new one",
        run: killed::run,
    },
    Check {
        name: "guest-dies",
        proves: "a guest that dies in mid-change harms no other",
        run: guest_dies::run,
    },
    Check {
        name: "slow-unplug",
        proves: "an unplug of six seconds is waited for and no failure",
        run: slow_unplug::run,
    },
];

/// The checks of these names, or all.
///
/// # Errors
/// When there is no check of a name.
pub(crate) fn named(names: &[String]) -> anyhow::Result<Vec<&'static Check>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| match ALL.iter().find(|check| check.name == name) {
        Some(check) => Ok(check),
        None => {
            let known: Vec<&str> = ALL.iter().map(|check| check.name).collect();
            bail!("there is no check {name}; there are {}", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}
