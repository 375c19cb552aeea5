//! Hosts to measure on.

pub(crate) mod exporter;
pub(crate) mod fake;
pub(crate) mod real;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Some thousand files stay open.
pub(crate) fn raise_limit_of_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// CPU time of all threads of a process.
pub(crate) fn cpu_of_process(pid: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(tasks.flatten().filter_map(|task| cpu_of(&task.path())).sum())
}

/// CPU time of the thread of this process that has this name.
pub(crate) fn cpu_of_thread(name: &str) -> Option<Duration> {
    let mut tasks = fs::read_dir("/proc/self/task").ok()?.flatten().map(|task| task.path());
    let is = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    cpu_of(&tasks.find(is)?)
}

fn cpu_of(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
