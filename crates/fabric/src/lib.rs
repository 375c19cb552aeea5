//! The interconnect fabric: CXL switches that are told by a fabric manager which device belongs to which
//! host, spoken to in the bytes of their own protocol.
//!
//! What a switch says is hostile until it was read, and what it did is believed only after it was read
//! back. Nothing here decides who should have a device.
pub mod attachment;
pub mod client;
pub mod cxl_fm;
pub mod patience;
pub mod pool;
pub mod shares;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tcp;
pub mod transport;
pub mod view;

pub use attachment::{Attachment, Claims};
pub use client::{Client, Settings};
pub use patience::Patience;
pub use tcp::TcpTransport;
pub use transport::Transport;
pub use view::{Contradiction, Part, Place, View};
