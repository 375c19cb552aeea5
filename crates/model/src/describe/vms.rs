//! Reads a file of VMs for one host: what each is promised, what it may reach, what it is judged by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::DescribeError;
use super::element::{Element, MOST_BANDWIDTH, MOST_MEMORY};
use super::names::{Kind, Names, check_name};
use super::text::Text;
use crate::ids::{DeviceId, VmId};
use crate::topology::{DeviceClass, MemoryNode, Socket, Topology};
use crate::units::{Bandwidth, ByteSize, MilliCpu, Weight};
use crate::vm::{Bounds, DeviceWish, Objective, VmSpec};

/// The most VMs that one host runs.
pub const MOST_VMS: usize = 10_000;

/// An hour: whoever waits longer does not wait for a request.
const MOST_LATENCY_MS: f64 = 3_600_000.0;
/// More devices of one class than a VM has slots for.
const MOST_DEVICES: u32 = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    vm: Vec<VmForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VmForm {
    name: Spanned<String>,
    vcpus: Spanned<u32>,
    weight: Option<Weight>,
    cpu: Option<Spanned<BoundsForm<MilliCpu>>>,
    memory: Spanned<BoundsForm<ByteSize>>,
    memory_bandwidth: Option<Spanned<BoundsForm<Bandwidth>>>,
    objective: Option<Spanned<ObjectiveForm>>,
    application: Option<Spanned<String>>,
    gpu_slices: Option<Spanned<BoundsForm<u32>>>,
    #[serde(default)]
    device: Vec<DeviceForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceForm {
    class: Spanned<DeviceClass>,
    count: Option<Spanned<BoundsForm<u32>>>,
    bandwidth: Option<Spanned<BoundsForm<Bandwidth>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundsForm<T> {
    reservation: Option<T>,
    limit: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ObjectiveForm {
    #[serde(rename = "latency_p99_ms")]
    Latency(f64),
    Throughput,
    BestEffort,
}

/// Reads a file of VMs that are to run on a host; ids are given in the order of the file, from 0.
///
/// # Errors
/// The first thing that is wrong, with its line; a promise that no part of the host can keep, even were
/// the VM alone on it, is wrong too. Whether all can run together, [`admit`](crate::admit()) decides.
pub fn parse_vms(text: &str, topology: &Topology) -> Result<Vec<VmSpec>, DescribeError> {
    let text = Text::open(text)?;
    let form: FileForm = text.read()?;
    if form.vm.len() > MOST_VMS {
        let line = text.line(&form.vm[MOST_VMS].name.span());
        let problem = format!("has {} VMs; one host runs at most {MOST_VMS}", form.vm.len());
        return Err(DescribeError::new(line, "the file", &problem));
    }
    let (mut names, most) = (Names::new(&text), Most::of(topology));
    form.vm.iter().enumerate().map(|(index, form)| vm(&mut names, &most, index, form)).collect()
}

/// The most that one VM can be promised on a host.
struct Most {
    cpu: MilliCpu,
    memory: ByteSize,
    memory_bandwidth: Bandwidth,
    gpu_slices: u32,
    /// What each device of a class that a VM can own can move, the best first.
    devices: BTreeMap<DeviceClass, Vec<Bandwidth>>,
}

impl Most {
    fn of(topology: &Topology) -> Self {
        let sockets = topology.sockets();
        let profiles = topology.gpus().iter().flat_map(|gpu| &gpu.profiles);
        let bandwidth = sockets.iter().map(|socket| topology.memory_bandwidth(socket.id)).max();
        Self {
            cpu: sockets.iter().map(Socket::cpu).max().unwrap_or_default(),
            memory: topology.nodes().iter().map(MemoryNode::available).sum(),
            memory_bandwidth: bandwidth.unwrap_or_default(),
            gpu_slices: profiles.map(|profile| profile.compute).max().unwrap_or(0),
            devices: devices_by_class(topology),
        }
    }
}

fn vm(names: &mut Names<'_>, most: &Most, index: usize, form: &VmForm) -> Result<VmSpec, DescribeError> {
    let element = names.give(Kind::Vm, index, &form.name)?;
    let vcpus = element.count("vcpus", &form.vcpus, 1..=1024)?;
    let slices = optional(&element, "gpu_slices", form.gpu_slices.as_ref(), 0)?;
    keep(&element, "gpu_slices", form.gpu_slices.as_ref(), slices.reservation, most.gpu_slices, "a GPU")?;
    if let Some(application) = &form.application {
        check_name(&element, application)?;
    }
    Ok(VmSpec {
        id: VmId(u32::try_from(index).unwrap_or(u32::MAX)),
        name: form.name.get_ref().clone(),
        vcpus,
        weight: form.weight.unwrap_or_default(),
        cpu: cpu(&element, most, form, vcpus)?,
        memory: memory(&element, most, &form.memory)?,
        memory_bandwidth: memory_bandwidth(&element, most, form)?,
        devices: devices(&element, most, &form.device)?,
        gpu_slices: slices,
        objective: objective(&element, form.objective.as_ref())?,
        application: form.application.as_ref().map(|name| name.get_ref().clone()),
    })
}

/// The bounds as written, or nothing up to `limit`.
fn optional<T: Copy + Ord + Default + Display>(
    element: &Element<'_>,
    what: &str,
    form: Option<&Spanned<BoundsForm<T>>>,
    limit: T,
) -> Result<Bounds<T>, DescribeError> {
    let Some(form) = form else { return Ok(Bounds { reservation: T::default(), limit }) };
    let reservation = form.get_ref().reservation.unwrap_or_default();
    // A default gives way to what is written.
    let limit = form.get_ref().limit.unwrap_or(limit.max(reservation));
    element.ensure_at(form, reservation <= limit, || {
        format!("{what}: the reservation of {reservation} is above the limit of {limit}")
    })?;
    Ok(Bounds { reservation, limit })
}

/// Complains about a reservation that `most` of `whose` cannot keep.
fn keep<T: Copy + Ord + Display>(
    element: &Element<'_>,
    what: &str,
    form: Option<&Spanned<BoundsForm<T>>>,
    reservation: T,
    most: T,
    whose: &str,
) -> Result<(), DescribeError> {
    let Some(form) = form else { return Ok(()) };
    element.ensure_at(form, reservation <= most, || {
        format!("{what}: reserves {reservation}, but {whose} of this host has at most {most} for a VM")
    })
}

fn cpu(
    element: &Element<'_>,
    most: &Most,
    form: &VmForm,
    vcpus: u32,
) -> Result<Bounds<MilliCpu>, DescribeError> {
    let (form, all) = (form.cpu.as_ref(), MilliCpu::cores(u64::from(vcpus)));
    let bounds = optional(element, "cpu", form, all)?;
    keep(element, "cpu", form, bounds.reservation, most.cpu, "a socket")?;
    if let Some(form) = form {
        element.ensure_at(form, !bounds.limit.is_zero(), || "cpu: a limit of 0 never runs".into())?;
        element.ensure_at(form, bounds.limit <= all, || {
            format!("cpu: the limit of {} is above the VM's {vcpus} vcpus", bounds.limit)
        })?;
    }
    Ok(bounds)
}

fn memory(
    element: &Element<'_>,
    most: &Most,
    form: &Spanned<BoundsForm<ByteSize>>,
) -> Result<Bounds<ByteSize>, DescribeError> {
    let (Some(reservation), Some(limit)) = (form.get_ref().reservation, form.get_ref().limit) else {
        return Err(element.fault_at(&form.span(), "memory: needs both a reservation and a limit"));
    };
    let bounds = optional(element, "memory", Some(form), limit)?;
    element.ensure_at(form, !reservation.is_zero(), || {
        "memory: a VM cannot live on 0B; reserve what it needs to stay up".into()
    })?;
    keep(element, "memory", Some(form), reservation, most.memory, "all memory")?;
    element.ensure_at(form, limit <= MOST_MEMORY, || {
        format!("memory: the limit of {limit} is more than any machine has")
    })?;
    Ok(bounds)
}

fn memory_bandwidth(
    element: &Element<'_>,
    most: &Most,
    form: &VmForm,
) -> Result<Bounds<Bandwidth>, DescribeError> {
    let form = form.memory_bandwidth.as_ref();
    let bounds = optional(element, "memory_bandwidth", form, most.memory_bandwidth)?;
    keep(element, "memory_bandwidth", form, bounds.reservation, most.memory_bandwidth, "a socket")?;
    if let Some(form) = form {
        element.ensure_at(form, !bounds.limit.is_zero(), || {
            "memory_bandwidth: a limit of 0 never runs".into()
        })?;
        sane_rate(element, "memory_bandwidth", form, bounds.limit)?;
    }
    Ok(bounds)
}

fn sane_rate<T>(
    element: &Element<'_>,
    what: &str,
    form: &Spanned<T>,
    limit: Bandwidth,
) -> Result<(), DescribeError> {
    element.ensure_at(form, limit <= MOST_BANDWIDTH, || {
        format!("{what}: the limit of {limit} is more than any machine has")
    })
}

fn objective(
    element: &Element<'_>,
    form: Option<&Spanned<ObjectiveForm>>,
) -> Result<Objective, DescribeError> {
    let Some(form) = form else { return Ok(Objective::BestEffort) };
    match form.get_ref() {
        ObjectiveForm::Throughput => Ok(Objective::Throughput),
        ObjectiveForm::BestEffort => Ok(Objective::BestEffort),
        ObjectiveForm::Latency(ms) => {
            element.ensure_at(form, (0.001..=MOST_LATENCY_MS).contains(ms), || {
                format!("latency_p99_ms is {ms}; it must be from 0.001 to {MOST_LATENCY_MS}")
            })?;
            // Whole microseconds, so that every machine rounds alike.
            Ok(Objective::Latency { p99: Duration::from_micros(whole(*ms * 1000.0)) })
        }
    }
}

/// A float known to be small and positive, to the nearest whole number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(value: f64) -> u64 {
    libm::round(value) as u64
}

fn devices(
    element: &Element<'_>,
    most: &Most,
    forms: &[DeviceForm],
) -> Result<Vec<DeviceWish>, DescribeError> {
    let mut seen = BTreeSet::new();
    forms
        .iter()
        .map(|form| {
            let class = *form.class.get_ref();
            element.ensure_at(&form.class, seen.insert(class), || {
                format!("asks for {class} twice; write one [[vm.device]] for each class")
            })?;
            device(element, most, class, form)
        })
        .collect()
}

fn device(
    element: &Element<'_>,
    most: &Most,
    class: DeviceClass,
    form: &DeviceForm,
) -> Result<DeviceWish, DescribeError> {
    let there = most.devices.get(&class).map_or(&[][..], Vec::as_slice);
    let best = there.first().copied().unwrap_or_default();
    let what = format!("count of {class}");
    let count = optional(element, &what, form.count.as_ref(), 1)?;
    let all = u32::try_from(there.len()).unwrap_or(u32::MAX);
    keep(element, &what, form.count.as_ref(), count.reservation, all, "the whole")?;
    if let Some(form) = &form.count {
        element.ensure_at(form, (1..=MOST_DEVICES).contains(&count.limit), || {
            format!("{what}: the limit is {}; it must be from 1 to {MOST_DEVICES}", count.limit)
        })?;
    }
    let what = format!("bandwidth of {class}");
    let bandwidth = optional(element, &what, form.bandwidth.as_ref(), best)?;
    let enough = there.partition_point(|carried| *carried >= bandwidth.reservation);
    if let Some(form) = &form.bandwidth {
        sane_rate(element, &what, form, bandwidth.limit)?;
        element.ensure_at(form, enough >= count.reservation as usize && enough > 0, || {
            let (wanted, needed) = (bandwidth.reservation, count.reservation.max(1));
            format!("{what}: reserves {wanted} on {needed}, but this host has {enough} with that much")
        })?;
    }
    Ok(DeviceWish { class, count, bandwidth })
}

fn devices_by_class(topology: &Topology) -> BTreeMap<DeviceClass, Vec<Bandwidth>> {
    let fabric = topology.fabric();
    let mut classes: BTreeMap<DeviceClass, Vec<Bandwidth>> = BTreeMap::new();
    for device in fabric.devices.iter().filter(|device| fabric.is_assignable(device.id)) {
        classes.entry(device.class).or_default().push(carried(topology, device.id));
    }
    for carried in classes.values_mut() {
        carried.sort_unstable_by(|a, b| b.cmp(a));
    }
    classes
}

/// What a device can move for a VM: its own rate, or what the narrowest link on its way can carry.
fn carried(topology: &Topology, device: DeviceId) -> Bandwidth {
    let fabric = topology.fabric();
    let links = fabric.route(device).iter().map(|link| fabric.links[link.index()].capable.bandwidth());
    links.fold(fabric.devices[device.index()].bandwidth, Bandwidth::min)
}
