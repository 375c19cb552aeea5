//! What is told of VMs is from outside: each field is held against what it can be, before anything is
//! remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use halcyon_model::describe::{NAME_RULE, is_name};
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, DeviceId, DeviceWish, Objective, ObjectiveSignal, Topology, VmCounters,
    VmId, VmSample, VmSpec,
};

use super::{AllocateError, Measured, VmData};

/// The most virtual CPUs of one VM.
const MOST_VCPUS: u32 = 1024;
/// The most characters of a hostile text that a message repeats.
const MOST_CHARS: usize = 64;

/// The devices of a host by name.
pub(super) type Devices<'a> = BTreeMap<&'a str, DeviceId>;

pub(super) fn devices(topology: &Topology) -> Devices<'_> {
    topology.fabric().devices.iter().map(|device| (device.name.as_str(), device.id)).collect()
}

/// A complaint about one field of one VM.
pub(super) fn wrong(vm: &VmData, field: impl Display, problem: impl Display) -> AllocateError {
    AllocateError::Vm { vm: printable(&vm.name), field: field.to_string(), problem: problem.to_string() }
}

pub(super) fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MOST_CHARS).map(clean).collect()
}

fn ensure(
    holds: bool,
    vm: &VmData,
    field: &str,
    problem: impl FnOnce() -> String,
) -> Result<(), AllocateError> {
    if holds { Ok(()) } else { Err(wrong(vm, field, problem())) }
}

/// That every name is one, and no two are the same.
pub(super) fn names(vms: &[VmData]) -> Result<(), AllocateError> {
    let mut seen = BTreeSet::new();
    vms.iter().try_for_each(|vm| {
        ensure(is_name(&vm.name), vm, "name", || NAME_RULE.into())?;
        ensure(seen.insert(&vm.name), vm, "name", || "two VMs are called this; rename one of them".into())
    })
}

/// What a VM is allowed, as the model has it.
pub(super) fn spec(vm: &VmData, id: VmId, topology: &Topology) -> Result<VmSpec, AllocateError> {
    ensure((1..=MOST_VCPUS).contains(&vm.vcpus), vm, "vcpus", || {
        format!("are {}; a VM has 1 to {MOST_VCPUS}", vm.vcpus)
    })?;
    ordered(vm, "cpu", vm.cpu)?;
    ensure(!vm.cpu.limit.is_zero(), vm, "cpu", || "a limit of 0 never runs".into())?;
    let all = halcyon_model::MilliCpu::cores(u64::from(vm.vcpus));
    ensure(vm.cpu.limit <= all, vm, "cpu", || {
        format!("the limit of {} is above the VM's {} vcpus", vm.cpu.limit, vm.vcpus)
    })?;
    ordered(vm, "memory", vm.memory)?;
    ensure(!vm.memory.reservation.is_zero(), vm, "memory", || {
        "a VM cannot live on 0B; reserve what it needs to stay up".into()
    })?;
    let widest = topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).max();
    let open = Bounds { reservation: Bandwidth::ZERO, limit: widest.unwrap_or_default() };
    let memory_bandwidth = vm.memory_bandwidth.unwrap_or(open);
    ordered(vm, "memory_bandwidth", memory_bandwidth)?;
    ensure(!memory_bandwidth.limit.is_zero(), vm, "memory_bandwidth", || "a limit of 0 never runs".into())?;
    ordered(vm, "gpu_slices", vm.gpu_slices)?;
    wishes(vm)?;
    let latency = !matches!(vm.objective, Objective::Latency { p99 } if p99.is_zero());
    ensure(latency, vm, "objective", || {
        "no request is answered within no time; give the p99 aimed at".into()
    })?;
    let application = vm.application.as_ref();
    ensure(application.is_none_or(|name| is_name(name)), vm, "application", || NAME_RULE.into())?;
    Ok(VmSpec {
        id,
        name: vm.name.clone(),
        vcpus: vm.vcpus,
        weight: vm.weight,
        cpu: vm.cpu,
        memory: vm.memory,
        memory_bandwidth,
        devices: vm.devices.clone(),
        gpu_slices: vm.gpu_slices,
        objective: vm.objective,
        application: vm.application.clone(),
    })
}

fn ordered<T: Ord + Display>(vm: &VmData, field: &str, bounds: Bounds<T>) -> Result<(), AllocateError> {
    let Bounds { reservation, limit } = bounds;
    ensure(reservation <= limit, vm, field, || {
        format!("the reservation of {reservation} is above the limit of {limit}")
    })
}

fn wishes(vm: &VmData) -> Result<(), AllocateError> {
    let mut seen = BTreeSet::new();
    vm.devices.iter().try_for_each(|DeviceWish { class, count, bandwidth }| {
        ensure(seen.insert(*class), vm, "devices", || {
            format!("asks for {class} twice; write one wish for each class")
        })?;
        ordered(vm, &format!("devices, count of {class}"), *count)?;
        ordered(vm, &format!("devices, bandwidth of {class}"), *bandwidth)
    })
}

