//! Connections to guests: one task each, all on one thread.
//!
//! ```text
//!            ┌────────────── lost ──────────────┐
//!  connect ──► greeting ──► capabilities ──► serving        commands wait in a bounded queue;
//!     ▲                                         │           while there is no connection they fail
//!     └────────── after a while ────────────────┘           at once with the reason
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as std_mpsc, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::command::Command;
use super::message::{CommandError, Event, Lines, Message, MessageError};

/// Commands that may wait for one guest.
const QUEUE: usize = 64;
/// Commands that one guest may leave without an answer before it is asked no more.
const UNANSWERED: usize = 256;
/// Events of one guest that are kept until somebody looks.
const EVENTS: usize = 1024;
/// How long a guest may take to greet.
const GREETING: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Why a command gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{command} on {}: {why}", socket.display())]
pub struct QmpError {
    /// The socket of the guest.
    pub socket: PathBuf,
    /// The command.
    pub command: &'static str,
    /// What went wrong.
    #[source]
    pub why: Why,
}

/// What can go wrong with a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// QEMU will not.
    #[error("QEMU says: {0}")]
    Refused(#[from] CommandError),
    /// There is no connection.
    #[error("no connection: {0}; is the guest running, and has nothing else this socket open?")]
    Unreachable(String),
    /// The connection ended before the answer came; whether the command was carried out is not known.
    #[error("the connection ended before an answer came: {0}")]
    Lost(String),
    /// No answer in time; whether the command was or will be carried out is not known.
    #[error("no answer in {0:?}")]
    Silent(Duration),
    /// Too many commands wait already.
    #[error("too many commands wait for it already")]
    Busy,
    /// The answer has another form than the command promises.
    #[error("its answer has not the form that it promises")]
    OddAnswer,
}

impl QmpError {
    /// What QEMU answered, if it did.
    #[must_use]
    pub fn refusal(&self) -> Option<&CommandError> {
        match &self.why {
            Why::Refused(error) => Some(error),
            _ => None,
        }
    }
}

type Answer = Result<Value, Why>;

struct Request {
    command: Command,
    deadline: Duration,
    answer: std_mpsc::Sender<Answer>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct State {
    connected: bool,
    /// Whether nobody listens on the socket, or there is none: the guest is no more.
    gone: bool,
    /// Why there is none, if there is none.
    trouble: String,
    /// How many connections there were.
    connections: u64,
    events: VecDeque<Event>,
    /// The number of the first of them.
    first_event: u64,
}

/// The thread that serves all guests. It ends when the bus and all its clients are gone.
#[derive(Debug)]
pub struct Bus {
    handle: Handle,
    alive: mpsc::Sender<()>,
}

impl Bus {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread or no event queue to give.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = mpsc::channel::<()>(1);
        std::thread::Builder::new().name("qmp".into()).spawn(move || {
            // Every bus holds the other end; connections end with it.
            runtime.block_on(async { while stopped.recv().await.is_some() {} });
        })?;
        Ok(Self { handle, alive: stop })
    }

    /// A client of the guest behind a socket. It connects by itself, now or when the guest is there.
    #[must_use]
    pub fn client(&self, socket: &Path) -> Client {
        let (requests, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(Mutex::new(State { trouble: "not connected yet".into(), ..State::default() }));
        let connection = Connection { socket: socket.into(), queue, state: Arc::clone(&state) };
        self.handle.spawn(connection.serve());
        Client { socket: socket.into(), requests, state, _alive: self.alive.clone() }
    }
}

/// One guest. Clones speak with the same one.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    requests: mpsc::Sender<Request>,
    state: Arc<Mutex<State>>,
    _alive: mpsc::Sender<()>,
}

/// An answer that is to come.
#[derive(Debug)]
pub struct Pending {
    socket: PathBuf,
    command: &'static str,
    answer: std_mpsc::Receiver<Answer>,
}

