//! Worlds and policies from outside: programs that speak newline-delimited JSON on their standard input
//! and output, in any language.
//!
//! A world takes the simulator's place under the very same control cycle ([`WorldRun`]); a policy takes
//! the place of one that comes with Halcyon ([`PolicyRun`], [`ExternalPolicy`]). Peers are not trusted:
//! one that is dead, slow or wrong ends the run with an [`OutsideError`] that names its command, the line
//! and the field, within a deadline and in bounded memory, and leaves no process behind. The messages are
//! in [`wire`], and as JSON Schema in [`schemas`]; `docs/src/outside.md` tells the whole.

mod decode;
mod encode;
mod error;
mod host;
mod message;
mod opened;
mod peer;
mod policy;
mod schema;
pub mod wire;
mod world;

pub use error::{OutsideError, Role};
pub use peer::Limits;
pub use policy::{EXTERNAL, ExternalPolicy, Fault, PolicyRun};
pub use schema::{Direction, schemas};
pub use world::{Outside, OutsideRunError, WorldRun, on_world};
