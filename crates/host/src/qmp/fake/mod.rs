//! A QEMU that is none: it speaks the real protocol on a real socket, so that the very client and drivers
//! of the product run against it, hundreds at once, with guests that are slow, stubborn, hostile or dying.
//!
//! What it answers and when follows QEMU 10.0 with a q35 machine. Times are the caller's: tests scale them.

mod machine;

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use machine::{Guest, Machine};

/// How a peer misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// It does not.
    #[default]
    None,
    /// It accepts and says nothing.
    NoGreeting,
    /// It greets and then answers nothing.
    Silent,
    /// It answers with what is no JSON.
    Garbage,
    /// It sends a line without an end.
    Endless,
    /// It dies in the middle of a reply, each time.
    DiesInReply,
    /// It answers twice, and with numbers that nobody asked with.
    Repeats,
    /// It keeps replies back and gives them in reverse, with events between.
    Shuffles,
}

/// A peer on a socket. It ends when this is dropped.
#[derive(Debug)]
pub struct FakeQemu {
    socket: PathBuf,
    machine: Arc<Mutex<Machine>>,
    trouble: Arc<Mutex<Trouble>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeQemu {
    /// Starts one.
    ///
    /// # Errors
    /// When the socket or a thread cannot be had.
    pub fn start(socket: &Path, guest: Guest) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let pause = guest.pause;
        let machine = Arc::new(Mutex::new(Machine::new(guest)));
        let (trouble, stop) = (Arc::new(Mutex::new(Trouble::None)), Arc::new(AtomicBool::new(false)));
        let peer = Peer {
            machine: Arc::clone(&machine),
            trouble: Arc::clone(&trouble),
            stop: Arc::clone(&stop),
            pause,
        };
        let thread =
            std::thread::Builder::new().name("fake-qemu".into()).spawn(move || peer.listen(&listener))?;
        Ok(Self { socket: socket.into(), machine, trouble, stop, thread: Some(thread) })
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The machine, to look at and to change behind everybody's back.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    /// Lets it misbehave from now on. A connection that is there ends.
    pub fn misbehave(&self, trouble: Trouble) {
        *lock(&self.trouble) = trouble;
    }
}

impl Drop for FakeQemu {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Peer {
    machine: Arc<Mutex<Machine>>,
    trouble: Arc<Mutex<Trouble>>,
    stop: Arc<AtomicBool>,
    pause: Duration,
}

impl Peer {
    fn listen(&self, listener: &UnixListener) {
        while !self.stop.load(Ordering::Relaxed) {
            match listener.accept() {
                // Whatever becomes of a connection, the next one is served.
                Ok((stream, _)) => drop(self.serve(stream)),
                Err(_) => std::thread::sleep(self.pause),
            }
        }
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(self.pause))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let trouble = *lock(&self.trouble);
        if trouble != Trouble::NoGreeting {
            let version = json!({ "qemu": { "major": 10, "minor": 0, "micro": 2 }, "package": "" });
            say(&mut stream, &json!({ "QMP": { "version": version, "capabilities": ["oob"] } }))?;
        }
        let (mut bytes, mut kept) = (Vec::new(), Vec::new());
        let mut buffer = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) && *lock(&self.trouble) == trouble {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                self.answer(&mut stream, &line, trouble, &mut kept)?;
            }
            for reply in kept.drain(..).rev() {
                say(&mut stream, &json!({ "event": "NOTHING_MUCH", "timestamp": {} }))?;
                say(&mut stream, &reply)?;
            }
            let events = self.machine().pass(Instant::now());
            for event in events {
                say(&mut stream, &event)?;
            }
        }
        Ok(())
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    fn answer(
        &self,
        stream: &mut UnixStream,
        line: &[u8],
        trouble: Trouble,
        kept: &mut Vec<Value>,
    ) -> io::Result<()> {
        let Ok(request) = serde_json::from_slice::<Value>(line) else {
            return say(stream, &json!({ "error": { "class": "GenericError", "desc": "JSON parse error" } }));
        };
        let (name, id) = (request["execute"].as_str().unwrap_or_default(), &request["id"]);
        let negotiates = name == "qmp_capabilities";
        let result = if negotiates {
            Ok(json!({}))
        } else {
            self.machine().execute(name, &request["arguments"], Instant::now())
        };
        let reply = match result {
            Ok(given) => json!({ "return": given, "id": id }),
            Err((class, desc)) => json!({ "error": { "class": class, "desc": desc }, "id": id }),
        };
        match trouble {
            _ if negotiates => say(stream, &reply),
            Trouble::None | Trouble::NoGreeting => say(stream, &reply),
            Trouble::Silent => Ok(()),
            Trouble::Garbage => stream.write_all(b"\x00\xff{{{]]]\n"),
            Trouble::Endless => {
                let flood = vec![b'['; 64 * 1024];
                (0..100).try_for_each(|_| stream.write_all(&flood))
            }
            Trouble::DiesInReply => {
                stream.write_all(&reply.to_string().as_bytes()[..5])?;
                stream.shutdown(std::net::Shutdown::Both)
            }
            Trouble::Repeats => {
                say(stream, &json!({ "return": {}, "id": 987_654 }))?;
                say(stream, &reply)?;
                say(stream, &reply)
            }
            Trouble::Shuffles => {
                kept.push(reply);
                Ok(())
            }
        }
    }
}

fn say(stream: &mut UnixStream, message: &Value) -> io::Result<()> {
    stream.write_all(format!("{message}\r\n").as_bytes())
}
