//! What it costs to take note of a snapshot and to turn it into features, from 64 to 1,024 VMs.
//!
//! `observe` is [`Features::observe`] with every counter there and a full window.
//! `record` is [`History::record`] of one snapshot, one second after the last, with every counter there.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use halcyon_model::{ByteSize, Snapshot};
use halcyon_policy::{Features, View};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{Bench, host_with_memory, program, vm_with};

const SIZES: [u32; 2] = [64, 1024];

/// Two sockets for every 64 VMs, each of which runs one of eight programs.
fn bench(vms: u32) -> Bench {
    let specs = (0..vms).map(|id| vm_with(id, &format!("program-{}", id % 8))).collect();
    let programs = (0..8).map(|index| program(&format!("program-{index}"), 0.5, 30.0, 8.0, 2.0));
    let mut bench =
        Bench::new(host_with_memory(vms / 32, ByteSize::gib(1024)), specs).with_programs(programs);
    for second in 0..600 {
        advance(&mut bench.snapshot, second);
        bench.history.record(&bench.snapshot);
    }
    bench
}

/// One second passes.
fn advance(snapshot: &mut Snapshot, second: u64) {
    snapshot.at += Duration::from_secs(1);
    let grow = |counter: &mut Option<u64>, by: u64| *counter = Some(counter.unwrap_or(0) + by);
    for (position, sample) in (0..).zip(&mut snapshot.vms) {
        let load = (second * 37 + position * 11) % 100;
        let counters = &mut sample.counters;
        grow(&mut counters.cpu_used_us, 20_000 * load);
        grow(&mut counters.cpu_waited_us, 500 * load);
        grow(&mut counters.memory_stalled_us, 70 * load);
        grow(&mut counters.io_stalled_us, 300 * load);
        grow(&mut counters.memory_bytes, 10_000_000 * load);
        grow(&mut counters.gpu_busy_us, 9_000 * load);
        sample.working_set = Some(ByteSize::mib(1024 + 8 * load));
        sample.cache = Some(ByteSize::mib(1 + load / 50));
    }
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for vms in SIZES {
        let Bench { mut snapshot, mut history, .. } = bench(vms);
        let mut second = 600;
        group.bench_function(BenchmarkId::from_parameter(vms), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    second += 1;
                    advance(&mut snapshot, second);
                    let began = std::time::Instant::now();
                    history.record(black_box(&snapshot));
                    spent += began.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn observe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe");
    for vms in SIZES {
        let bench = bench(vms);
        let view = View {
            world: bench.world(),
            snapshot: &bench.snapshot,
            history: &bench.history,
            frozen: bench.frozen,
            profiles: &bench.profiles,
        };
        let mut features = Features::default();
        group.bench_function(BenchmarkId::from_parameter(vms), |bencher| {
            bencher.iter(|| features.observe(black_box(&view)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = record, observe
}
criterion_main!(benches);
