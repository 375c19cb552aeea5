//! Heracles: best-effort VMs may grow as long as latency-critical ones have slack, and go back at once
//! when they have not (Lo, Cheng, Govindaraju, Ranganathan, Kozyrakis, "Heracles: Improving Resource
//! Efficiency at Scale", ISCA 2015).
//!
//! As published: a controller at the top looks at slack and load every 15 s. It takes everything from
//! best-effort work when slack is below 0, and rests for five minutes then, or when load is above 85 % of
//! the peak; allows it again when load is below 80 %; stops its growth below 10 % slack and cuts it to two
//! cores below 5 %. Below it, every 2 s, one controller grows best-effort cache and cores in turn like a
//! gradient descent and keeps memory traffic below 90 % of what the channels carry, and one gives
//! best-effort devices what latency-critical ones leave of a link, less a margin of 5 % of the link or 10 %
//! of their traffic. There are two cache classes. Figures are from memory of the paper. It knows no model
//! of a program. Where no response time is measured, slack is a proxy (see [`crate::latency`]).
//!
//! Otherwise than published:
//! - The paper has one latency-critical job on a machine. Here all latency-critical VMs of a socket are
//!   one: they share what is theirs by weight, the VM with the least slack speaks for all, and load is
//!   their CPU demand over the CPU time that they could have at most. A VM that misses its objective although
//!   best-effort work had nothing for a whole cooldown is slow for reasons of its own, and does not count
//!   until it has slack again. Each socket has a controller of its own.
//! - The paper knows two kinds of jobs. Here, VMs whose objective is throughput are neither: their owners
//!   count on them, so they are not taken from, and share by weight with the latency-critical ones.
//! - A VM cannot be paused: where best-effort VMs are to have nothing, they keep their reservation, and a core
//!   each. Their cores are quotas that all of them share.
//! - Growth also stops on the slack of the last two seconds: with that of the last poll alone it overshoots
//!   by up to seven cores, misses the objective and starts over after every cooldown.
//! - How much memory traffic latency-critical work makes is measured, not known beforehand.
//! - After cache that did not help was taken back it is not tried again for five minutes.
//! - There is no power to shift. Memory goes by weight, devices are handed out, and placement, links and
//!   GPU slices are left alone, as `proportional` does. So are all VMs of a socket where there is nothing to
//!   weigh against each other, or slack was never known.

mod links;
mod socket;

use std::time::Duration;

use halcyon_model::fair::divide;
use halcyon_model::{ClassId, Family, HostTime, MilliCpu, Objective, Proposal, Reason, SocketId, Wish};

use crate::common::{claim, on_socket};
use crate::latency::{Meter, Reading, Rest, changes_cache, is_critical, is_due, masks, tidy};
use crate::{Policy, View};
use socket::{Controller, Measured, Room};

/// The parameters of [`Heracles`].
#[derive(Debug, Clone, PartialEq)]
pub struct HeraclesTuning {
    /// Time between two decisions of the controller at the top.
    pub poll: Duration,
    /// Time between two steps of the controllers below it.
    pub step: Duration,
    /// How long best-effort work has nothing after an objective was missed.
    pub cooldown: Duration,
    /// Load above which best-effort work has nothing, as a share of the peak.
    pub load_high: f64,
    /// Load below which it is allowed again.
    pub load_low: f64,
    /// Slack below which it does not grow.
    pub growth_above: f64,
    /// Slack below which it is cut.
    pub cut_below: f64,
    /// What it is cut to, in thousandths of a core.
    pub cut_to: f64,
    /// What it starts with, and by how much it grows, in thousandths of a core.
    pub cpu_unit: f64,
    /// Share of the cache that it starts with.
    pub first_cache: f64,
    /// Share of the memory channels that traffic is kept below.
    pub memory_limit: f64,
    /// Margin of a link, as a share of what it carries.
    pub link_margin: f64,
    /// Margin of a link, as a share of what VMs that are not best-effort move over it.
    pub traffic_margin: f64,
    /// What a VM keeps that is to have nothing and has no reservation, in thousandths of a core.
    pub crumb: f64,
}

impl Default for HeraclesTuning {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(15),
            step: Duration::from_secs(2),
            cooldown: Duration::from_secs(300),
            load_high: 0.85,
            load_low: 0.80,
            growth_above: 0.10,
            cut_below: 0.05,
            cut_to: 2000.0,
            cpu_unit: 1000.0,
            first_cache: 0.10,
            memory_limit: 0.90,
            link_margin: 0.05,
            traffic_margin: 0.10,
            crumb: 1000.0,
        }
    }
}

