//! A line in memory with a clock of its own that goes on only while somebody waits: hours of time-outs take no
//! time, and one seed gives one result.

use std::io;
use std::time::Duration;

use super::peer::{Delivery, Peer};
use crate::cxl_fm::cci::Message;
use crate::transport::{Framing, Inbox, Outgoing, Transport, TransportError, drain};

const NAME: &str = "the switch in memory";

/// A line in memory.
#[derive(Debug)]
pub struct Line {
    /// The switch at the other end.
    pub peer: Peer,
    now: Duration,
    framing: Option<Framing>,
    /// What is on its way, in order of time.
    coming: Vec<(Duration, Delivery)>,
    inbox: Inbox,
}

impl Line {
    /// A line to a switch. The first connection is made when it is needed.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        Self { peer, now: Duration::ZERO, framing: None, coming: Vec::new(), inbox: Inbox::new() }
    }

    fn enqueue(&mut self, deliveries: Vec<(Duration, Delivery)>) {
        self.coming.extend(deliveries);
        self.coming.sort_by_key(|(at, _)| *at);
    }

    fn not_connected() -> TransportError {
        TransportError::NotConnected { peer: NAME.to_owned() }
    }

    fn ended(&mut self) -> TransportError {
        self.framing = None;
        self.coming.clear();
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
        TransportError::Io { doing: "reading from", peer: NAME.to_owned(), source }
    }

    fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
        let deliveries = self.peer.tick(self.now);
        if self.framing.is_some() {
            self.enqueue(deliveries);
        }
    }
}

impl Transport for Line {
    fn now(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, until: Duration) {
        self.advance(until);
    }

    fn connect(&mut self, until: Duration) -> Result<(), TransportError> {
        self.coming.clear();
        self.inbox.clear();
        self.framing = None;
        if self.peer.is_dead() {
            self.advance(until);
            return Err(Self::not_connected());
        }
        self.peer.connected();
        let dials_in = self.peer.switch.manners().dials_in();
        self.framing = Some(if dials_in { Framing::dial_in() } else { Framing::mctp() });
        Ok(())
    }

    fn send(&mut self, message: &Outgoing) -> Result<(), TransportError> {
        let Some(framing) = &mut self.framing else { return Err(Self::not_connected()) };
        let mut bytes = Vec::new();
        framing.put(message, &mut bytes).map_err(|error| TransportError::Garbled(error.to_string()))?;
        let deliveries = self.peer.feed(self.now, &bytes);
        self.enqueue(deliveries);
        Ok(())
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Message>, TransportError> {
        loop {
            if let Some(read) = self.inbox.pop_front() {
                if read.as_ref().is_err_and(TransportError::is_fatal) {
                    self.framing = None;
                }
                return read.map(Some);
            }
            let Some(framing) = &mut self.framing else { return Err(Self::not_connected()) };
            // The switch may have something to say when its background command ends.
            let settles = self.peer.switch.ends().filter(|ends| *ends > self.now && *ends <= until);
            let next = self.coming.first().map(|(at, _)| *at).filter(|at| *at <= until);
            match (next, settles) {
                (Some(at), settles) if settles.is_none_or(|settles| at <= settles) => {
                    let (_, delivery) = self.coming.remove(0);
                    self.now = self.now.max(at);
                    match delivery {
                        Delivery::End => return Err(self.ended()),
                        Delivery::Bytes(bytes) => {
                            framing.feed(&bytes);
                            drain(framing, NAME, &mut self.inbox);
                        }
                    }
                }
                (_, Some(settles)) => self.advance(settles),
                (_, None) => {
                    self.advance(until);
                    return Ok(None);
                }
            }
        }
    }
}
