//! Devices, a switch that lets anything happen, and guests, with a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use halcyon_fabric::attachment::{Answer, Ask, Guest, Owner, Refusal, Survey};
use halcyon_model::{Lanes, LinkSetting, LinkSpeed};

use super::field::Field;

pub(crate) const FULL: LinkSetting = LinkSetting { width: Lanes::unchecked(16), speed: LinkSpeed::Gen5 };
const SLOW: LinkSetting = LinkSetting { width: Lanes::unchecked(16), speed: LinkSpeed::Gen1 };

/// A bridge: the one of guest n, somebody else's, or one that was meant to be another.
pub(crate) type Bridge = usize;
pub(crate) const RIVAL: Bridge = 100;
pub(crate) const WRONG: Bridge = 101;

/// How long a message takes.
pub(crate) const MESSAGE: Duration = Duration::from_millis(5);
const FOREVER: Duration = Duration::from_secs(1_000_000);

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) owners: BTreeSet<Bridge>,
    pub(crate) present: bool,
    pub(crate) healthy: bool,
    pub(crate) link: LinkSetting,
    /// A bind or unbind is under way until then.
    moving: Option<(Duration, Ask, Bridge, bool)>,
    trainings: u32,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) phase: Guest,
    pub(crate) has: BTreeMap<usize, Duration>,
    leaves: BTreeMap<usize, Duration>,
    requests: u32,
}

/// A command that was sent: when it is carried out, and whose answer it is.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Duration,
    asker: usize,
    ask: Ask,
    device: usize,
    guest: usize,
    answered: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) devices: Vec<Device>,
    pub(crate) machines: Vec<Machine>,
    fields: BTreeSet<Field>,
    often: u64,
    state: u64,
    sent: Vec<Sent>,
    /// Until when the switch and each guest's monitor are at something; they do one thing after another.
    switch_free: Duration,
    monitor_free: Vec<Duration>,
    /// Answers on their way: when, to whom.
    pub(crate) answers: Vec<(Duration, usize, Answer)>,
    /// When something last happened that nobody asked for.
    pub(crate) unasked: Duration,
    pub(crate) violations: Vec<String>,
    hard_of_hearing: u32,
}

impl World {
    pub(crate) fn new(devices: usize, guests: usize, fields: &[Field], often: u64, seed: u64) -> Self {
        let device = || Device {
            owners: BTreeSet::new(),
            present: true,
            healthy: true,
            link: FULL,
            moving: None,
            trainings: 0,
        };
        let machine =
            || Machine { phase: Guest::Running, has: BTreeMap::new(), leaves: BTreeMap::new(), requests: 0 };
        let mut world = Self {
            now: Duration::ZERO,
            devices: (0..devices).map(|_| device()).collect(),
            machines: (0..guests).map(|_| machine()).collect(),
            fields: fields.iter().copied().collect(),
            often,
            // Seeds are small numbers, whose bits have to be spread.
            state: seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            sent: Vec::new(),
            switch_free: Duration::ZERO,
            monitor_free: vec![Duration::ZERO; guests],
            answers: Vec::new(),
            unasked: Duration::ZERO,
            violations: Vec::new(),
            hard_of_hearing: 0,
        };
        for (field, phase) in [(Field::BootingGuest, Guest::Booting), (Field::PausedGuest, Guest::Paused)] {
            if world.fields.contains(&field) && world.below(2) == 0 {
                world.machines.iter_mut().for_each(|machine| machine.phase = phase);
            }
        }
        world.hard_of_hearing = if world.fields.contains(&Field::DeafGuest) { 2 } else { 0 };
        world
    }

