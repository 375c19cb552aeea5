//! Random proposals: near what can be, utter garbage, and the echo of what is held.

use halcyon_model::topology::Device;
use halcyon_model::{
    Assignment, CacheMask, ClassId, DeviceId, DeviceMove, GpuId, GpuInstance, Grant, Holding, Lanes, LinkId,
    LinkSetting, LinkSpeed, LinkWish, MemoryWish, NodeId, Proposal, Reason, SocketId, VmId, VmSpec, VmWish,
    Wish, World,
};

use super::Tape;
use super::host::narrower;

const WHY: Reason = Reason::Entitlement;

pub(crate) fn proposal(tape: &mut Tape, world: World<'_>, held: &Assignment) -> Proposal {
    match tape.below(4) {
        0 | 1 => plausible(tape, world, held),
        2 => garbage(tape, world),
        _ => {
            let (sane, mad) = (plausible(tape, world, held), garbage(tape, world));
            mixed(tape, sane, mad)
        }
    }
}

/// What a sensible policy might want: most of it can be had.
pub(crate) fn plausible(tape: &mut Tape, world: World<'_>, held: &Assignment) -> Proposal {
    let mut proposal = Proposal::default();
    for (spec, holding) in world.vms.iter().zip(&held.holdings) {
        if tape.chance(2, 3) {
            proposal.vms.push(vm_wish(tape, world, spec, holding));
        }
    }
    for device in &world.topology.fabric().devices {
        if tape.chance(1, 3) {
            let takers = takers(world, device);
            let to = if takers.is_empty() || tape.chance(1, 6) { None } else { Some(*tape.pick(&takers)) };
            proposal.devices.push(DeviceMove { device: device.id, to, reason: WHY });
        }
        if tape.chance(1, 2) {
            let most = device.bandwidth.get().min(20_000_000_000);
            proposal.device_bandwidth.push((device.id, wish(tape, 0, most)));
        }
    }
    for link in &world.topology.fabric().links {
        if tape.chance(1, 3) {
            let to = narrower(tape, link.capable);
            proposal.links.push(LinkWish { link: link.id, to, reason: WHY });
        }
    }
    proposal.classes = tape.chance(2, 3).then(|| classes(tape, world));
    proposal.gpu_instances = tape.chance(2, 3).then(|| (instances(tape, world, held), WHY));
    proposal
}

fn takers(world: World<'_>, device: &Device) -> Vec<VmId> {
    let wants = |spec: &&VmSpec| spec.wish(device.class).is_some_and(|wish| wish.count.limit > 0);
    world.vms.iter().filter(wants).map(|spec| spec.id).collect()
}

fn wish(tape: &mut Tape, least: u64, most: u64) -> Wish {
    let share = tape.between(least, most.max(least));
    let ceiling = tape.between(share, most.max(share));
    Wish { share: share as f64, ceiling: ceiling as f64, reason: WHY }
}

fn vm_wish(tape: &mut Tape, world: World<'_>, spec: &VmSpec, holding: &Holding) -> VmWish {
    let sockets = world.topology.sockets();
    let socket = SocketId::at(tape.below(sockets.len()));
    let cpu = sockets[socket.index()].cpu().min(spec.cpu.limit);
    let bandwidth = world.topology.memory_bandwidth(socket).min(spec.memory_bandwidth.limit);
    VmWish {
        vm: spec.id,
        socket: tape.chance(1, 3).then_some((socket, WHY)),
        cpu: tape.chance(2, 3).then(|| wish(tape, spec.cpu.reservation.get(), cpu.get())),
        memory_bandwidth: tape
            .chance(2, 3)
            .then(|| wish(tape, spec.memory_bandwidth.reservation.get(), bandwidth.get())),
        memory: tape.chance(1, 2).then(|| memory_wish(tape, world, spec, holding)),
        class: tape.chance(1, 2).then(|| (ClassId::at(tape.below(world.topology.cache_classes())), WHY)),
    }
}

/// Grows, shrinks or moves what is held.
fn memory_wish(tape: &mut Tape, world: World<'_>, spec: &VmSpec, holding: &Holding) -> MemoryWish {
    let node = NodeId::at(tape.below(world.topology.nodes().len()));
    let mut nodes: Vec<_> = holding.memory.iter().map(|(node, size)| (*node, size.as_f64())).collect();
    match tape.below(3) {
        0 => nodes.push((node, spec.memory.limit.as_f64() * tape.share().min(0.5))),
        1 => nodes.iter_mut().for_each(|(_, size)| *size *= tape.share()),
        _ => {
            let part = tape.share();
            let moved: f64 = nodes.iter().map(|(_, size)| size * part).sum();
            nodes.iter_mut().for_each(|(_, size)| *size *= 1.0 - part);
            nodes.insert(0, (node, moved));
            if let Some(again) = nodes.iter().skip(1).position(|(other, _)| *other == node) {
                nodes[0].1 += nodes.remove(again + 1).1;
            }
        }
    }
    MemoryWish { nodes, reason: WHY }
}

