//! A guest that is there, until it is no more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halcyon_model::HostTime;

use super::interview::Interview;
use super::{Change, Ending, Instance, Life};
use crate::qmp::{Command, Event, Pending, Why};
use crate::sampler::started_ticks;

/// Between two questions what it does; events say it sooner.
const ASK: Duration = Duration::from_secs(1);
/// How long an answer may take before QEMU counts as silent.
const PROMPT: Duration = Duration::from_millis(900);
/// Between two questions who it is: virtual CPUs and devices come and go.
const RENEW: Duration = Duration::from_secs(30);

pub(super) struct Up {
    pub(super) instance: Arc<Instance>,
    life: Life,
    /// The connection that all this is of.
    connection: u64,
    next_event: u64,
    asked: Option<Pending>,
    ask_at: HostTime,
    again: Option<Interview>,
    renew_at: HostTime,
    /// What was said of the end that is to come.
    ending: Option<Ending>,
}

impl Up {
    pub(super) fn new(instance: Arc<Instance>, now: HostTime) -> Self {
        let next_event = instance.client.events(u64::MAX).1;
        Self {
            life: instance.life,
            connection: instance.client.connections(),
            next_event,
            asked: None,
            ask_at: now,
            again: None,
            renew_at: now + RENEW,
            ending: None,
            instance,
        }
    }

    /// Follows it, and says how it ended if it did.
    pub(super) fn go_on(&mut self, now: HostTime, proc: &Path, changes: &mut Vec<Change>) -> Option<Ending> {
        let (events, next) = self.instance.client.events(self.next_event);
        self.next_event = next;
        for event in &events {
            self.hear(event, now, changes);
        }
        if !self.instance.client.is_connected() {
            return self.without_connection(proc, changes);
        }
        let connection = self.instance.client.connections();
        if connection != self.connection {
            // It may be another one by now.
            (self.connection, self.asked) = (connection, None);
            (self.ask_at, self.renew_at) = (now, now);
        }
        self.ask(now, changes);
        self.renew(now, proc, changes)
    }

    fn hear(&mut self, event: &Event, now: HostTime, changes: &mut Vec<Change>) {
        match event.name.as_str() {
            "SHUTDOWN" => {
                let by_guest = event.data.get("guest").and_then(serde_json::Value::as_bool);
                let how = if by_guest == Some(true) { Ending::ByGuest } else { Ending::ByHost };
                self.ending = Some(self.ending.filter(|how| *how == Ending::Panicked).unwrap_or(how));
                self.ask_at = now;
            }
            "GUEST_PANICKED" => {
                self.ending = Some(Ending::Panicked);
                self.ask_at = now;
            }
            "RESET" => {
                self.ending = None;
                changes.push(Change::Rebooted(self.instance.socket.clone()));
                (self.ask_at, self.renew_at) = (now, now);
            }
            "STOP" | "RESUME" | "SUSPEND" | "SUSPEND_DISK" | "WAKEUP" | "MIGRATION" | "BLOCK_IO_ERROR" => {
                self.ask_at = now;
            }
            "DEVICE_DELETED" | "ACPI_DEVICE_OST" | "CPU_PLUG" => self.renew_at = now,
            _ => {}
        }
    }

    fn without_connection(&mut self, proc: &Path, changes: &mut Vec<Change>) -> Option<Ending> {
        let process = self.instance.process.as_ref();
        let has_ended = process.is_some_and(|process| {
            process.started_ticks.is_some() && started_ticks(proc, process.pid) != process.started_ticks
        });
        if has_ended || self.instance.client.is_gone() {
            return Some(self.ending.unwrap_or(Ending::Vanished));
        }
        self.asked = None;
        self.lives(Life::Silent, changes);
        None
    }

    fn lives(&mut self, life: Life, changes: &mut Vec<Change>) {
        if life != self.life {
            self.life = life;
            changes.push(Change::Life(self.instance.socket.clone(), life));
        }
    }

    fn ask(&mut self, now: HostTime, changes: &mut Vec<Change>) {
        if let Some(pending) = &self.asked {
            match pending.poll() {
                None => return,
                Some(Ok(reply)) => {
                    let status = reply.get("status").and_then(serde_json::Value::as_str);
                    self.lives(status.map_or(Life::Silent, Life::of), changes);
                }
                Some(Err(error)) if matches!(error.why, Why::Refused(_)) => {}
                Some(Err(_)) => self.lives(Life::Silent, changes),
            }
            self.asked = None;
        }
        if self.ask_at <= now {
            self.asked = Some(self.instance.client.call(Command::status(), PROMPT));
            self.ask_at = now + ASK;
        }
    }

    fn renew(&mut self, now: HostTime, proc: &Path, changes: &mut Vec<Change>) -> Option<Ending> {
        match self.again.as_mut().map(Interview::poll) {
            Some(None) => return None,
            Some(Some(Ok(instance))) => {
                self.again = None;
                if !instance.is_same_process(&self.instance) {
                    return Some(Ending::Replaced);
                }
                if !instance.says_the_same(&self.instance) {
                    self.instance = Arc::new(instance);
                    changes.push(Change::Renewed(Arc::clone(&self.instance)));
                }
            }
            Some(Some(Err(_))) => self.again = None,
            None => {}
        }
        if self.renew_at <= now {
            self.again = Some(Interview::begin(&self.instance.client, proc));
            self.renew_at = now + RENEW;
        }
        None
    }
}