impl Client {
    /// The socket of the guest.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether both speak over one and the same connection.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Sends a command, which is given up on after `deadline`.
    #[must_use]
    pub fn call(&self, command: Command, deadline: Duration) -> Pending {
        let (sender, answer) = std_mpsc::channel();
        let name = command.name;
        let request = Request { command, deadline, answer: sender.clone() };
        let state = lock(&self.state);
        if !state.connected {
            let _ = sender.send(Err(Why::Unreachable(state.trouble.clone())));
        } else if let Err(error) = self.requests.try_send(request) {
            let why = match error {
                mpsc::error::TrySendError::Full(_) => Why::Busy,
                mpsc::error::TrySendError::Closed(_) => Why::Unreachable("it was closed".into()),
            };
            let _ = sender.send(Err(why));
        }
        Pending { socket: self.socket.clone(), command: name, answer }
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When there is none, or it is an error.
    pub fn run(&self, command: Command, deadline: Duration) -> Result<Value, QmpError> {
        self.call(command, deadline).wait()
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        lock(&self.state).connected
    }

    /// Why there is no connection, as far as that is known.
    #[must_use]
    pub fn trouble(&self) -> String {
        lock(&self.state).trouble.clone()
    }

    /// Whether the guest is no more: nobody listens on its socket, or there is no socket. A guest that does
    /// not answer is not gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        lock(&self.state).gone
    }

