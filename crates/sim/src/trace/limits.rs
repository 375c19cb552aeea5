//! How much of a trace is believed: the bounds that keep a hostile file from taking all memory.

use std::time::Duration;

/// The most VMs in one trace. The whole public Azure trace has 2.7 million, one file of it some 0.2.
pub const MAX_VMS: usize = 1_000_000;

/// The longest record of a text format after decompression, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The most fields of a record.
pub const MAX_FIELDS: usize = 64;

/// The longest name of a VM, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The latest time of a trace: some 317 years, which holds Unix stamps and refuses misread units.
pub const MAX_TIME: Duration = Duration::from_secs(10_000_000_000);
