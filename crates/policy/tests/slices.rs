//! Who gets which GPU slices: always legal, always reachable, near the best there is, and at once.

use std::time::{Duration, Instant};

use halcyon_model::describe::parse_host;
use halcyon_model::{
    Assignment, Bounds, Capabilities, Families, GpuInstance, MilliCpu, Objective, Proposal, Reason, Topology,
    VmId, VmSpec, Weight, World, admit, check, diff, project,
};
use halcyon_policy::divide_slices;
use proptest::prelude::*;

const GPU_BOX: &str = include_str!("../../../examples/hosts/gpu-box.toml");
const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

fn topology(text: &str) -> Topology {
    parse_host(text).expect("an example host is described well").topology
}

/// The GPU server with four times its GPUs.
fn sixteen_gpus() -> Topology {
    let gpu = GPU_BOX.find("[[gpu]]").expect("it has GPUs");
    let (host, gpus) = GPU_BOX.split_at(gpu);
    let gpus = &gpus[..gpus.find("[change").unwrap_or(gpus.len())];
    let (mut host, mut divided) = (host.to_owned(), String::new());
    for copy in 0..4 {
        for index in 0..4 {
            let (old, new) = (format!("\"gpu{index}\""), format!("\"gpu{}\"", 4 * copy + index));
            if copy > 0 {
                host += &format!(
                    "[[root_port]]\nname = \"rp-{copy}-{index}\"\nsocket = \"s0\"\nwidth = \"x16\"\nspeed = \"16GT/s\"\n\
                     [[device]]\nname = {new}\nclass = \"gpu\"\nport = \"rp-{copy}-{index}\"\nbandwidth = \"25GB/s\"\n"
                );
            }
            let from = gpus.find(&format!("device = {old}")).expect("it is divided");
            let from = gpus[..from].rfind("[[gpu]]").expect("a table");
            let to = gpus[from + 7..].find("[[gpu]]").map_or(gpus.len(), |end| from + 7 + end);
            divided += &gpus[from..to].replace(&old, &new);
        }
    }
    topology(&(host + &divided))
}

fn vm(id: u32, weight: u32, reservation: u32, limit: u32) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 1,
        weight: Weight::new(weight).expect("in range"),
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(1) },
        memory: Bounds::default(),
        memory_bandwidth: Bounds::default(),
        devices: Vec::new(),
        gpu_slices: Bounds { reservation, limit },
        objective: Objective::Throughput,
        application: None,
    }
}

struct Host {
    topology: Topology,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
}

impl Host {
    fn new(topology: Topology, vms: Vec<VmSpec>) -> Self {
        let mut host = Self { topology, vms, capabilities: Capabilities::free() };
        while let Err(refused) = admit(host.world()) {
            host.vms.retain(|spec| spec.name != refused.vm);
        }
        host
    }

    fn world(&self) -> World<'_> {
        World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities }
    }

    fn admitted(&self) -> Assignment {
        admit(self.world()).expect("they fit")
    }

    fn compute(&self, instances: &[GpuInstance], vm: VmId) -> u32 {
        let profile = |found: &GpuInstance| {
            self.topology.gpus()[found.gpu.index()].profiles[found.profile as usize].compute
        };
        instances.iter().filter(|instance| instance.owner == vm).map(profile).sum()
    }

    fn sizes(&self, instances: &[GpuInstance]) -> Vec<u32> {
        self.vms.iter().map(|spec| self.compute(instances, spec.id)).collect()
    }

    /// Divides, and sees that it is what the checker takes and the steps lead to.
    fn divided(&self, held: &Assignment, value: impl Fn(usize, u32) -> f64) -> Assignment {
        let instances = divide_slices(self.world(), held, &value);
        assert_eq!(instances, divide_slices(self.world(), held, &value));
        let proposal =
            Proposal { gpu_instances: Some((instances.clone(), Reason::Fit)), ..Proposal::default() };
        let target = project(self.world(), held, Families::NONE, &proposal);
        assert_eq!(target.gpu_instances, instances, "not all of it can be");
        check(self.world(), &target).expect("feasible");
        let difference = diff(self.world(), held, &target);
        assert!(difference.deferred.is_empty(), "{:?}", difference.deferred);
        target
    }
}

fn by_weight(host: &Host) -> impl Fn(usize, u32) -> f64 {
    let weights: Vec<f64> = host.vms.iter().map(|spec| spec.weight.as_f64()).collect();
    move |position, slices| if slices == 0 { 0.0 } else { weights[position] * (9.0 + f64::from(slices).ln()) }
}

#[test]
fn one_gpu_is_divided_by_what_slices_are_worth() {
    let divided = |vms: &[(u32, u32, u32)]| {
        let vms = vms.iter().zip(0..).map(|((weight, least, most), id)| vm(id, *weight, *least, *most));
        let host = Host::new(topology(TWO_SOCKET), vms.collect());
        let target = host.divided(&host.admitted(), by_weight(&host));
        host.sizes(&target.gpu_instances)
    };
    assert_eq!(divided(&[(100, 0, 7)]), [7]);
    assert_eq!(divided(&[(100, 0, 7), (100, 0, 7)]), [4, 3]);
    assert_eq!(divided(&[(100, 0, 7), (100, 0, 7), (100, 1, 1)]), [3, 2, 1]);
    assert_eq!(divided(&[(100, 0, 2), (100, 0, 1), (100, 0, 0)]), [2, 1, 0]);
    assert_eq!(divided(&[(100, 0, 7); 9]), [1, 1, 1, 1, 1, 1, 1, 0, 0]);
    assert_eq!(divided(&[(100, 0, 7), (1000, 0, 7), (100, 2, 7)]), [1, 4, 2]);
}

