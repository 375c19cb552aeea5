//! One VM with its sources.

use halcyon_model::{ByteSize, DeviceId, HostTime, VmSample};

use super::around::{Interface, Link};
use super::detail::{VmDetail, WorkingSetFrom};
use super::gpu::GpuSource;
use super::group::GroupSource;
use super::guest::{Guest, Paces, Roots};
use super::peer::PeerSource;
use super::process::{ProcessSource, Units};
use super::source::{Kind, Moment, SampleError, Source, Trouble};
use crate::cgroup::Pressure;
use crate::nvml::Reading;
use crate::resctrl::{Usage, UsageFiles};

/// A guest cannot say that it would like more than it has; one that has all in use already reclaims. So a
/// quarter of what is in use counts as touched too: a fifth of the guest is then free, as Proxmox and MoM aim for.
const HEADROOM: u64 = 4;

#[derive(Debug)]
pub(super) struct Tracked {
    guest: Guest,
    group: Option<GroupSource>,
    process: Option<ProcessSource>,
    peer: Option<PeerSource>,
    cache: Option<(UsageFiles, Source<Usage>)>,
    interfaces: Vec<Interface>,
    links: Vec<Link>,
    gpus: GpuSource,
}

/// What all VMs share in one sweep.
#[derive(Debug)]
pub(super) struct Sweep<'a> {
    pub(super) now: HostTime,
    pub(super) paces: &'a Paces,
    pub(super) gpus: Option<&'a Reading>,
    /// How often the host's memory and I/O pressure were seen to change.
    pub(super) changes: [u64; 2],
    pub(super) buffer: &'a mut String,
}

impl Tracked {
    /// A VM with its sources; those that an earlier tracking of it has in common go on.
    pub(super) fn new(guest: Guest, roots: &Roots, earlier: Option<Self>) -> Self {
        let mut earlier = earlier.unwrap_or_else(|| Self::none(Guest::new(guest.vm)));
        let before = std::mem::replace(&mut earlier.guest, guest);
        earlier.take_group_and_process(&before, roots);
        earlier.take_peer(&before);
        earlier.take_rest(&before, roots);
        earlier
    }

    fn none(guest: Guest) -> Self {
        Self {
            guest,
            group: None,
            process: None,
            peer: None,
            cache: None,
            interfaces: Vec::new(),
            links: Vec::new(),
            gpus: GpuSource::default(),
        }
    }

    fn take_group_and_process(&mut self, before: &Guest, roots: &Roots) {
        let counts_cpu = |group: &Option<GroupSource>| group.as_ref().is_some_and(GroupSource::counts_cpu);
        let counted_cpu = counts_cpu(&self.group);
        if self.guest.group != before.group {
            self.group = self.guest.group.as_ref().map(GroupSource::new);
        }
        if let Some(group) = &mut self.group
            && (self.guest.devices != before.devices || self.guest.group != before.group)
        {
            group.count(&self.guest);
        }
        let counts_cpu = counts_cpu(&self.group);
        if self.guest.process != before.process || counts_cpu != counted_cpu {
            let source = |process| ProcessSource::new(&roots.proc, process, !counts_cpu);
            self.process = self.guest.process.as_ref().map(source);
        }
    }

    fn take_peer(&mut self, before: &Guest) {
        let is_same = match (&self.guest.qmp, &before.qmp) {
            (Some(client), Some(before)) => client.is(before),
            (None, None) => true,
            _ => false,
        };
        let is_new = !is_same || self.guest.balloon != before.balloon;
        if is_new {
            let balloon = self.guest.balloon.as_deref();
            self.peer = self.guest.qmp.as_ref().map(|client| PeerSource::new(client, balloon));
        }
        if let Some(peer) = &mut self.peer
            && (is_new || self.guest.devices != before.devices)
        {
            peer.count(&self.guest);
        }
    }

