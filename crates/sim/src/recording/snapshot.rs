//! A snapshot as its difference from another one: what did not change costs a bit, a counter that grew costs
//! its growth. Rates are never stored, and what was not read stays apart from zero.

use std::time::Duration;

use halcyon_hal::Inventory;
use halcyon_model::{
    Assignment, ByteSize, CacheMask, DeviceHolding, DeviceId, GpuInstance, Grant, Holding, ObjectiveSignal,
    Snapshot, VmId, VmSample,
};

use super::wire::{Flaw, Form, Input, MOST_ENTRIES, ensure, fields, number, put_number, unzigzag, zigzag};

number! {
    CacheMask: u32, |raw| Some(CacheMask(raw)), |mask| mask.0;
}

fields! {
    Holding { vm, socket, cpu, memory_bandwidth, memory, class }
    DeviceHolding { owner, bandwidth }
    GpuInstance { gpu, start, profile, owner }
}

impl<T: Form> Form for Grant<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.share.put(out);
        self.ceiling.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        Ok(Self { share: T::take(input)?, ceiling: T::take(input)? })
    }
}

/// Whether a snapshot is of the host that an inventory describes. Numbers of snapshots and what is under way
/// are the control cycle's, and not looked at.
pub(super) fn check(inventory: &Inventory, snapshot: &Snapshot) -> Result<(), Flaw> {
    let (topology, held) = (&inventory.topology, &snapshot.assignment);
    let (sockets, fabric) = (topology.sockets().len(), topology.fabric());
    let tables = held.devices.len() == fabric.devices.len() && held.links.len() == fabric.links.len();
    ensure(tables, || "tables of devices and links that are not those of the host".into())?;
    let masks = held.classes.iter().flatten().all(|masks| masks.len() == sockets);
    ensure(masks, || "a class of service without a mask for each socket".into())?;
    ensure(held.holdings.is_sorted_by(|a, b| a.vm < b.vm), || "holdings that are not in order".into())?;
    let placed = |holding: &Holding| {
        holding.socket.index() < sockets
            && (held.classes.is_empty() || holding.class.index() < held.classes.len())
            && holding.memory.is_sorted_by(|a, b| a.0 < b.0)
            && holding.memory.iter().all(|(node, _)| node.index() < topology.nodes().len())
    };
    ensure(held.holdings.iter().all(placed), || "a VM that is where the host has nothing".into())?;
    let gpu = |instance: &GpuInstance| {
        let gpu = topology.gpus().get(instance.gpu.index());
        gpu.is_some_and(|gpu| (instance.profile as usize) < gpu.profiles.len())
    };
    ensure(held.gpu_instances.iter().all(gpu), || "a part of a GPU that the host does not have".into())?;
    ensure(held.gpu_instances.is_sorted(), || "GPU instances that are not in order".into())?;
    ensure(snapshot.vms.is_sorted_by(|a, b| a.vm < b.vm), || "samples that are not in order".into())?;
    let counted: usize = snapshot.vms.iter().map(|sample| sample.counters.device_bytes.len()).sum();
    ensure(counted as u64 <= MOST_ENTRIES, || format!("counters of {counted} devices"))?;
    let known = |(device, _): &(DeviceId, u64)| device.index() < fabric.devices.len();
    let mut counters = snapshot.vms.iter().flat_map(|sample| &sample.counters.device_bytes);
    ensure(counters.all(known), || "a counter of a device that the host does not have".into())?;
    let long = |time: &Duration| u64::try_from(time.as_nanos()).is_err();
    let times = snapshot.vms.iter().flat_map(|sample| {
        [sample.refuses_memory_until, sample.signal.and_then(|signal| signal.p99)].into_iter().flatten()
    });
    ensure(!times.chain([snapshot.at]).any(|time| long(&time)), || "a time of more than 500 years".into())
}

/// Writes how `after` differs from `before`, which is the state to start from if nothing was seen yet.
pub(super) fn put(before: &Snapshot, after: &Snapshot, out: &mut Vec<u8>) {
    put_number(zigzag(nanos(before.at), nanos(after.at)), out);
    put_assignment(&before.assignment, &after.assignment, out);
    put_samples(&before.vms, &after.vms, out);
}

