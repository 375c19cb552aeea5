//! `resctrl`: ways of the last-level cache and memory bandwidth by class of service, and what is seen of
//! both (Intel RDT, AMD QoS; the kernel's Documentation/filesystems/resctrl.rst).
//!
//! ```text
//!  Files ──► Tree ──► Info            what the processor can do, and in which units
//!    │         ├────► Schemata        what a group may use
//!    │         └────► tasks           who is in it
//!    │
//!    └─ Disk, or a kernel of the tests
//!
//!  CacheDriver ──► Tree, Threads      classes of service are groups, VMs are their threads
//! ```
//!
//! Class 0 is the default group, which is the root of the tree; class *n* is the group `halcyon-n`. Groups
//! with other names belong to somebody else: they are left alone, and the classes that they take are gone.

mod bandwidth;
mod counting;
mod driver;
mod error;
mod files;
mod info;
mod monitor;
mod schemata;
mod sockets;
mod threads;
mod tree;

pub use bandwidth::{Throttle, Unit};
pub use counting::UsageFiles;
pub use driver::{CacheDriver, Clock, Followed, Setup};
pub use error::Error;
pub use files::{Disk, Entry, Files};
pub use info::{CacheInfo, Info, MonitoringInfo, parse_features, parse_mask, parse_number};
pub use monitor::{Usage, parse_counter};
pub use schemata::{Resource, Schemata, SchemataError};
pub use sockets::Sockets;
pub use threads::{ProcThreads, Threads};
pub use tree::{Groups, Tree, class_group, parse_tasks, vm_group};
