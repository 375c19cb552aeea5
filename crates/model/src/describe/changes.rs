//! What can be changed on a host: figures that are typical, and what a file says otherwise.

use std::time::Duration;

use toml::{Spanned, Value};

use super::DescribeError;
use super::element::Element;
use super::form::{ChangeForm, ChangesForm};
use super::text::Text;
use crate::capability::{Capabilities, ChangeKind, Control};
use crate::topology::Topology;
use crate::units::{Bandwidth, ByteSize, MilliCpu};

/// A day: nothing on a running host is paced or awaited longer.
const MOST_MS: u64 = 86_400_000;
/// A day of a VM's utility.
const MOST_COST_S: f64 = 86_400.0;
/// A coarser step than any mechanism has.
const MOST_GRANULARITY: u64 = 1 << 40;

/// Every kind with pace, latency and interruption in milliseconds, cost in seconds, and granularity.
///
/// Measured on QEMU 10.0 under TCG, single runs, so orders of magnitude: a cgroup or throttle-group
/// write takes 1–2 ms (`cpu`, `device-bandwidth`); a balloon gives back 256 MiB in 0.3 s and takes it in
/// 1.5 s (`memory`); moving an NVMe between two running VMs by ACPI hot-plug takes 0.2–0.4 s (`device`).
/// `cpu` can be set in 10m: the kernel takes quotas of 1 ms in 100 ms. The other figures are estimates;
/// paces and costs are choices that keep a VM from being disturbed for little.
const TYPICAL: [(ChangeKind, [u64; 3], f64, u64); ChangeKind::ALL.len()] = [
    (ChangeKind::Cpu, [100, 2, 0], 0.0, 10),
    (ChangeKind::MemoryBandwidth, [100, 2, 0], 0.0, 100_000_000),
    (ChangeKind::Placement, [10_000, 10, 0], 0.05, 1),
    (ChangeKind::Memory, [1_000, 300, 0], 0.02, 2 << 20),
    (ChangeKind::MemoryMigration, [10_000, 1_000, 0], 0.1, 2 << 20),
    (ChangeKind::CacheMask, [1_000, 2, 0], 0.0, 1),
    (ChangeKind::CacheClass, [1_000, 2, 0], 0.0, 1),
    (ChangeKind::Device, [30_000, 400, 400], 1.0, 1),
    (ChangeKind::DeviceBandwidth, [100, 2, 0], 0.0, 1_000_000),
    (ChangeKind::Link, [10_000, 100, 100], 0.1, 1),
    (ChangeKind::GpuInstance, [60_000, 2_000, 5_000], 10.0, 1),
];

/// A host on which everything can be changed, as fast and as dear as is typical.
#[must_use]
pub fn typical() -> Capabilities {
    TYPICAL.iter().fold(Capabilities::none(), |all, (kind, [pace, latency, interruption], cost_s, step)| {
        let control = Control {
            pace: Duration::from_millis(*pace),
            latency: Duration::from_millis(*latency),
            interruption: Duration::from_millis(*interruption),
            cost_s: *cost_s,
            granularity: *step,
        };
        all.with(*kind, Some(control))
    })
}

/// The typical figures where the hardware is there, with the file's own put over them.
pub(super) fn capabilities(
    text: &Text<'_>,
    topology: &Topology,
    form: ChangesForm,
) -> Result<Capabilities, DescribeError> {
    let typical = typical();
    let mut all = Capabilities::none();
    for (kind, form) in entries(form) {
        let missing = missing(topology, kind);
        let usual = typical.get(kind).copied().unwrap_or(Control::FREE);
        let control = match form {
            None => missing.is_none().then_some(usual),
            Some(form) => {
                let element = Element::new(text, format!("change `{kind}`"), form.span());
                let control = control(&element, kind, usual, form.get_ref())?;
                if let (Some(_), Some(missing)) = (control, missing) {
                    return Err(element.fault(&format!("{missing}; remove this section")));
                }
                control
            }
        };
        all = all.with(kind, control);
    }
    Ok(all)
}

