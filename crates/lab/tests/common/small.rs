//! Small scenarios on every example host, short enough for many of them in one test.
#![allow(dead_code)]

use std::time::Duration;

use halcyon_lab::{Draw, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_model::profile::Response;
use halcyon_model::{Bandwidth, Bounds, ByteSize, MilliCpu, Objective, VmId, VmSpec, Weight};
use halcyon_sim::{Application, Demand, Guest, Workload};

use super::common::{HOUR, generated};

pub(crate) const SMALL: &str = include_str!("../../../../examples/hosts/small.toml");

/// Every example host, with a few VMs for it.
pub(crate) const HOSTS: [(&str, usize); 6] = [
    (SMALL, 6),
    (include_str!("../../../../examples/hosts/two-socket.toml"), 9),
    (include_str!("../../../../examples/hosts/gpu-box.toml"), 8),
    (include_str!("../../../../examples/hosts/nvme-storage.toml"), 9),
    (include_str!("../../../../examples/hosts/cxl-pool.toml"), 8),
    (include_str!("../../../../examples/hosts/density.toml"), 10),
];

pub(crate) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// VMs drawn for a host by what `change` makes of a calm draw.
pub(crate) fn drawn(text: &str, vms: usize, duration: Duration, seed: u64, change: Draw) -> Scenario {
    let host = parse_host(text).expect("an example is described well");
    let draw = Draw { vms, duration, seed, ..change };
    let drawn = Scenario::draw(host.topology, host.capabilities, &generated(vms, HOUR, seed), draw);
    drawn.expect("the VMs fit")
}

/// What [`drawn`] starts from: with room, and nobody comes or goes.
pub(crate) fn calm() -> Draw {
    Draw::new(1, HOUR, 1)
}

/// A VM of so many CPUs that is asked for `work` cores all the time, and needs nothing else.
pub(crate) fn plain(id: u32, cores: u64, work: f32, objective: Objective) -> Guest {
    let spec = VmSpec {
        id: VmId(id),
        name: format!("plain-{id}"),
        vcpus: u32::try_from(cores).expect("a few"),
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::new(500), limit: MilliCpu::cores(cores) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(4) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(30) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective,
        application: None,
    };
    let application = Application {
        name: "plain".into(),
        request: Duration::from_millis(5),
        io_bytes: 0.0,
        gpu_seconds: 0.0,
        response: Response::flat(0.0),
    };
    let demand = Demand { interval: HOUR, work: vec![work; 4], working_set: vec![0.5e9; 4] };
    Guest::new(spec, Workload { application, demand })
}

/// Given VMs on the smallest example host.
pub(crate) fn given(guests: Vec<Guest>, duration: Duration) -> Scenario {
    let host = parse_host(SMALL).expect("an example is described well");
    let draw = Draw { duration, ..calm() };
    Scenario::new("given".into(), host.topology, host.capabilities, guests, draw).expect("the VMs fit")
}
