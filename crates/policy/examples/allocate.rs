//! Allocates a small host to three VMs for ten seconds and prints each change with its reason, and who holds
//! what at the end.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_model::{Bandwidth, Bounds, ByteSize, DeviceClass, DeviceWish, Objective};
use halcyon_policy::{Allocator, Measured, SystemState, VmData};

const HOST: &str = include_str!("../../../examples/hosts/small.toml");

fn main() -> Result<(), Box<dyn Error>> {
    let memory = Bounds { reservation: ByteSize::gib(2), limit: ByteSize::gib(16) };
    let drive = DeviceWish {
        class: DeviceClass::Nvme,
        count: Bounds { reservation: 0, limit: 1 },
        bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(3) },
    };
    let latency = Objective::Latency { p99: Duration::from_millis(20) };
    let mut vms = [
        VmData { objective: latency, devices: vec![drive], ..VmData::new("web", 8, memory) },
        VmData { objective: Objective::Throughput, ..VmData::new("build", 8, memory) },
        VmData::new("spare", 8, memory),
    ];
    let mut allocator = Allocator::new()?;
    let mut state = SystemState::new(parse_host(HOST)?, Duration::ZERO);
    let mut out = std::io::stdout().lock();
    let mut allocation = None;
    for second in 0..10_u32 {
        // In earnest, this is where the VMs would be measured.
        for (vm, (cores, gib)) in vms.iter_mut().zip([(6.5, 9.0), (7.5, 5.0), (0.1, 1.0)]) {
            vm.measured = Measured {
                cpu_cores: Some(cores),
                working_set_bytes: Some(gib * 1024.0 * 1024.0 * 1024.0),
                ..Measured::default()
            };
        }
        state.at = Duration::from_secs(second.into());
        let found = allocator.allocate(&vms, &state)?;
        for reason in found.vms().iter().flat_map(|vm| &vm.reasons) {
            let (whose, part) = (reason.vm.as_deref().unwrap_or("the host"), &reason.part);
            let change = format!("{} on {part} from {} to {}", reason.kind, reason.from, reason.to);
            writeln!(out, "{second} s: {whose}: {change}: {}", reason.reason)?;
        }
        allocation = Some(found);
    }
    let Some(allocation) = allocation else { return Ok(()) };
    writeln!(out, "{:<8} {:>18} {:>10} {:>6}  devices", "VM", "CPUs", "memory GiB", "lanes")?;
    for vm in allocation.vms() {
        let devices: Vec<&str> = vm.devices.iter().map(|device| device.name.as_str()).collect();
        let gib = vm.memory.as_f64() / ByteSize::gib(1).as_f64();
        let (cpu, lanes, devices) = (vm.cpu.to_string(), vm.pci_lanes, devices.join(" "));
        writeln!(out, "{:<8} {cpu:>18} {gib:>10.1} {lanes:>6}  {devices}", vm.name)?;
    }
    match allocation.fallback() {
        Some(fallback) => writeln!(out, "decided by the heuristic: {fallback}")?,
        None => writeln!(out, "decided by the network")?,
    }
    Ok(())
}
