//! The control group of a VM: what it used, what it waited for, and how far the kernel has aged its memory.

use std::time::Duration;

use halcyon_model::{DeviceId, HostTime};

use super::guest::{Counted, Guest, Paces};
use super::source::{Kind, Moment, Source};
use crate::cgroup::{Controller, CountFiles, CpuStat, DiskStat, Group, MemoryStat, Pressure};

/// For so long after pages were aged the lists that came of it say what is in use.
const AGED_FOR: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct GroupSource {
    files: CountFiles,
    disks: Vec<(DeviceId, (u32, u32))>,
    pub(super) cpu: Source<CpuStat>,
    pub(super) cpu_pressure: Source<Pressure>,
    pub(super) memory_pressure: Source<Pressure>,
    pub(super) io_pressure: Source<Pressure>,
    pub(super) memory: Source<u64>,
    pub(super) memory_detail: Source<MemoryStat>,
    pub(super) moved: Source<Vec<(DeviceId, DiskStat)>>,
    /// How often the host's memory and I/O pressure had changed when that of the group was read.
    seen_changes: [u64; 2],
    /// Pages that had been aged when that was last read, and when there were last more than before.
    scanned: Option<u64>,
    aged_at: Option<HostTime>,
}

impl GroupSource {
    pub(super) fn new(group: &Group) -> Self {
        Self {
            files: CountFiles::of(group),
            disks: Vec::new(),
            cpu: Source::new(Kind::GroupCpu),
            cpu_pressure: Source::new(Kind::CpuPressure),
            memory_pressure: Source::new(Kind::MemoryPressure),
            io_pressure: Source::new(Kind::IoPressure),
            memory: Source::new(Kind::GroupMemory),
            memory_detail: Source::new(Kind::GroupMemoryDetail),
            moved: Source::new(Kind::GroupDisks),
            seen_changes: [0; 2],
            scanned: None,
            aged_at: None,
        }
    }

    /// Takes the disks that count for this VM.
    pub(super) fn count(&mut self, guest: &Guest) {
        let disk = |(device, counted): &(DeviceId, Counted)| match counted {
            Counted::GroupDisk(major, minor) => Some((*device, (*major, *minor))),
            _ => None,
        };
        self.disks = guest.devices.iter().filter_map(disk).collect();
        self.moved.forget();
    }

    pub(super) fn counts_cpu(&self) -> bool {
        self.files.counts_cpu()
    }

    /// `changes` is how often the host's memory and I/O pressure were seen to change: as long as one stays
    /// the same, so does that of the group.
    pub(super) fn refresh(&mut self, at: Moment, paces: &Paces, changes: [u64; 2], buffer: &mut String) {
        let Self { files, disks, .. } = self;
        self.cpu.refresh(at, paces.cpu, |_| Ok(files.cpu(buffer)?));
        let pressures =
            [(&mut self.memory_pressure, Controller::Memory), (&mut self.io_pressure, Controller::Io)];
        for (index, (source, of)) in pressures.into_iter().enumerate() {
            if !source.is_due(at.now) {
                continue;
            }
            let seen = std::mem::replace(&mut self.seen_changes[index], changes[index]);
            if seen == changes[index] && source.value().is_some() {
                source.stand(at, paces.pressure);
            } else {
                source.refresh(at, paces.pressure, |_| Ok(files.pressure(of, buffer)?));
            }
        }
        // That of CPU time goes into no decision, as threads say more.
        self.cpu_pressure.refresh(at, paces.memory, |_| Ok(files.pressure(Controller::Cpu, buffer)?));
        self.memory.refresh(at, paces.memory, |_| Ok(files.memory(buffer)?));
        if !disks.is_empty() {
            self.moved.refresh(at, paces.devices, |_| Ok(Some(files.disks(disks, buffer)?)));
        }
        let mut read = None;
        self.memory_detail.refresh(at, paces.memory_detail, |_| {
            read = files.memory_stat(buffer)?;
            Ok(read)
        });
        if let Some(scanned) = read.and_then(|stat: MemoryStat| stat.scanned_pages) {
            let before = self.scanned.replace(scanned);
            if before.is_some_and(|before| scanned > before) {
                self.aged_at = Some(at.now);
            }
        }
    }

    /// Memory in use as the kernel's lists of pages have it. They tell something only while pages are being
    /// aged, which happens when the group or the host is short of memory: without that a page stays on the
    /// list on which it began.
    pub(super) fn aged_bytes(&self, now: HostTime) -> Option<u64> {
        let aged = self.aged_at.filter(|aged| now.checked_sub(*aged).is_some_and(|ago| ago <= AGED_FOR));
        aged.and(self.memory_detail.value()?.active_bytes)
    }

    pub(super) fn troubles(&self) -> impl Iterator<Item = (Kind, &str)> {
        [
            self.cpu.trouble(),
            self.cpu_pressure.trouble(),
            self.memory_pressure.trouble(),
            self.io_pressure.trouble(),
            self.memory.trouble(),
            self.memory_detail.trouble(),
            self.moved.trouble(),
        ]
        .into_iter()
        .flatten()
    }
}
