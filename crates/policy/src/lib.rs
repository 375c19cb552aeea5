//! What to do with a host: features in, proposal out. Nothing here touches a machine.
pub mod allocate;
mod autopilot;
mod balloon;
mod cache;
mod clite;
mod common;
mod decision;
pub mod explain;
pub mod features;
mod fence;
mod fixed;
mod heracles;
mod history;
mod latency;
pub mod learned;
mod lfoc;
mod mom;
pub mod network;
mod parties;
mod planner;
mod proxmox;
mod reactive;
mod slices;
mod trend;
mod turn;
mod ucp;

pub use allocate::{
    AllocateError, Allocation, Allocator, DeviceAllocation, Holds, Measured, SystemState, VmAllocation,
    VmData, allocate_resources,
};
pub use autopilot::{Autopilot, AutopilotTuning, ByObjective, Statistic};
pub use clite::{Clite, CliteTuning, GaussianProcess, Search, expected_improvement};
pub use decision::{Allowance, Decider, Decision, Fallback};
pub use explain::Explanation;
pub use features::Features;
pub use fixed::{Proportional, Reservation, Static};
pub use heracles::{Heracles, HeraclesTuning};
pub use history::{Estimate, History, Trends, Window};
pub use learned::{Doubt, Learned};
pub use lfoc::{Lfoc, LfocTuning};
pub use mom::{Mom, MomTuning};
pub use network::{Batch, Card, Network, NetworkError, Scratch, Shape};
pub use parties::{Parties, PartiesTuning};
pub use planner::{Need, Planner, PlannerTuning, Worth};
pub use proxmox::{Proxmox, ProxmoxGuest, ProxmoxTuning};
pub use reactive::{Reactive, Tuning};
pub use slices::divide_slices;
pub use trend::{Day, Span, Trend};
pub use ucp::{Ucp, UcpTuning};

use halcyon_model::profile::{Application, Profiles};
use halcyon_model::{Families, Plan, Proposal, Snapshot, World};

/// What a policy sees.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The host and its VMs.
    pub world: World<'a>,
    /// What was seen last.
    pub snapshot: &'a Snapshot,
    /// What was seen before.
    pub history: &'a History,
    /// Families that cannot change in this cycle; wishes for them are ignored.
    pub frozen: Families,
    /// What is known of the programs that VMs run.
    pub profiles: &'a Profiles,
}

impl<'a> View<'a> {
    /// What is known of the program of the VM at `position`.
    #[must_use]
    pub fn application(&self, position: usize) -> Option<&'a Application> {
        self.profiles.get(self.world.vms[position].application.as_deref()?)
    }
}

/// Decides who gets what.
pub trait Policy {
    /// The name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Answers one snapshot.
    fn decide(&mut self, view: &View<'_>) -> Proposal;

    /// Why the last answer is better not used, if the policy itself has doubts.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// Why a plan that came of the last answer changes what it changes, change by change; `view` is what
    /// was answered. Policies that do not tell what they knew leave it at the plan's own reasons.
    fn explain(&self, view: &View<'_>, plan: &Plan) -> Vec<Explanation> {
        explain::explain(view, plan, explain::Known::default())
    }
}

/// A policy by the name that [`Policy::name`] gives; nothing for a name that is not one.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Policy + Send>> {
    match name {
        "static" => Some(Box::new(Static::default())),
        "reservation" => Some(Box::new(Reservation::default())),
        "proportional" => Some(Box::new(Proportional::default())),
        "reactive" => Some(Box::new(Reactive::default())),
        "mom" => Some(Box::new(Mom::default())),
        "proxmox" => Some(Box::new(Proxmox::default())),
        "autopilot" => Some(Box::new(Autopilot::default())),
        "ucp" => Some(Box::new(Ucp::default())),
        "lfoc" => Some(Box::new(Lfoc::default())),
        "parties" => Some(Box::new(Parties::default())),
        "heracles" => Some(Box::new(Heracles::default())),
        "clite" => Some(Box::new(Clite::default())),
        "learned" => Some(Box::new(Learned::embedded().ok()?)),
        _ => None,
    }
}

/// The names of all hand-made policies, in the order of reports.
pub const NAMES: [&str; 12] = [
    "static",
    "reservation",
    "proportional",
    "reactive",
    "mom",
    "proxmox",
    "autopilot",
    "ucp",
    "lfoc",
    "parties",
    "heracles",
    "clite",
];
