//! The kernel's files, by path.

use std::fmt::Write;
use std::io;
use std::path::Path;

use halcyon_host::resctrl::{Entry, Files};
use rustix::io::Errno;

use super::{Kernel, Lines, State};

impl Files for Kernel {
    fn root(&self) -> &Path {
        &self.root
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<String> {
        let mut state = self.state();
        if let Some(left) = &mut state.good_reads {
            if *left == 0 {
                state.good_reads = None;
                return Err(Errno::IO.into());
            }
            *left -= 1;
        }
        let text = state.text(path).ok_or(Errno::NOENT)?;
        if text.len() > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let (group, file) = path.rsplit_once('/').unwrap_or(("", path));
        let what = format!("{path} ← {}", text.trim());
        self.state().command(what, |state| match file {
            "tasks" => state.put(group, text),
            "schemata" => state.set(group, text),
            _ => Err((Errno::ACCESS, String::new())),
        })
    }

    fn make(&self, path: &str) -> io::Result<()> {
        self.state().command(format!("mkdir {path}"), |state| state.make(path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.state().command(format!("rmdir {path}"), |state| state.remove(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().command(format!("mv {from} {to}"), |state| state.rename(from, to))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let mut names = state.names(path).ok_or(Errno::NOENT)?;
        names.sort();
        Ok(names)
    }
}

fn folder(name: impl Into<String>) -> Entry {
    Entry { name: name.into(), is_folder: true }
}

fn file(name: &str) -> Entry {
    Entry { name: name.into(), is_folder: false }
}

fn show(lines: &Lines) -> String {
    let mut text = String::new();
    for (name, values) in lines {
        let hex = *name != "MB";
        let values: Vec<String> = values
            .iter()
            .map(|(id, value)| if hex { format!("{id}={value:x}") } else { format!("{id}={value}") })
            .collect();
        let _ = writeln!(text, "{name:>6}:{}", values.join(";"));
    }
    text
}

impl State {
    fn names(&self, path: &str) -> Option<Vec<Entry>> {
        if path.is_empty() {
            let groups = self.groups.keys().filter(|name| !name.is_empty());
            let fixed =
                [folder("info"), folder("mon_groups"), folder("mon_data"), file("schemata"), file("tasks")];
            return Some(groups.map(folder).chain(fixed).collect());
        }
        if path == "info" {
            let caches = self.shape.caches().iter().map(|name| folder(*name));
            let bandwidth = self.shape.bandwidth.map(|_| folder("MB"));
            return Some(
                caches.chain(bandwidth).chain([folder("L3_MON"), file("last_cmd_status")]).collect(),
            );
        }
        let (group, last) = path.rsplit_once('/').unwrap_or(("", path));
        match last {
            "mon_groups" => Some(self.groups.get(group)?.counted.iter().map(folder).collect()),
            "mon_data" if self.listed(group).is_none() => None,
            "mon_data" => {
                Some(self.shape.domains.iter().map(|id| folder(format!("mon_L3_{id:02}"))).collect())
            }
            _ => None,
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        if let Some(lie) = self.lies.get(path) {
            return Some(lie.clone());
        }
        if let Some(info) = path.strip_prefix("info/") {
            return self.info(info);
        }
        let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
        match name {
            "schemata" => Some(show(&self.groups.get(group)?.lines)),
            "tasks" => self.listed(group),
            "llc_occupancy" => Some("1048576\n".into()),
            "mbm_total_bytes" => Some("5000\n".into()),
            "mbm_local_bytes" => Some("4000\n".into()),
            _ => None,
        }
    }

    /// A group of control lists all its threads, a counting group its own.
    fn listed(&self, path: &str) -> Option<String> {
        let (group, counted) = match path.split_once("mon_groups/") {
            Some((group, name)) => (group.trim_end_matches('/'), Some(name)),
            None => (path, None),
        };
        let there = self.groups.get(group)?;
        if counted.is_some_and(|name| !there.counted.contains(name)) {
            return None;
        }
        let inside = self
            .tasks
            .iter()
            .filter(|(_, at)| at.0 == group && (counted.is_none() || at.1.as_deref() == counted));
        Some(inside.map(|(thread, _)| format!("{thread}\n")).collect())
    }

    fn info(&self, path: &str) -> Option<String> {
        if path == "last_cmd_status" {
            return Some(self.status.clone());
        }
        let shape = &self.shape;
        let (folder, file) = path.split_once('/')?;
        let value = match (folder, file) {
            ("L3" | "L3CODE" | "L3DATA" | "MB", "num_closids") => shape.closids.to_string(),
            ("MB", "min_bandwidth") => shape.bandwidth?.0.to_string(),
            ("MB", "bandwidth_gran") => shape.bandwidth?.1.to_string(),
            ("MB", "delay_linear") => u32::from(shape.bandwidth?.3).to_string(),
            ("MB", "thread_throttle_mode") if shape.bandwidth?.3 => "per-thread".into(),
            ("L3_MON", "num_rmids") => shape.rmids.to_string(),
            ("L3_MON", "mon_features") => "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes".into(),
            ("L3" | "L3CODE" | "L3DATA", "cbm_mask") => format!("{:x}", (1_u32 << shape.ways) - 1),
            ("L3" | "L3CODE" | "L3DATA", "min_cbm_bits") => shape.min_ways.to_string(),
            ("L3" | "L3CODE" | "L3DATA", "shareable_bits") => format!("{:x}", shape.shareable),
            ("L3" | "L3CODE" | "L3DATA", "sparse_masks") => "0".into(),
            _ => return None,
        };
        Some(value + "\n")
    }
}
