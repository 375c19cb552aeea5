//! A group of devices on its way, one device after the other, one question to QEMU after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::Progress;
use halcyon_model::{DeviceId, VmId};
use serde_json::Value;

use super::{Backend, PERIPHERAL, PROMPT, Part};
use crate::qmp::client::{Client, Pending, QmpError};
use crate::qmp::command::{Command, children};
use crate::qmp::message::Event;

/// Between two looks at a device that is to go, and between two attempts at what is busy.
const LOOK: Duration = Duration::from_millis(50);
/// When a guest that was asked to let go is asked again. A guest that is still looking at a device that was
/// just plugged in may miss the request. QEMU turns a second one down while the first is pending: for one
/// second with ACPI, for five with native hot-plug, whose button, pressed twice, would take the request back.
const ASK_AGAIN: [Duration; 4] =
    [Duration::from_millis(1500), Duration::from_secs(3), Duration::from_secs(12), Duration::from_secs(24)];
/// Between two attempts to close a file that is about to be let go.
const SOON: Duration = Duration::from_millis(2);
/// A file that is still open after so long will not be closed.
const LATE: Duration = Duration::from_secs(3);

/// A group of devices on its way, one device after the other.
pub(super) struct Job {
    pub(super) vm: VmId,
    /// With the port that each is plugged into.
    devices: Vec<(DeviceId, String)>,
    pub(super) plugs: bool,
    at: usize,
    stage: Stage,
    asked: Option<Pending>,
    /// Not asked again before.
    rests_until: Duration,
    began: Duration,
    /// The first event of the guest that may be about this.
    events_from: u64,
    /// When it was first asked to let go, and how often since.
    first_asked: Duration,
    asked_again: usize,
    /// Whether no other guest has a file of it open.
    freed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Whether the device is there already.
    Look,
    /// Have another guest close what it was left with.
    Free(usize),
    AddBackend,
    AddDevice,
    /// Whether it is there now.
    Confirm,
    /// Why it could not be added is known; what was made for it goes again.
    CleanUp,
    AskToLetGo,
    AwaitGone,
    RemoveBackend,
}

impl Stage {
    /// Where a device begins. What is there already is turned down as such, so that nobody has to look
    /// first; but for what may still be open elsewhere.
    const fn first(plugs: bool, freed: bool) -> Self {
        match (plugs, freed) {
            (true, true) => Self::AddBackend,
            (true, false) => Self::Look,
            (false, _) => Self::AskToLetGo,
        }
    }
}

/// What follows an answer.
enum Next {
    Stage(Stage),
    /// The same again, after this.
    Again(Duration),
    /// The next device.
    Device,
    End(Progress),
}

impl Job {
    /// A job that begins now. `freed` says that no other guest was left with a file of these open.
    pub(super) fn new(
        vm: VmId,
        devices: Vec<(DeviceId, String)>,
        plugs: bool,
        freed: bool,
        now: Duration,
    ) -> Self {
        Self {
            vm,
            devices,
            plugs,
            at: 0,
            stage: Stage::first(plugs, freed),
            asked: None,
            rests_until: now,
            began: now,
            events_from: 0,
            first_asked: now,
            asked_again: 0,
            freed,
        }
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.devices.iter().map(|(device, _)| *device)
    }

