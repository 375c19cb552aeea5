//! The gradient is that of the definition, the same on any number of threads, and it teaches.

use super::*;
use halcyon_policy::network::Scratch;

const SHAPE: Shape = Shape { features: 4, host: 3, width: 7, outputs: 5 };

struct Host {
    features: Vec<f32>,
    host: Vec<f32>,
    socket: Vec<usize>,
}

impl Host {
    fn batch(&self) -> Batch<'_> {
        Batch { features: &self.features, host: &self.host, socket: &self.socket }
    }
}

/// Hosts of these sizes, with numbers without a pattern.
fn hosts(shape: Shape, sizes: &[usize]) -> Vec<Host> {
    let mut state = 1_u64;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut host = |vms: &usize| Host {
        features: (0..vms * shape.features).map(|_| draw()).collect(),
        host: (0..shape.host).map(|_| draw()).collect(),
        socket: (0..*vms).map(|vm| vm * vm % 3).collect(),
    };
    sizes.iter().map(&mut host).collect()
}

/// Random weights, with biases and outputs that count.
fn parameters(shape: Shape) -> Parameters {
    let mut values = Parameters::random(shape, 11).unwrap().values().to_vec();
    for tensor in Tensor::ALL {
        for (i, value) in values[shape.range(tensor)].iter_mut().enumerate() {
            *value = if tensor.is_bias() { (i * 7 % 13) as f32 * 0.04 - 0.2 } else { *value };
            *value *= if tensor == Tensor::OutputWeight { 100.0 } else { 1.0 };
        }
    }
    Parameters::new(shape, values).unwrap()
}

fn trainer(shape: Shape, threads: usize) -> Trainer {
    Trainer::new(&parameters(shape), Tuning::default(), NonZeroUsize::new(threads).unwrap())
}

/// What output `at` of a host wants to be; of no meaning.
fn wish(host: usize, at: usize) -> f64 {
    ((host * 31 + at * 17) % 23) as f64 * 0.1 - 1.0
}

/// Half the squared distance to the wishes.
fn loss(host: usize, outputs: &[f32], slopes: &mut [f32]) -> f64 {
    let mut loss = 0.0;
    for (at, (output, slope)) in outputs.iter().zip(slopes).enumerate() {
        let error = f64::from(*output) - wish(host, at);
        loss += 0.5 * error * error;
        *slope = error as f32;
    }
    loss
}

/// The definition of the network and of the same loss, in `f64`, VM by VM.
fn reference(shape: Shape, values: &[f64], hosts: &[Host]) -> f64 {
    let product = |row: &[f64], weight: Tensor, start: &[f64]| -> Vec<f64> {
        let (inputs, outputs) = shape.size(weight);
        let weights = &values[shape.range(weight)];
        let sum = |o: usize| (0..inputs).map(|i| row[i] * weights[i * outputs + o]).sum::<f64>();
        (0..outputs).map(|o| start[o] + sum(o)).collect()
    };
    let bias = |tensor: Tensor| &values[shape.range(tensor)];
    let act =
        |row: Vec<f64>| row.into_iter().map(|v| if v > 0.0 { v } else { 0.01 * v }).collect::<Vec<f64>>();
    let wide = |row: &[f32]| row.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f64>>();
    let mut total = 0.0;
    for (place, host) in hosts.iter().enumerate() {
        let start = product(&wide(&host.host), Tensor::HostWeight, bias(Tensor::VmBias));
        let encoded: Vec<Vec<f64>> = host
            .features
            .chunks_exact(shape.features)
            .map(|row| act(product(&wide(row), Tensor::VmWeight, &start)))
            .map(|first| act(product(&first, Tensor::EncoderWeight, bias(Tensor::EncoderBias))))
            .collect();
        let mean = |socket: Option<usize>| -> Vec<f64> {
            let here = host.socket.iter().map(|s| socket.is_none_or(|socket| *s == socket));
            let rows: Vec<_> =
                encoded.iter().zip(here).filter(|(_, here)| *here).map(|(row, _)| row).collect();
            (0..shape.width).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64).collect()
        };
        for (vm, row) in encoded.iter().enumerate() {
            let means = [mean(Some(host.socket[vm])), mean(None)].concat();
            let heard = act(product(&means, Tensor::ContextWeight, bias(Tensor::ContextBias)));
            let start = add(&heard, bias(Tensor::MixerBias));
            let mixed = add(row, &act(product(row, Tensor::MixerWeight, &start)));
            let refined = product(&mixed, Tensor::RefinerWeight, bias(Tensor::RefinerBias));
            let refined = add(&mixed, &act(refined));
            let outputs = product(&refined, Tensor::OutputWeight, bias(Tensor::OutputBias));
            for (at, output) in outputs.iter().enumerate() {
                total += 0.5 * (output - wish(place, vm * shape.outputs + at)).powi(2);
            }
        }
    }
    total
}

