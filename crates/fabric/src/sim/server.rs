//! The switch on a socket: a thread that serves one manager at a time.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::peer::{Delivery, Peer};

/// How often a thread that waits looks whether it is to end, and a switch that dials in tries again.
const LOOK: Duration = Duration::from_millis(20);

/// A switch on a socket. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    peer: Arc<Mutex<Peer>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Server {
    /// A switch that managers connect to, on a free port of the loopback.
    ///
    /// # Errors
    /// When the system has no socket or no thread to give.
    pub fn listen(peer: Peer) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Self::start(peer, address, move || match listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(_) => None,
        })
    }

    /// A switch that dials a manager, again and again.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn dial(peer: Peer, manager: SocketAddr) -> io::Result<Self> {
        Self::start(peer, manager, move || TcpStream::connect(manager).ok())
    }

    /// Where the switch or its manager listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The switch, which stands still meanwhile.
    pub fn peer(&self) -> MutexGuard<'_, Peer> {
        lock(&self.peer)
    }

    fn start(
        peer: Peer,
        address: SocketAddr,
        next: impl Fn() -> Option<TcpStream> + Send + 'static,
    ) -> io::Result<Self> {
        let peer = Arc::new(Mutex::new(peer));
        let stop = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (Arc::clone(&peer), Arc::clone(&stop));
        let thread = thread::Builder::new().name("cxl-switch".into()).spawn(move || {
            let began = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                match next() {
                    Some(stream) if !lock(&served).is_dead() => {
                        // A manager that is gone is no reason to end.
                        let _ = serve(stream, &served, &stopped, began);
                    }
                    _ => thread::sleep(LOOK),
                }
            }
        })?;
        Ok(Self { peer, stop, thread: Some(thread), address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(peer: &Mutex<Peer>) -> MutexGuard<'_, Peer> {
    peer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, peer: &Mutex<Peer>, stop: &AtomicBool, began: Instant) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    lock(peer).connected();
    let mut bytes = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let deliveries = match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => lock(peer).feed(began.elapsed(), &bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => lock(peer).tick(began.elapsed()),
            Err(error) => return Err(error),
        };
        for (at, delivery) in deliveries {
            // What is late keeps what comes after it waiting, as on a slow line.
            let early = at.saturating_sub(began.elapsed());
            if early > Duration::from_millis(1) {
                thread::sleep(early);
            }
            match delivery {
                Delivery::Bytes(bytes) => stream.write_all(&bytes)?,
                Delivery::End => return Ok(()),
            }
        }
    }
    Ok(())
}
