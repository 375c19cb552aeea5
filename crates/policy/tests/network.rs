//! The network decides the same on every machine, whatever the order of the VMs, and reads no model that
//! it should not.
#![allow(clippy::unwrap_used)]

use halcyon_policy::network::kernel::Instructions;
use halcyon_policy::network::{
    Batch, Card, MOST_WEIGHT, Network, NetworkError, Parameters, Scratch, Shape, Tensor,
};
use proptest::prelude::*;

const SHAPE: Shape = Shape { features: 7, host: 3, width: 20, outputs: 5 };

struct Seen {
    features: Vec<f32>,
    host: Vec<f32>,
    socket: Vec<usize>,
}

impl Seen {
    /// Numbers without a pattern, the same for one `seed`.
    fn new(shape: Shape, vms: usize, sockets: usize, seed: u64) -> Self {
        let draw = |i: usize| {
            let mixed = (i as u64 + 1).wrapping_mul(2 * seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            mixed as f32 / (1 << 20) as f32 - 8.0
        };
        Self {
            features: (0..vms * shape.features).map(draw).collect(),
            host: (0..shape.host).map(|i| draw(i + 77)).collect(),
            socket: (0..vms).map(|vm| (vm * vm + vm / 3) % sockets).collect(),
        }
    }

    fn batch(&self) -> Batch<'_> {
        Batch { features: &self.features, host: &self.host, socket: &self.socket }
    }

    fn outputs(&self, network: &Network) -> Vec<f32> {
        network.forward(&self.batch(), &mut Scratch::default()).unwrap().to_vec()
    }
}

