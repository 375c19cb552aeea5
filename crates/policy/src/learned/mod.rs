//! The learned policy: a network says what every VM needs, and the planner divides the host by that.
//!
//! ```text
//!  View ─► features ─► network ─► forecasts, needs ─► planner ─► Proposal
//! ```
//!
//! What the network is not sure of does not reach the host: a decision that rests on features unlike any
//! it was trained on, or that comes while its forecasts have been worse than repeating the last value, is
//! handed to the heuristic, with the reason ([`Doubt`]).

mod guard;
mod heads;

use halcyon_model::{Plan, Proposal};

pub use guard::{Doubt, Guard};
pub use heads::{
    ACTION_NAMES, ACTIONS, Anchor, FORECASTS, HORIZONS, OUTPUTS, QUANTILES, QUANTITIES, asked, forecast,
    level, seen,
};

use crate::explain::{Explanation, Known, explain};
use crate::features::Features;
use crate::network::{Batch, Network, NetworkError, Scratch};
use crate::planner::{Need, Planner, PlannerTuning};
use crate::{Policy, View};

/// The weights that come with Halcyon.
const EMBEDDED: &[u8] = include_bytes!("../../../../models/halcyon.safetensors");

/// The network that comes with Halcyon.
///
/// # Errors
/// When it is not of this version; a test rules that out.
pub fn embedded_network() -> Result<Network, NetworkError> {
    Network::parse(EMBEDDED)?.made_for(&Features::digest())
}

/// The learned policy.
pub struct Learned {
    network: Network,
    features: Features,
    scratch: Scratch,
    needs: Vec<Need>,
    planner: Planner,
    guard: Guard,
    doubt: Option<Doubt>,
}

impl Learned {
    /// With the weights that come with Halcyon.
    ///
    /// # Errors
    /// When those are not of this version; a test rules that out.
    pub fn embedded() -> Result<Self, NetworkError> {
        embedded_network().map(Self::new)
    }

    /// With other weights.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self {
            network,
            features: Features::default(),
            scratch: Scratch::default(),
            needs: Vec::new(),
            planner: Planner::new(PlannerTuning::default()),
            guard: Guard::default(),
            doubt: None,
        }
    }

    /// What the network foresees and asks for: [`OUTPUTS`] numbers for each VM, in order.
    ///
    /// # Errors
    /// When the network is not made for these features.
    pub fn outputs(&mut self, view: &View<'_>) -> Result<&[f32], NetworkError> {
        self.features.observe(view);
        let batch = Batch {
            features: &self.features.per_vm,
            host: &self.features.host,
            socket: &self.features.socket,
        };
        self.network.forward(&batch, &mut self.scratch)
    }

    /// What each VM needs, as the last decision had it.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }
}

impl Policy for Learned {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.features.observe(view);
        let batch = Batch {
            features: &self.features.per_vm,
            host: &self.features.host,
            socket: &self.features.socket,
        };
        let outputs = self.network.forward(&batch, &mut self.scratch).unwrap_or_default();
        self.doubt = self.guard.judge(view, &self.features, outputs);
        let rows = outputs.chunks_exact(OUTPUTS);
        self.needs.clear();
        self.needs.extend(rows.enumerate().map(|(position, row)| asked(view, position, &row[FORECASTS..])));
        self.planner.decide(view, &self.needs)
    }

    fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    fn explain(&self, view: &View<'_>, plan: &Plan) -> Vec<Explanation> {
        // The features of the last decision are still there, so what the network said need not be kept.
        let batch = Batch {
            features: &self.features.per_vm,
            host: &self.features.host,
            socket: &self.features.socket,
        };
        let mut scratch = Scratch::default();
        let outputs = self.network.forward(&batch, &mut scratch).unwrap_or_default();
        explain(view, plan, Known { needs: &self.needs, outputs })
    }
}
