//! VMs by name. A VM has a number inside Halcyon for as long as it is there.

use std::collections::{BTreeMap, BTreeSet};

use halcyon_model::describe::MOST_VMS;
use halcyon_model::topology::Topology;
use halcyon_model::{Bandwidth, Bounds, ByteSize, DeviceWish, MilliCpu, Objective, VmId, VmSpec, Weight};

use super::{check_name, class, range, rate, size, time};
use crate::outside::error::{Flaw, ensure, printable};
use crate::outside::wire;

/// The numbers of VMs by name.
#[derive(Debug, Clone, Default)]
pub(in crate::outside) struct Names {
    ids: BTreeMap<String, VmId>,
    next: u32,
}

impl Names {
    /// The names of VMs that have numbers already; fails with a name that two of them share.
    pub(in crate::outside) fn of(vms: &[VmSpec]) -> Result<Self, String> {
        let mut names = Self::default();
        for spec in vms {
            names.next = names.next.max(spec.id.0.saturating_add(1));
            if names.ids.insert(spec.name.clone(), spec.id).is_some() {
                return Err(spec.name.clone());
            }
        }
        Ok(names)
    }

    /// The number of a VM.
    pub(in crate::outside) fn find(&self, field: impl FnOnce() -> String, name: &str) -> Result<VmId, Flaw> {
        let unknown = || Flaw::new(field(), format!("there is no VM `{}`", printable(name)));
        self.ids.get(name).copied().ok_or_else(unknown)
    }

    /// The number that a VM has or is to have.
    fn give(&mut self, name: &str, before: &Self) -> Option<VmId> {
        let id = before.ids.get(name).copied().unwrap_or(VmId(self.next));
        self.next = self.next.max(id.0.saturating_add(1));
        self.ids.insert(name.into(), id).is_none().then_some(id)
    }
}

/// VMs ordered by number. Those that `names` knows keep theirs; the others get numbers that no VM had.
pub(in crate::outside) fn vms(
    names: &mut Names,
    topology: &Topology,
    forms: &[wire::Vm],
) -> Result<Vec<VmSpec>, Flaw> {
    ensure(
        forms.len() <= MOST_VMS,
        || "vms".into(),
        || format!("has {} VMs; one host runs at most {MOST_VMS}", forms.len()),
    )?;
    let mut now = Names { ids: BTreeMap::new(), next: names.next };
    let mut specs = Vec::with_capacity(forms.len());
    for (at, form) in forms.iter().enumerate() {
        let field = || format!("vms[{at}].name");
        check_name(field, &form.name)?;
        let Some(id) = now.give(&form.name, names) else {
            return Err(Flaw::new(field(), format!("there is a VM `{}` already", form.name)));
        };
        specs.push(vm(at, id, form, topology)?);
    }
    specs.sort_by_key(|spec| spec.id);
    *names = now;
    Ok(specs)
}

fn vm(at: usize, id: VmId, form: &wire::Vm, topology: &Topology) -> Result<VmSpec, Flaw> {
    let field = |name: &str| format!("vms[{at}].{name}");
    let vcpus = range(|| field("vcpus"), form.vcpus, 1, 1024)?;
    let all = u64::from(vcpus) * 1000;
    let cpu = form.cpu_milli.unwrap_or(wire::Bounds { reservation: 0, limit: all });
    let cpu = bounds(&field("cpu_milli"), cpu, all, MilliCpu::new)?;
    let most = topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).max();
    let whole = wire::Bounds { reservation: 0, limit: most.unwrap_or_default().get() };
    let bandwidth = form.memory_bandwidth_bytes_per_s.unwrap_or(whole);
    let name = field("memory_bandwidth_bytes_per_s");
    rate(|| name.clone(), bandwidth.limit)?;
    let memory_bandwidth = bounds(&name, bandwidth, u64::MAX, Bandwidth::new)?;
    size(|| field("memory_bytes.limit"), form.memory_bytes.limit)?;
    let memory = bounds(&field("memory_bytes"), form.memory_bytes, u64::MAX, ByteSize::new)?;
    ensure(
        !memory.reservation.is_zero(),
        || field("memory_bytes.reservation"),
        || "is 0; reserve what the VM needs to stay up".into(),
    )?;
    if let Some(application) = &form.application {
        check_name(|| field("application"), application)?;
    }
    let Some(weight) = Weight::new(form.weight) else {
        let problem = format!("is {}; it must be from 1 to 10000", form.weight);
        return Err(Flaw::new(field("weight"), problem));
    };
    let slices = form.gpu_slices.unwrap_or(wire::Bounds { reservation: 0, limit: 0 });
    Ok(VmSpec {
        id,
        name: form.name.clone(),
        vcpus,
        weight,
        cpu,
        memory,
        memory_bandwidth,
        devices: devices(&field("devices"), &form.devices)?,
        gpu_slices: count(&field("gpu_slices"), slices)?,
        objective: objective(&field("objective"), form.objective)?,
        application: form.application.clone(),
    })
}

fn bounds<T>(
    field: &str,
    form: wire::Bounds<u64>,
    most: u64,
    unit: impl Fn(u64) -> T,
) -> Result<Bounds<T>, Flaw> {
    let wire::Bounds { reservation, limit } = form;
    ensure(
        reservation <= limit,
        || field.into(),
        || format!("the reservation of {reservation} is above the limit of {limit}"),
    )?;
    ensure(
        (1..=most).contains(&limit),
        || format!("{field}.limit"),
        || format!("is {limit}; it must be from 1 to {most}"),
    )?;
    Ok(Bounds { reservation: unit(reservation), limit: unit(limit) })
}

fn count(field: &str, form: wire::Bounds<u32>) -> Result<Bounds<u32>, Flaw> {
    let wire::Bounds { reservation, limit } = form;
    ensure(
        reservation <= limit && limit <= 1024,
        || field.into(),
        || format!("is {reservation} to {limit}; counts go up to 1024, a reservation up to its limit"),
    )?;
    Ok(Bounds { reservation, limit })
}

fn devices(field: &str, forms: &[wire::DeviceWish]) -> Result<Vec<DeviceWish>, Flaw> {
    let mut seen = BTreeSet::new();
    let wish = |(at, form): (usize, &wire::DeviceWish)| {
        let field = |name: &str| format!("{field}[{at}].{name}");
        let class = class(form.class);
        ensure(seen.insert(class), || field("class"), || format!("{class} is wished for twice"))?;
        rate(|| field("bandwidth_bytes_per_s.limit"), form.bandwidth_bytes_per_s.limit)?;
        let name = field("bandwidth_bytes_per_s");
        let bandwidth = bounds(&name, form.bandwidth_bytes_per_s, u64::MAX, Bandwidth::new)?;
        Ok(DeviceWish { class, count: count(&field("count"), form.count)?, bandwidth })
    };
    forms.iter().enumerate().map(wish).collect()
}

fn objective(field: &str, form: wire::Objective) -> Result<Objective, Flaw> {
    match form {
        wire::Objective::Throughput => Ok(Objective::Throughput),
        wire::Objective::BestEffort => Ok(Objective::BestEffort),
        wire::Objective::LatencyP99(seconds) => {
            let field = || format!("{field}.latency_p99_s");
            let problem = || format!("is {seconds}; it must be from 0.000001 to 3600");
            ensure((1e-6..=3600.0).contains(&seconds), field, problem)?;
            Ok(Objective::Latency { p99: time(field, seconds)? })
        }
    }
}
