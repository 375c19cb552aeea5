//! What QEMU and the guest say of themselves. Nobody waits for them: a question is sent, and its answer taken
//! at a later sweep. One question of a kind is under way at a time, so that a guest that does not answer
//! costs one question until its deadline.

use std::time::Duration;

use halcyon_model::{DeviceId, HostTime};
use serde_json::Value;

use super::guest::{Counted, Guest, Paces};
use super::source::{Kind, Moment, SampleError, Source};
use crate::qmp::{BlockCounts, Client, Command, GuestStatistics, Pending, QmpError};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Statistics of a guest are believed for so many of its intervals, and a little more.
const INTERVALS: u64 = 3;
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct PeerSource {
    client: Client,
    connections: u64,
    devices: Vec<(DeviceId, String)>,
    block_question: Option<Pending>,
    pub(super) blocks: Source<Vec<(DeviceId, BlockCounts)>>,
    balloon: Option<Balloon>,
}

/// What a guest says through its balloon.
#[derive(Debug)]
struct Balloon {
    path: String,
    question: Option<(Question, Pending)>,
    next: Question,
    interval_s: u64,
    said: Source<GuestStatistics>,
    /// What the balloon leaves the guest, asked for together with what the guest says.
    actual_question: Option<Pending>,
    actual: Option<u64>,
    /// What the guest used when it last said something new.
    in_use: Option<u64>,
    /// When the guest last said something new. What it said before the first time may be of any age.
    renewed_at: Option<HostTime>,
    before_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// How often the balloon asks its guest.
    Interval,
    /// That it shall ask at all.
    SetInterval,
    Statistics,
}

impl PeerSource {
    pub(super) fn new(client: &Client, balloon: Option<&str>) -> Self {
        let balloon = balloon.map(|path| Balloon {
            path: path.into(),
            question: None,
            next: Question::Interval,
            interval_s: 1,
            said: Source::new(Kind::GuestMemory),
            actual_question: None,
            actual: None,
            in_use: None,
            renewed_at: None,
            before_s: None,
        });
        Self {
            client: client.clone(),
            connections: client.connections(),
            devices: Vec::new(),
            block_question: None,
            blocks: Source::new(Kind::Blocks),
            balloon,
        }
    }

    /// Takes the block devices that count for this VM.
    pub(super) fn count(&mut self, guest: &Guest) {
        let block = |(device, counted): &(DeviceId, Counted)| match counted {
            Counted::Block(name) => Some((*device, name.clone())),
            _ => None,
        };
        self.devices = guest.devices.iter().filter_map(block).collect();
        self.blocks.forget();
    }

    pub(super) fn refresh(&mut self, at: Moment, paces: &Paces) {
        let connections = self.client.connections();
        if std::mem::replace(&mut self.connections, connections) != connections {
            // It may be another QEMU by now.
            self.block_question = None;
            self.blocks.forget();
            if let Some(balloon) = &mut self.balloon {
                balloon.begin_anew();
            }
        }
        self.refresh_blocks(at, paces.blocks);
        if let Some(balloon) = &mut self.balloon {
            balloon.refresh(&self.client, at, paces.guest);
        }
    }

    fn refresh_blocks(&mut self, at: Moment, pace: Duration) {
        if let Some(answer) = self.block_question.as_ref().and_then(Pending::poll) {
            let found = answer.map_err(SampleError::from).map(|reply| {
                let counts =
                    |(device, name): &(DeviceId, String)| Some((*device, BlockCounts::of(&reply, name)?));
                Some(self.devices.iter().filter_map(counts).collect())
            });
            self.block_question = None;
            self.blocks.set(at, pace, found);
        } else if self.block_question.is_none() && !self.devices.is_empty() && self.blocks.is_due(at.now) {
            self.block_question = Some(self.client.call(Command::block_statistics(), PATIENCE));
        }
    }

    /// What the guest last said, if that is not too long ago.
    pub(super) fn guest(&self, now: HostTime) -> Option<&GuestStatistics> {
        self.balloon.as_ref()?.fresh(now)
    }

    /// Memory that it cannot do without at once, as it last said.
    pub(super) fn in_use_bytes(&self, now: HostTime) -> Option<u64> {
        let balloon = self.balloon.as_ref()?;
        balloon.fresh(now).and(balloon.in_use)
    }

    pub(super) fn troubles(&self) -> impl Iterator<Item = (Kind, &str)> {
        let balloon = self.balloon.as_ref().and_then(|balloon| balloon.said.trouble());
        self.blocks.trouble().into_iter().chain(balloon)
    }
}

impl Balloon {
    fn begin_anew(&mut self) {
        (self.question, self.next) = (None, Question::Interval);
        (self.actual_question, self.actual, self.in_use) = (None, None, None);
        (self.renewed_at, self.before_s) = (None, None);
        self.said.forget();
    }

    fn refresh(&mut self, client: &Client, at: Moment, pace: Duration) {
        let seconds = pace.as_secs().max(1);
        if let Some((asked, pending)) = &self.question {
            let Some(answer) = pending.poll() else { return };
            let taken = match asked {
                Question::Interval => self.take_interval(answer),
                Question::SetInterval => answer.map(|_| {
                    (self.next, self.interval_s) = (Question::Statistics, seconds);
                }),
                Question::Statistics => {
                    let pending_odd = pending.odd();
                    let taken = answer
                        .and_then(|reply| GuestStatistics::of(&reply).ok_or(pending_odd))
                        .map_err(SampleError::from);
                    let before = self.actual;
                    let actual = self.actual_question.take().and_then(|asked| asked.poll()?.ok());
                    self.actual = actual.and_then(|reply| reply.get("actual")?.as_u64());
                    // The guest spoke since the last question, so that what its balloon left it then counts.
                    self.take(at, pace, taken, before.or(self.actual));
                    Ok(())
                }
            };
            if let Err(error) = taken {
                self.said.set(at, pace, Err(error.into()));
            }
            self.question = None;
        }
        if self.said.is_due(at.now) {
            let command = match self.next {
                Question::Interval => Command::statistics_interval(&self.path),
                Question::SetInterval => Command::set_statistics_interval(&self.path, seconds),
                Question::Statistics => {
                    // Answers come in the order of questions, so that this one is there with the other.
                    self.actual_question = Some(client.call(Command::balloon_actual(), PATIENCE));
                    Command::guest_statistics(&self.path)
                }
            };
            self.question = Some((self.next, client.call(command, PATIENCE)));
        }
    }

    /// An interval that somebody has set already stays.
    fn take_interval(&mut self, answer: Result<Value, QmpError>) -> Result<(), QmpError> {
        match answer?.as_u64() {
            Some(0) => self.next = Question::SetInterval,
            other => {
                self.interval_s = other.unwrap_or(1);
                self.next = Question::Statistics;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        at: Moment,
        pace: Duration,
        said: Result<GuestStatistics, SampleError>,
        actual: Option<u64>,
    ) {
        if let Ok(said) = &said {
            // Its seconds are of the host's calendar, which may be set: only that they change counts.
            if self.before_s.replace(said.updated_s).is_some_and(|before| before != said.updated_s) {
                self.renewed_at = Some(at.now);
                self.in_use = said.in_use_bytes(actual).or(self.in_use);
            }
        }
        self.said.set(at, pace, said.map(Some));
    }

    fn fresh(&self, now: HostTime) -> Option<&GuestStatistics> {
        let interval = Duration::from_secs(self.interval_s.saturating_mul(INTERVALS).min(86_400));
        let age = now.checked_sub(self.renewed_at?)?;
        self.said.value().filter(|_| age <= interval + GRACE)
    }
}
