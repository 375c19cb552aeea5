//! What the client of a switch says, in the words of attachments.

use super::words::{Answer, Owner, Refusal};
use crate::client::{ChangeError, Changed};
use crate::cxl_fm::VppbStatus;
use crate::view::{Part, Place, View};

/// To whom a switch says that a device is bound that is to be at `place`. While anything is being bound or unbound
/// there, nothing is said: a bridge does not tell what.
#[must_use]
pub fn owner(view: &View, part: Part, place: Place) -> Owner {
    let moving = |status| status == VppbStatus::InProgress;
    if view.bridge(place).is_some_and(|bridge| moving(bridge.status)) {
        return Owner::InProgress;
    }
    let mut places = view.places_of(part);
    match (places.next(), places.next()) {
        (Some(_), Some(_)) => Owner::Several,
        (Some(found), None) if found == place => Owner::Us,
        (Some(_), None) => Owner::Other,
        // It may be what is on its way somewhere else.
        (None, _) if view.bridges().any(|(_, bridge)| moving(bridge.status)) => Owner::InProgress,
        (None, _) => Owner::Nobody,
    }
}

/// The answer to a bind or unbind; none where nobody knows what came of it, as if nothing had been said.
#[must_use]
pub fn bound(result: &Result<Changed, ChangeError>) -> Option<Answer> {
    match result {
        Ok(_) => Some(Answer::Done),
        Err(ChangeError::Owned { .. } | ChangeError::Occupied { .. } | ChangeError::TwoOwners { .. }) => {
            Some(Answer::Refused(Refusal::Owned))
        }
        Err(ChangeError::NoPlace(_) | ChangeError::NoPart(_)) => Some(Answer::Refused(Refusal::Denied)),
        Err(ChangeError::Refused(code)) if code.is_busy() => Some(Answer::Busy),
        Err(ChangeError::Refused(_)) => Some(Answer::Refused(Refusal::Denied)),
        Err(ChangeError::InProgress(_)) => Some(Answer::Busy),
        Err(ChangeError::FailedInBackground(_) | ChangeError::NotDone) => Some(Answer::Failed),
        Err(ChangeError::Before(_) | ChangeError::Unknown(_)) => None,
    }
}
