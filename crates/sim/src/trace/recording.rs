//! Recordings of a host as demand: what each VM used and waited for from one sample to the next.
//!
//! | column | from |
//! |---|---|
//! | `cpu` | CPU time used and waited for, by the VM's vCPUs; at most all of them |
//! | `memory_bytes` | the working set at the end of the stretch |
//! | `memory_capacity_bytes` | the VM's memory limit |
//! | `disk_read_bytes_s`, `net_rx_bytes_s` | what its NVMe devices and network cards moved; in which direction was not counted |
//! | `gpu_util` | how long its GPU slices were busy |
//!
//! A counter that was not read, or that went down because its VM was restarted, gives no value.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::Inventory;
use halcyon_model::{ByteSize, DeviceClass, Snapshot, VmId, VmRates, VmSample, VmSpec, device_rate};

use super::error::{Place, Problem, TraceError};
use super::progress::Progress;
use super::reading::Reading;
use super::vms::Vms;
use super::{Readings, input};
use crate::recording::{Ending, Reader};

pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    let reader = Reader::open_watched(path, progress)?;
    Ok(Box::new(Importer {
        reader,
        path: path.into(),
        progress: Arc::clone(progress),
        before: Snapshot::default(),
        began: None,
        next: 0,
        vms: Vms::default(),
    }))
}

struct Importer {
    reader: Reader<input::Bytes>,
    path: PathBuf,
    progress: Arc<Progress>,
    /// The snapshot before the present one.
    before: Snapshot,
    /// When the first snapshot was taken.
    began: Option<Duration>,
    /// The sample of the present snapshot that comes next.
    next: usize,
    vms: Vms,
}

impl Importer {
    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        loop {
            while self.next < self.reader.now().snapshot.vms.len() {
                self.next += 1;
                if let Some(reading) = self.reading(self.next - 1)? {
                    return Ok(Some(reading));
                }
            }
            if self.began.is_some() {
                self.before.clone_from(&self.reader.now().snapshot);
            }
            if !self.reader.advance()? {
                match self.reader.ending() {
                    Some(Ending::Torn { .. }) => self.progress.note("a torn tail was left out"),
                    Some(Ending::Unclosed) => self.progress.note("the recording was not closed"),
                    _ => {}
                }
                // What was read stays where it is, and nothing of it is new.
                self.next = usize::MAX;
                return Ok(None);
            }
            self.began.get_or_insert(self.reader.now().snapshot.at);
            self.next = 0;
        }
    }

    /// What one VM did since the snapshot before, if it was there then.
    fn reading(&mut self, place: usize) -> Result<Option<Reading>, TraceError> {
        let (now, before) = (&self.reader.now().snapshot, &self.before);
        let sample = &now.vms[place];
        let elapsed = now.at.saturating_sub(before.at);
        let Some(was) = sample_of(before, sample.vm).filter(|_| !elapsed.is_zero()) else { return Ok(None) };
        let Some(inventory) = self.reader.inventory() else { return Ok(None) };
        let Some(spec) = spec_of(inventory, sample.vm) else { return Ok(None) };
        let time = before.at.saturating_sub(self.began.unwrap_or_default());
        let wrong = |problem: Problem| Place::file(&self.path).wrong(problem);
        let vm = self.vms.admit(spec.name.as_bytes(), time).map_err(wrong)?;
        let reading = measured(Reading::new(vm, time), spec, inventory, (was, sample), elapsed);
        reading.check().map_err(wrong)?;
        Ok(Some(reading))
    }
}

pub(crate) fn sample_of(snapshot: &Snapshot, vm: VmId) -> Option<&VmSample> {
    let place = snapshot.vms.binary_search_by_key(&vm, |sample| sample.vm);
    place.ok().map(|place| &snapshot.vms[place])
}

pub(crate) fn spec_of(inventory: &Inventory, vm: VmId) -> Option<&VmSpec> {
    let place = inventory.vms.binary_search_by_key(&vm, |spec| spec.id);
    place.ok().map(|place| &inventory.vms[place])
}

fn measured(
    reading: Reading,
    spec: &VmSpec,
    inventory: &Inventory,
    (was, is): (&VmSample, &VmSample),
    elapsed: Duration,
) -> Reading {
    let rates = VmRates::between(&was.counters, &is.counters, elapsed);
    let cores = f64::from(spec.vcpus);
    let wanted = rates.cpu.map(|used| (used + rates.cpu_waited.unwrap_or_default()).as_f64() / 1000.0);
    let moved = |class: DeviceClass| {
        let devices = is.counters.device_bytes.iter().map(|(device, _)| *device);
        let of_class =
            devices.filter(|device| inventory.topology.fabric().devices[device.index()].class == class);
        let rates = of_class.filter_map(|device| device_rate(&was.counters, &is.counters, device, elapsed));
        rates.map(|rate| rate.as_f64()).reduce(|sum, rate| sum + rate)
    };
    Reading {
        interval: Some(elapsed),
        cpu: wanted.map(|wanted| (wanted / cores).min(1.0)),
        cores: Some(cores),
        memory_bytes: is.working_set.map(ByteSize::get),
        memory_capacity_bytes: Some(spec.memory.limit.get()).filter(|limit| *limit > 0),
        disk_read_bytes_s: moved(DeviceClass::Nvme),
        net_rx_bytes_s: moved(DeviceClass::Nic),
        gpu_util: rates.gpu.map(|share| share.min(1.0)),
        ..reading
    }
}

impl Iterator for Importer {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
