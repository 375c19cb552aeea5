//! What can be changed on a random host.

use halcyon_model::{Capabilities, ChangeKind, Control};

use super::Tape;

/// Half of the hosts can change everything exactly; of the others each kind is missing or coarse at random.
pub(crate) fn capabilities(tape: &mut Tape) -> Capabilities {
    if !tape.chance(1, 2) {
        return Capabilities::free();
    }
    ChangeKind::ALL.into_iter().fold(Capabilities::none(), |known, kind| {
        let control = (!tape.chance(1, 4)).then(|| Control {
            granularity: *tape.pick(&[1, 0, 3, 250, 1000, 2 << 20, 1 << 28, 1_000_000_000, u64::MAX]),
            ..Control::FREE
        });
        known.with(kind, control)
    })
}