#[test]
fn every_gradient_is_that_of_central_differences() {
    let hosts = hosts(SHAPE, &[1, 6, 0, 11, 3]);
    let batch: Vec<_> = hosts.iter().map(Host::batch).collect();
    let mut trainer = trainer(SHAPE, 1);
    let found = trainer.differentiate(&batch, loss).unwrap();
    let mut values: Vec<f64> = trainer.values().iter().map(|value| f64::from(*value)).collect();
    let expected = reference(SHAPE, &values, &hosts);
    assert!((found / expected - 1.0).abs() < 1e-6, "loss {found} is not {expected}");
    for tensor in Tensor::ALL {
        let (mut worst, mut largest) = (0.0_f64, 0.0_f64);
        for at in SHAPE.range(tensor) {
            let (value, step) = (values[at], 1e-6);
            values[at] = value + step;
            let above = reference(SHAPE, &values, &hosts);
            values[at] = value - step;
            let below = reference(SHAPE, &values, &hosts);
            values[at] = value;
            let difference = (above - below) / (2.0 * step);
            worst = worst.max((f64::from(trainer.gradient()[at]) - difference).abs());
            largest = largest.max(difference.abs());
        }
        println!("{}: off by {:.1e} of {largest:.3}", tensor.name(), worst / largest);
        assert!(largest > 1e-3, "{} has a gradient", tensor.name());
        assert!(worst < 3e-6 * largest, "{}: off by {worst} of {largest}", tensor.name());
    }
}

#[test]
fn threads_and_instructions_change_no_bit() {
    let sizes: Vec<usize> = (0..70).map(|host| (host * host) % 37).chain([300]).collect();
    let hosts = hosts(SHAPE, &sizes);
    let batch: Vec<_> = hosts.iter().map(Host::batch).collect();
    let learn = |mut trainer: Trainer| {
        let losses = [(); 3].map(|()| {
            let loss = trainer.differentiate(&batch, loss).unwrap();
            trainer.step(1e-2).unwrap();
            loss.to_bits()
        });
        (losses, trainer.values().iter().map(|value| value.to_bits()).collect::<Vec<u32>>())
    };
    let expected = learn(trainer(SHAPE, 1));
    for threads in [2, 3, 16, 40] {
        assert!(learn(trainer(SHAPE, threads)) == expected, "{threads} threads");
    }
    assert!(learn(trainer(SHAPE, 2).on(Instructions::portable())) == expected);
}

#[test]
fn it_decides_with_the_bits_of_the_network() {
    let hosts = hosts(SHAPE, &[5, 1, 30, 200, 4]);
    let batch: Vec<_> = hosts.iter().map(Host::batch).collect();
    let mut trainer = trainer(SHAPE, 1);
    let network = trainer.export(SHAPE.outputs, Card::default()).unwrap();
    let compare = |host: usize, outputs: &[f32], _: &mut [f32]| {
        let mut scratch = Scratch::default();
        let expected = network.forward(&batch[host], &mut scratch).unwrap();
        f64::from(u8::from(outputs.iter().zip(expected).any(|(a, b)| a.to_bits() != b.to_bits())))
    };
    assert_eq!(trainer.differentiate(&batch, compare).unwrap(), 0.0);
}

