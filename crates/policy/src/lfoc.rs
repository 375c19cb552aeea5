//! LFOC: cache clustering for fairness.
//!
//! Source: Garcia-Garcia, Saez, Castro and Prieto-Matias, "LFOC: a lightweight fairness-oriented cache
//! clustering policy for commodity multicores", ICPP 2019, and "LFOC+", IEEE Transactions on Computers
//! 71(8), 2022. Thresholds are from memory of the papers. Programs are told apart by their curves:
//!
//! ```text
//!  sensitive   slower by 5 % or more with a small part of the cache
//!  streaming   not sensitive, and 10 or more misses per 1,000 cycles whatever they have
//!  light       the rest
//! ```
//!
//! Streaming programs share at most two partitions of one way, five to a way where that suffices, so that
//! they evict each other only. The sensitive ones get all other ways by the lookahead algorithm, on their
//! slow-downs instead of their misses. Light programs go where room is: into streaming partitions that are
//! not full, three counting as one, and else among the sensitive, fewest first. Partitions do not overlap;
//! programs in one partition share it. Where nothing is sensitive, all share the whole cache.
//!
//! Deviations:
//!
//! - Curves come from profiles, where the paper samples programs with different masks while they run. A
//!   program without a profile is judged by what it is seen to move: with as much traffic for each busy
//!   core as 10 misses per 1,000 cycles at 2 GHz make, it counts as streaming, since it evicts as one,
//!   else as light.
//! - A VM that hardly uses its CPUs is light, whatever it runs.
//! - Where more programs are sensitive than there are ways or classes of service, those whose slow-downs
//!   are alike share a partition (see `ucp`).
//! - Every 5 s, where the paper has half a second; a partition is changed only where that is to take 5 %
//!   off what the programs lose, all together, against what is held now.
//!
//! All other resources are as `proportional` has them.

use std::time::Duration;

use halcyon_model::Proposal;

use crate::cache::{Geometry, Group, Occupant, classes_move, divide_among, regroup};
use crate::turn::{Turn, Unmanaged, tidy};
use crate::{Policy, View};

/// The parameters of [`Lfoc`]: the papers', from memory, where they give them.
#[derive(Debug, Clone, PartialEq)]
pub struct LfocTuning {
    /// How often the cache is divided anew.
    pub interval: Duration,
    /// Slow-down with a small part of the cache from which on a program is sensitive, as a share.
    pub sensitive: f64,
    /// Ways of that small part.
    pub small: u32,
    /// Misses per 1,000 cycles from which on a program that is not sensitive is streaming.
    pub streaming: f64,
    /// Traffic for each busy core from which on a program without a profile is, in bytes per second.
    pub streaming_traffic: f64,
    /// Streaming programs to a partition, as long as there are partitions for them.
    pub streaming_per_way: usize,
    /// Partitions for streaming programs at most.
    pub streaming_ways: u32,
    /// Light programs that take the place of one streaming program.
    pub light_per_streaming: usize,
    /// Busy cores below which a VM is light.
    pub idle_cores: f64,
    /// Share of what is lost that has to be saved for a change.
    pub least_gain: f64,
}

impl Default for LfocTuning {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            sensitive: 0.05,
            small: 2,
            streaming: 10.0,
            streaming_traffic: 10.0 * 64.0 * 2e6,
            streaming_per_way: 5,
            streaming_ways: 2,
            light_per_streaming: 3,
            idle_cores: 0.05,
            least_gain: 0.05,
        }
    }
}

/// Cache clustering for fairness.
#[derive(Debug, Default)]
pub struct Lfoc {
    tuning: LfocTuning,
    rest: Unmanaged,
    turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sensitive,
    Streaming,
    Light,
}

impl Lfoc {
    /// LFOC with other parameters.
    #[must_use]
    pub fn new(tuning: LfocTuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    fn kind(&self, occupant: &Occupant, geometry: &Geometry) -> Kind {
        let tuning = &self.tuning;
        if occupant.cores < tuning.idle_cores {
            return Kind::Light;
        }
        let bytes = |ways: u32| f64::from(ways.min(geometry.ways)) * geometry.way_bytes;
        let response = &occupant.response;
        let misses = |bytes: f64| response.misses(bytes) * response.instructions_per_cycle(bytes);
        let streams = if occupant.known {
            misses(bytes(geometry.ways)) >= tuning.streaming
        } else {
            occupant.misses(occupant.with(0.0)) >= tuning.streaming_traffic * occupant.cores
        };
        if occupant.slowdown(occupant.with(bytes(tuning.small))) >= tuning.sensitive {
            Kind::Sensitive
        } else if streams {
            Kind::Streaming
        } else {
            Kind::Light
        }
    }

    /// The groups of a socket, streaming ones first.
    fn cluster(&self, occupants: &[Occupant], geometry: &Geometry) -> Vec<Group> {
        let of = |kind: Kind| -> Vec<Occupant> {
            occupants.iter().filter(|occupant| self.kind(occupant, geometry) == kind).copied().collect()
        };
        let (sensitive, streaming, light) = (of(Kind::Sensitive), of(Kind::Streaming), of(Kind::Light));
        if sensitive.is_empty() {
            return vec![Group { members: occupants.to_vec(), ways: geometry.ways }];
        }
        let mut groups = self.confine(&streaming, geometry);
        let ways = geometry.ways - groups.iter().map(|group| group.ways).sum::<u32>();
        let classes = geometry.classes - groups.len();
        let for_sensitive = divide_among(&sensitive, geometry, ways, classes, Occupant::slowdown);
        let light = self.fill_gaps(light, &mut groups);
        let confined = groups.len();
        groups.extend(for_sensitive);
        for occupant in light {
            let fewest = groups[confined..].iter_mut().min_by_key(|group| group.members.len());
            if let Some(group) = fewest {
                group.members.push(occupant);
            }
        }
        groups
    }

    /// Partitions for streaming programs, in turn, as long as a way and a class are left for the others.
    fn confine(&self, streaming: &[Occupant], geometry: &Geometry) -> Vec<Group> {
        let wanted = streaming.len().div_ceil(self.tuning.streaming_per_way.max(1));
        let room = geometry.most_groups(geometry.ways).min(geometry.classes).saturating_sub(1);
        let most = usize::try_from(self.tuning.streaming_ways).unwrap_or(usize::MAX);
        let count = wanted.min(most).min(room);
        let of = |group: usize| streaming.iter().skip(group).step_by(count).copied().collect();
        (0..count).map(|group| Group { members: of(group), ways: geometry.min_ways }).collect()
    }

    /// Puts light programs into the places that streaming ones leave; returns those that found none.
    fn fill_gaps(&self, light: Vec<Occupant>, groups: &mut [Group]) -> Vec<Occupant> {
        let mut light = light.into_iter();
        for group in groups {
            let free = self.tuning.streaming_per_way.saturating_sub(group.members.len());
            group.members.extend(light.by_ref().take(free * self.tuning.light_per_streaming));
        }
        light.collect()
    }
}

impl Policy for Lfoc {
    fn name(&self) -> &'static str {
        "lfoc"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = self.rest.propose(view);
        if classes_move(view) && self.turn.has_come(view, self.tuning.interval) {
            let into = |occupants: &[Occupant], geometry: &Geometry| self.cluster(occupants, geometry);
            regroup(view, Occupant::slowdown, &|_| 1.0, self.tuning.least_gain, into, &mut proposal);
        }
        tidy(proposal)
    }
}