/// Makes of `snapshot`, which is the one before, the one that was written.
pub(super) fn take(snapshot: &mut Snapshot, input: &mut Input<'_>) -> Result<(), Flaw> {
    snapshot.at = Duration::from_nanos(unzigzag(nanos(snapshot.at), input.number()?));
    take_assignment(&mut snapshot.assignment, input)?;
    take_samples(&mut snapshot.vms, input)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What of an assignment is written, as bits.
const HOLDINGS: u8 = 1;
const DEVICES: u8 = 2;
const LINKS: u8 = 4;
const CLASSES: u8 = 8;
const INSTANCES: u8 = 16;

fn put_assignment(before: &Assignment, after: &Assignment, out: &mut Vec<u8>) {
    let bit = |changed: bool, bit: u8| if changed { bit } else { 0 };
    let changed = bit(before.holdings != after.holdings, HOLDINGS)
        | bit(before.devices != after.devices, DEVICES)
        | bit(before.links != after.links, LINKS)
        | bit(before.classes != after.classes, CLASSES)
        | bit(before.gpu_instances != after.gpu_instances, INSTANCES);
    out.push(changed);
    if changed & HOLDINGS != 0 {
        put_list(&before.holdings, &after.holdings, out);
    }
    if changed & DEVICES != 0 {
        put_list(&before.devices, &after.devices, out);
    }
    if changed & LINKS != 0 {
        put_list(&before.links, &after.links, out);
    }
    if changed & CLASSES != 0 {
        put_list(&before.classes, &after.classes, out);
    }
    if changed & INSTANCES != 0 {
        after.gpu_instances.put(out);
    }
}

fn take_assignment(held: &mut Assignment, input: &mut Input<'_>) -> Result<(), Flaw> {
    let changed = input.byte()?;
    ensure(changed < 2 * INSTANCES, || format!("the change {changed} of an assignment"))?;
    if changed & HOLDINGS != 0 {
        take_list(&mut held.holdings, input)?;
    }
    if changed & DEVICES != 0 {
        take_list(&mut held.devices, input)?;
    }
    if changed & LINKS != 0 {
        take_list(&mut held.links, input)?;
    }
    if changed & CLASSES != 0 {
        take_list(&mut held.classes, input)?;
    }
    if changed & INSTANCES != 0 {
        held.gpu_instances = Form::take(input)?;
    }
    Ok(())
}

/// The length, and of each entry whether it is another one: which, and what it is now.
fn put_list<T: Form + PartialEq>(before: &[T], after: &[T], out: &mut Vec<u8>) {
    put_number(after.len() as u64, out);
    let mut next = 0;
    for (place, entry) in after.iter().enumerate().filter(|(place, entry)| before.get(*place) != Some(entry))
    {
        put_number((place - next) as u64 + 1, out);
        entry.put(out);
        next = place + 1;
    }
    out.push(0);
}

fn take_list<T: Form>(list: &mut Vec<T>, input: &mut Input<'_>) -> Result<(), Flaw> {
    let length = input.number()?;
    ensure(length <= MOST_ENTRIES, || format!("a list of {length} entries"))?;
    let length = usize::try_from(length).map_err(|_| Flaw::new("a list is too long"))?;
    list.truncate(length);
    let mut next = 0_u64;
    loop {
        let skip = input.number()?;
        if skip == 0 {
            return ensure(list.len() == length, || "a list without all of its entries".into());
        }
        let place = next.saturating_add(skip - 1);
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        ensure(at < length && at <= list.len(), || format!("an entry {place} of a list of {length}"))?;
        let entry = T::take(input)?;
        match list.get_mut(at) {
            Some(old) => *old = entry,
            None => list.push(entry),
        }
        next = place + 1;
    }
}

/// The figures of a sample, those first that change most often: with them a bit mask is one byte.
const LANES: usize = 11;
type Lanes = [Option<u64>; LANES];
/// After the lanes: whether there is a signal, and the counters of devices.
const SIGNAL: u64 = 1 << LANES;
const DEVICE_BYTES: u64 = 2 << LANES;
const ALL: u64 = 4 << LANES;
const BACKLOG: usize = 5;
const P99: usize = 4;

fn lanes(sample: &VmSample) -> Lanes {
    let counters = &sample.counters;
    let signal = sample.signal.unwrap_or(ObjectiveSignal { p99: None, backlog_s: None });
    [
        counters.cpu_used_us,
        counters.memory_bytes,
        sample.working_set.map(ByteSize::get),
        sample.cache.map(ByteSize::get),
        signal.p99.map(nanos),
        signal.backlog_s.map(f64::to_bits),
        counters.cpu_waited_us,
        counters.io_stalled_us,
        counters.memory_stalled_us,
        counters.gpu_busy_us,
        sample.refuses_memory_until.map(nanos),
    ]
}

fn set_lanes(sample: &mut VmSample, lanes: &Lanes, signal: bool) {
    let [used, memory, working_set, cache, p99, backlog, waited, io, stalled, gpu, refuses] = *lanes;
    let counters = &mut sample.counters;
    (counters.cpu_used_us, counters.cpu_waited_us) = (used, waited);
    (counters.memory_stalled_us, counters.io_stalled_us) = (stalled, io);
    (counters.memory_bytes, counters.gpu_busy_us) = (memory, gpu);
    sample.working_set = working_set.map(ByteSize::new);
    sample.cache = cache.map(ByteSize::new);
    sample.refuses_memory_until = refuses.map(Duration::from_nanos);
    let of_signal =
        ObjectiveSignal { p99: p99.map(Duration::from_nanos), backlog_s: backlog.map(f64::from_bits) };
    sample.signal = signal.then_some(of_signal);
}

fn put_samples(before: &[VmSample], after: &[VmSample], out: &mut Vec<u8>) {
    let same = before.iter().map(|it| it.vm).eq(after.iter().map(|it| it.vm));
    same.put(out);
    if !same {
        put_number(after.len() as u64, out);
        let mut last = 0;
        for sample in after {
            put_number(u64::from(sample.vm.0) - last, out);
            last = u64::from(sample.vm.0);
        }
    }
    let nothing = VmSample::default();
    for sample in after {
        let known = before.binary_search_by_key(&sample.vm, |it| it.vm).ok();
        put_sample(known.map_or(&nothing, |place| &before[place]), sample, out);
    }
}

fn take_samples(samples: &mut Vec<VmSample>, input: &mut Input<'_>) -> Result<(), Flaw> {
    if !bool::take(input)? {
        let mut last = 0_u64;
        let mut new = Vec::new();
        for _ in 0..input.count(MOST_ENTRIES)? {
            last = last.saturating_add(input.number()?);
            let vm = VmId(u32::try_from(last).map_err(|_| Flaw::new("a VM whose number is too large"))?);
            let known = samples.binary_search_by_key(&vm, |it| it.vm).ok();
            let known = known.map_or_else(VmSample::default, |place| samples[place].clone());
            new.push(VmSample { vm, ..known });
        }
        *samples = new;
    }
    samples.iter_mut().try_for_each(|sample| take_sample(sample, input))
}

fn put_sample(before: &VmSample, after: &VmSample, out: &mut Vec<u8>) {
    let (was, is) = (lanes(before), lanes(after));
    let changed = |lane: &usize| was[*lane] != is[*lane];
    let mut mask = (0..LANES).filter(changed).fold(0, |mask, lane| mask | 1 << lane);
    let signal = before.signal.is_some() != after.signal.is_some();
    let devices = before.counters.device_bytes != after.counters.device_bytes;
    mask |= if signal { SIGNAL } else { 0 } | if devices { DEVICE_BYTES } else { 0 };
    put_number(mask, out);
    for lane in (0..LANES).filter(changed) {
        put_lane(lane, was[lane], is[lane], out);
    }
    if devices {
        put_devices(&before.counters.device_bytes, &after.counters.device_bytes, out);
    }
}

fn take_sample(sample: &mut VmSample, input: &mut Input<'_>) -> Result<(), Flaw> {
    let mask = input.number()?;
    ensure(mask < ALL, || format!("the change {mask} of a sample"))?;
    let mut lanes = lanes(sample);
    for (number, lane) in lanes.iter_mut().enumerate().filter(|(number, _)| mask & (1 << number) != 0) {
        *lane = take_lane(number, *lane, input)?;
    }
    let signal = sample.signal.is_some() != (mask & SIGNAL != 0);
    let lost = !signal && (lanes[P99].is_some() || lanes[BACKLOG].is_some());
    ensure(!lost, || "a signal of a VM that has none".into())?;
    set_lanes(sample, &lanes, signal);
    if mask & DEVICE_BYTES != 0 {
        take_devices(&mut sample.counters.device_bytes, input)?;
    }
    Ok(())
}

/// What had no value before is written as it is. What had one differs now, so that no difference can stand
/// for a value that is gone.
fn put_lane(lane: usize, was: Option<u64>, is: Option<u64>, out: &mut Vec<u8>) {
    let code = match (was, is) {
        (_, None) => 0,
        (None, Some(is)) => turned(lane, is),
        (Some(was), Some(is)) if lane == BACKLOG => turned(lane, was ^ is),
        (Some(was), Some(is)) => zigzag(was, is),
    };
    put_number(code, out);
}

fn take_lane(lane: usize, was: Option<u64>, input: &mut Input<'_>) -> Result<Option<u64>, Flaw> {
    let code = input.number()?;
    Ok(match was {
        None => Some(turned(lane, code)),
        Some(_) if code == 0 => None,
        Some(was) if lane == BACKLOG => Some(was ^ turned(lane, code)),
        Some(was) => Some(unzigzag(was, code)),
    })
}

/// A float's last digits are often zeros: they come first, where a number that is small in bytes has them.
const fn turned(lane: usize, bits: u64) -> u64 {
    if lane == BACKLOG { bits.reverse_bits() } else { bits }
}

fn put_devices(before: &[(DeviceId, u64)], after: &[(DeviceId, u64)], out: &mut Vec<u8>) {
    let same = before.iter().map(|it| it.0).eq(after.iter().map(|it| it.0));
    same.put(out);
    if same {
        before.iter().zip(after).for_each(|(was, is)| put_number(zigzag(was.1, is.1), out));
    } else {
        after.to_vec().put(out);
    }
}

fn take_devices(devices: &mut Vec<(DeviceId, u64)>, input: &mut Input<'_>) -> Result<(), Flaw> {
    if !bool::take(input)? {
        *devices = Form::take(input)?;
        return Ok(());
    }
    devices.iter_mut().try_for_each(|(_, bytes)| {
        *bytes = unzigzag(*bytes, input.number()?);
        Ok(())
    })
}
