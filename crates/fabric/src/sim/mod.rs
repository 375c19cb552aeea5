//! A CXL switch that is none: it speaks its fabric manager's interface in bytes, over memory or a socket, holds
//! who has which device, and behaves as badly as asked, from a seed.
//!
//! ```text
//!  Client ── TcpTransport ── Server ─┐
//!                                    ├── Peer (framing, faults) ── Switch (state, manners)
//!  Client ── Line (own clock) ───────┘
//! ```
mod device;
mod draw;
mod faults;
mod layout;
mod line;
mod manners;
mod peer;
mod server;
mod switch;

pub use faults::Faults;
pub use layout::{Layout, Plugged, PortLayout};
pub use line::Line;
pub use manners::{BackgroundBit, IdentityForm, Manners};
pub use peer::{Delivery, Peer};
pub use server::Server;
pub use switch::{Course, End, Switch};
