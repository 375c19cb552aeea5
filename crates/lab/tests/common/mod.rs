//! Scenarios on the demo host, with generated demand.
#![allow(dead_code)]

use std::time::Duration;

use halcyon_control::Stopwatch;
use halcyon_lab::{Draw, Run, RunResult, Scenario};
use halcyon_model::describe::{Host, parse_host};
use halcyon_sim::trace::{Series, TraceSet, generator};

pub(crate) const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A stopwatch that says that no time passes, so that runs are alike.
pub(crate) struct Still;

impl Stopwatch for Still {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

pub(crate) fn host() -> Host {
    parse_host(TWO_SOCKET).expect("the demo host is described well")
}

pub(crate) fn generated(vms: usize, duration: Duration, seed: u64) -> TraceSet {
    let parameters = generator::Parameters::embedded().expect("the embedded model is whole");
    generator::Generator::new(&parameters, seed).trace_set(vms, duration)
}

pub(crate) fn draw(vms: usize, duration: Duration, seed: u64) -> Draw {
    Draw::new(vms, duration, seed)
}

pub(crate) fn scenario(vms: usize, duration: Duration, seed: u64) -> Scenario {
    on_demo_host(&generated(vms, duration, seed), draw(vms, duration, seed)).expect("the VMs fit")
}

pub(crate) fn on_demo_host(traces: &TraceSet, draw: Draw) -> Result<Scenario, halcyon_lab::ScenarioError> {
    let host = host();
    Scenario::draw(host.topology, host.capabilities, traces, draw)
}

pub(crate) fn run(scenario: &Scenario, policy: &str) -> RunResult {
    let mut run = Run::new(scenario, policy, false).expect("the run starts");
    while !run.is_over() {
        run.tick(&Still).expect("the cycle goes on");
    }
    run.finish()
}

/// A trace of one series of CPU use for each list.
pub(crate) fn traced(series: &[Vec<f32>], interval: Duration) -> TraceSet {
    let series =
        series.iter().map(|cpu| Series { cpu: cpu.iter().copied().map(Some).collect(), ..Series::default() });
    let mut set = generated(1, HOUR, 1);
    (set.source, set.series, set.interval) = ("test".into(), series.collect(), interval);
    set
}
