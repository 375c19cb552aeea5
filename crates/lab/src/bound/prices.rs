//! Prices of shared resources: the dual of a linear program over what VMs may hold.
//!
//! The columns of the program are choices of single VMs, each of which may be taken in part. They are
//! made by asking every VM for its best choice at one set of prices after another (column generation,
//! Dantzig and Wolfe 1960), and the program is solved with an interior-point method (Clarabel).

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SupportedConeT};

use halcyon_model::topology::{Device, DeviceClass, Gpu};

use super::Target;
use super::needs::{Choice, Need, Stretch};
use crate::scenario::Scenario;

/// Rounds of asking.
const ROUNDS: usize = 7;

/// What is taken of each resource, on average.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Use {
    /// In cores.
    pub(super) cpu: f64,
    /// In bytes, above the reservation.
    pub(super) memory: f64,
    /// In bytes per second.
    pub(super) bandwidth: f64,
    /// In bytes.
    pub(super) cache: f64,
    /// NVMe devices.
    pub(super) disks: f64,
    /// Devices of all other classes.
    pub(super) others: f64,
    /// GPU compute slices, above the reservation.
    pub(super) slices: f64,
}

/// The number of shared resources.
const RESOURCES: usize = 7;
const NAMES: [&str; RESOURCES] = ["cpu", "memory", "memory-bandwidth", "cache", "disk", "device", "gpu"];

impl Use {
    fn listed(&self) -> [f64; RESOURCES] {
        [self.cpu, self.memory, self.bandwidth, self.cache, self.disks, self.others, self.slices]
    }

    fn of(listed: [f64; RESOURCES]) -> Self {
        let [cpu, memory, bandwidth, cache, disks, others, slices] = listed;
        Self { cpu, memory, bandwidth, cache, disks, others, slices }
    }

    pub(super) fn scaled(&self, part: f64) -> Self {
        Self::of(self.listed().map(|amount| amount * part))
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let (mine, theirs) = (self.listed(), other.listed());
        Self::of(std::array::from_fn(|index| mine[index] + theirs[index]))
    }
}

/// What there is of each resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity([f64; RESOURCES]);

impl Capacity {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let topology = &scenario.topology;
        let cores: f64 = topology.sockets().iter().map(|socket| socket.cpu().as_f64() / 1000.0).sum();
        let memory: f64 = topology.nodes().iter().map(|node| node.available().as_f64()).sum();
        let bandwidth: f64 = topology.nodes().iter().map(|node| node.bandwidth.as_f64()).sum();
        let caches = topology.sockets().iter().filter_map(|socket| socket.cache.as_ref());
        let cache: f64 = caches.map(|cache| cache.size.as_f64()).sum();
        let fabric = topology.fabric();
        #[allow(clippy::cast_precision_loss)]
        let count = |disks: bool| {
            let of_class = |device: &&Device| (device.class == DeviceClass::Nvme) == disks;
            let devices = fabric.devices.iter().filter(of_class);
            devices.filter(|device| fabric.is_assignable(device.id)).count() as f64
        };
        let slices = f64::from(slices_of(scenario));
        Self([cores, memory, bandwidth, cache, count(true), count(false), slices])
    }
}

/// Compute slices of all GPUs.
pub(super) fn slices_of(scenario: &Scenario) -> u32 {
    let compute = |gpu: &Gpu| gpu.profiles.iter().map(|profile| profile.compute).max().unwrap_or(0);
    scenario.topology.gpus().iter().map(compute).sum()
}

/// A price for one unit of each resource for one window, in utility; none below zero.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prices {
    unit: [f64; RESOURCES],
    /// Of all that there is, but for reserved memory and slices.
    all: [f64; RESOURCES],
    total: f64,
}

impl Prices {
    fn new(all: [f64; RESOURCES], free: &[f64; RESOURCES]) -> Self {
        let unit =
            std::array::from_fn(|index| if free[index] > 0.0 { all[index] / free[index] } else { 0.0 });
        Self { unit, all, total: all.iter().sum() }
    }

    /// What a use costs for one window.
    pub(super) fn cost(&self, takes: &Use) -> f64 {
        self.unit.iter().zip(takes.listed()).map(|(price, amount)| price * amount).sum()
    }

    /// What all that can be shared is worth for one window.
    pub(super) fn of_all(&self) -> f64 {
        self.total
    }

    pub(super) fn listed(&self) -> Vec<(&'static str, f64)> {
        NAMES.into_iter().zip(self.all).collect()
    }
}