fn classes(tape: &mut Tape, world: World<'_>) -> Vec<Vec<u32>> {
    let count = tape.below(world.topology.cache_classes() + 1);
    let mut mask = |socket: &halcyon_model::topology::Socket| {
        let Some(cache) = &socket.cache else { return 1 };
        let ways = tape.between(u64::from(cache.min_ways), u64::from(cache.ways));
        let start = tape.between(0, u64::from(cache.ways) - ways);
        CacheMask::full(u32::try_from(ways).expect("at most 32")).0 << start
    };
    (0..count).map(|_| world.topology.sockets().iter().map(&mut mask).collect()).collect()
}

/// What is held, without some that can go, and with new ones where GPU and owner have room.
fn instances(tape: &mut Tape, world: World<'_>, held: &Assignment) -> Vec<GpuInstance> {
    let profile = |instance: &GpuInstance| {
        &world.topology.gpus()[instance.gpu.index()].profiles[instance.profile as usize]
    };
    let mut instances = held.gpu_instances.clone();
    let slices = |instances: &[GpuInstance], owner: &VmSpec| -> u32 {
        let owned = instances.iter().filter(|instance| instance.owner == owner.id);
        owned.map(|instance| profile(instance).compute).sum()
    };
    for instance in &held.gpu_instances {
        let without: Vec<_> = instances.iter().filter(|other| *other != instance).copied().collect();
        let owner = world.vm(instance.owner).expect("held is feasible");
        if tape.chance(1, 2) && slices(&without, owner) >= owner.gpu_slices.reservation {
            instances = without;
        }
    }
    let takers: Vec<_> = world.vms.iter().filter(|spec| spec.gpu_slices.limit > 0).collect();
    for gpu in world.topology.gpus().iter().filter(|_| !takers.is_empty()) {
        for _ in 0..tape.below(6) {
            let index = tape.below(gpu.profiles.len());
            let (start, owner) = (*tape.pick(&gpu.profiles[index].starts), *tape.pick(&takers));
            let index = u32::try_from(index).expect("few");
            let new = GpuInstance { gpu: gpu.id, start, profile: index, owner: owner.id };
            let free = instances.iter().filter(|other| other.gpu == gpu.id).all(|other| {
                other.start + profile(other).span <= start || start + profile(&new).span <= other.start
            });
            if free && slices(&instances, owner) + profile(&new).compute <= owner.gpu_slices.limit {
                instances.push(new);
            }
        }
    }
    instances
}

/// Anything at all.
pub(crate) fn garbage(tape: &mut Tape, world: World<'_>) -> Proposal {
    let mut proposal = Proposal::default();
    for _ in 0..tape.below(30) {
        let nodes = (0..tape.below(7)).map(|_| (NodeId(id(tape)), figure(tape))).collect();
        proposal.vms.push(VmWish {
            vm: VmId(id(tape)),
            socket: tape.chance(1, 2).then(|| (SocketId(id(tape)), WHY)),
            cpu: tape.chance(1, 2).then(|| mad_wish(tape)),
            memory_bandwidth: tape.chance(1, 2).then(|| mad_wish(tape)),
            memory: tape.chance(1, 2).then_some(MemoryWish { nodes, reason: WHY }),
            class: tape.chance(1, 2).then(|| (ClassId(id(tape)), WHY)),
        });
    }
    for _ in 0..tape.below(12) {
        let to = tape.chance(2, 3).then(|| VmId(id(tape)));
        proposal.devices.push(DeviceMove { device: DeviceId(id(tape)), to, reason: WHY });
        proposal.device_bandwidth.push((DeviceId(id(tape)), mad_wish(tape)));
        let setting = LinkSetting { width: lanes(tape), speed: *tape.pick(&LinkSpeed::ALL) };
        proposal.links.push(LinkWish { link: LinkId(id(tape)), to: setting, reason: WHY });
    }
    proposal.classes = tape.chance(1, 2).then(|| mad_classes(tape, world));
    let instance = |tape: &mut Tape| GpuInstance {
        gpu: GpuId(id(tape) % 5),
        start: id(tape),
        profile: id(tape) % 6,
        owner: VmId(id(tape)),
    };
    proposal.gpu_instances =
        tape.chance(1, 2).then(|| ((0..tape.below(12)).map(|_| instance(tape)).collect(), WHY));
    proposal
}