    fn take_rest(&mut self, before: &Guest, roots: &Roots) {
        let guest = &self.guest;
        if guest.monitoring != before.monitoring {
            let source = |group: &String| (UsageFiles::of(&roots.resctrl, group), Source::new(Kind::Cache));
            self.cache = guest.monitoring.as_ref().map(source);
        }
        if guest.devices != before.devices {
            self.interfaces = Interface::all(&roots.net, guest);
        }
        if guest.links != before.links {
            self.links = guest.links.iter().map(|address| Link::new(&roots.pci, *address)).collect();
        }
        if guest.gpus != before.gpus || guest.process != before.process {
            self.gpus = GpuSource::default();
        }
    }

    /// Reads what is due.
    pub(super) fn refresh(&mut self, sweep: &mut Sweep<'_>) {
        let at = Moment { now: sweep.now, vm: self.guest.vm };
        let (paces, buffer) = (sweep.paces, &mut *sweep.buffer);
        if let Some(group) = &mut self.group {
            group.refresh(at, paces, sweep.changes, buffer);
        }
        if let Some(process) = &mut self.process {
            let used = self.group.as_ref().and_then(|group| group.cpu.value()?.used);
            process.refresh(at, paces, used, buffer);
        }
        if let Some(peer) = &mut self.peer {
            peer.refresh(at, paces);
        }
        if let (Some((files, cache)), Some(name)) = (&mut self.cache, &self.guest.monitoring) {
            cache.refresh(at, paces.cache, |_| {
                if name.split('/').any(|part| part == "..") || name.starts_with('/') {
                    return Err(SampleError::Name(name.chars().take(60).collect()));
                }
                Ok(Some(files.read(buffer)?))
            });
        }
        self.interfaces.iter_mut().for_each(|interface| interface.refresh(at, paces, buffer));
        self.links.iter_mut().for_each(|link| link.refresh(at, paces, buffer));
        let pid = self.guest.process.as_ref().map(|process| process.pid);
        self.gpus.take(sweep.gpus, sweep.now, &self.guest.gpus, pid);
    }

    /// Writes what is known now over a sample.
    pub(super) fn write(&self, now: HostTime, units: Units, sample: &mut VmSample) {
        let (group, process) = (self.group.as_ref(), self.process.as_ref());
        let stalled =
            |of: fn(&GroupSource) -> &Source<Pressure>| Some(micros(of(group?).value()?.some.total));
        let usage = self.cache.as_ref().and_then(|(_, usage)| usage.value());
        let working_set = self.working_set(now);
        sample.vm = self.guest.vm;
        let counters = &mut sample.counters;
        counters.cpu_used_us = match group.filter(|group| group.counts_cpu()) {
            Some(group) => group.cpu.value().and_then(|stat| stat.used),
            None => process.and_then(|process| process.used(units)),
        }
        .map(micros);
        counters.cpu_waited_us = process.and_then(ProcessSource::waited).map(micros);
        counters.memory_stalled_us = stalled(|group| &group.memory_pressure);
        counters.io_stalled_us = stalled(|group| &group.io_pressure);
        counters.memory_bytes = usage.and_then(|usage| usage.total_bytes);
        counters.gpu_busy_us = self.gpus.busy_us();
        self.write_devices(&mut counters.device_bytes);
        sample.working_set = working_set.map(|(bytes, _)| ByteSize::new(bytes));
        sample.cache = usage.and_then(|usage| usage.occupancy);
        (sample.signal, sample.refuses_memory_until) = (None, None);
    }

    fn working_set(&self, now: HostTime) -> Option<(u64, WorkingSetFrom)> {
        let said = self.peer.as_ref().and_then(|peer| peer.in_use_bytes(now));
        let said = said.map(|bytes| bytes.saturating_add(bytes / HEADROOM));
        let aged = || self.group.as_ref().and_then(|group| group.aged_bytes(now));
        said.map(|bytes| (bytes, WorkingSetFrom::Guest))
            .or_else(|| aged().map(|bytes| (bytes, WorkingSetFrom::KernelAgeing)))
    }

