//! What more hardware and cheaper changes are worth: never less than nothing; and CPU by itself, which
//! the kernel shares without anybody's doing, next to nothing.

mod common;
#[path = "common/small.rs"]
mod small;

use common::run;
use halcyon_lab::bench::policies;
use halcyon_lab::{Draw, Scenario, bound};
use halcyon_model::profile::Response;
use halcyon_model::{Capabilities, ChangeKind, Control, Objective};
use small::{HOSTS, calm, drawn, minutes};

/// How much less counts as equal.
const EQUAL: f64 = 0.003;

/// Half of what follows in `text` after each `key = `, up to the unit: the same host with less.
fn halved(text: &str, keys: &[&str]) -> String {
    let halve = |line: &str| {
        let found = keys.iter().find_map(|key| line.strip_prefix(&format!("{key} = ")));
        let Some(value) = found else { return line.to_owned() };
        let value = value.trim_start_matches('"');
        let end = value.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(value.len());
        let number: f64 = value[..end].parse().expect("a number");
        line.replacen(&value[..end], &format!("{}", number / 2.0), 1)
    };
    text.lines().map(halve).collect::<Vec<_>>().join("\n")
}

/// The same VMs on a host with other hardware and other changes.
fn on(scenario: &Scenario, host: &str) -> Scenario {
    let host = halcyon_model::describe::parse_host(host).expect("still a host");
    moved(scenario, host.topology, host.capabilities)
}

fn moved(scenario: &Scenario, topology: halcyon_model::Topology, capabilities: Capabilities) -> Scenario {
    let draw = Draw { seed: scenario.seed, duration: scenario.duration, ..calm() };
    let guests = scenario.guests.clone();
    let moved = Scenario::new("moved".into(), topology, capabilities, guests, draw).expect("the VMs fit");
    Scenario { profiles: scenario.profiles.clone(), parameters: scenario.parameters.clone(), ..moved }
}

fn clairvoyant(scenario: &Scenario) -> f64 {
    run(scenario, "clairvoyant").score.utility
}

#[test]
fn more_of_anything_is_never_worse_for_who_knows_the_future() {
    let keys: [&[&str]; 4] = [&["cores"], &["capacity", "host_memory"], &["bandwidth"], &["size"]];
    for (seed, at) in [(61, 1), (62, 4)] {
        let (whole, vms) = HOSTS[at];
        for keys in keys {
            let less = halved(whole, keys);
            assert_ne!(less, whole, "{keys:?} are in the file");
            // Drawn for the poorer host, so that its VMs fit both.
            let poor = drawn(&less, vms, minutes(15), seed, Draw { load: 0.9, ..calm() });
            let rich = on(&poor, whole);
            let (before, after) = (clairvoyant(&poor), clairvoyant(&rich));
            assert!(after >= before * (1.0 - EQUAL), "{keys:?}, seed {seed}: {before}, with twice {after}");
            assert!(bound(&rich).utility >= bound(&poor).utility * (1.0 - EQUAL), "{keys:?}, seed {seed}");
        }
    }
}

/// Everything that can be changed, for nothing and at once.
fn for_free(capabilities: &Capabilities) -> Capabilities {
    ChangeKind::ALL.into_iter().fold(Capabilities::none(), |free, kind| {
        let control = capabilities.get(kind).map(|control| Control {
            latency: std::time::Duration::ZERO,
            interruption: std::time::Duration::ZERO,
            cost_s: 0.0,
            ..*control
        });
        free.with(kind, control)
    })
}

#[test]
fn changes_that_cost_nothing_are_never_worse_for_who_knows_the_future() {
    for (seed, (host, vms)) in (71..).zip(HOSTS) {
        let dear = drawn(host, vms, minutes(12), seed, Draw { load: 0.9, churn: 0.2, ..calm() });
        let free = Scenario { capabilities: for_free(&dear.capabilities), ..dear.clone() };
        let (before, after) = (clairvoyant(&dear), clairvoyant(&free));
        let name = dear.topology.name();
        assert!(after >= before * (1.0 - EQUAL), "{name}: {before}, for free {after}");
    }
}

/// VMs that need nothing but CPU, and memory that there is plenty of.
fn cpu_alone(scenario: Scenario) -> Scenario {
    let only_cpu =
        Capabilities::none().with(ChangeKind::Cpu, scenario.capabilities.get(ChangeKind::Cpu).copied());
    let mut scenario = Scenario { capabilities: only_cpu, ..scenario };
    for guest in &mut scenario.guests {
        let application = &mut guest.workload.application;
        application.io_bytes = 0.0;
        application.gpu_seconds = 0.0;
        application.response = Response::flat(0.0);
        let least = guest.spec.memory.reservation.as_f64() as f32;
        guest.workload.demand.working_set.fill(0.5 * least);
        guest.spec.devices.clear();
    }
    let (topology, capabilities) = (scenario.topology.clone(), scenario.capabilities.clone());
    moved(&scenario, topology, capabilities)
}

/// What the kernel does by itself is nobody's merit: where CPU is all that VMs share, weights by
/// reservation and a kernel that leaves no CPU idle are hard to improve on while there is room.
#[test]
fn where_only_cpu_is_shared_there_is_little_to_gain() {
    for load in [0.5, 0.7, 1.2] {
        for seed in [81, 82, 83] {
            let (host, vms) = HOSTS[1];
            let scenario = cpu_alone(drawn(host, vms, minutes(15), seed, Draw { load, ..calm() }));
            let kernel = run(&scenario, "proportional").score.utility;
            let certified = bound(&scenario).utility;
            for policy in policies() {
                let utility = run(&scenario, policy).score.utility;
                eprintln!(
                    "load {load} seed {seed} {policy} {utility:.4} kernel {kernel:.4} bound {certified:.4}"
                );
            }
        }
    }
}

#[test]
fn with_plenty_of_everything_nothing_is_left_to_gain() {
    for (seed, (host, vms)) in (91..).zip([HOSTS[1], HOSTS[3], HOSTS[4], HOSTS[5]]) {
        let mut scenario = drawn(host, vms, minutes(12), seed, Draw { load: 0.1, ..calm() });
        for guest in &mut scenario.guests {
            let limit = guest.spec.cpu.limit.as_f64() as f32 / 1000.0;
            let demand = &mut guest.workload.demand;
            demand.work.iter_mut().for_each(|work| *work = work.min(0.1 * limit));
            demand.working_set.fill(0.5 * guest.spec.memory.reservation.as_f64() as f32);
            // Whoever does not respond to slices, but cannot do without them, is served by nobody.
            guest.workload.application.gpu_seconds = 0.0;
            guest.workload.application.io_bytes = 0.0;
            guest.workload.application.response = Response::flat(1e8);
            if let Objective::Latency { p99 } = &mut guest.spec.objective {
                *p99 *= 10;
            }
        }
        let (name, certified) = (scenario.topology.name(), bound(&scenario).utility);
        let reached = clairvoyant(&scenario);
        assert!((certified - 1.0).abs() < 0.005, "{name}: certified {certified}");
        assert!((reached - 1.0).abs() < 0.005, "{name}: reached {reached}");
    }
}
