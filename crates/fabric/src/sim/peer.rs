//! The switch's end of a line: bytes in, bytes out at their time, with what goes wrong on the way.

use std::time::Duration;

use super::draw::Draw;
use super::faults::{Fate, Faults};
use super::switch::Switch;
use crate::cxl_fm::PhysicalPort;
use crate::cxl_fm::cci::{Category, Message};
use crate::cxl_fm::mctp::MessageType;
use crate::transport::{Framing, FramingError, Incoming, Outgoing};

/// How long an answer takes that nothing keeps.
const ANSWER: Duration = Duration::from_micros(50);
/// How long a background command takes, at least and at most, when nothing is wrong.
const TAKES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(20));

/// What a switch sends, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of the connection.
    End,
}

/// The switch's end of a line.
#[derive(Debug)]
pub struct Peer {
    /// The switch.
    pub switch: Switch,
    /// What goes wrong.
    pub faults: Faults,
    /// How long a background command takes, at least and at most, when nothing is wrong.
    pub takes: (Duration, Duration),
    draw: Draw,
    framing: Framing,
    dead: bool,
}

impl Peer {
    /// A switch that speaks as its manners have it, with faults drawn from `seed`.
    #[must_use]
    pub fn new(switch: Switch, faults: Faults, seed: u64) -> Self {
        let framing = framing(&switch);
        Self { switch, faults, takes: TAKES, draw: Draw::new(seed), framing, dead: false }
    }

    /// Begins with a new connection.
    pub fn connected(&mut self) {
        self.framing = framing(&self.switch);
    }

    /// Whether it ended for good, as some do of what they do not like.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.dead
    }

    /// Starts it anew after it ended; what was bound stays so.
    pub fn revive(&mut self) {
        self.dead = false;
    }

    /// Takes bytes and says what comes of them.
    pub fn feed(&mut self, now: Duration, bytes: &[u8]) -> Vec<(Duration, Delivery)> {
        self.framing.feed(bytes);
        let mut out = Vec::new();
        while let Some(read) = self.framing.next_message() {
            match read {
                Ok(incoming) => self.incoming(now, &incoming, &mut out),
                Err(FramingError::Garbled(_)) => {}
                Err(FramingError::OutOfStep(_)) => {
                    out.push((now, Delivery::End));
                    break;
                }
            }
        }
        out.extend(self.tick(now));
        out
    }

    /// What the switch says by itself by now.
    pub fn tick(&mut self, now: Duration) -> Vec<(Duration, Delivery)> {
        self.switch.settle(now);
        let notices = self.switch.take_notices();
        let mut out = Vec::new();
        for notice in notices {
            let message = notice.message();
            let mut bytes = Vec::new();
            if self.framing.put(&Outgoing { port: PhysicalPort(0), message }, &mut bytes).is_ok() {
                out.push((now, Delivery::Bytes(bytes)));
            }
        }
        out
    }

    fn incoming(&mut self, now: Duration, incoming: &Incoming, out: &mut Vec<(Duration, Delivery)>) {
        let Incoming { port, kind, message } = incoming;
        if *kind != MessageType::FmApi {
            self.dead |= self.switch.manners().dies_of_types;
            out.extend(self.dead.then_some((now, Delivery::End)));
            return;
        }
        let fate = self.faults.fate(&mut self.draw);
        match fate {
            Fate::RequestLost => return,
            Fate::EndsBefore => return out.push((now, Delivery::End)),
            Fate::Busy => {
                let bytes = self.switch.busy(message);
                return self.deliver(now + ANSWER, *port, message, bytes, out);
            }
            _ => {}
        }
        let course = self.faults.course(self.takes, &mut self.draw);
        let Some(mut bytes) = self.switch.answer(now, *port, message, course) else { return };
        match fate {
            Fate::EndsAfter => out.push((now, Delivery::End)),
            Fate::AnswerCut => {
                // The header promises more than there is.
                bytes[6] |= 0x10;
                self.deliver(now + ANSWER, *port, message, bytes, out);
            }
            Fate::Answered { copies, delay } => {
                for _ in 0..copies {
                    self.deliver(now + ANSWER + delay, *port, message, bytes.clone(), out);
                }
            }
            _ => {}
        }
    }

    fn deliver(
        &mut self,
        at: Duration,
        port: PhysicalPort,
        request: &Message,
        bytes: Vec<u8>,
        out: &mut Vec<(Duration, Delivery)>,
    ) {
        let mut framed = Vec::new();
        if self.framing.put_raw(port, Category::Response, request.tag, bytes, &mut framed).is_ok() {
            out.push((at, Delivery::Bytes(framed)));
        }
    }
}

fn framing(switch: &Switch) -> Framing {
    if switch.manners().dials_in() { Framing::dial_in() } else { Framing::mctp() }
}
