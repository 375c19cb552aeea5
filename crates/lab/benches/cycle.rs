//! Steps of the simulated host and whole control cycles, from 32 to 1,024 VMs.
//!
//! The host grows with its VMs, so that a VM meets the same neighbourhood at every size and only the
//! number of VMs changes. `elem/s` in the output is steps or cycles a second on one core; the last group
//! gives the cost per VM against that at 32 VMs.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use halcyon_control::Stopwatch;
use halcyon_lab::{Draw, Run, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_sim::trace::generator::{Generator, Parameters};

const SIZES: [usize; 4] = [32, 128, 512, 1024];

struct WallClock(Instant);

impl Stopwatch for WallClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A host of two sockets and, for every 32 VMs, 48 cores, 512 GiB and a switch with eight devices.
fn host_text(vms: usize) -> String {
    let blocks = vms.div_ceil(32);
    let mut text = format!("name = \"bench-{vms}\"\n");
    for socket in 0..2 {
        let _ = write!(
            text,
            "[[socket]]\nname = \"s{socket}\"\ncores = {}\nhost_cpu = \"2\"\n\
             [[memory]]\nname = \"m{socket}\"\nsocket = \"s{socket}\"\ncapacity = \"{}GiB\"\nbandwidth = \"{}GB/s\"\n",
            24 * blocks,
            256 * blocks,
            100 * blocks
        );
    }
    for block in 0..blocks {
        let _ = write!(
            text,
            "[[root_port]]\nname = \"rp{block}\"\nsocket = \"s{}\"\nwidth = \"x16\"\nspeed = \"16GT/s\"\n\
             [[switch]]\nname = \"sw{block}\"\nbelow = \"rp{block}\"\nwidth = \"x16\"\nspeed = \"16GT/s\"\n",
            block % 2
        );
        for slot in 0..8 {
            let _ = write!(
                text,
                "[[port]]\nname = \"p{block}-{slot}\"\nswitch = \"sw{block}\"\nwidth = \"x4\"\nspeed = \"16GT/s\"\n\
                 [[device]]\nname = \"d{block}-{slot}\"\nclass = \"nvme\"\nport = \"p{block}-{slot}\"\n\
                 width = \"x4\"\nspeed = \"16GT/s\"\nbandwidth = \"6800MB/s\"\n"
            );
        }
    }
    text
}

fn scenario(vms: usize) -> Scenario {
    let host = parse_host(&host_text(vms)).expect("the bench's own host is well described");
    let parameters = Parameters::embedded().expect("the embedded parameters are valid");
    // Longer than any bench runs, so that no run ends under the clock.
    let duration = Duration::from_secs(24 * 3600);
    let traces = Generator::new(&parameters, 1).trace_set(vms, duration);
    let draw = Draw::new(vms, duration, 1);
    Scenario::draw(host.topology, host.capabilities, &traces, draw).expect("the bench's VMs fit their host")
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sim-step");
    for vms in SIZES {
        let mut host = scenario(vms).host().expect("the scenario starts feasible");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(vms), |bencher| {
            bencher.iter(|| {
                host.step();
                black_box(host.now())
            });
        });
    }
    group.finish();
}

/// A cycle with the step of the host that it follows: `static`, which decides nothing, is the peer that
/// shows what deciding costs.
fn cycles(criterion: &mut Criterion) {
    let clock = WallClock(Instant::now());
    for policy in ["static", "reactive"] {
        let mut group = criterion.benchmark_group(format!("step-and-cycle-{policy}"));
        for vms in SIZES {
            let scenario = scenario(vms);
            let mut run = Run::new(&scenario, policy, false).expect("the policy exists");
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(vms), |bencher| {
                bencher.iter(|| run.tick(&clock).expect("the simulated host can be observed"));
            });
        }
        group.finish();
    }
}

/// Not a criterion group: one ratio a line, each from runs that alternate with those at 32 VMs.
fn growth(_: &mut Criterion) {
    const CYCLES: u32 = 1500;
    let clock = WallClock(Instant::now());
    let mut runs: Vec<Run> = SIZES
        .iter()
        .map(|vms| Run::new(&scenario(*vms), "reactive", false).expect("the policy exists"))
        .collect();
    let mut spent = [Duration::ZERO; SIZES.len()];
    for _ in 0..CYCLES {
        for (run, spent) in runs.iter_mut().zip(&mut spent) {
            let began = Instant::now();
            black_box(run.tick(&clock).expect("the simulated host can be observed"));
            *spent += began.elapsed();
        }
    }
    let per_vm = |index: usize| spent[index].as_secs_f64() / f64::from(CYCLES) / SIZES[index] as f64;
    for (index, vms) in SIZES.iter().enumerate() {
        let ratio = per_vm(index) / per_vm(0);
        eprintln!(
            "growth: {vms:>5} VMs, {:>6.3} µs per VM and cycle, {ratio:.2} of that at 32",
            per_vm(index) * 1e6
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = steps, cycles, growth
}
criterion_main!(benches);
