//! What goes wrong between a switch and its manager, and how often.

use std::time::Duration;

use super::draw::Draw;
use super::switch::{Course, End};
use crate::cxl_fm::ReturnCode;

/// How often each fault happens, in a thousand requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A request does not arrive.
    pub request_lost: u16,
    /// A request is carried out, and its answer does not arrive.
    pub answer_lost: u16,
    /// An answer comes after the manager has given up.
    pub answer_late: u16,
    /// An answer comes twice.
    pub answer_twice: u16,
    /// An answer is cut short.
    pub answer_cut: u16,
    /// The connection ends before the request is carried out.
    pub ends_before: u16,
    /// The connection ends after it.
    pub ends_after: u16,
    /// The switch is busy.
    pub busy: u16,
    /// A background command takes a hundred times as long.
    pub slow: u16,
    /// A background command fails.
    pub fails: u16,
    /// A background command does nothing and is told to be done.
    pub lies_done: u16,
    /// A background command is done and is told to have failed.
    pub lies_failed: u16,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered { copies: u8, delay: Duration },
    RequestLost,
    AnswerLost,
    AnswerCut,
    EndsBefore,
    EndsAfter,
    Busy,
}

impl Faults {
    /// Every fault, each in `of_1000` of a thousand requests.
    #[must_use]
    pub const fn all(of_1000: u16) -> Self {
        let each = of_1000;
        Self {
            request_lost: each,
            answer_lost: each,
            answer_late: each,
            answer_twice: each,
            answer_cut: each,
            ends_before: each,
            ends_after: each,
            busy: each,
            slow: each,
            fails: each,
            lies_done: each,
            lies_failed: each,
        }
    }

    pub(super) fn fate(&self, draw: &mut Draw) -> Fate {
        let fates = [
            (self.request_lost, Fate::RequestLost),
            (self.answer_lost, Fate::AnswerLost),
            (self.answer_late, Fate::Answered { copies: 1, delay: Duration::from_secs(3) }),
            (self.answer_twice, Fate::Answered { copies: 2, delay: Duration::ZERO }),
            (self.answer_cut, Fate::AnswerCut),
            (self.ends_before, Fate::EndsBefore),
            (self.ends_after, Fate::EndsAfter),
            (self.busy, Fate::Busy),
        ];
        let drawn = fates.into_iter().find(|(often, _)| draw.happens(*often));
        drawn.map_or(Fate::Answered { copies: 1, delay: Duration::ZERO }, |(_, fate)| fate)
    }

    /// How a background command goes that takes between two times when nothing is wrong.
    pub(super) fn course(&self, takes: (Duration, Duration), draw: &mut Draw) -> Course {
        let slow = if draw.happens(self.slow) { 100 } else { 1 };
        let spread = u64::try_from(takes.1.saturating_sub(takes.0).as_micros()).unwrap_or(u64::MAX);
        let takes = (takes.0 + Duration::from_micros(draw.below(spread))) * slow;
        let ends = [
            (self.fails, End::Fails(ReturnCode::InternalError)),
            (self.lies_done, End::LiesDone),
            (self.lies_failed, End::LiesFailed(ReturnCode::InternalError)),
        ];
        let end = ends.into_iter().find(|(often, _)| draw.happens(*often)).map_or(End::Done, |(_, end)| end);
        Course { takes, end }
    }
}