#[test]
fn it_learns() {
    let shape = Shape { width: 32, outputs: 1, ..SHAPE };
    let hosts = hosts(shape, &[8; 40]);
    let batch: Vec<_> = hosts.iter().map(Host::batch).collect();
    // The product of two features, and what the neighbours on the host have of the third.
    let target = |host: usize, vm: usize| {
        let rows = hosts[host].features.chunks_exact(4);
        let neighbours: f32 = rows.clone().map(|row| row[2]).sum::<f32>() / 8.0;
        f64::from(rows.clone().nth(vm).map_or(0.0, |row| row[0] * row[1]) + neighbours)
    };
    let loss = |host: usize, outputs: &[f32], slopes: &mut [f32]| {
        let each = outputs.iter().zip(slopes).enumerate().map(|(vm, (output, slope))| {
            let error = f64::from(*output) - target(host, vm);
            *slope = (error / 320.0) as f32;
            error * error / 320.0
        });
        each.sum()
    };
    let parameters = Parameters::random(shape, 1).unwrap();
    let mut trainer = Trainer::new(&parameters, Tuning::default(), NonZeroUsize::MIN);
    let first = trainer.differentiate(&batch, loss).unwrap();
    for _ in 0..300 {
        trainer.step(3e-3).unwrap();
        trainer.differentiate(&batch, loss).unwrap();
    }
    let last = trainer.differentiate(&batch, loss).unwrap();
    assert!(last < 0.02 * first, "{first} only became {last}");
}

#[test]
fn an_exported_network_has_the_first_outputs() {
    let hosts = hosts(SHAPE, &[9]);
    let trainer = trainer(SHAPE, 1);
    let mut scratch = Scratch::default();
    let whole = trainer.export(5, Card::default()).unwrap();
    let whole = whole.forward(&hosts[0].batch(), &mut scratch).unwrap().to_vec();
    let cut = trainer.export(2, Card::default()).unwrap();
    let cut = cut.forward(&hosts[0].batch(), &mut scratch).unwrap();
    for (cut, whole) in cut.chunks_exact(2).zip(whole.chunks_exact(5)) {
        assert_eq!(cut, &whole[..2]);
    }
    assert!(matches!(trainer.export(6, Card::default()), Err(TrainError::Outputs { .. })));
    assert!(matches!(trainer.export(0, Card::default()), Err(TrainError::Network { .. })));
}

#[test]
fn a_step_is_that_of_adam_and_a_broken_gradient_takes_none() {
    let hosts = hosts(SHAPE, &[4]);
    let batch = [hosts[0].batch()];
    let mut trainer = trainer(SHAPE, 1);
    let before = trainer.values().to_vec();
    trainer.differentiate(&batch, loss).unwrap();
    let gradient = trainer.gradient().to_vec();
    let norm = trainer.step(0.01).unwrap();
    let length = gradient.iter().map(|slope| f64::from(*slope).powi(2)).sum::<f64>().sqrt();
    assert!((norm - length).abs() < 1e-9 && norm > 0.5, "{norm}");
    // With a mean of its own sign and size, the first step of every parameter is the rate.
    for ((before, after), slope) in before.iter().zip(trainer.values()).zip(&gradient) {
        let expected = if slope.abs() < 1e-2 { continue } else { -0.01 * slope.signum() };
        assert!((after - before - expected).abs() < 1e-4, "{before} to {after} against {slope}");
    }
    let values = trainer.values().to_vec();
    let broken = |_: usize, _: &[f32], slopes: &mut [f32]| {
        slopes[0] = f32::NAN;
        0.0
    };
    trainer.differentiate(&batch, broken).unwrap();
    assert!(matches!(trainer.step(0.01), Err(TrainError::NotFinite { step: 1 })));
    assert_eq!(trainer.values(), values);
    let short = Batch { socket: &[0], ..batch[0] };
    assert!(matches!(trainer.differentiate(&[batch[0], short], loss), Err(TrainError::Host { host: 1, .. })));
    assert_eq!(trainer.differentiate(&[], loss).unwrap(), 0.0);
}