fn id(tape: &mut Tape) -> u32 {
    match tape.below(12) {
        11 => u32::MAX,
        10 => u32::try_from(tape.below(100_000)).expect("small"),
        wide => u32::try_from(tape.below(3 * wide + 1)).expect("small"),
    }
}

fn figure(tape: &mut Tape) -> f64 {
    match tape.below(10) {
        0 => 0.0,
        1 => f64::NAN,
        2 => f64::INFINITY,
        3 => f64::NEG_INFINITY,
        4 => -1e9,
        5 => 1e300,
        6 => f64::MIN_POSITIVE,
        scale => tape.share() * [1e4, 1e10, 1e19][scale - 7],
    }
}

fn mad_wish(tape: &mut Tape) -> Wish {
    Wish { share: figure(tape), ceiling: figure(tape), reason: WHY }
}

fn lanes(tape: &mut Tape) -> Lanes {
    match tape.below(3) {
        0 => *tape.pick(&Lanes::LEGAL),
        _ => Lanes::unchecked(u8::try_from(tape.below(256)).expect("a byte")),
    }
}

fn mad_classes(tape: &mut Tape, world: World<'_>) -> Vec<Vec<u32>> {
    let sockets = world.topology.sockets().len();
    let mask = |tape: &mut Tape| *tape.pick(&[1, 0, 5, 7, u32::MAX, 1 << 31, 0x7ff, 0xf0]);
    (0..tape.below(40))
        .map(|_| {
            let count = if tape.chance(1, 4) { tape.below(6) } else { sockets };
            (0..count).map(|_| mask(tape)).collect()
        })
        .collect()
}

/// Each part from the one or the other; lists one after the other, in either order.
fn mixed(tape: &mut Tape, mut sane: Proposal, mut mad: Proposal) -> Proposal {
    if tape.chance(1, 2) {
        std::mem::swap(&mut sane, &mut mad);
    }
    sane.vms.append(&mut mad.vms);
    sane.devices.append(&mut mad.devices);
    sane.device_bandwidth.append(&mut mad.device_bandwidth);
    sane.links.append(&mut mad.links);
    if tape.chance(1, 2) {
        sane.classes = mad.classes;
    }
    if tape.chance(1, 2) {
        sane.gpu_instances = mad.gpu_instances;
    }
    sane
}

/// A wish for exactly what is held.
pub(crate) fn echo(held: &Assignment) -> Proposal {
    fn same<T: Copy>(grant: Grant<T>, raw: impl Fn(T) -> f64) -> Wish {
        Wish { share: raw(grant.share), ceiling: raw(grant.ceiling), reason: WHY }
    }
    let vm = |holding: &Holding| VmWish {
        vm: holding.vm,
        socket: Some((holding.socket, WHY)),
        cpu: Some(same(holding.cpu, |cpu| cpu.as_f64())),
        memory_bandwidth: Some(same(holding.memory_bandwidth, |bandwidth| bandwidth.as_f64())),
        memory: Some(MemoryWish {
            nodes: holding.memory.iter().map(|(node, size)| (*node, size.as_f64())).collect(),
            reason: WHY,
        }),
        class: Some((holding.class, WHY)),
    };
    let masks = |masks: &Option<Vec<CacheMask>>| masks.iter().flatten().map(|mask| mask.0).collect();
    let devices = || held.devices.iter().enumerate().map(|(index, held)| (DeviceId::at(index), held));
    let links = held.links.iter().enumerate();
    Proposal {
        vms: held.holdings.iter().map(vm).collect(),
        devices: devices().map(|(device, held)| DeviceMove { device, to: held.owner, reason: WHY }).collect(),
        device_bandwidth: devices()
            .map(|(device, held)| (device, same(held.bandwidth, |bandwidth| bandwidth.as_f64())))
            .collect(),
        links: links.map(|(link, to)| LinkWish { link: LinkId::at(link), to: *to, reason: WHY }).collect(),
        classes: Some(held.classes.iter().map(masks).collect()),
        gpu_instances: Some((held.gpu_instances.clone(), WHY)),
        ..Proposal::default()
    }
}
