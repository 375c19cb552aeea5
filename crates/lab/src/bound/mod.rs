//! A certified upper bound on what any policy can reach in a scenario.
//!
//! The relaxation forgets whatever makes life hard: changes are free, at once and never refused, memory
//! is as near as can be, sockets and links are one pool each, backlogs are gone when a window begins, and
//! what each VM holds may change at every step. What remains is that VMs share what there is. For prices
//! λ ≥ 0 on the shared resources, Lagrangian duality gives, for each window,
//!
//! ```text
//!  Σ weight·utility  ≤  Σ_r λ_r · capacity_r  +  Σ_VM max over what it may hold of
//!                                               ( weight·utility − Σ_r λ_r · what that takes of r )
//! ```
//!
//! The inequality holds for every λ ≥ 0, however it was found: the linear program ([`prices`]) is there
//! to find good ones, and no rounding in it can make the bound wrong. The inner maximum is over a grid
//! whose cells count at their best utility and at their least use ([`needs`]).

mod needs;
mod prices;

use std::time::Duration;

use halcyon_sim::{Guest, Outlook, outlook};

use crate::scenario::Scenario;
use needs::{Need, Stretch};
use prices::{Capacity, Prices, price, slices_of};

/// Bounds are worked out for runs that are at most this long, where nobody asks for more.
pub(crate) const LONGEST_BOUND: Duration = Duration::from_secs(24 * 3600);

/// Windows that share their prices: demand changes little in five minutes.
const WINDOWS: usize = 5;

/// What no policy can exceed, and what the relaxation would give to whom.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Upper bound on [`halcyon_sim::Score::utility`].
    pub utility: f64,
    /// The same for each window, as a part of the whole: they add up to `utility`.
    pub windows: Vec<f64>,
    /// How long a stretch of [`Self::targets`] lasts.
    pub stretch: Duration,
    /// For each stretch, what the relaxation gives to each guest, in the order of the scenario.
    pub targets: Vec<Vec<Target>>,
    /// For each stretch, the price of each resource, in utility for all that there is of it.
    pub prices: Vec<Vec<(&'static str, f64)>>,
}

/// What the relaxation gives to a VM on average.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Target {
    /// Memory, in bytes.
    pub memory: f64,
    /// Last-level cache, in bytes.
    pub cache: f64,
    /// CPU time, in cores.
    pub cpu: f64,
    /// GPU compute slices.
    pub slices: f64,
    /// Devices of all classes.
    pub devices: f64,
    /// What it is worth, as a share of the host's utility.
    pub value: f64,
}

/// Bounds what any policy can reach in `scenario`.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn bound(scenario: &Scenario) -> Bound {
    let parameters = &scenario.parameters;
    let steps = (scenario.duration.as_secs_f64() / parameters.step.as_secs_f64()).ceil() as usize;
    let per_window =
        (parameters.window.as_secs_f64() / parameters.step.as_secs_f64()).round().max(1.0) as usize;
    let outlooks: Vec<Outlook> = scenario
        .guests
        .iter()
        .map(|guest| outlook(guest, &scenario.topology, parameters, scenario.seed, steps))
        .collect();
    let weights: f64 = scenario.guests.iter().map(|guest| guest.spec.weight.as_f64()).sum();
    let reserved = |guest: &Guest| if is_always_there(guest) { guest.spec.gpu_slices.reservation } else { 0 };
    let all_reserved: u32 = scenario.guests.iter().map(reserved).sum();
    let mut fixed = 0.0;
    let mut needs = Vec::new();
    for (guest, outlook) in scenario.guests.iter().zip(&outlooks) {
        let counted = outlook.asked.iter().filter(|asked| **asked > 1e-9).count();
        let weight = guest.spec.weight.as_f64() / weights.max(1e-9);
        if counted == 0 {
            // Nothing is asked of it, and that counts as all well.
            fixed += weight;
        }
        let of_others = all_reserved - reserved(guest);
        let most_slices = slices_of(scenario).saturating_sub(of_others);
        needs.push(Need::new(scenario, guest, weight / counted.max(1) as f64, most_slices));
    }
    let capacity = Capacity::new(scenario);
    let windows = outlooks.first().map_or(0, |outlook| outlook.asked.len());
    let mut bound = Bound {
        utility: fixed,
        windows: Vec::with_capacity(windows),
        stretch: parameters.window * WINDOWS as u32,
        targets: Vec::new(),
        prices: Vec::new(),
    };
    let mut from = 0;
    while from < windows {
        let to = (from + WINDOWS).min(windows);
        let whole: Vec<Stretch> = needs
            .iter()
            .zip(&outlooks)
            .map(|(need, outlook)| need.stretch(outlook, from..to, per_window))
            .collect();
        let (prices, targets) = price(&needs, &whole, &capacity);
        for window in from..to {
            let value = window_bound(&needs, &outlooks, window, per_window, &prices);
            bound.utility += value;
            bound.windows.push(value);
        }
        bound.targets.push(targets);
        bound.prices.push(prices.listed());
        from = to;
    }
    // Arrivals are kept in single precision.
    bound.utility = (bound.utility + 1e-6).min(1.0);
    bound
}

/// Whoever is there all the time holds its reservation all the time.
fn is_always_there(guest: &Guest) -> bool {
    guest.arrives.is_zero() && guest.leaves.is_none()
}

/// The dual function in one window; never more than if each VM had all.
fn window_bound(
    needs: &[Need],
    outlooks: &[Outlook],
    window: usize,
    per_window: usize,
    prices: &Prices,
) -> f64 {
    let free = Prices::default();
    let (mut priced, mut alone) = (prices.of_all(), 0.0);
    for (need, outlook) in needs.iter().zip(outlooks) {
        let stretch = need.stretch(outlook, window..window + 1, per_window);
        priced += need.best(&stretch, prices).net;
        alone += need.best(&stretch, &free).net;
    }
    priced.min(alone)
}
