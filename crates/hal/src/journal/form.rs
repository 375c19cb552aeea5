//! Steps as the journal writes them: a form of its own, so that what an older Halcyon wrote can be read
//! when the types of the model have moved on. Amounts are in the smallest unit.

use halcyon_model::{
    Bandwidth, ByteSize, CacheMask, ClassId, DeviceId, GpuId, GpuInstance, Grant, Lanes, LinkId, LinkSetting,
    LinkSpeed, MilliCpu, NodeId, Placement, SocketId, Step, VmId,
};
use serde::{Deserialize, Serialize};

/// Share and ceiling.
type Pair = (u64, u64);

#[derive(Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
enum Form {
    SetCpu { vm: VmId, socket: SocketId, from: Pair, to: Pair },
    SetMemoryBandwidth { vm: VmId, socket: SocketId, from: Pair, to: Pair },
    Place { vm: VmId, from: Place, to: Place },
    SetMemory { vm: VmId, node: NodeId, from: u64, to: u64 },
    MigrateMemory { vm: VmId, from: NodeId, to: NodeId, size: u64 },
    CreateClass { class: ClassId, masks: Vec<u32> },
    RemoveClass { class: ClassId, masks: Vec<u32> },
    SetMask { class: ClassId, socket: SocketId, from: u32, to: u32 },
    SetClass { vm: VmId, from: ClassId, to: ClassId },
    Detach { vm: VmId, devices: Vec<(DeviceId, Pair)> },
    Attach { vm: VmId, devices: Vec<(DeviceId, Pair)> },
    SetDeviceBandwidth { device: DeviceId, from: Pair, to: Pair },
    SetLink { link: LinkId, from: Link, to: Link },
    CreateInstance(Instance),
    DestroyInstance(Instance),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    socket: SocketId,
    cpu: Pair,
    memory_bandwidth: Pair,
}

/// Lanes, and the generation of PCIe counted from one.
#[derive(Serialize, Deserialize)]
struct Link(u8, u8);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    gpu: GpuId,
    start: u32,
    profile: u32,
    owner: VmId,
}

/// A step as text of one line.
pub(super) fn write(step: &Step) -> String {
    // Nothing in a form can fail to be written: no maps, no floats.
    serde_json::to_string(&form(step)).unwrap_or_default()
}

/// A step from text; the error says what is wrong with the text.
pub(super) fn read(text: &str) -> Result<Step, String> {
    let form = serde_json::from_str(text).map_err(|error| error.to_string())?;
    step(form).ok_or_else(|| "a link has a width or a speed that there is not".into())
}

fn form(step: &Step) -> Form {
    match step.clone() {
        Step::SetCpu { vm, socket, from, to } => Form::SetCpu { vm, socket, from: cpu(from), to: cpu(to) },
        Step::SetMemoryBandwidth { vm, socket, from, to } => {
            Form::SetMemoryBandwidth { vm, socket, from: rate(from), to: rate(to) }
        }
        Step::Place { vm, from, to } => Form::Place { vm, from: place(from), to: place(to) },
        Step::SetMemory { vm, node, from, to } => {
            Form::SetMemory { vm, node, from: from.get(), to: to.get() }
        }
        Step::MigrateMemory { vm, from, to, size } => Form::MigrateMemory { vm, from, to, size: size.get() },
        Step::CreateClass { class, masks } => Form::CreateClass { class, masks: bits(&masks) },
        Step::RemoveClass { class, masks } => Form::RemoveClass { class, masks: bits(&masks) },
        Step::SetMask { class, socket, from, to } => Form::SetMask { class, socket, from: from.0, to: to.0 },
        Step::SetClass { vm, from, to } => Form::SetClass { vm, from, to },
        Step::Detach { vm, devices } => Form::Detach { vm, devices: rates(devices) },
        Step::Attach { vm, devices } => Form::Attach { vm, devices: rates(devices) },
        Step::SetDeviceBandwidth { device, from, to } => {
            Form::SetDeviceBandwidth { device, from: rate(from), to: rate(to) }
        }
        Step::SetLink { link, from, to } => Form::SetLink { link, from: trained(from), to: trained(to) },
        Step::CreateInstance { instance } => Form::CreateInstance(slice(instance)),
        Step::DestroyInstance { instance } => Form::DestroyInstance(slice(instance)),
    }
}

fn step(form: Form) -> Option<Step> {
    Some(match form {
        Form::SetCpu { vm, socket, from, to } => {
            Step::SetCpu { vm, socket, from: cpu_of(from), to: cpu_of(to) }
        }
        Form::SetMemoryBandwidth { vm, socket, from, to } => {
            Step::SetMemoryBandwidth { vm, socket, from: rate_of(from), to: rate_of(to) }
        }
        Form::Place { vm, from, to } => Step::Place { vm, from: place_of(&from), to: place_of(&to) },
        Form::SetMemory { vm, node, from, to } => {
            Step::SetMemory { vm, node, from: ByteSize::new(from), to: ByteSize::new(to) }
        }
        Form::MigrateMemory { vm, from, to, size } => {
            Step::MigrateMemory { vm, from, to, size: ByteSize::new(size) }
        }
        Form::CreateClass { class, masks } => Step::CreateClass { class, masks: masks_of(masks) },
        Form::RemoveClass { class, masks } => Step::RemoveClass { class, masks: masks_of(masks) },
        Form::SetMask { class, socket, from, to } => {
            Step::SetMask { class, socket, from: CacheMask(from), to: CacheMask(to) }
        }
        Form::SetClass { vm, from, to } => Step::SetClass { vm, from, to },
        Form::Detach { vm, devices } => Step::Detach { vm, devices: rates_of(devices) },
        Form::Attach { vm, devices } => Step::Attach { vm, devices: rates_of(devices) },
        Form::SetDeviceBandwidth { device, from, to } => {
            Step::SetDeviceBandwidth { device, from: rate_of(from), to: rate_of(to) }
        }
        Form::SetLink { link, from, to } => {
            Step::SetLink { link, from: trained_of(&from)?, to: trained_of(&to)? }
        }
        Form::CreateInstance(instance) => Step::CreateInstance { instance: slice_of(&instance) },
        Form::DestroyInstance(instance) => Step::DestroyInstance { instance: slice_of(&instance) },
    })
}

