//! What a step changes, in words with names and units.

use halcyon_model::{
    Assignment, Bandwidth, ClassId, DeviceId, GpuInstance, Grant, MilliCpu, Step, VmId, World,
};

/// What an amount is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Cores.
    Cores,
    /// Bytes; people read GiB.
    Bytes,
    /// Bytes per second; people read GB/s.
    BytesPerSecond,
    /// Whole GPUs.
    Gpus,
}

impl Unit {
    /// What people read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Bytes => "GiB",
            Self::BytesPerSecond => "GB/s",
            Self::Gpus => "GPUs",
        }
    }

    /// An amount in what people read.
    #[must_use]
    pub fn scaled(self, amount: f64) -> f64 {
        match self {
            Self::Cores | Self::Gpus => amount,
            Self::Bytes => amount / f64::from(1_u32 << 30),
            Self::BytesPerSecond => amount / 1e9,
        }
    }

    /// An amount as people read it.
    #[must_use]
    pub fn text(self, amount: f64) -> String {
        format!("{:.2} {}", self.scaled(amount), self.name())
    }
}

/// A step in words.
pub(super) struct Text {
    /// Where.
    pub(super) part: String,
    /// What was held.
    pub(super) from: String,
    /// What is held after it.
    pub(super) to: String,
}

impl Text {
    fn new(part: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { part: part.into(), from: from.into(), to: to.into() }
    }
}

/// Says a step with the names of the host and its VMs.
pub(super) fn text(world: World<'_>, step: &Step, after: &Assignment) -> Text {
    let (topology, fabric) = (world.topology, world.topology.fabric());
    let socket = |id: halcyon_model::SocketId| {
        topology.sockets().get(id.index()).map_or_else(|| id.to_string(), |socket| socket.name.clone())
    };
    let node = |id: halcyon_model::NodeId| {
        topology.nodes().get(id.index()).map_or_else(|| id.to_string(), |node| node.name.clone())
    };
    let bytes = |size: halcyon_model::ByteSize| Unit::Bytes.text(size.as_f64());
    match step {
        Step::SetCpu { socket: on, from, to, .. } => Text::new(socket(*on), cpu(*from), cpu(*to)),
        Step::SetMemoryBandwidth { socket: on, from, to, .. } => {
            Text::new(socket(*on), bandwidth(*from), bandwidth(*to))
        }
        Step::Place { from, to, .. } => {
            let place = |on, grant| format!("{}, {}", socket(on), cpu(grant));
            Text::new("", place(from.socket, from.cpu), place(to.socket, to.cpu))
        }
        Step::SetMemory { node: on, from, to, .. } => Text::new(node(*on), bytes(*from), bytes(*to)),
        Step::MigrateMemory { from, to, size, .. } => {
            Text::new("", format!("{} on {}", bytes(*size), node(*from)), node(*to))
        }
        Step::CreateClass { class, masks } => {
            Text::new(members(world, *class, after), "not in use", ways(masks.iter().map(|mask| mask.ways())))
        }
        Step::RemoveClass { class, masks } => {
            Text::new(members(world, *class, after), ways(masks.iter().map(|mask| mask.ways())), "not in use")
        }
        Step::SetMask { class, socket: on, from, to } => {
            let part = format!("{}, {}", members(world, *class, after), socket(*on));
            let mask = |mask: halcyon_model::CacheMask| format!("{} ways ({mask})", mask.ways());
            Text::new(part, mask(*from), mask(*to))
        }
        Step::SetClass { from, to, .. } => Text::new("", from.to_string(), to.to_string()),
        Step::Detach { vm, devices } => Text::new(names(world, devices), owner(world, *vm), "nobody"),
        Step::Attach { vm, devices } => Text::new(names(world, devices), "nobody", owner(world, *vm)),
        Step::SetDeviceBandwidth { device, from, to } => {
            Text::new(device_name(world, *device), bandwidth(*from), bandwidth(*to))
        }
        Step::SetLink { link, from, to } => {
            let upper = fabric.links.get(link.index()).and_then(|link| fabric.ports.get(link.upper.index()));
            let name = upper.map_or_else(|| link.to_string(), |port| format!("link {}", port.name));
            Text::new(name, from.to_string(), to.to_string())
        }
        Step::CreateInstance { instance } => {
            let (gpu, profile) = gpu(world, instance);
            Text::new(gpu, "none", profile)
        }
        Step::DestroyInstance { instance } => {
            let (gpu, profile) = gpu(world, instance);
            Text::new(gpu, profile, "none")
        }
    }
}

fn grant(unit: Unit, share: f64, ceiling: f64) -> String {
    let share_text = unit.text(share);
    if share >= ceiling { share_text } else { format!("{share_text} (up to {:.2})", unit.scaled(ceiling)) }
}

fn cpu(held: Grant<MilliCpu>) -> String {
    grant(Unit::Cores, held.share.as_f64() / 1000.0, held.ceiling.as_f64() / 1000.0)
}

fn bandwidth(held: Grant<Bandwidth>) -> String {
    grant(Unit::BytesPerSecond, held.share.as_f64(), held.ceiling.as_f64())
}

fn owner(world: World<'_>, vm: VmId) -> String {
    world.vm(vm).map_or_else(|| vm.to_string(), |spec| spec.name.clone())
}

fn device_name(world: World<'_>, device: DeviceId) -> String {
    let found = world.topology.fabric().devices.get(device.index());
    found.map_or_else(|| device.to_string(), |device| device.name.clone())
}

fn names(world: World<'_>, devices: &[(DeviceId, Grant<Bandwidth>)]) -> String {
    devices.iter().map(|(device, _)| device_name(world, *device)).collect::<Vec<_>>().join(", ")
}

/// A class of service with those that are in it.
fn members(world: World<'_>, class: ClassId, held: &Assignment) -> String {
    /// More are counted, not named.
    const NAMED: usize = 4;
    let of_class = held.holdings.iter().filter(|holding| holding.class == class);
    let all: Vec<String> = of_class.map(|holding| owner(world, holding.vm)).collect();
    match all.len() {
        0 => class.to_string(),
        count if count <= NAMED => format!("{class} of {}", all.join(", ")),
        count => format!("{class} of {} and {} more", all[..NAMED].join(", "), count - NAMED),
    }
}

fn ways(counts: impl Iterator<Item = u32>) -> String {
    let each: Vec<String> = counts.map(|count| count.to_string()).collect();
    format!("{} ways", each.join(" and "))
}

/// The name of the GPU of an instance, and of its profile.
fn gpu(world: World<'_>, instance: &GpuInstance) -> (String, String) {
    let Some(gpu) = world.topology.gpus().get(instance.gpu.index()) else {
        return (instance.gpu.to_string(), format!("instance at {}", instance.start));
    };
    let profile = gpu.profiles.get(instance.profile as usize);
    let profile = profile.map_or_else(|| "instance".into(), |profile| profile.name.clone());
    (device_name(world, gpu.device), format!("{profile} at {}", instance.start))
}