    /// Xorshift (Marsaglia 2003), the same everywhere.
    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % end
    }

    /// Whether something goes wrong now.
    pub(crate) fn goes(&mut self, field: Field) -> bool {
        self.fields.contains(&field) && self.below(100) < self.often
    }

    /// When something will happen next.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        let moves = self.devices.iter().filter_map(|device| device.moving.map(|(at, ..)| at));
        let leaves = self.machines.iter().flat_map(|machine| machine.leaves.values().copied());
        let sent = self.sent.iter().map(|sent| sent.at);
        let answers = self.answers.iter().map(|(at, ..)| *at);
        moves.chain(leaves).chain(sent).chain(answers).filter(|at| *at < FOREVER / 2).min()
    }

    /// Lets time go on, and everything happen that is due, in order.
    pub(crate) fn advance(&mut self, to: Duration) {
        while let Some(at) = self.next_own_event().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            self.settle_moves();
            self.settle_guests();
            let due = self.sent.iter().position(|sent| sent.at <= self.now);
            if let Some(index) = due {
                let sent = self.sent.remove(index);
                self.carry_out(sent);
            }
        }
        self.now = self.now.max(to);
        self.by_itself();
    }

    fn next_own_event(&self) -> Option<Duration> {
        let moves = self.devices.iter().filter_map(|device| device.moving.map(|(at, ..)| at));
        let leaves = self.machines.iter().flat_map(|machine| machine.leaves.values().copied());
        moves.chain(leaves).chain(self.sent.iter().map(|sent| sent.at)).filter(|at| *at < FOREVER / 2).min()
    }

    /// Sends a command: it is carried out after all that was sent to the same peer before, if at all.
    pub(crate) fn send(&mut self, asker: usize, ask: Ask, device: usize, guest: usize) {
        if self.goes(Field::PeerDies) {
            // What it had not begun is gone with it.
            self.sent.retain(|sent| {
                let same_guest = sent.guest == guest || !is_monitors(ask);
                is_monitors(sent.ask) != is_monitors(ask) || !same_guest
            });
            let free = if is_monitors(ask) { &mut self.monitor_free[guest] } else { &mut self.switch_free };
            *free = self.now;
            return self.answers.push((self.now + MESSAGE, asker, Answer::PeerDied));
        }
        if self.goes(Field::NoAnswers) && self.below(2) == 0 {
            return;
        }
        let answered = !self.goes(Field::NoAnswers);
        let slow = match ask {
            _ if self.goes(Field::Blocks) => Duration::from_secs(1 + self.below(100)),
            _ => Duration::ZERO,
        };
        // A survey reads the monitor beside everything that waits there, and the switch after it.
        let free = if is_monitors(ask) { &mut self.monitor_free[guest] } else { &mut self.switch_free };
        let at = (self.now + MESSAGE + slow).max(*free);
        *free = at;
        self.sent.push(Sent { at, asker, ask, device, guest, answered });
        self.sent.sort_by_key(|sent| sent.at);
    }

    /// Nobody waits any more for the answers to what somebody sent.
    pub(crate) fn forget(&mut self, asker: usize) {
        self.answers.retain(|(_, to, _)| *to != asker);
        self.sent.iter_mut().filter(|sent| sent.asker == asker).for_each(|sent| sent.answered = false);
    }

    fn carry_out(&mut self, sent: Sent) {
        let answer = match sent.ask {
            Ask::Survey => Answer::Survey(self.survey(sent.device, sent.guest)),
            Ask::Bind => self.bind(sent),
            Ask::Unbind => self.unbind(sent),
            Ask::Plug => self.plug(sent),
            Ask::AskBack => self.ask_back(sent),
            Ask::Retrain => self.retrain(sent),
        };
        if sent.answered {
            self.answers.push((self.now + MESSAGE, sent.asker, answer));
        }
    }

    fn survey(&mut self, device: usize, guest: usize) -> Survey {
        let restless = self.goes(Field::RestlessLink);
        let in_use = self.goes(Field::HeldOpen);
        let mute = self.goes(Field::MuteMonitor);
        let unhealthy = self.goes(Field::NoRoom) || self.goes(Field::Unhealthy);
        let (found, machine) = (&mut self.devices[device], &self.machines[guest]);
        found.healthy &= !unhealthy;
        let owner = match found.owners.len() {
            _ if found.moving.is_some() => Owner::InProgress,
            0 => Owner::Nobody,
            1 if found.owners.contains(&guest) => Owner::Us,
            1 => Owner::Other,
            _ => Owner::Several,
        };
        Survey {
            owner,
            present: found.present,
            guest: machine.phase,
            in_guest: (!mute).then(|| machine.has.contains_key(&device)),
            in_use,
            healthy: Some(found.healthy),
            link: Some(if restless { SLOW } else { found.link }),
        }
    }

    fn bind(&mut self, sent: Sent) -> Answer {
        let fails = self.goes(Field::FailsLater);
        let wrong = self.goes(Field::WrongBridge);
        let time = self.move_time();
        let bridge = if wrong { WRONG } else { sent.guest };
        let now = self.now;
        let device = &mut self.devices[sent.device];
        if device.moving.is_some() {
            return Answer::Busy;
        }
        let ours = device.owners.iter().any(|owner| *owner < RIVAL && *owner != sent.guest);
        if ours {
            self.violations.push(format!("a device of {:?} is bound to {}", device.owners, sent.guest));
        }
        device.moving = Some((now + time, Ask::Bind, bridge, !fails));
        Answer::Started
    }

    fn unbind(&mut self, sent: Sent) -> Answer {
        let fails = self.goes(Field::FailsLater);
        let machine = &self.machines[sent.guest];
        if machine.phase != Guest::Off && machine.has.contains_key(&sent.device) {
            self.violations.push(format!("device {} is torn out of guest {}", sent.device, sent.guest));
        }
        let time = self.move_time();
        let now = self.now;
        let device = &mut self.devices[sent.device];
        if device.moving.is_some() {
            return Answer::Busy;
        }
        device.moving = Some((now + time, Ask::Unbind, sent.guest, !fails));
        Answer::Started
    }

    fn move_time(&mut self) -> Duration {
        if self.goes(Field::NeverEnds) {
            return FOREVER;
        }
        let slow = self.goes(Field::SlowBind);
        Duration::from_millis(if slow { 15_000 } else { 20 + self.below(60) })
    }

    fn settle_moves(&mut self) {
        let forgets = self.goes(Field::ForgetfulPort) || self.goes(Field::StubbornLink);
        let gone = self.goes(Field::GoneDevice);
        for (index, device) in self.devices.iter_mut().enumerate() {
            let Some((at, ask, bridge, works)) = device.moving else { continue };
            if at > self.now {
                continue;
            }
            device.moving = None;
            if ask == Ask::Bind && works {
                device.owners.insert(bridge);
                device.link = if forgets { SLOW } else { FULL };
                device.present &= !gone;
                device.trainings = 0;
            }
            if ask == Ask::Unbind && works {
                device.owners.remove(&bridge);
                let machine = &self.machines[bridge];
                if machine.phase != Guest::Off && machine.has.contains_key(&index) {
                    self.violations.push(format!("device {index} is torn out of guest {bridge}"));
                }
            }
        }
    }

    fn settle_guests(&mut self) {
        for machine in &mut self.machines {
            let gone: Vec<usize> =
                machine.leaves.iter().filter(|(_, at)| **at <= self.now).map(|(device, _)| *device).collect();
            for device in gone {
                machine.leaves.remove(&device);
                machine.has.remove(&device);
            }
        }
    }

    fn plug(&mut self, sent: Sent) -> Answer {
        let unaware = self.goes(Field::UnawareGuest);
        let now = self.now;
        let owned = self.devices[sent.device].owners.contains(&sent.guest);
        let machine = &mut self.machines[sent.guest];
        if machine.phase == Guest::Off {
            return Answer::PeerDied;
        }
        if !owned || machine.has.contains_key(&sent.device) {
            return Answer::Refused(Refusal::Denied);
        }
        if unaware {
            return Answer::Done;
        }
        machine.has.insert(sent.device, now);
        if machine.phase == Guest::Booting {
            self.violations
                .push(format!("device {} is plugged while guest {} boots", sent.device, sent.guest));
        }
        Answer::Done
    }

    fn ask_back(&mut self, sent: Sent) -> Answer {
        let never = self.fields.contains(&Field::NoUnplug);
        let busy = self.goes(Field::BusyGuest);
        let second = self.goes(Field::SecondRequest);
        let now = self.now;
        let machine = &mut self.machines[sent.guest];
        if machine.phase == Guest::Off {
            return Answer::PeerDied;
        }
        let Some(since) = machine.has.get(&sent.device) else { return Answer::Refused(Refusal::Denied) };
        if busy && now < *since + Duration::from_secs(3) {
            return Answer::Busy;
        }
        if never {
            return Answer::Refused(Refusal::Denied);
        }
        if machine.leaves.contains_key(&sent.device) && second {
            return Answer::Refused(Refusal::Denied);
        }
        machine.requests += 1;
        if machine.phase == Guest::Running && machine.requests > self.hard_of_hearing {
            machine.leaves.insert(sent.device, now + Duration::from_millis(6_400));
        }
        Answer::Done
    }

    fn retrain(&mut self, sent: Sent) -> Answer {
        if self.fields.contains(&Field::NoRetrain) {
            return Answer::Refused(Refusal::Denied);
        }
        let needed = if self.fields.contains(&Field::StubbornLink) { 1 + self.below(4) } else { 1 };
        let device = &mut self.devices[sent.device];
        device.trainings += 1;
        if u64::from(device.trainings) >= needed {
            device.link = FULL;
        }
        Answer::Done
    }

    /// What happens although nobody asked.
    fn by_itself(&mut self) {
        for index in 0..self.machines.len() {
            let phase = self.machines[index].phase;
            let wakes = matches!(phase, Guest::Booting | Guest::Paused) && self.below(100) < 5;
            let ends = self.goes(Field::GuestEnds) && self.below(20) == 0;
            let removes = self.goes(Field::GuestRemoves) && self.below(4) == 0;
            let machine = &mut self.machines[index];
            if wakes {
                machine.phase = Guest::Running;
            }
            if ends {
                machine.phase = Guest::Off;
                machine.has.clear();
                machine.leaves.clear();
            }
            if removes {
                machine.has.clear();
                machine.leaves.clear();
            }
            if ends || removes {
                self.unasked = self.now;
            }
        }
        for index in 0..self.devices.len() {
            if self.goes(Field::Rival) && self.below(4) == 0 {
                let device = &mut self.devices[index];
                if !device.owners.remove(&RIVAL) {
                    device.owners.insert(RIVAL);
                }
                self.unasked = self.now;
            }
        }
    }
}

fn is_monitors(ask: Ask) -> bool {
    matches!(ask, Ask::Plug | Ask::AskBack)
}