/// The controller.
#[derive(Debug, Default)]
pub struct Heracles {
    tuning: HeraclesTuning,
    rest: Rest,
    polled: Meter,
    stepped: Meter,
    polled_at: Option<HostTime>,
    stepped_at: Option<HostTime>,
    sockets: Vec<Controller>,
}

impl Heracles {
    /// The controller with other parameters.
    #[must_use]
    pub fn new(tuning: HeraclesTuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    fn poll(&mut self, view: &View<'_>) {
        let readings = self.polled.read(view);
        for (socket, controller) in view.world.topology.sockets().iter().zip(&mut self.sockets) {
            let critical = members(view, socket.id, is_critical);
            let slacks =
                critical.iter().map(|position| (view.world.vms[*position].id, readings[*position].slack));
            controller.excuse(view.snapshot.at, slacks.clone(), &self.tuning);
            let slack = controller.slack_of_all(slacks);
            let demand = sum(&critical, &readings, |reading| reading.demand);
            let limits: f64 =
                critical.iter().map(|position| view.world.vms[*position].cpu.limit.as_f64()).sum();
            let load = demand.map(|demand| demand / limits.min(socket.cpu().as_f64()).max(1.0));
            controller.poll(view.snapshot.at, slack, load, &self.tuning);
        }
    }

    fn step(&mut self, view: &View<'_>) {
        let readings = self.stepped.read(view);
        for (socket, controller) in view.world.topology.sockets().iter().zip(&mut self.sockets) {
            let [critical, others, here] = [is_critical, is_best_effort, |_: &View<'_>, _| true]
                .map(|which| members(view, socket.id, which));
            let measured = Measured {
                traffic: sum(&here, &readings, |reading| reading.traffic),
                best_effort_traffic: sum(&others, &readings, |reading| reading.traffic),
                progress: sum(&others, &readings, |reading| reading.used),
                slack: worst(&critical, &readings, |position| controller.counts(view.world.vms[position].id)),
                channels: view.world.topology.memory_bandwidth(socket.id).as_f64(),
            };
            controller.step(view.snapshot.at, &measured, &room(view, socket.id, &self.tuning), &self.tuning);
        }
    }

    fn propose_compute(&self, view: &View<'_>, proposal: &mut Proposal) {
        let mut parts = Vec::new();
        for (socket, controller) in view.world.topology.sockets().iter().zip(&self.sockets) {
            let capacity = socket.cpu().as_f64();
            let [protected, others] =
                [is_protected, is_best_effort].map(|which| members(view, socket.id, which));
            let room = room(view, socket.id, &self.tuning);
            let given = controller.is_active(room.both).then(|| controller.cpu(&room));
            let groups = match given {
                Some(given) => vec![(protected, capacity - given, false), (others, given, true)],
                None => vec![([protected, others].concat(), capacity, false)],
            };
            for (group, capacity, capped) in groups {
                let claims: Vec<_> = group
                    .iter()
                    .map(|position| &view.world.vms[*position])
                    .map(|spec| claim(spec.weight.as_f64(), spec.cpu, MilliCpu::as_f64))
                    .collect();
                divide(capacity, &claims, &mut parts);
                for (position, part) in group.iter().zip(&parts) {
                    let limit = view.world.vms[*position].cpu.limit.as_f64();
                    let ceiling = if capped { part.max(self.tuning.crumb).min(limit) } else { limit };
                    let reason = if capped { Reason::Neighbour } else { Reason::Entitlement };
                    proposal.vms[*position].cpu = Some(Wish { share: *part, ceiling, reason });
                }
            }
        }
        for (spec, wish) in view.world.vms.iter().zip(&mut proposal.vms) {
            let (share, ceiling) =
                (spec.memory_bandwidth.reservation.as_f64(), spec.memory_bandwidth.limit.as_f64());
            wish.memory_bandwidth = Some(Wish { share, ceiling, reason: Reason::Fit });
        }
    }

    /// Class 1 is for best-effort VMs, class 0 for all others; on a socket where nothing is weighed
    /// both have all ways.
    fn propose_cache(&self, view: &View<'_>, proposal: &mut Proposal) {
        if !changes_cache(view) || view.world.topology.cache_classes() < 2 {
            return;
        }
        let mut classes = vec![Vec::new(), Vec::new()];
        for (socket, controller) in view.world.topology.sockets().iter().zip(&self.sockets) {
            let ways = socket.cache.as_ref().map_or(0, |cache| cache.ways);
            let both = room(view, socket.id, &self.tuning).both;
            let given = if controller.is_active(both) { controller.ways().min(ways) } else { 0 };
            let laid = masks(socket.cache.as_ref(), &[ways - given, given]);
            classes[0].push(laid[0]);
            classes[1].push(if given > 0 { laid[1] } else { laid[0] });
        }
        proposal.classes = Some(classes);
        for (position, wish) in proposal.vms.iter_mut().enumerate() {
            let best_effort = is_best_effort(view, position);
            let reason = if best_effort { Reason::Neighbour } else { Reason::Entitlement };
            wish.class = Some((ClassId(u32::from(best_effort)), reason));
        }
    }
}

impl Policy for Heracles {
    fn name(&self) -> &'static str {
        "heracles"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.polled.watch(view);
        self.stepped.watch(view);
        self.sockets.resize_with(view.world.topology.sockets().len(), Controller::default);
        let mut proposal = self.rest.decide(view);
        for wish in &mut proposal.vms {
            (wish.cpu, wish.memory_bandwidth) = (None, None);
        }
        proposal.device_bandwidth.clear();
        let now = view.snapshot.at;
        let polls = is_due(&mut self.polled_at, now, self.tuning.poll);
        let steps = is_due(&mut self.stepped_at, now, self.tuning.step);
        if polls {
            self.poll(view);
        }
        // While changes are under way, what is measured answers to neither what was nor what will be.
        if steps && !view.frozen.contains(Family::Compute) {
            self.step(view);
        }
        if polls || steps {
            self.propose_compute(view, &mut proposal);
            self.propose_cache(view, &mut proposal);
            proposal.device_bandwidth = links::divide_links(view, &self.tuning);
        }
        tidy(proposal)
    }
}

/// Whether what a VM has may be taken for others.
fn is_best_effort(view: &View<'_>, position: usize) -> bool {
    view.world.vms[position].objective == Objective::BestEffort
}

fn is_protected(view: &View<'_>, position: usize) -> bool {
    !is_best_effort(view, position)
}

/// The VMs of a socket that are of a kind.
fn members(view: &View<'_>, socket: SocketId, which: fn(&View<'_>, usize) -> bool) -> Vec<usize> {
    on_socket(view.world, &view.snapshot.assignment, socket)
        .map(|(position, _)| position)
        .filter(|position| which(view, *position))
        .collect()
}

