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

/// A few VMs drawn for a host. So few cannot be large enough to ask for `load` of a large host; their
/// demand is scaled until they do.
pub(crate) fn drawn(text: &str, vms: usize, duration: Duration, seed: u64, draw: Draw) -> Scenario {
    let host = parse_host(text).expect("an example is described well");
    let draw = Draw { vms, duration, seed, ..draw };
    let drawn = Scenario::draw(host.topology, host.capabilities, &generated(vms, HOUR, seed), draw);
    let mut scenario = drawn.expect("the VMs fit");
    let there: f64 = scenario.topology.sockets().iter().map(|socket| socket.cpu().as_f64() / 1000.0).sum();
    let mean = |guest: &Guest| {
        let work = &guest.workload.demand.work;
        f64::from(work.iter().sum::<f32>()) / work.len() as f64
    };
    let asked: f64 = scenario.guests.iter().map(mean).sum();
    for guest in &mut scenario.guests {
        let limit = guest.spec.cpu.limit.as_f64() / 1000.0;
        for work in &mut guest.workload.demand.work {
            *work = (f64::from(*work) * draw.load * there / asked).min(1.1 * limit) as f32;
        }
    }
    scenario
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