fn cpu(grant: Grant<MilliCpu>) -> Pair {
    (grant.share.get(), grant.ceiling.get())
}

fn cpu_of((share, ceiling): Pair) -> Grant<MilliCpu> {
    Grant { share: MilliCpu::new(share), ceiling: MilliCpu::new(ceiling) }
}

fn rate(grant: Grant<Bandwidth>) -> Pair {
    (grant.share.get(), grant.ceiling.get())
}

fn rate_of((share, ceiling): Pair) -> Grant<Bandwidth> {
    Grant { share: Bandwidth::new(share), ceiling: Bandwidth::new(ceiling) }
}

fn rates(devices: Vec<(DeviceId, Grant<Bandwidth>)>) -> Vec<(DeviceId, Pair)> {
    devices.into_iter().map(|(device, grant)| (device, rate(grant))).collect()
}

fn rates_of(devices: Vec<(DeviceId, Pair)>) -> Vec<(DeviceId, Grant<Bandwidth>)> {
    devices.into_iter().map(|(device, pair)| (device, rate_of(pair))).collect()
}

fn place(placement: Placement) -> Place {
    let Placement { socket, cpu: time, memory_bandwidth } = placement;
    Place { socket, cpu: cpu(time), memory_bandwidth: rate(memory_bandwidth) }
}

fn place_of(place: &Place) -> Placement {
    let memory_bandwidth = rate_of(place.memory_bandwidth);
    Placement { socket: place.socket, cpu: cpu_of(place.cpu), memory_bandwidth }
}

fn bits(masks: &[CacheMask]) -> Vec<u32> {
    masks.iter().map(|mask| mask.0).collect()
}

fn masks_of(bits: Vec<u32>) -> Vec<CacheMask> {
    bits.into_iter().map(CacheMask).collect()
}

fn trained(setting: LinkSetting) -> Link {
    Link(setting.width.get(), setting.speed as u8 + 1)
}

fn trained_of(link: &Link) -> Option<LinkSetting> {
    let speed = LinkSpeed::ALL.into_iter().find(|speed| *speed as u8 + 1 == link.1)?;
    Some(LinkSetting { width: Lanes::new(link.0)?, speed })
}

fn slice(instance: GpuInstance) -> Instance {
    let GpuInstance { gpu, start, profile, owner } = instance;
    Instance { gpu, start, profile, owner }
}

fn slice_of(instance: &Instance) -> GpuInstance {
    let Instance { gpu, start, profile, owner } = *instance;
    GpuInstance { gpu, start, profile, owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_step_is_read_back_as_it_was_written() {
        let vm = VmId(3);
        let time = |milli| Grant { share: MilliCpu::new(milli), ceiling: MilliCpu::new(2 * milli) };
        let moved = |mb| Grant::fixed(Bandwidth::mb_per_s(mb));
        let placement =
            |socket| Placement { socket: SocketId(socket), cpu: time(1), memory_bandwidth: moved(2) };
        let setting = |speed| LinkSetting { width: Lanes::unchecked(8), speed };
        let instance = GpuInstance { gpu: GpuId(1), start: 2, profile: 3, owner: vm };
        let devices = vec![(DeviceId(1), moved(7)), (DeviceId(2), moved(u64::MAX / 1_000_000))];
        let masks = vec![CacheMask(0xff), CacheMask(u32::MAX)];
        let steps = [
            Step::SetCpu { vm, socket: SocketId(1), from: time(5), to: time(6) },
            Step::SetMemoryBandwidth { vm, socket: SocketId(0), from: moved(1), to: moved(9) },
            Step::Place { vm, from: placement(0), to: placement(1) },
            Step::SetMemory { vm, node: NodeId(2), from: ByteSize::ZERO, to: ByteSize::MAX },
            Step::MigrateMemory { vm, from: NodeId(0), to: NodeId(1), size: ByteSize::gib(3) },
            Step::SetMask { class: ClassId(1), socket: SocketId(0), from: CacheMask(1), to: CacheMask(3) },
            Step::SetClass { vm, from: ClassId(0), to: ClassId(4) },
            Step::SetDeviceBandwidth { device: DeviceId(9), from: moved(0), to: moved(1) },
            Step::SetLink { link: LinkId(4), from: setting(LinkSpeed::Gen1), to: setting(LinkSpeed::Gen6) },
            Step::CreateClass { class: ClassId(1), masks },
            Step::Detach { vm, devices },
            Step::CreateInstance { instance },
        ];
        for step in steps.iter().flat_map(|step| [step.clone(), step.inverse()]) {
            assert_eq!(read(&write(&step)).as_ref(), Ok(&step), "{}", write(&step));
        }
    }

    #[test]
    fn what_is_no_step_is_named() {
        for text in ["", "{}", "[]", r#"{"step":"set-cpu"}"#, r#"{"step":"fly","vm":1}"#] {
            assert!(read(text).is_err(), "{text}");
        }
        let wide = r#"{"step":"set-link","link":0,"from":[3,1],"to":[8,1]}"#;
        assert!(read(wide).is_err_and(|why| why.contains("width")));
    }
}