/// The least slack that is known and counts.
fn worst(members: &[usize], readings: &[Reading], counts: impl Fn(usize) -> bool) -> Option<f64> {
    let members = members.iter().filter(|position| counts(**position));
    members.filter_map(|position| readings[*position].slack).reduce(f64::min)
}

/// The sum of what is known; nothing where nothing is.
fn sum(members: &[usize], readings: &[Reading], what: impl Fn(&Reading) -> Option<f64>) -> Option<f64> {
    members.iter().filter_map(|position| what(&readings[*position])).reduce(|sum, next| sum + next)
}

/// Between what best-effort VMs of a socket may be brought down and up.
fn room(view: &View<'_>, socket: SocketId, tuning: &HeraclesTuning) -> Room {
    let host = &view.world.topology.sockets()[socket.index()];
    let [critical, protected, others] =
        [is_critical, is_protected, is_best_effort].map(|which| members(view, socket, which));
    let spec = |position: &usize| &view.world.vms[*position];
    let kept: f64 = protected.iter().map(|position| spec(position).cpu.reservation.as_f64()).sum();
    let crumb = |position: &usize| {
        spec(position).cpu.reservation.as_f64().max(tuning.crumb.min(spec(position).cpu.limit.as_f64()))
    };
    let most = host.cpu().as_f64() - kept.max(tuning.cpu_unit);
    let (ways, least) = host.cache.as_ref().map_or((0, 0), |cache| (cache.ways, cache.min_ways.max(1)));
    let reserved: f64 = others.iter().map(|position| spec(position).cpu.reservation.as_f64()).sum();
    Room {
        both: !critical.is_empty() && !others.is_empty(),
        least_cpu: others.iter().map(crumb).sum::<f64>().min(most).max(reserved),
        most_cpu: most.max(reserved),
        ways,
        least_ways: least,
    }
}
