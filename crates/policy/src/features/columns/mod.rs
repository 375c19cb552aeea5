//! The features of a VM, each with the code that computes it.

mod compute;
mod fabric;
mod memory;
mod program;
mod purpose;

use super::table::VmColumn;

/// All of them, in the order of a row.
pub(super) const GROUPS: [&[VmColumn]; 5] =
    [&compute::COLUMNS, &memory::COLUMNS, &fabric::COLUMNS, &program::COLUMNS, &purpose::COLUMNS];