/// All weights count, the biases too.
fn network(shape: Shape, seed: u64) -> Network {
    let mut values = Parameters::random(shape, seed).unwrap().values().to_vec();
    for tensor in Tensor::ALL {
        let range = shape.range(tensor);
        let start = range.start;
        for (i, value) in values[range].iter_mut().enumerate() {
            *value = if tensor.is_bias() { ((i + start) % 13) as f32 * 0.05 - 0.3 } else { *value };
            *value *= if tensor == Tensor::OutputWeight { 100.0 } else { 1.0 };
        }
    }
    Network::new(
        Card { model: "test".into(), features: "f00d".into() },
        Parameters::new(shape, values).unwrap(),
    )
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The definition, in `f64`.
fn reference(network: &Network, seen: &Seen) -> Vec<f64> {
    let (parameters, shape) = (network.parameters(), network.shape());
    let product = |row: &[f64], weight: Tensor| -> Vec<f64> {
        let (inputs, outputs) = shape.size(weight);
        let weights = parameters.tensor(weight);
        assert_eq!(row.len(), inputs);
        (0..outputs)
            .map(|o| (0..inputs).map(|i| row[i] * f64::from(weights[i * outputs + o])).sum())
            .collect()
    };
    let bias = |tensor: Tensor| parameters.tensor(tensor).iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let add = |a: Vec<f64>, b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f64>>();
    let act =
        |row: Vec<f64>| row.into_iter().map(|v| if v > 0.0 { v } else { 0.01 * v }).collect::<Vec<f64>>();
    let wide = |row: &[f32]| row.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let host = add(product(&wide(&seen.host), Tensor::HostWeight), &bias(Tensor::VmBias));
    let encoded: Vec<Vec<f64>> = seen
        .features
        .chunks_exact(shape.features)
        .map(|row| {
            let first = act(add(product(&wide(row), Tensor::VmWeight), &host));
            act(add(product(&first, Tensor::EncoderWeight), &bias(Tensor::EncoderBias)))
        })
        .collect();
    let mean = |of: &dyn Fn(usize) -> bool| -> Vec<f64> {
        let chosen: Vec<_> =
            encoded.iter().enumerate().filter(|(vm, _)| of(*vm)).map(|(_, row)| row).collect();
        (0..shape.width).map(|i| chosen.iter().map(|row| row[i]).sum::<f64>() / chosen.len() as f64).collect()
    };
    let answer = |vm: usize| {
        let mut means = mean(&|other| seen.socket[other] == seen.socket[vm]);
        means.extend(mean(&|_| true));
        let heard = act(add(product(&means, Tensor::ContextWeight), &bias(Tensor::ContextBias)));
        let mixed = add(product(&encoded[vm], Tensor::MixerWeight), &add(heard, &bias(Tensor::MixerBias)));
        let mixed = add(act(mixed), &encoded[vm]);
        let refined = act(add(product(&mixed, Tensor::RefinerWeight), &bias(Tensor::RefinerBias)));
        let refined = add(refined, &mixed);
        add(product(&refined, Tensor::OutputWeight), &bias(Tensor::OutputBias))
    };
    (0..encoded.len()).flat_map(answer).collect()
}

#[test]
fn it_computes_its_definition() {
    for (vms, sockets) in [(1, 1), (5, 2), (33, 4)] {
        let (network, seen) = (network(SHAPE, 3), Seen::new(SHAPE, vms, sockets, 5));
        let (outputs, expected) = (seen.outputs(&network), reference(&network, &seen));
        assert_eq!(outputs.len(), vms * SHAPE.outputs);
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (output, expected) in outputs.iter().zip(expected) {
            assert!((f64::from(*output) - expected).abs() < 2e-6 * largest, "{output} is not {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_instruction_set_decides_the_same_to_the_bit(
        vms in 1_usize..70,
        sockets in 1_usize..9,
        width in 1_usize..40,
        outputs in 1_usize..40,
        seed in any::<u32>(),
    ) {
        let shape = Shape { width, outputs, ..SHAPE };
        let (network, seen) = (network(shape, u64::from(seed)), Seen::new(shape, vms, sockets, u64::from(seed)));
        let wide = bits(&seen.outputs(&network));
        prop_assert_eq!(wide, bits(&seen.outputs(&network.clone().on(Instructions::portable()))));
    }

    #[test]
    fn the_order_of_the_vms_only_orders_the_outputs(
        (order, sockets, seed) in (1_usize..70).prop_flat_map(|vms| {
            (Just((0..vms).collect::<Vec<_>>()).prop_shuffle(), 1_usize..6, any::<u32>())
        }),
    ) {
        let (network, seen) = (network(SHAPE, 9), Seen::new(SHAPE, order.len(), sockets, u64::from(seed)));
        let rows = |values: &[f32], wide: usize| -> Vec<f32> {
            order.iter().flat_map(|vm| values[vm * wide..][..wide].to_vec()).collect()
        };
        let moved = Seen {
            features: rows(&seen.features, SHAPE.features),
            host: seen.host.clone(),
            socket: order.iter().map(|vm| seen.socket[*vm]).collect(),
        };
        let expected = rows(&seen.outputs(&network), SHAPE.outputs);
        prop_assert_eq!(bits(&moved.outputs(&network)), bits(&expected));
    }

    #[test]
    fn no_bytes_make_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut file = network(SHAPE, 1).write().unwrap();
        let (at, cut) = (at.index(file.len()), cut.index(file.len()));
        file[at] = byte;
        let _ = Network::parse(&file);
        prop_assert!(Network::parse(&file[..cut]).is_err());
        let header = at.min(600);
        file[header] = byte;
        let _ = Network::parse(&file);
    }
}

#[test]
fn memory_of_a_larger_decision_serves_a_smaller_one() {
    let (network, mut scratch) = (network(SHAPE, 4), Scratch::default());
    let (large, small) = (Seen::new(SHAPE, 200, 4, 1), Seen::new(SHAPE, 3, 2, 2));
    network.forward(&large.batch(), &mut scratch).unwrap();
    let again = network.forward(&small.batch(), &mut scratch).unwrap().to_vec();
    assert_eq!(bits(&again), bits(&small.outputs(&network)));
    let none = Batch { features: &[], host: &small.host, socket: &[] };
    assert!(network.forward(&none, &mut scratch).unwrap().is_empty());
}

#[test]
fn the_greatest_weights_and_inputs_stay_finite() {
    let shape = Shape { features: 64, host: 16, width: 128, outputs: 4 };
    let greatest = Parameters::new(shape, vec![MOST_WEIGHT; shape.parameters()]).unwrap();
    let network = Network::new(Card::default(), greatest);
    for input in [8.0, -8.0] {
        let seen = Seen {
            features: vec![input; 9 * shape.features],
            host: vec![input; shape.host],
            socket: (0..9).collect(),
        };
        assert!(seen.outputs(&network).iter().all(|output| output.is_finite()));
    }
}

#[test]
fn inputs_of_another_size_are_refused() {
    let (network, seen, mut scratch) = (network(SHAPE, 1), Seen::new(SHAPE, 4, 2, 1), Scratch::default());
    let short = Batch { features: &seen.features[1..], ..seen.batch() };
    let error = network.forward(&short, &mut scratch).unwrap_err();
    assert_eq!(error.to_string(), "27 numbers for the features of a decision that needs 28");
    assert!(network.forward(&Batch { host: &[], ..seen.batch() }, &mut scratch).is_err());
    assert!(network.forward(&Batch { socket: &[0; 5], ..seen.batch() }, &mut scratch).is_err());
}

#[test]
fn a_model_survives_its_file() {
    let network = network(SHAPE, 6);
    let file = network.write().unwrap();
    assert_eq!(file, network.write().unwrap(), "one network gives the same bytes");
    let read = Network::parse(&file).unwrap();
    assert_eq!((read.card(), read.parameters()), (network.card(), network.parameters()));
    let error = read.clone().made_for("beef").unwrap_err().to_string();
    assert!(error.contains("f00d") && error.contains("beef") && error.contains("test"), "{error}");
    assert!(read.made_for("f00d").is_ok());
}

/// Replaces text in the header by other text of the same length.
fn forged(network: &Network, from: &str, to: &str) -> NetworkError {
    assert_eq!(from.len(), to.len());
    let mut file = network.write().unwrap();
    let at = file.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
    file[at..at + to.len()].copy_from_slice(to.as_bytes());
    Network::parse(&file).unwrap_err()
}

#[test]
fn a_forged_model_is_refused_with_what_is_wrong() {
    let network = network(SHAPE, 6);
    for (from, to, said) in [
        ("schema=1", "schema=2", "the format \"2\""),
        ("halcyon\":", "hal9000\":", "no metadata of Halcyon"),
        ("mixer.bias", "mixer.biaz", "mixer.biaz"),
        ("\"F32\"", "\"I32\"", "instead of F32"),
        ("[5,20]", "[20,5]", "output.weight of [20, 5] instead of [20, 20]"),
        ("[20,7]", "[7,20]", "instead of"),
    ] {
        let error = forged(&network, from, to).to_string();
        assert!(error.contains(said), "{from} → {to}: {error}");
    }
}

/// Damage of the disk or on the way: any one bit, anywhere.
#[test]
fn one_flipped_bit_is_enough_to_refuse_a_model() {
    let network = network(SHAPE, 6);
    let file = network.write().unwrap();
    for at in 0..file.len() {
        // All bits of the header and of some numbers, and one of each other byte.
        let bits = if at < 1200 || at % 64 == 0 { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut file = file.clone();
            file[at] ^= 1 << bit;
            assert!(Network::parse(&file).is_err(), "bit {bit} of byte {at}");
        }
    }
    for length in 0..file.len() {
        assert!(Network::parse(&file[..length]).is_err(), "only {length} bytes");
    }
}

#[test]
fn a_model_of_before_check_sums_is_read() {
    let network = network(SHAPE, 6);
    let file = network.write().unwrap();
    let text = String::from_utf8_lossy(&file[8..]).into_owned();
    let sum = text.find("\\nsum=").expect("it has one");
    // The header keeps its length, which the format allows to be filled with blanks.
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut old = file[8..8 + sum].to_vec();
    old.extend_from_slice(&file[8 + sum + 22..8 + header]);
    old.resize(header, b' ');
    let old = [&file[..8], &old, &file[8 + header..]].concat();
    assert_eq!(Network::parse(&old).unwrap().parameters(), network.parameters());
}

#[test]
fn a_poisoned_or_oversized_model_is_refused() {
    let network = network(SHAPE, 6);
    let file = network.write().unwrap();
    for poison in [f32::NAN, f32::NEG_INFINITY, 65.0] {
        let mut file = file.clone();
        let last = file.len() - 4;
        file[last..].copy_from_slice(&poison.to_le_bytes());
        let error = Network::parse(&file).unwrap_err();
        assert!(matches!(error, NetworkError::Wild { .. }), "{error}");
    }
    assert!(matches!(Network::parse(&vec![0; (8 << 20) + 1]), Err(NetworkError::TooLarge { .. })));
    assert!(matches!(Network::parse(&file[..file.len() - 1]), Err(NetworkError::Container { .. })));
    assert!(Network::parse(&[]).is_err());
    let broken = network.named(Card { model: "a\nb".into(), features: String::new() });
    assert!(broken.write().is_err());
}
