//! States that Halcyon did not bring about: amounts, owners and settings changed behind its back.

use halcyon_model::{
    Assignment, Bandwidth, ByteSize, CacheMask, ClassId, Grant, Lanes, MilliCpu, NodeId, SocketId, VmId,
};

use super::{Host, Tape};

fn grant<T>(tape: &mut Tape, new: impl Fn(u64) -> T) -> Grant<T> {
    let most = *tape.pick(&[0, 5000, 50_000_000_000, u64::MAX]);
    let (share, ceiling) = (tape.between(0, most), tape.between(0, most));
    Grant { share: new(share), ceiling: new(ceiling) }
}

/// Changes about every third thing; every id still leads somewhere.
pub(crate) fn drift(tape: &mut Tape, host: &Host, held: &mut Assignment) {
    for holding in &mut held.holdings {
        if tape.chance(1, 3) {
            holding.cpu = grant(tape, MilliCpu::new);
            holding.memory_bandwidth = grant(tape, Bandwidth::new);
            holding.socket = SocketId::at(tape.below(host.topology.sockets().len()));
            holding.class = ClassId::at(tape.below(20));
        }
        if tape.chance(1, 3) {
            let nodes = host.topology.nodes().len();
            let size = |tape: &mut Tape| grant(tape, ByteSize::new).share;
            holding.memory = (0..nodes).map(|node| (NodeId::at(node), size(tape))).collect();
        }
    }
    for device in &mut held.devices {
        if tape.chance(1, 3) {
            device.owner = tape.chance(2, 3).then(|| VmId(u32::try_from(tape.below(30)).expect("small")));
            device.bandwidth = grant(tape, Bandwidth::new);
        }
    }
    for link in &mut held.links {
        if tape.chance(1, 3) {
            link.width = Lanes::unchecked(u8::try_from(tape.below(256)).expect("a byte"));
        }
    }
    for masks in &mut held.classes {
        if tape.chance(1, 3) {
            *masks = tape.chance(1, 2).then(|| vec![CacheMask(5); host.topology.sockets().len()]);
        }
    }
    for instance in &mut held.gpu_instances {
        if tape.chance(1, 3) {
            instance.start = u32::try_from(tape.between(0, u64::from(u32::MAX))).expect("fits");
            instance.profile = u32::try_from(tape.below(6)).expect("small");
        }
    }
}
