//! One decision of the network, from 4 to 1,024 VMs on two sockets, on one thread.
//!
//! `elem/s` in the output is VMs a second. The second group runs on the instructions that every machine
//! has; its results are the same.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use halcyon_policy::network::kernel::Instructions;
use halcyon_policy::network::{Batch, Network, Scratch, Shape};

const SHAPE: Shape = Shape { features: 48, host: 16, width: 128, outputs: 64 };

fn decisions(criterion: &mut Criterion) {
    for (name, instructions) in [("forward", Instructions::detect()), ("portable", Instructions::portable())]
    {
        let network = Network::random(SHAPE, 1).expect("the shape is permitted").on(instructions);
        let mut group = criterion.benchmark_group(name);
        for vms in [4, 16, 64, 256, 1024] {
            let features: Vec<f32> = (0..vms * SHAPE.features).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
            let (host, socket) = ([0.5; 16], (0..vms).map(|vm| vm % 2).collect::<Vec<usize>>());
            let mut scratch = Scratch::default();
            group.throughput(Throughput::Elements(vms as u64));
            group.bench_function(BenchmarkId::from_parameter(vms), |bencher| {
                bencher.iter(|| {
                    let batch = Batch { features: black_box(&features), host: &host, socket: &socket };
                    black_box(network.forward(&batch, &mut scratch).expect("the sizes agree"));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