/// That a figure is a number and not below zero.
pub(super) fn amount(vm: &VmData, field: &str, value: Option<f64>) -> Result<Option<f64>, AllocateError> {
    let sane = value.is_none_or(|value| value.is_finite() && value >= 0.0);
    ensure(sane, vm, field, || {
        format!(
            "is {}; give a number from 0 up, or None where it was not measured",
            value.unwrap_or_default()
        )
    })?;
    Ok(value)
}

fn share(vm: &VmData, field: &str, value: Option<f64>) -> Result<Option<f64>, AllocateError> {
    let sane = value.is_none_or(|value| (0.0..=1.0).contains(&value));
    ensure(sane, vm, field, || {
        format!("is {}; give a share of the time from 0 to 1, or None", value.unwrap_or_default())
    })?;
    Ok(value)
}

/// What was measured of a VM over `elapsed`, as a sample whose counters stood at zero before it.
pub(super) fn sample(
    vm: &VmData,
    id: VmId,
    devices: &Devices<'_>,
    elapsed: Duration,
) -> Result<VmSample, AllocateError> {
    let seconds = elapsed.as_secs_f64();
    let counter = |rate: f64| libm::round(rate * seconds) as u64;
    let time = |cores: f64| counter(cores * 1e6);
    let told = &vm.measured;
    let counters = VmCounters {
        cpu_used_us: amount(vm, "measured.cpu_cores", told.cpu_cores)?.map(time),
        cpu_waited_us: amount(vm, "measured.cpu_waited_cores", told.cpu_waited_cores)?.map(time),
        memory_stalled_us: share(vm, "measured.memory_stalled", told.memory_stalled)?.map(time),
        io_stalled_us: share(vm, "measured.io_stalled", told.io_stalled)?.map(time),
        memory_bytes: amount(vm, "measured.memory_bytes_per_s", told.memory_bytes_per_s)?.map(counter),
        gpu_busy_us: share(vm, "measured.gpu_busy", told.gpu_busy)?.map(time),
        device_bytes: traffic(vm, devices)?.into_iter().map(|(id, rate)| (id, counter(rate))).collect(),
    };
    let size = |size: Option<f64>| size.map(ByteSize::from_f64);
    Ok(VmSample {
        vm: id,
        counters,
        working_set: size(amount(vm, "measured.working_set_bytes", told.working_set_bytes)?),
        cache: size(amount(vm, "measured.cache_bytes", told.cache_bytes)?),
        signal: signal(vm, told)?,
        refuses_memory_until: None,
    })
}

fn signal(vm: &VmData, told: &Measured) -> Result<Option<ObjectiveSignal>, AllocateError> {
    let field = "measured.latency_p99_s";
    let p99 = amount(vm, field, told.latency_p99_s)?
        .map(|p99| Duration::try_from_secs_f64(p99).map_err(|error| wrong(vm, field, error)))
        .transpose()?;
    let backlog_s = amount(vm, "measured.backlog_s", told.backlog_s)?;
    Ok((p99.is_some() || backlog_s.is_some()).then_some(ObjectiveSignal { p99, backlog_s }))
}

/// The traffic of a VM's devices in bytes per second, by device.
fn traffic(vm: &VmData, devices: &Devices<'_>) -> Result<BTreeMap<DeviceId, f64>, AllocateError> {
    let field = "measured.devices";
    let mut found = BTreeMap::new();
    for (name, rate) in &vm.measured.devices {
        let id = device(vm, field, name, devices)?;
        let whose = format!("{field}, {}", printable(name));
        amount(vm, &whose, Some(*rate))?;
        ensure(found.insert(id, *rate).is_none(), vm, &whose, || "is listed twice".into())?;
    }
    Ok(found)
}

/// A device by name.
pub(super) fn device(
    vm: &VmData,
    field: &str,
    name: &str,
    devices: &Devices<'_>,
) -> Result<DeviceId, AllocateError> {
    let unknown = || wrong(vm, field, format!("the host has no device `{}`", printable(name)));
    devices.get(name).copied().ok_or_else(unknown)
}

/// That no device is told of two VMs, which a device cannot belong to at once.
pub(super) fn alone<'a>(
    field: &str,
    told: impl Iterator<Item = (&'a VmData, DeviceId)>,
    topology: &Topology,
) -> Result<(), AllocateError> {
    let mut owners: BTreeMap<DeviceId, &VmData> = BTreeMap::new();
    for (vm, device) in told {
        if let Some(other) = owners.insert(device, vm) {
            let name = &topology.fabric().devices[device.index()].name;
            return Err(wrong(vm, field, format!("`{name}` is told of `{}` too", printable(&other.name))));
        }
    }
    Ok(())
}
