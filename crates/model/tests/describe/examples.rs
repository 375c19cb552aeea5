//! The files in `examples/` and the documentation are what they say.

use std::time::Duration;

use halcyon_model::describe::{Host, parse_vms, typical};
use halcyon_model::topology::{MemoryKind, Socket};
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, ChangeKind, DeviceClass, DeviceId, MilliCpu, NodeId, Objective, SocketId,
    World, admit,
};

use super::{SMALL, TWO_SOCKET, VMS, host, refused};

const DOCUMENT: &str = include_str!("../../../../docs/src/host-files.md");

#[test]
fn the_demo_host_is_what_its_comments_say() {
    let Host { topology, capabilities } = host(TWO_SOCKET);
    assert_eq!(topology.name(), "two-socket");
    let cpu: MilliCpu = topology.sockets().iter().map(Socket::cpu).sum();
    assert_eq!(cpu, MilliCpu::cores(44));
    assert_eq!(topology.memory_bandwidth(SocketId(1)), Bandwidth::gb_per_s(100));
    assert!(matches!(topology.nodes()[2].kind, MemoryKind::Cxl { .. }));
    assert_eq!(topology.distance(SocketId(1), NodeId(2)), 40);
    let fabric = topology.fabric();
    let named = |name: &str| fabric.devices.iter().find(|device| device.name == name).unwrap().id;
    assert_eq!(fabric.route(named("nvme3")).len(), 2);
    assert_eq!(fabric.route(named("nic0-vf2")), fabric.route(named("nic0")));
    assert_eq!(fabric.socket(named("gpu0")), Some(SocketId(1)));
    let free = |class| {
        let of = |id: &DeviceId| fabric.devices[id.index()].class == class && fabric.is_assignable(*id);
        (0..fabric.devices.len()).map(DeviceId::at).filter(of).count()
    };
    assert_eq!([free(DeviceClass::Nvme), free(DeviceClass::Nic), free(DeviceClass::CxlMemory)], [8, 4, 0]);
    let starting: u32 = fabric
        .links
        .iter()
        .filter(|link| fabric.ports[link.upper.index()].pool.is_some())
        .map(|link| u32::from(link.initial.width.get()))
        .sum();
    assert_eq!(starting, fabric.pools[0].lanes);
    assert_eq!(capabilities.get(ChangeKind::Memory).unwrap().granularity, 4 << 20);
    assert_eq!(capabilities.get(ChangeKind::Cpu), typical().get(ChangeKind::Cpu));
}

#[test]
fn a_machine_without_a_divisible_cache_or_gpu_cannot_change_them() {
    let capabilities = host(SMALL).capabilities;
    for kind in ChangeKind::ALL {
        let can = !matches!(
            kind,
            ChangeKind::Link | ChangeKind::CacheMask | ChangeKind::CacheClass | ChangeKind::GpuInstance
        );
        assert_eq!(capabilities.allows(kind), can, "{kind}");
    }
}

#[test]
fn the_example_vms_say_what_is_written_and_fit_the_demo_host() {
    let Host { topology, capabilities } = host(TWO_SOCKET);
    let vms = parse_vms(VMS, &topology).unwrap();
    let web = &vms[0];
    assert_eq!(web.cpu, Bounds { reservation: MilliCpu::cores(1), limit: MilliCpu::cores(8) });
    assert_eq!(web.objective, Objective::Latency { p99: Duration::from_millis(20) });
    assert_eq!(web.wish(DeviceClass::Nic).unwrap().bandwidth.limit, Bandwidth::gb_per_s(5));
    let batch = &vms[2];
    assert_eq!(batch.cpu, Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(16) });
    assert_eq!(batch.memory_bandwidth.limit, Bandwidth::gb_per_s(100));
    assert_eq!(batch.wish(DeviceClass::Nvme).unwrap().count, Bounds { reservation: 0, limit: 1 });
    assert_eq!(vms[3].gpu_slices, Bounds { reservation: 2, limit: 7 });
    assert_eq!(vms[4].memory.limit, ByteSize::gib(4));
    admit(World { topology: &topology, capabilities: &capabilities, vms: &vms }).unwrap();
}

#[test]
fn thirty_two_ordinary_vms_fit_the_demo_host_by_their_reservations_alone() {
    let Host { topology, capabilities } = host(TWO_SOCKET);
    let one = |index: usize| {
        format!(
            "[[vm]]\nname = \"vm-{index}\"\nvcpus = 4\ncpu = {{ reservation = \"1\" }}\n\
             memory = {{ reservation = \"8GiB\", limit = \"32GiB\" }}\n"
        )
    };
    let vms = parse_vms(&(0..32).map(one).collect::<String>(), &topology).unwrap();
    admit(World { topology: &topology, capabilities: &capabilities, vms: &vms }).unwrap();
    let reach: MilliCpu = vms.iter().map(|vm| vm.cpu.limit).sum();
    let there: MilliCpu = topology.sockets().iter().map(Socket::cpu).sum();
    assert!(reach > there + there, "they must contend for what is above their reservations");
}

#[test]
fn the_documents_table_of_changes_is_what_a_host_file_starts_from() {
    let typical = typical();
    for kind in ChangeKind::ALL {
        let name = format!("`{kind}`");
        let row =
            |line: &&str| line.starts_with("| `") && line.contains(&name) && line.matches('|').count() == 7;
        let row = DOCUMENT.lines().find(row).unwrap_or_else(|| panic!("{kind} is not in the table"));
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches(['`', '"'])).collect();
        let control = typical.get(kind).unwrap();
        let times = [control.pace, control.latency, control.interruption];
        assert_eq!(times.map(|time| time.as_millis().to_string()), cells[2..5], "{kind}");
        assert_eq!(control.cost_s.to_string(), cells[5], "{kind}");
        let step = match kind {
            ChangeKind::Cpu => MilliCpu::new(control.granularity).to_string(),
            ChangeKind::Memory | ChangeKind::MemoryMigration => {
                ByteSize::new(control.granularity).to_string()
            }
            ChangeKind::MemoryBandwidth | ChangeKind::DeviceBandwidth => {
                Bandwidth::new(control.granularity).to_string()
            }
            _ => control.granularity.to_string(),
        };
        assert_eq!(step, cells[6], "{kind}");
    }
}

#[test]
fn the_documents_complaint_is_what_a_wider_start_gets() {
    let wider = TWO_SOCKET.replacen("initial_width = \"x2\"\n", "", 1);
    assert!(DOCUMENT.contains(&refused(&wider).to_string()), "{}", refused(&wider));
}