fn entries(form: ChangesForm) -> [(ChangeKind, Option<Spanned<ChangeForm>>); ChangeKind::ALL.len()] {
    [
        (ChangeKind::Cpu, form.cpu),
        (ChangeKind::MemoryBandwidth, form.memory_bandwidth),
        (ChangeKind::Placement, form.placement),
        (ChangeKind::Memory, form.memory),
        (ChangeKind::MemoryMigration, form.memory_migration),
        (ChangeKind::CacheMask, form.cache_mask),
        (ChangeKind::CacheClass, form.cache_class),
        (ChangeKind::Device, form.device),
        (ChangeKind::DeviceBandwidth, form.device_bandwidth),
        (ChangeKind::Link, form.link),
        (ChangeKind::GpuInstance, form.gpu_instance),
    ]
}

/// Why a kind of change cannot be made on this hardware at all.
fn missing(topology: &Topology, kind: ChangeKind) -> Option<&'static str> {
    match kind {
        ChangeKind::CacheMask | ChangeKind::CacheClass if topology.cache_classes() == 0 => {
            Some("no socket has a cache that can be divided")
        }
        ChangeKind::GpuInstance if topology.gpus().is_empty() => Some("the host has no [[gpu]]"),
        _ => None,
    }
}

fn control(
    element: &Element<'_>,
    kind: ChangeKind,
    usual: Control,
    form: &ChangeForm,
) -> Result<Option<Control>, DescribeError> {
    if form.available == Some(false) {
        let times = [&form.pace_ms, &form.latency_ms, &form.interruption_ms];
        let figures = times.iter().any(|time| time.is_some()) || form.cost_s.is_some();
        element.ensure(!figures && form.granularity.is_none(), || {
            "is not available, and yet has figures; remove them or `available = false`".into()
        })?;
        return Ok(None);
    }
    let time = |field: &Option<Spanned<u64>>, usual| match field {
        None => Ok(usual),
        Some(ms) => element
            .ensure_at(ms, *ms.get_ref() <= MOST_MS, || {
                format!("{} ms is more than a day; at most {MOST_MS}", ms.get_ref())
            })
            .map(|()| Duration::from_millis(*ms.get_ref())),
    };
    let cost_s = form.cost_s.as_ref().map(|cost| cost_s(element, cost)).transpose()?;
    let step = form.granularity.as_ref().map(|value| granularity(element, kind, value)).transpose()?;
    Ok(Some(Control {
        pace: time(&form.pace_ms, usual.pace)?,
        latency: time(&form.latency_ms, usual.latency)?,
        interruption: time(&form.interruption_ms, usual.interruption)?,
        cost_s: cost_s.unwrap_or(usual.cost_s),
        granularity: step.unwrap_or(usual.granularity),
    }))
}

fn cost_s(element: &Element<'_>, value: &Spanned<f64>) -> Result<f64, DescribeError> {
    let cost = *value.get_ref();
    element.ensure_at(value, (0.0..=MOST_COST_S).contains(&cost), || {
        format!("cost_s is {cost}; it is in seconds of a VM's utility, from 0 to {MOST_COST_S}")
    })?;
    // A negative zero compares like zero, but would be printed with its sign.
    Ok(cost.abs())
}

/// A plain number in the resource's smallest unit, or an amount with its unit.
fn granularity(
    element: &Element<'_>,
    kind: ChangeKind,
    value: &Spanned<Value>,
) -> Result<u64, DescribeError> {
    let fault = |problem: &str| element.fault_at(&value.span(), problem);
    let raw = match value.get_ref() {
        Value::Integer(raw) => u64::try_from(*raw).map_err(|_| fault("granularity is negative"))?,
        Value::String(text) => amount(kind, text).map_err(|error| fault(&format!("granularity {error}")))?,
        _ => return Err(fault("granularity is neither a whole number nor an amount in quotes")),
    };
    element.ensure_at(value, (1..=MOST_GRANULARITY).contains(&raw), || {
        format!("granularity is {raw}; it must be from 1 to {MOST_GRANULARITY}, and 1 means exact")
    })?;
    Ok(raw)
}

fn amount(kind: ChangeKind, text: &str) -> Result<u64, String> {
    match kind {
        ChangeKind::Cpu => text.parse().map(MilliCpu::get).map_err(|error| error.to_string()),
        ChangeKind::Memory | ChangeKind::MemoryMigration => {
            text.parse().map(ByteSize::get).map_err(|error| error.to_string())
        }
        ChangeKind::MemoryBandwidth | ChangeKind::DeviceBandwidth => {
            text.parse().map(Bandwidth::get).map_err(|error| error.to_string())
        }
        _ => Err("has no unit here; write a plain number".into()),
    }
}