    fn write_devices(&self, bytes: &mut Vec<(DeviceId, u64)>) {
        bytes.clear();
        let blocks = self.peer.iter().filter_map(|peer| peer.blocks.value()).flatten();
        bytes.extend(
            blocks.map(|(device, counts)| (*device, counts.read_bytes.saturating_add(counts.written_bytes))),
        );
        let disks = self.group.iter().filter_map(|group| group.moved.value()).flatten();
        bytes.extend(disks.map(|(device, stat)| (*device, stat.bytes)));
        bytes.extend(self.interfaces.iter().filter_map(|interface| {
            let carried = interface.carried.value()?;
            Some((interface.device, carried.received_bytes.saturating_add(carried.sent_bytes)))
        }));
        bytes.sort_unstable_by_key(|(device, _)| *device);
    }

    /// What is known beyond the sample, as of `now`.
    pub(super) fn detail(&self, now: HostTime, units: Units) -> VmDetail {
        let stat = self.process.as_ref().and_then(ProcessSource::stat);
        let group = self.group.as_ref();
        let cpu = group.and_then(|group| group.cpu.value());
        let full = |pressure: &Pressure| pressure.full.map(|full| micros(full.total));
        let usage = self.cache.as_ref().and_then(|(_, usage)| usage.value());
        let said = self.peer.as_ref().and_then(|peer| peer.guest(now));
        VmDetail {
            vm: self.guest.vm,
            resident_bytes: stat.map(|stat| stat.resident_pages.saturating_mul(units.page_bytes)),
            charged_bytes: group.and_then(|group| group.memory.value().copied()),
            working_set_from: self.working_set(now).map(|(_, from)| from),
            minor_faults: stat.map(|stat| stat.minor_faults),
            major_faults: stat.map(|stat| stat.major_faults),
            guest_major_faults: said.and_then(|said| said.major_faults),
            guest_swapped_in_bytes: said.and_then(|said| said.swapped_in_bytes),
            guest_swapped_out_bytes: said.and_then(|said| said.swapped_out_bytes),
            guest_total_bytes: said.and_then(|said| said.total_bytes),
            guest_available_bytes: said.and_then(|said| said.available_bytes),
            quota_periods: cpu.and_then(|cpu| cpu.periods),
            throttled_periods: cpu.and_then(|cpu| cpu.throttled_periods),
            throttled_us: cpu.and_then(|cpu| cpu.throttled).map(micros),
            cpu_stalled_us: group.and_then(|group| Some(micros(group.cpu_pressure.value()?.some.total))),
            memory_stalled_full_us: group.and_then(|group| full(group.memory_pressure.value()?)),
            io_stalled_full_us: group.and_then(|group| full(group.io_pressure.value()?)),
            local_memory_bytes: usage.and_then(|usage| usage.local_bytes),
            disk_operations: self.disk_operations(),
            network_bytes: self.network_bytes(),
            links: self.links.iter().filter_map(|link| link.state.value().copied()).collect(),
            gpu_memory_bytes: self.gpus.memory_bytes,
        }
    }

    fn disk_operations(&self) -> Vec<(DeviceId, u64)> {
        let blocks = self.peer.iter().filter_map(|peer| peer.blocks.value()).flatten();
        let blocks = blocks.map(|(device, counts)| (*device, counts.reads.saturating_add(counts.writes)));
        let disks = self.group.iter().filter_map(|group| group.moved.value()).flatten();
        blocks.chain(disks.map(|(device, stat)| (*device, stat.operations))).collect()
    }

    fn network_bytes(&self) -> Vec<(DeviceId, u64, u64)> {
        let carried = |interface: &Interface| {
            let carried = interface.carried.value()?;
            Some((interface.device, carried.received_bytes, carried.sent_bytes))
        };
        self.interfaces.iter().filter_map(carried).collect()
    }

    /// Why sources of it give nothing.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        let group = self.group.iter().flat_map(GroupSource::troubles);
        let process = self.process.iter().flat_map(ProcessSource::troubles);
        let peer = self.peer.iter().flat_map(PeerSource::troubles);
        let cache = self.cache.iter().filter_map(|(_, cache)| cache.trouble());
        let interfaces = self.interfaces.iter().filter_map(|interface| interface.carried.trouble());
        let links = self.links.iter().filter_map(|link| link.state.trouble());
        let all = group.chain(process).chain(peer).chain(cache).chain(interfaces).chain(links);
        all.map(|(source, why)| Trouble { vm: self.guest.vm, source, why: why.into() })
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