#[test]
fn what_is_held_stays_where_it_is() {
    let vms = vec![vm(0, 100, 0, 3), vm(1, 100, 0, 3), vm(2, 100, 0, 2), vm(3, 100, 0, 2)];
    let host = Host::new(topology(GPU_BOX), vms);
    let mut held = host.divided(&host.admitted(), by_weight(&host));
    // The other way round on the GPUs, and on the last one.
    held.gpu_instances.iter_mut().for_each(|instance| instance.gpu.0 = 3 - instance.gpu.0);
    held.gpu_instances.sort_unstable();
    assert_eq!(host.divided(&held, by_weight(&host)).gpu_instances, held.gpu_instances);
    // One that grows leaves the others alone where there is room elsewhere.
    let eager = |position: usize, slices: u32| f64::from(slices.min(if position == 3 { 2 } else { 1 }));
    let small = host.divided(&held, |_, slices| f64::from(slices.min(1)));
    let grown = host.divided(&small, eager);
    let others = |held: &Assignment| -> Vec<_> {
        held.gpu_instances.iter().filter(|instance| instance.owner != VmId(3)).copied().collect()
    };
    assert_eq!(others(&grown), others(&small));
    assert_eq!(host.sizes(&grown.gpu_instances), [1, 1, 1, 2]);
}

/// The best that any choice of sizes is worth, by trying all of them on one GPU.
fn best(host: &Host, worth: &[[f64; 8]]) -> f64 {
    fn go(host: &Host, worth: &[[f64; 8]], taken: u64, position: usize) -> f64 {
        let Some(spec) = host.vms.get(position) else { return 0.0 };
        let mut best = worth[position][0] + go(host, worth, taken, position + 1);
        for profile in &host.topology.gpus()[0].profiles {
            for start in profile.starts.iter().filter(|_| profile.compute <= spec.gpu_slices.limit) {
                let here = ((1_u64 << profile.span) - 1) << start;
                if here & taken == 0 {
                    let rest = go(host, worth, taken | here, position + 1);
                    best = best.max(worth[position][profile.compute as usize] + rest);
                }
            }
        }
        best
    }
    go(host, worth, 0, 0)
}

/// Worth that rises less and less, or not.
fn worths(vms: usize) -> impl Strategy<Value = Vec<[f64; 8]>> {
    let one = (0.05..4.0_f64, 0.2..1.5_f64)
        .prop_map(|(scale, power)| std::array::from_fn(|slices| scale * (slices as f64).powf(power)));
    prop::collection::vec(one, vms)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_division_after_any_other_is_legal_and_reachable(
        bounds in prop::collection::vec((0..3_u32, 0..8_u32), 1..14),
        rounds in prop::collection::vec(worths(14), 3),
        large in any::<bool>(),
    ) {
        let least = |(place, least): (u32, u32)| if place % 2 == 0 { least } else { 0 };
        let vms = bounds.iter().zip(0..).map(|((reservation, more), id)| {
            let reservation = least((id, *reservation));
            vm(id, 100, reservation, (reservation + more).min(7))
        });
        let host = Host::new(topology(if large { GPU_BOX } else { TWO_SOCKET }), vms.collect());
        let mut held = host.admitted();
        for worth in rounds {
            held = host.divided(&held, |position, slices| worth[position][slices as usize]);
        }
    }

    #[test]
    fn it_is_near_the_best(worth in worths(4), limits in prop::collection::vec(1..8_u32, 4)) {
        let vms = limits.iter().zip(0..).map(|(limit, id)| vm(id, 100, 0, *limit)).collect();
        let host = Host::new(topology(TWO_SOCKET), vms);
        let target = host.divided(&host.admitted(), |position, slices| worth[position][slices as usize]);
        let sizes = host.sizes(&target.gpu_instances);
        let got: f64 = sizes.iter().zip(&worth).map(|(slices, worth)| worth[*slices as usize]).sum();
        let best = best(&host, &worth);
        prop_assert!(got >= 0.9 * best, "{got} of {best}: {sizes:?}");
    }
}

#[test]
fn sixty_four_vms_and_sixteen_gpus_take_no_time() {
    let vms = (0..64).map(|id| vm(id, 100 + 10 * (id % 7), u32::from(id % 5 == 0), 1 + id % 7)).collect();
    let host = Host::new(sixteen_gpus(), vms);
    let mut held = host.admitted();
    let mut fastest = Duration::MAX;
    for round in 0..6_u32 {
        let value = |position: usize, slices: u32| {
            let wants = 1 + (u32::try_from(position).unwrap_or(0) * 5 + round * 3) % 7;
            f64::from(slices.min(wants)) * host.vms[position].weight.as_f64()
        };
        let started = Instant::now();
        let instances = divide_slices(host.world(), &held, value);
        fastest = fastest.min(started.elapsed());
        held.gpu_instances = instances;
        check(host.world(), &held).expect("feasible");
    }
    // Two milliseconds where it is compiled for speed.
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}