/// Finds prices for a stretch, and what the program gives to each VM at those.
pub(super) fn price(needs: &[Need], stretches: &[Stretch], capacity: &Capacity) -> (Prices, Vec<Target>) {
    let mut free = capacity.0;
    let windows = stretches.iter().map(Stretch::windows).fold(1.0, f64::max);
    // What is reserved for VMs that are there all the time cannot be had by others.
    for (need, _) in needs.iter().zip(stretches).filter(|(_, stretch)| stretch.whole()) {
        free[1] = (free[1] - need.reserved_memory()).max(0.0);
        free[6] = (free[6] - need.reserved_slices()).max(0.0);
    }
    let mut prices = Prices::default();
    let mut columns: Vec<Vec<Choice>> = vec![Vec::new(); needs.len()];
    let mut shares = Vec::new();
    for round in 0..ROUNDS {
        let mut fresh = false;
        for ((need, stretch), columns) in needs.iter().zip(stretches).zip(&mut columns) {
            let choice = need.best(stretch, &prices);
            let known =
                columns.iter().any(|known| known.takes == choice.takes && known.value == choice.value);
            if !known && choice.value > 0.0 {
                columns.push(choice);
                fresh = true;
            }
        }
        if !fresh && round > 0 {
            break;
        }
        let Some((all, solved)) = solve(&columns, &free) else { break };
        // Worth is for all windows of the stretch; a price is for one.
        prices = Prices::new(all.map(|price| price / windows), &free);
        shares = solved;
    }
    (prices, targets(needs, &columns, &shares))
}

fn targets(needs: &[Need], columns: &[Vec<Choice>], shares: &[f64]) -> Vec<Target> {
    let mut shares = shares.iter().copied();
    let of_vm = |(need, columns): (&Need, &Vec<Choice>)| {
        let mut target =
            Target { memory: need.reserved_memory(), slices: need.reserved_slices(), ..Target::default() };
        for (choice, share) in columns.iter().zip(shares.by_ref()) {
            target.memory += share * choice.memory;
            target.cache += share * choice.takes.cache;
            target.cpu += share * choice.takes.cpu;
            target.slices += share * choice.takes.slices;
            target.devices += share * (choice.takes.disks + choice.takes.others);
            target.value += share * choice.value;
        }
        target
    };
    needs.iter().zip(columns).map(of_vm).collect()
}

/// Maximises the worth of the choices taken. Each VM takes at most one in total, and of each resource
/// no more than there is. Gives the price of all of each resource, and the share of each choice.
#[allow(clippy::many_single_char_names)]
fn solve(columns: &[Vec<Choice>], free: &[f64; RESOURCES]) -> Option<([f64; RESOURCES], Vec<f64>)> {
    let count: usize = columns.iter().map(Vec::len).sum();
    if count == 0 {
        return None;
    }
    let scale = columns.iter().flatten().map(|choice| choice.value).fold(0.0, f64::max).max(1e-12);
    let rows = RESOURCES + columns.len() + count;
    let (mut colptr, mut rowval, mut nzval) = (vec![0], Vec::new(), Vec::new());
    let mut worth = Vec::with_capacity(count);
    let mut at = 0;
    for (vm, choices) in columns.iter().enumerate() {
        for choice in choices {
            for (row, (amount, there)) in choice.takes.listed().iter().zip(free).enumerate() {
                if *amount > 0.0 && *there > 0.0 {
                    rowval.push(row);
                    nzval.push(amount / there);
                }
            }
            rowval.push(RESOURCES + vm);
            nzval.push(1.0);
            rowval.push(RESOURCES + columns.len() + at);
            nzval.push(-1.0);
            colptr.push(rowval.len());
            worth.push(-choice.value / scale);
            at += 1;
        }
    }
    let a = CscMatrix::new(rows, count, colptr, rowval, nzval);
    let p = CscMatrix::<f64>::zeros((count, count));
    let b: Vec<f64> = (0..rows).map(|row| if row < RESOURCES + columns.len() { 1.0 } else { 0.0 }).collect();
    let settings = DefaultSettings { verbose: false, max_iter: 60, ..DefaultSettings::default() };
    let mut solver =
        DefaultSolver::new(&p, &worth, &a, &b, &[SupportedConeT::NonnegativeConeT(rows)], settings).ok()?;
    solver.solve();
    let dual = |row: usize| solver.solution.z.get(row).copied().filter(|price| price.is_finite());
    let prices = std::array::from_fn(|row| dual(row).unwrap_or(0.0).max(0.0) * scale);
    Some((prices, solver.solution.x.iter().map(|share| share.clamp(0.0, 1.0)).collect()))
}
