//! Who may begin something with a device: one attachment at a time, whatever switches would allow.

use std::collections::BTreeMap;

use super::words::{End, Whereabouts};
use crate::view::{Contradiction, Part, Place, View};

/// Who has which device, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims<W> {
    held: BTreeMap<Part, Claim<W>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim<W> {
    who: W,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// An attachment is at it.
    Moving,
    /// It is somebody's, and stays so.
    Held,
    /// Nobody knows where it is.
    Quarantined,
}

/// Why a device cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Claimed<W> {
    /// Somebody has it, or part of it.
    #[error("{part} is somebody else's")]
    By {
        /// What they have.
        part: Part,
        /// Who.
        who: W,
    },
    /// It is the asker's own, and on its way there or back.
    #[error("{part} is on its way already")]
    Moving {
        /// What.
        part: Part,
    },
    /// Nobody knows where it is.
    #[error("{part} is in quarantine: read where it is, and release it")]
    Quarantined {
        /// What.
        part: Part,
    },
}

impl<W> Default for Claims<W> {
    fn default() -> Self {
        Self { held: BTreeMap::new() }
    }
}

impl<W: Clone + PartialEq> Claims<W> {
    /// What a manager finds that was started anew: everything that is bound belongs to whoever `who` says that
    /// the bridge does, and what has two owners to nobody.
    #[must_use]
    pub fn found(view: &View, who: impl Fn(Place) -> W) -> Self {
        let mut claims = Self::default();
        for place in view.bridges().map(|(place, _)| place) {
            if let Some(part) = view.part_at(place) {
                claims.held.entry(part).or_insert(Claim { who: who(place), state: State::Held });
            }
        }
        for contradiction in view.contradictions() {
            if let Contradiction::TwoOwners { part, .. } = contradiction {
                claims.set(part, State::Quarantined);
            }
        }
        claims
    }

    /// Takes a device for somebody who is about to begin an attachment with it.
    ///
    /// # Errors
    /// When somebody else has it, or part of it, or the whole of which it is part; when another attachment is at
    /// it; and when it is in quarantine.
    pub fn claim(&mut self, part: Part, who: W) -> Result<(), Claimed<W>> {
        for (held, claim) in self.held.iter().filter(|(held, _)| overlap(**held, part)) {
            let part = *held;
            match claim.state {
                State::Quarantined => return Err(Claimed::Quarantined { part }),
                _ if claim.who != who => return Err(Claimed::By { part, who: claim.who.clone() }),
                State::Moving => return Err(Claimed::Moving { part }),
                State::Held => {}
            }
        }
        self.held.insert(part, Claim { who, state: State::Moving });
        Ok(())
    }

    /// Takes note of how an attachment ended: free again, still somebody's, or in quarantine.
    pub fn ended(&mut self, part: Part, end: &End) {
        match end.whereabouts {
            Whereabouts::Free | Whereabouts::Elsewhere => {
                self.held.remove(&part);
            }
            Whereabouts::Attached | Whereabouts::Bound => self.set(part, State::Held),
            Whereabouts::Unknown => self.set(part, State::Quarantined),
        }
    }

    /// Lets go of what is in quarantine, after somebody has read that it is nobody's.
    pub fn release(&mut self, part: Part) {
        self.held.remove(&part);
    }

    /// Who has a device; none when it is free or in quarantine.
    #[must_use]
    pub fn owner(&self, part: Part) -> Option<&W> {
        self.held.get(&part).filter(|claim| claim.state != State::Quarantined).map(|claim| &claim.who)
    }

    /// Whether a device is in quarantine.
    #[must_use]
    pub fn is_quarantined(&self, part: Part) -> bool {
        self.held.get(&part).is_some_and(|claim| claim.state == State::Quarantined)
    }

    fn set(&mut self, part: Part, state: State) {
        if let Some(claim) = self.held.get_mut(&part) {
            claim.state = state;
        }
    }
}

/// Whether two names mean the same device, or one a part of the other.
fn overlap(one: Part, other: Part) -> bool {
    one.port == other.port && (one.ld == other.ld || one.ld.is_none() || other.ld.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Outcome;
    use crate::cxl_fm::PhysicalPort;

    fn part(port: u8, ld: Option<u8>) -> Part {
        Part { port: PhysicalPort(port), ld }
    }

    fn end(whereabouts: Whereabouts) -> End {
        End { outcome: Outcome::Done, whereabouts, link: None, unsteady: false }
    }

    #[test]
    fn a_device_is_one_partys_until_it_is_read_to_be_free() {
        let mut claims = Claims::default();
        assert_eq!(claims.claim(part(1, Some(0)), "a"), Ok(()));
        assert_eq!(claims.claim(part(1, Some(0)), "a"), Err(Claimed::Moving { part: part(1, Some(0)) }));
        assert_eq!(claims.claim(part(1, Some(1)), "b"), Ok(()), "another logical device");
        assert!(matches!(claims.claim(part(1, Some(0)), "b"), Err(Claimed::By { who: "a", .. })));
        assert!(claims.claim(part(1, None), "c").is_err(), "the whole of what others have parts of");
        claims.ended(part(1, Some(0)), &end(Whereabouts::Attached));
        assert_eq!(claims.owner(part(1, Some(0))), Some(&"a"));
        assert_eq!(claims.claim(part(1, Some(0)), "a"), Ok(()), "to be taken back");
        claims.ended(part(1, Some(0)), &end(Whereabouts::Unknown));
        assert_eq!(claims.owner(part(1, Some(0))), None);
        let quarantined = Claimed::Quarantined { part: part(1, Some(0)) };
        assert_eq!(claims.claim(part(1, Some(0)), "a"), Err(quarantined), "not even for who had it");
        claims.release(part(1, Some(0)));
        assert_eq!(claims.claim(part(1, Some(0)), "b"), Ok(()));
    }
}