    /// How many connections there were; one more says that the guest may be another one.
    #[must_use]
    pub fn connections(&self) -> u64 {
        lock(&self.state).connections
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// With the last reason why there was none.
    pub fn wait_connected(&self, patience: Duration) -> Result<(), QmpError> {
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while !self.is_connected() {
            if waited >= patience {
                let why = Why::Unreachable(lock(&self.state).trouble.clone());
                return Err(QmpError { socket: self.socket.clone(), command: "qmp_capabilities", why });
            }
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }

    /// Events from number `from` on, and the number of the next. Of those that nobody looked at in time the
    /// oldest are lost, which shows in the numbers.
    #[must_use]
    pub fn events(&self, from: u64) -> (Vec<Event>, u64) {
        let state = lock(&self.state);
        let skip = usize::try_from(from.saturating_sub(state.first_event)).unwrap_or(usize::MAX);
        let next = state.first_event + state.events.len() as u64;
        (state.events.iter().skip(skip).cloned().collect(), next)
    }
}

impl Pending {
    /// The answer, if it came.
    #[must_use]
    pub fn poll(&self) -> Option<Result<Value, QmpError>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(self.named(answer)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(self.named(Err(Why::Lost("it was closed".into())))),
        }
    }

    /// The answer, if it comes in this time.
    #[must_use]
    pub fn poll_for(&self, patience: Duration) -> Option<Result<Value, QmpError>> {
        match self.answer.recv_timeout(patience) {
            Ok(answer) => Some(self.named(answer)),
            Err(std_mpsc::RecvTimeoutError::Timeout) => None,
            Err(std_mpsc::RecvTimeoutError::Disconnected) => {
                Some(self.named(Err(Why::Lost("it was closed".into()))))
            }
        }
    }

    /// The answer, or that it did not come before the deadline of its command.
    ///
    /// # Errors
    /// When there is none, or it is an error.
    pub fn wait(&self) -> Result<Value, QmpError> {
        let answer = self.answer.recv().unwrap_or_else(|_| Err(Why::Lost("it was closed".into())));
        self.named(answer)
    }

    /// That the answer has another form than promised.
    #[must_use]
    pub fn odd(&self) -> QmpError {
        QmpError { socket: self.socket.clone(), command: self.command, why: Why::OddAnswer }
    }

    fn named(&self, answer: Answer) -> Result<Value, QmpError> {
        answer.map_err(|why| QmpError { socket: self.socket.clone(), command: self.command, why })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics while it holds the lock; if it did, what it left is still whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    socket: PathBuf,
    queue: mpsc::Receiver<Request>,
    state: Arc<Mutex<State>>,
}

/// Why a connection ended.
enum End {
    /// Nobody wants it any more.
    Unwanted,
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<MessageError> for End {
    fn from(error: MessageError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Connection {
    async fn serve(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let began = Instant::now();
            let Err(end) = self.live().await else { return };
            let End::Broken(trouble) = end else { return };
            {
                let mut state = lock(&self.state);
                state.connected = false;
                tracing::debug!(socket = %self.socket.display(), %trouble, "no connection");
                state.trouble = trouble;
            }
            while let Ok(request) = self.queue.try_recv() {
                let _ = request.answer.send(Err(Why::Lost(lock(&self.state).trouble.clone())));
            }
            if self.queue.is_closed() {
                return;
            }
            pause = if began.elapsed() > PAUSE.1 { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            sleep(pause).await;
        }
    }

    async fn live(&mut self) -> Result<(), End> {
        let connected = UnixStream::connect(&self.socket).await;
        let nobody = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        };
        lock(&self.state).gone = connected.as_ref().is_err_and(nobody);
        let mut stream = connected?;
        let mut lines = Lines::default();
        let greeted = timeout(GREETING, greet(&mut stream, &mut lines)).await;
        greeted.map_err(|_| End::Broken(format!("it did not greet in {GREETING:?}")))??;
        {
            let mut state = lock(&self.state);
            state.connected = true;
            state.connections += 1;
        }
        let mut waiting = Waiting::default();
        let ended = self.talk(&mut stream, &mut lines, &mut waiting).await;
        let why = match &ended {
            Err(End::Broken(why)) => why.clone(),
            _ => "it was closed".into(),
        };
        waiting.0.into_values().for_each(|one| one.end(Err(Why::Lost(why.clone()))));
        ended
    }

    async fn talk(
        &mut self,
        stream: &mut UnixStream,
        lines: &mut Lines,
        waiting: &mut Waiting,
    ) -> Result<(), End> {
        let next = AtomicU64::new(1);
        let (mut reader, mut writer) = stream.split();
        let mut bytes = vec![0; 16 * 1024];
        loop {
            while let Some(message) = lines.next_message() {
                self.take(message?, waiting);
            }
            let soonest = waiting.soonest();
            tokio::select! {
                biased;
                read = reader.read(&mut bytes) => match read? {
                    0 => return Err(End::Broken("it was closed by the guest".into())),
                    length => lines.feed(&bytes[..length])?,
                },
                () = until(soonest) => waiting.give_up(Instant::now()),
                request = self.queue.recv() => {
                    let Some(request) = request else { return Err(End::Unwanted) };
                    if waiting.0.len() >= UNANSWERED {
                        let _ = request.answer.send(Err(Why::Busy));
                        continue;
                    }
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let text = request.command.text(id) + "\n";
                    let deadline = Instant::now() + request.deadline;
                    waiting.0.insert(id, One { deadline, patience: request.deadline, answer: Some(request.answer) });
                    // A guest that does not read would hold up this task, but no other.
                    let sent = timeout(request.deadline, writer.write_all(text.as_bytes())).await;
                    sent.map_err(|_| End::Broken("it does not read what is sent".into()))??;
                }
            }
        }
    }

    fn take(&self, message: Message, waiting: &mut Waiting) {
        match message {
            Message::Greeting | Message::Reply { id: None, .. } => {}
            Message::Reply { id: Some(id), result } => {
                if let Some(one) = waiting.0.remove(&id) {
                    one.end(result.map_err(Why::Refused));
                }
            }
            Message::Event(event) => {
                let mut state = lock(&self.state);
                if state.events.len() == EVENTS {
                    state.events.pop_front();
                    state.first_event += 1;
                }
                state.events.push_back(event);
            }
        }
    }
}

async fn greet(stream: &mut UnixStream, lines: &mut Lines) -> Result<(), End> {
    let negotiate = Command::new("qmp_capabilities", serde_json::json!({})).text(0) + "\n";
    let mut greeted = false;
    let mut bytes = vec![0; 4096];
    loop {
        while let Some(message) = lines.next_message() {
            match message? {
                Message::Greeting if !greeted => {
                    greeted = true;
                    stream.write_all(negotiate.as_bytes()).await?;
                }
                Message::Reply { id: Some(0), result } if greeted => {
                    return result.map(|_| ()).map_err(|error| End::Broken(error.to_string()));
                }
                _ => {}
            }
        }
        match stream.read(&mut bytes).await? {
            0 => {
                return Err(End::Broken(
                    "it was closed before it greeted; has something else it open?".into(),
                ));
            }
            length => lines.feed(&bytes[..length])?,
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Commands that were sent, by number.
#[derive(Default)]
struct Waiting(BTreeMap<u64, One>);

struct One {
    deadline: Instant,
    patience: Duration,
    /// Gone when it was given up on; its answer may still come, and is nobody else's.
    answer: Option<std_mpsc::Sender<Answer>>,
}

impl One {
    fn end(self, answer: Answer) {
        if let Some(sender) = self.answer {
            let _ = sender.send(answer);
        }
    }
}

impl Waiting {
    fn soonest(&self) -> Option<Instant> {
        self.0.values().filter(|one| one.answer.is_some()).map(|one| one.deadline).min()
    }

    fn give_up(&mut self, now: Instant) {
        for one in self.0.values_mut().filter(|one| one.deadline <= now) {
            if let Some(sender) = one.answer.take() {
                let _ = sender.send(Err(Why::Silent(one.patience)));
            }
        }
    }
}
