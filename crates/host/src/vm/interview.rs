//! What a guest is asked when it appears, and again when it may have changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Instance, Life};
use crate::qmp::{Client, Command, Pending, QmpError, threads};
use crate::sampler::{Process, started_ticks};

/// How long each answer may take.
const PROMPT: Duration = Duration::from_secs(2);
/// Longer names are cut.
const MOST_NAME: usize = 64;
/// More virtual CPUs, disks or cards than a guest has.
const MOST_PARTS: usize = 1024;

/// The questions, in the order in which they are asked.
const QUESTIONS: [(&str, Option<&str>); 8] = [
    ("query-status", None),
    ("query-cpus-fast", None),
    ("query-name", None),
    ("query-uuid", None),
    ("query-memory-size-summary", None),
    ("query-blockstats", None),
    ("qom-list", Some("/machine/peripheral")),
    ("qom-list", Some("/machine/peripheral-anon")),
];
const STATUS: usize = 0;
const CPUS: usize = 1;
const NAME: usize = 2;
const UUID: usize = 3;
const MEMORY: usize = 4;
const DISKS: usize = 5;
const DEVICES: [usize; 2] = [6, 7];

/// Questions under way. Only what a guest does and its CPUs must be answered; older versions of QEMU do not
/// know all of the rest.
#[derive(Debug)]
pub(super) struct Interview {
    client: Client,
    proc: PathBuf,
    asked: Vec<Pending>,
    answers: Vec<Option<Value>>,
    balloon: Option<Pending>,
}

impl Interview {
    pub(super) fn begin(client: &Client, proc: &Path) -> Self {
        let ask = |(name, path): (&'static str, Option<&str>)| {
            let arguments = path.map_or_else(|| json!({}), |path| json!({ "path": path }));
            client.call(Command::new(name, arguments), PROMPT)
        };
        Self {
            client: client.clone(),
            proc: proc.into(),
            asked: QUESTIONS.into_iter().rev().map(ask).collect(),
            answers: Vec::new(),
            balloon: Some(client.call(Command::balloon_actual(), PROMPT)),
        }
    }

    /// What came of it, once all is answered or given up on.
    pub(super) fn poll(&mut self) -> Option<Result<Instance, QmpError>> {
        while let Some(pending) = self.asked.last() {
            let answer = pending.poll()?;
            let needed = self.answers.len() <= CPUS;
            match answer {
                Err(error) if needed => return Some(Err(error)),
                answer => self.answers.push(answer.ok()),
            }
            if self.answers.len() == CPUS + 1 && !self.is_whole() {
                return Some(Err(pending.odd()));
            }
            self.asked.pop();
        }
        let actual = self.balloon.as_ref()?.poll()?;
        Some(Ok(self.instance(actual.ok().as_ref())))
    }

    fn answer(&self, index: usize) -> Option<&Value> {
        self.answers.get(index)?.as_ref()
    }

    fn is_whole(&self) -> bool {
        let status = self.answer(STATUS).and_then(|reply| reply.get("status")?.as_str());
        let cpus = self.answer(CPUS).and_then(threads);
        status.is_some() && cpus.is_some_and(|cpus| (1..=MOST_PARTS).contains(&cpus.len()))
    }

    fn instance(&self, actual: Option<&Value>) -> Instance {
        let threads = self.answer(CPUS).and_then(threads).unwrap_or_default();
        let process = self.process(&threads);
        let interfaces = process.as_ref().map(|process| taps(&self.proc, process.pid)).unwrap_or_default();
        let text = |index: usize, field: &str| self.answer(index)?.get(field)?.as_str();
        let socket = self.client.socket();
        let called = socket.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = text(NAME, "name").map(str::to_owned).or(called).unwrap_or_default();
        let uuid = text(UUID, "UUID").filter(|uuid| uuid.chars().any(|c| c != '0' && c != '-'));
        let boot = self.answer(MEMORY).and_then(|reply| reply.get("base-memory")?.as_u64());
        Instance {
            socket: socket.into(),
            client: self.client.clone(),
            name: clean(&name),
            uuid: uuid.map(clean),
            process,
            vcpus: u32::try_from(threads.len()).unwrap_or(u32::MAX),
            boot_memory: boot,
            balloon_actual: actual.and_then(|reply| reply.get("actual")?.as_u64()),
            balloon: DEVICES.into_iter().find_map(|index| self.balloon(index)),
            disks: self.disks(),
            interfaces,
            life: text(STATUS, "status").map_or(Life::Silent, Life::of),
        }
    }

    /// The process that holds the threads of the virtual CPUs.
    fn process(&self, threads: &[u64]) -> Option<Process> {
        let vcpus: Vec<u32> = threads.iter().filter_map(|thread| u32::try_from(*thread).ok()).collect();
        let status = read(&self.proc.join(vcpus.first()?.to_string()).join("status"))?;
        let pid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
        let started_ticks = started_ticks(&self.proc, pid);
        Some(Process { pid, started_ticks, vcpus })
    }

    fn balloon(&self, index: usize) -> Option<String> {
        let folder = QUESTIONS[index].1?;
        let is_balloon = |entry: &&Value| {
            let kind = entry.get("type").and_then(Value::as_str).unwrap_or_default();
            kind.starts_with("child<virtio-balloon")
        };
        let entry = self.answer(index)?.as_array()?.iter().find(is_balloon)?;
        let name = entry.get("name")?.as_str()?;
        (!name.contains('/')).then(|| format!("{folder}/{name}"))
    }

    fn disks(&self) -> Vec<String> {
        let entries = self.answer(DISKS).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let name = |entry: &Value| {
            let named = ["qdev", "node-name", "device"];
            let mut names = named.iter().filter_map(|field| entry.get(field)?.as_str());
            names.find(|name| !name.is_empty()).map(str::to_owned)
        };
        entries.iter().take(MOST_PARTS).filter_map(name).collect()
    }
}

/// The interfaces of the host that a process has open as ends of network cards: the kernel names them in what
/// it tells of the process's open files (`drivers/net/tun.c`, `iff:`).
fn taps(proc: &Path, pid: u32) -> Vec<String> {
    let folder = proc.join(pid.to_string()).join("fdinfo");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| {
        let text = read(&entry.path())?;
        let name = text.lines().find_map(|line| line.strip_prefix("iff:"))?.trim();
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    };
    let names: BTreeSet<String> = entries.take(1 << 16).flatten().filter_map(name).collect();
    names.into_iter().take(MOST_PARTS).collect()
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A name as it may be shown and written: without what a terminal would obey.
fn clean(name: &str) -> String {
    name.chars().take(MOST_NAME).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_those_that_the_kernel_names() {
        let proc = tempfile::tempdir().expect("a folder");
        let folder = proc.path().join("7/fdinfo");
        std::fs::create_dir_all(&folder).expect("a folder");
        for (fd, text) in [
            ("3", "pos:\t0\nflags:\t02\n"),
            ("4", "pos:\t0\niff:\ttap7i0\n"),
            ("5", "iff:\ttap7i0\n"),
            ("6", "iff:\t../x\n"),
        ] {
            std::fs::write(folder.join(fd), text).expect("it is written");
        }
        assert_eq!(taps(proc.path(), 7), ["tap7i0"]);
        assert!(taps(proc.path(), 8).is_empty());
    }

    #[test]
    fn names_do_not_speak_to_terminals() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a?[2Jb?");
        assert_eq!(clean(&"x".repeat(1000)).len(), MOST_NAME);
    }
}
