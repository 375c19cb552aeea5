//! The gradient of the network for 256 hosts of 16 VMs, and a step against it, on one thread.
//!
//! `elem/s` in the output is VMs a second, forth and back.

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use halcyon_lab::train::net::{Trainer, Tuning};
use halcyon_policy::network::{Batch, Parameters, Shape};

const SHAPE: Shape = Shape { features: 48, host: 16, width: 128, outputs: 64 };
const HOSTS: usize = 256;
const VMS: usize = 16;

/// Half the square of each output.
fn loss(_: usize, outputs: &[f32], slopes: &mut [f32]) -> f64 {
    slopes.copy_from_slice(outputs);
    outputs.iter().map(|output| 0.5 * f64::from(*output) * f64::from(*output)).sum()
}

fn training(criterion: &mut Criterion) {
    let parameters = Parameters::random(SHAPE, 1).expect("the shape is permitted");
    let mut trainer = Trainer::new(&parameters, Tuning::default(), NonZeroUsize::MIN);
    let features: Vec<f32> = (0..VMS * SHAPE.features).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
    let (host, socket) = ([0.5; 16], (0..VMS).map(|vm| vm % 2).collect::<Vec<usize>>());
    let hosts = [Batch { features: &features, host: &host, socket: &socket }; HOSTS];
    let mut group = criterion.benchmark_group("train");
    group.throughput(Throughput::Elements((HOSTS * VMS) as u64));
    group.bench_function("gradient", |bencher| {
        bencher.iter(|| black_box(trainer.differentiate(black_box(&hosts), loss).expect("the sizes agree")));
    });
    group.bench_function("step", |bencher| {
        bencher.iter(|| black_box(trainer.step(1e-5).expect("the gradient is finite")));
    });
    group.finish();
}

criterion_group!(benches, training);
criterion_main!(benches);
