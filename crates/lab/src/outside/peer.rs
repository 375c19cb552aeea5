//! A command that speaks in lines: started, spoken to, waited for, and ended, whatever it does.
//!
//! A thread each reads its output, feeds its input and keeps the last of its standard error, so that
//! nothing here blocks longer than the deadline. The command has a process group of its own, which is
//! killed when the peer is dropped. A peer that sets up a session of its own leaves that group, and is
//! beyond reach.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::error::{Flaw, OutsideError, Role, printable};

/// What is asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long each line may take, in either direction.
    pub deadline: Duration,
    /// The longest line that it may send, in bytes.
    pub longest_line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), longest_line: 16 << 20 }
    }
}

/// Lines that are read ahead: a peer that talks without being asked is held up by its full pipe.
const READ_AHEAD: usize = 1;
/// How much of its standard error is kept: that many lines of that many bytes.
const KEPT_LINES: usize = 8;
const KEPT_BYTES: u64 = 512;
/// How long the end of a peer is waited for once it closed its output, and after it was killed.
const LAST_BREATH: Duration = Duration::from_millis(300);
const BURIAL: Duration = Duration::from_secs(2);

/// What came out of a peer.
enum Heard {
    Line(Vec<u8>),
    /// Output ended within a line of that many bytes.
    Torn(usize),
    TooLong,
    End,
    Failed(std::io::Error),
}

/// A line of a peer's output.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: String,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// A command under way.
pub(super) struct Peer {
    role: Role,
    command: String,
    limits: Limits,
    child: Child,
    heard: Receiver<Heard>,
    orders: Option<SyncSender<Vec<u8>>>,
    written: Receiver<std::io::Result<()>>,
    tail: Tail,
    tail_ended: Receiver<()>,
    lines: u64,
    /// Waited for: its number may be another's by now.
    buried: bool,
}

