//! Lines over TCP: the manager connects to switches that speak MCTP, and switches that dial in connect to it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::cxl_fm::cci::Message;
use crate::transport::{Framing, Inbox, Outgoing, Transport, TransportError, drain};

/// How long a switch may take to take a message off its line.
const SENDING: Duration = Duration::from_secs(5);
/// Between two looks for a switch that dials in.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes read at once.
const READ: usize = 16 * 1024;

/// A line over TCP.
#[derive(Debug)]
pub struct TcpTransport {
    end: End,
    began: Instant,
    connection: Option<(TcpStream, Framing)>,
    inbox: Inbox,
    peer: String,
}

#[derive(Debug)]
enum End {
    Connect(SocketAddr),
    Accept(TcpListener),
}

impl TcpTransport {
    /// A line to a switch that speaks MCTP at this address. Connects when it is first needed.
    #[must_use]
    pub fn mctp(switch: SocketAddr) -> Self {
        Self::new(End::Connect(switch), format!("the switch at {switch}"))
    }

    /// A line for one switch that dials in at this address, which is listened on from now on.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub fn dial_in(listen: SocketAddr) -> Result<Self, TransportError> {
        let peer = format!("a switch that dials in at {listen}");
        let failed = |doing| {
            let peer = peer.clone();
            move |source| TransportError::Io { doing, peer, source }
        };
        let listener = TcpListener::bind(listen).map_err(failed("listening for"))?;
        listener.set_nonblocking(true).map_err(failed("listening for"))?;
        Ok(Self::new(End::Accept(listener), peer))
    }

    /// Where switches dial in, if they do.
    #[must_use]
    pub fn listens_at(&self) -> Option<SocketAddr> {
        match &self.end {
            End::Accept(listener) => listener.local_addr().ok(),
            End::Connect(_) => None,
        }
    }

    fn new(end: End, peer: String) -> Self {
        Self { end, began: Instant::now(), connection: None, inbox: Inbox::new(), peer }
    }

    fn failed(&mut self, doing: &'static str, source: io::Error) -> TransportError {
        self.connection = None;
        TransportError::Io { doing, peer: self.peer.clone(), source }
    }

    fn open(&self, until: Duration) -> io::Result<TcpStream> {
        match &self.end {
            End::Connect(switch) => {
                let left = until.saturating_sub(self.now()).max(LOOK);
                TcpStream::connect_timeout(switch, left)
            }
            End::Accept(listener) => loop {
                match listener.accept() {
                    Ok((stream, _)) => break Ok(stream),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.now() < until => {
                        thread::sleep(LOOK);
                    }
                    Err(error) => break Err(error),
                }
            },
        }
    }

    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SENDING))
    }
}

impl Transport for TcpTransport {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait(&mut self, until: Duration) {
        thread::sleep(until.saturating_sub(self.now()));
    }

    fn connect(&mut self, until: Duration) -> Result<(), TransportError> {
        self.connection = None;
        self.inbox.clear();
        let opened = self.open(until).and_then(|stream| self.prepare(&stream).map(|()| stream));
        let stream = opened.map_err(|error| self.failed("connecting to", error))?;
        let framing = match self.end {
            End::Connect(_) => Framing::mctp(),
            End::Accept(_) => Framing::dial_in(),
        };
        self.connection = Some((stream, framing));
        Ok(())
    }

    fn send(&mut self, message: &Outgoing) -> Result<(), TransportError> {
        let Some((stream, framing)) = &mut self.connection else {
            return Err(TransportError::NotConnected { peer: self.peer.clone() });
        };
        let mut bytes = Vec::new();
        framing.put(message, &mut bytes).map_err(|error| TransportError::Garbled(error.to_string()))?;
        stream.write_all(&bytes).map_err(|error| self.failed("sending to", error))
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Message>, TransportError> {
        loop {
            if let Some(read) = self.inbox.pop_front() {
                if read.as_ref().is_err_and(TransportError::is_fatal) {
                    self.connection = None;
                }
                return read.map(Some);
            }
            let left = until.saturating_sub(self.began.elapsed());
            let Some((stream, framing)) = &mut self.connection else {
                return Err(TransportError::NotConnected { peer: self.peer.clone() });
            };
            if left.is_zero() {
                return Ok(None);
            }
            let mut bytes = [0; READ];
            match stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut bytes)) {
                Ok(0) => {
                    let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
                    return Err(self.failed("reading from", ended));
                }
                Ok(count) => {
                    framing.feed(&bytes[..count]);
                    drain(framing, &self.peer, &mut self.inbox);
                }
                Err(error) if is_wait(error.kind()) => {}
                Err(error) => return Err(self.failed("reading from", error)),
            }
        }
    }
}

fn is_wait(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