    pub(super) fn took(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    /// Goes on as far as answers come; how it ended, once it did.
    pub(super) fn advance(
        &mut self,
        parts: &BTreeMap<DeviceId, Part>,
        client: &Client,
        others: &[&Client],
        now: Duration,
        patience: Duration,
    ) -> Option<Progress> {
        // A few stages follow each other at once when their answers are quick.
        for _ in 0..16 + others.len() {
            let Some((device, _)) = self.devices.get(self.at) else { return Some(Progress::Done) };
            match self.step(parts.get(device)?, client, others, now, patience)? {
                Next::Stage(stage) => {
                    let again = (self.stage, stage) == (Stage::AwaitGone, Stage::AskToLetGo);
                    self.asked_again += usize::from(again);
                    self.stage = stage;
                }
                Next::Again(rest) => self.rests_until = now + rest,
                Next::Device => {
                    self.at += 1;
                    (self.stage, self.asked_again) = (Stage::first(self.plugs, self.freed), 0);
                }
                Next::End(progress) => return Some(progress),
            }
        }
        None
    }

    /// One question and what follows from its answer; nothing while there is none.
    fn step(
        &mut self,
        part: &Part,
        own: &Client,
        others: &[&Client],
        now: Duration,
        patience: Duration,
    ) -> Option<Next> {
        if !self.plugs && own.is_gone() {
            return Some(Next::Device);
        }
        if self.asked.is_none() {
            if self.stage == Stage::AwaitGone && self.is_deleted(part, own) {
                return Some(Next::Stage(Stage::RemoveBackend));
            }
            if now < self.rests_until {
                return None;
            }
            let client = match self.stage {
                Stage::Free(other) => match others.get(other) {
                    None => {
                        self.freed = true;
                        return Some(Next::Stage(Stage::AddBackend));
                    }
                    Some(other) => other,
                },
                _ => own,
            };
            if self.stage == Stage::AskToLetGo && self.asked_again == 0 {
                self.events_from = client.events(u64::MAX).1;
                self.first_asked = now;
            }
            let Some(command) = self.command(part) else {
                return Some(self.follow(part, &Ok(Value::Null), now, patience));
            };
            self.asked = Some(client.call(command, PROMPT));
        }
        // A guest that is well answers in less than a millisecond.
        let answer = self.asked.as_ref()?.poll_for(Duration::from_millis(1))?;
        self.asked = None;
        Some(self.follow(part, &answer, now, patience))
    }

    fn is_to_be_asked_again(&self, now: Duration) -> bool {
        let after = ASK_AGAIN.get(self.asked_again).copied();
        after.is_some_and(|after| now.saturating_sub(self.first_asked) >= after)
    }

    /// Whether the guest was heard to let go. Children of the device are named by path alone.
    fn is_deleted(&mut self, part: &Part, client: &Client) -> bool {
        let (events, next) = client.events(self.events_from);
        self.events_from = next;
        let of_it = |event: &Event| {
            event.name == "DEVICE_DELETED"
                && event.data.get("device").and_then(Value::as_str) == Some(&part.id)
        };
        events.iter().any(of_it)
    }

    /// What is asked in this stage; nothing where there is nothing to do.
    fn command(&self, part: &Part) -> Option<Command> {
        match self.stage {
            Stage::Look | Stage::Confirm | Stage::AwaitGone => Some(Command::list(PERIPHERAL)),
            Stage::AddBackend => part.backend.as_ref().map(Backend::open),
            Stage::CleanUp | Stage::RemoveBackend | Stage::Free(_) => {
                part.backend.as_ref().map(Backend::close)
            }
            Stage::AddDevice => {
                let mut add = part.add.clone();
                add.insert("id".into(), part.id.clone().into());
                let bus = self.devices.get(self.at).map(|(_, bus)| bus.clone());
                add.insert("bus".into(), bus.unwrap_or_default().into());
                Some(Command::device_add(&add))
            }
            Stage::AskToLetGo => Some(Command::device_del(&part.id)),
        }
    }

    fn follow(
        &self,
        part: &Part,
        answer: &Result<Value, QmpError>,
        now: Duration,
        patience: Duration,
    ) -> Next {
        let says = |text: &str| answer.as_ref().err().is_some_and(|error| error.to_string().contains(text));
        let there = || {
            let children = answer.as_ref().ok().and_then(children);
            children.map(|children| children.contains(&part.id.as_str()))
        };
        let failed = |why: String| Next::End(Progress::Failed { why });
        let late = now.saturating_sub(self.began) > LATE;
        let given_up = now.saturating_sub(self.began) > patience;
        match (self.stage, answer) {
            (Stage::Look, Ok(_)) => match there() {
                Some(true) => Next::Device,
                Some(false) => Next::Stage(Stage::Free(0)),
                None => failed("the list of devices has another form than promised".into()),
            },
            (Stage::AddBackend, Ok(_)) => Next::Stage(Stage::AddDevice),
            (Stage::AddBackend, Err(_)) if says("Duplicate node") || says("Duplicate ID") => {
                Next::Stage(Stage::AddDevice)
            }
            // It has let go of the device, or it would be its owner: its file follows.
            (Stage::Free(_), Err(_)) if says("in use") && !late => Next::Again(SOON),
            (Stage::Free(_), Err(error)) if says("in use") => failed(error.to_string()),
            (Stage::Free(other), _) => Next::Stage(Stage::Free(other + 1)),
            (Stage::AddDevice, Ok(_)) => Next::Stage(Stage::Confirm),
            (Stage::AddDevice, Err(_)) if says("Duplicate device ID") => Next::Stage(Stage::Confirm),
            (Stage::AddDevice, Err(error)) if error.refusal().is_some() => {
                tracing::warn!(%error, "a device was not added");
                Next::Stage(Stage::CleanUp)
            }
            (Stage::Confirm, Ok(_)) => match there() {
                Some(true) => Next::Device,
                _ => failed(format!("QEMU took {} and does not show it", part.id)),
            },
            (Stage::CleanUp, Err(_)) if says("in use") && !late => Next::Again(SOON),
            (Stage::CleanUp, _) => failed(format!("QEMU would not add {}", part.id)),
            (Stage::AskToLetGo, Ok(_)) => Next::Stage(Stage::AwaitGone),
            (Stage::AskToLetGo, Err(error)) => match error.refusal() {
                Some(refusal) if refusal.class == "DeviceNotFound" => Next::Stage(Stage::RemoveBackend),
                Some(_) if says("in the process of unplug") => Next::Stage(Stage::AwaitGone),
                Some(_) if says("busy") && !given_up => Next::Again(LOOK),
                Some(refusal) => Next::End(Progress::Refused { why: refusal.desc.clone() }),
                None if !given_up => Next::Again(LOOK),
                None => failed(error.to_string()),
            },
            (Stage::AwaitGone, Ok(_)) => match there() {
                Some(false) => Next::Stage(Stage::RemoveBackend),
                Some(true) if given_up => Next::End(Progress::Refused {
                    why: format!("the guest did not let go of {} in {patience:?}", part.id),
                }),
                Some(true) if self.is_to_be_asked_again(now) => Next::Stage(Stage::AskToLetGo),
                Some(true) => Next::Again(LOOK),
                None => failed("the list of devices has another form than promised".into()),
            },
            (Stage::RemoveBackend, Ok(_)) => Next::Device,
            // The node is let go a moment after the device.
            (Stage::RemoveBackend, Err(_)) if says("in use") && !given_up => Next::Again(SOON),
            (Stage::RemoveBackend, Err(error)) if is_missing(error) => Next::Device,
            // A guest that was lost is gone, or back, in a moment.
            (_, Err(error)) if !self.plugs && error.refusal().is_none() && !given_up => Next::Again(LOOK),
            (_, Err(error)) => failed(error.to_string()),
        }
    }
}

/// Whether QEMU knows nothing of what was to go.
fn is_missing(error: &QmpError) -> bool {
    error.refusal().is_some_and(|refusal| {
        refusal.class == "DeviceNotFound" || refusal.desc.contains("Failed to find node")
    })
}