impl Peer {
    /// Starts `command` with the shell; `environment` is added to Halcyon's own.
    pub(super) fn start(
        role: Role,
        command: &str,
        limits: Limits,
        environment: &[(&str, String)],
    ) -> Result<Self, OutsideError> {
        let failed = |problem: &str, source| OutsideError {
            role,
            command: command.into(),
            line: None,
            field: None,
            problem: problem.into(),
            stderr: Vec::new(),
            source: Some(source),
        };
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| failed("cannot be started by `sh -c`", error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            let source = std::io::Error::other("a pipe is missing");
            return Err(failed("cannot be spoken to", source));
        };
        let (heard_in, heard) = sync_channel(READ_AHEAD);
        let (orders, orders_out) = sync_channel(0);
        let (written_in, written) = sync_channel(1);
        let (tail_end, tail_ended) = sync_channel(1);
        let tail = Tail::default();
        let peer = Self {
            role,
            command: command.into(),
            limits,
            child,
            heard,
            orders: Some(orders),
            written,
            tail: Arc::clone(&tail),
            tail_ended,
            lines: 0,
            buried: false,
        };
        // From here on, dropping the peer ends the command.
        let longest = limits.longest_line;
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(format!("{role} {name}")).spawn(work);
            thread.map(drop).map_err(|error| failed("cannot be listened to", error))
        };
        spawn("output", Box::new(move || listen(output, longest, &heard_in)))?;
        spawn("input", Box::new(move || feed(input, &orders_out, &written_in)))?;
        spawn("errors", Box::new(move || keep(errors, &tail, &tail_end)))?;
        Ok(peer)
    }

    /// Sends one line.
    pub(super) fn send(&mut self, mut line: Vec<u8>) -> Result<(), OutsideError> {
        line.push(b'\n');
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(line).is_ok());
        let outcome = if sent {
            self.written.recv_timeout(self.limits.deadline)
        } else {
            Err(RecvTimeoutError::Disconnected)
        };
        match outcome {
            Ok(Ok(())) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(self.fault(
                None,
                format!(
                    "does not read its standard input: a message was not taken within {}; read a line \
                     for each that is written, or raise the deadline",
                    seconds(self.limits.deadline)
                ),
                None,
            )),
            Ok(Err(source)) => {
                let problem = format!("{} before it was done", self.end_of_it());
                Err(self.fault(None, problem, Some(source)))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let problem = format!("{} before it was done", self.end_of_it());
                Err(self.fault(None, problem, None))
            }
        }
    }

    /// Waits for the next line; `expected` says for people what it should hold.
    pub(super) fn receive(&mut self, expected: &str) -> Result<Line, OutsideError> {
        let until = Instant::now() + self.limits.deadline;
        loop {
            let heard = self.heard.recv_timeout(until.saturating_duration_since(Instant::now()));
            let number = self.lines + 1;
            let (line, problem, source) = match heard {
                Ok(Heard::Line(bytes)) => {
                    self.lines = number;
                    match String::from_utf8(bytes) {
                        Ok(text) if text.trim().is_empty() => continue,
                        Ok(text) => return Ok(Line { number, text }),
                        Err(error) => {
                            let at = error.utf8_error().valid_up_to() + 1;
                            (
                                Some(number),
                                format!("is not UTF-8 from byte {at} on; write JSON in UTF-8"),
                                None,
                            )
                        }
                    }
                }
                Ok(Heard::TooLong) => {
                    let most = self.limits.longest_line;
                    (Some(number), format!("is longer than {most} bytes; write one message to a line"), None)
                }
                Ok(Heard::Torn(bytes)) => {
                    let end = self.end_of_it();
                    (Some(number), format!("{end} within a line, after {bytes} bytes of it"), None)
                }
                Ok(Heard::Failed(error)) => (Some(number), "cannot be read".into(), Some(error)),
                Ok(Heard::End) | Err(RecvTimeoutError::Disconnected) => {
                    (None, format!("{} where {expected} was due", self.end_of_it()), None)
                }
                Err(RecvTimeoutError::Timeout) => {
                    let waited = seconds(self.limits.deadline);
                    let problem = format!(
                        "sent no whole line within {waited} where {expected} was due; write one and flush \
                         the output, or raise the deadline"
                    );
                    (None, problem, None)
                }
            };
            return Err(self.fault(line, problem, source));
        }
    }

    /// What is wrong with a line that could be read.
    pub(super) fn flaw(&mut self, line: u64, flaw: Flaw) -> OutsideError {
        let Flaw { field, problem } = flaw;
        let field = (!field.is_empty()).then(|| field.into());
        OutsideError { field, ..self.fault(Some(line), problem, None) }
    }

    /// A peer cannot be told of two VMs that have one name.
    pub(super) fn same_name(&mut self, name: &str) -> OutsideError {
        let problem =
            format!("two VMs are called `{}`, and it knows them by name; rename one", printable(name));
        self.fault(None, problem, None)
    }

    /// What is wrong with the peer. It is killed, so that all it wrote to its standard error is known.
    fn fault(&mut self, line: Option<u64>, problem: String, source: Option<std::io::Error>) -> OutsideError {
        self.kill();
        let _ = self.tail_ended.recv_timeout(LAST_BREATH);
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = tail.iter().cloned().collect();
        OutsideError {
            role: self.role,
            command: self.command.as_str().into(),
            line,
            field: None,
            problem: problem.into(),
            stderr,
            source,
        }
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    /// How the command ended, in words. One that goes on without its output is killed.
    fn end_of_it(&mut self) -> String {
        let until = Instant::now() + LAST_BREATH;
        // Left unburied, so that its number still stands for its process group.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = |pid| matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_)));
        loop {
            if self.pid().is_some_and(ended) {
                self.kill();
                return self.child.try_wait().ok().flatten().map_or("ended".into(), in_words);
            }
            if Instant::now() >= until {
                return "closed its output".into();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) {
        self.orders = None;
        if let Some(pid) = self.pid().filter(|_| !self.buried) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let until = Instant::now() + BURIAL;
        while !self.buried && Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Ok(Some(_)) | Err(_) => self.buried = true,
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(127), _) => "ended with status 127 (command not found?)".into(),
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

fn listen(output: ChildStdout, longest: usize, heard: &SyncSender<Heard>) {
    let mut output = BufReader::with_capacity(64 << 10, output);
    // One byte more than fits, and the line feed.
    let most = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    loop {
        let mut line = Vec::new();
        let read = (&mut output).take(most).read_until(b'\n', &mut line);
        let (what, last) = match read {
            Err(error) => (Heard::Failed(error), true),
            Ok(0) => (Heard::End, true),
            Ok(_) if line.ends_with(b"\n") => {
                line.pop();
                (Heard::Line(line), false)
            }
            Ok(length) if length > longest => (Heard::TooLong, true),
            Ok(length) => (Heard::Torn(length), true),
        };
        if heard.send(what).is_err() || last {
            return;
        }
    }
}

fn feed(mut input: ChildStdin, orders: &Receiver<Vec<u8>>, written: &SyncSender<std::io::Result<()>>) {
    while let Ok(line) = orders.recv() {
        let outcome = input.write_all(&line).and_then(|()| input.flush());
        let failed = outcome.is_err();
        if written.send(outcome).is_err() || failed {
            return;
        }
    }
}

/// Keeps the last lines; what is longer is cut into several.
fn keep(errors: ChildStderr, tail: &Tail, ended: &SyncSender<()>) {
    let mut errors = BufReader::new(errors);
    loop {
        let mut line = Vec::new();
        match (&mut errors).take(KEPT_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let text = printable(String::from_utf8_lossy(&line).trim_end());
                if !text.trim().is_empty() {
                    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                    tail.push_back(text);
                    if tail.len() > KEPT_LINES {
                        tail.pop_front();
                    }
                }
            }
        }
    }
    let _ = ended.send(());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(command: &str) -> Peer {
        let limits = Limits { deadline: Duration::from_millis(300), longest_line: 4096 };
        Peer::start(Role::World, command, limits, &[]).unwrap()
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_waited_for() {
        let mut deaf = peer("exec sleep 600");
        let started = Instant::now();
        let error = deaf.send(vec![b'x'; 4 << 20]).unwrap_err().to_string();
        assert!(error.contains("does not read its standard input"), "{error}");
        assert!(deaf.send(vec![b'x']).is_err());
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn lines_come_whole_whatever_pieces_they_are_written_in() {
        let mut slow =
            peer(r"printf 'a'; sleep 0.05; printf 'b\n\n'; printf 'c\n'; read x; echo got $x; read y");
        let line = slow.receive("a line").unwrap();
        assert_eq!((line.number, line.text.as_str()), (1, "ab"));
        let line = slow.receive("a line").unwrap();
        assert_eq!((line.number, line.text.as_str()), (3, "c"));
        slow.send(b"it".to_vec()).unwrap();
        assert_eq!(slow.receive("a line").unwrap().text, "got it");
    }

    #[test]
    fn nothing_is_left_of_a_peer_and_its_children() {
        let mut parent = peer("sleep 600 & echo $!; exec sleep 600");
        let child = parent.receive("a line").unwrap().text;
        let runs = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // What nobody waited for yet is dead all the same.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let own = parent.child.id().to_string();
        assert!(runs(&child) && runs(&own));
        drop(parent);
        assert!(std::fs::read_to_string(format!("/proc/{own}/stat")).is_err(), "not even a zombie");
        let until = Instant::now() + BURIAL;
        while runs(&child) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!runs(&child));
    }
}
