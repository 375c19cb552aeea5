//! What a run shows of every VM, step by step, and what the network foresaw meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use halcyon_model::{Proposal, VmId};
use halcyon_policy::learned::{FORECASTS, HORIZONS, OUTPUTS, QUANTILES, QUANTITIES, forecast, level, seen};
use halcyon_policy::{Doubt, Learned, Network, Policy, View};

use crate::run::{Run, RunError};
use crate::scenario::Scenario;
use crate::still::Still;

/// Quantiles of one quantity until each horizon.
pub(super) type Told = [[f32; QUANTILES.len()]; HORIZONS.len()];

/// One VM, from the step in which it was first seen on.
#[derive(Debug, Default)]
pub(super) struct VmCourse {
    /// The step.
    pub(super) first: usize,
    /// What was seen of each quantity in each step; not a number where nothing was.
    pub(super) values: [Vec<f32>; QUANTITIES.len()],
    /// What the network foresaw of each quantity, by step.
    pub(super) told: BTreeMap<usize, [Option<Told>; QUANTITIES.len()]>,
}

/// A whole run.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) vms: BTreeMap<VmId, VmCourse>,
    /// Steps in which the network was asked.
    pub(super) origins: Vec<usize>,
    steps: usize,
}

/// Lets the learned policy run with `network`, and asks it for its forecasts every so many steps.
///
/// # Errors
/// When the scenario cannot run.
pub(super) fn watch(scenario: &Scenario, network: &Network, every: usize) -> Result<Course, RunError> {
    let course = Arc::new(Mutex::new(Course::default()));
    let watcher = Watcher { learned: Learned::new(network.clone()), course: Arc::clone(&course), every };
    let mut run = Run::of(scenario, "learned", Box::new(watcher), false)?;
    while !run.is_over() {
        run.tick(&Still)?;
    }
    let mut course = course.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut course))
}

/// The learned policy, and somebody who takes notes.
struct Watcher {
    learned: Learned,
    course: Arc<Mutex<Course>>,
    every: usize,
}

impl Policy for Watcher {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let proposal = self.learned.decide(view);
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let step = course.note(view);
        if step.is_multiple_of(self.every.max(1))
            && let Ok(outputs) = self.learned.outputs(view)
        {
            course.ask(view, step, outputs);
        }
        proposal
    }

    fn doubt(&self) -> Option<Doubt> {
        self.learned.doubt()
    }
}

impl Course {
    /// Takes note of what is seen; the step that this is.
    fn note(&mut self, view: &View<'_>) -> usize {
        let step = self.steps;
        self.steps += 1;
        for (position, spec) in view.world.vms.iter().enumerate() {
            let fresh = || VmCourse { first: step, ..VmCourse::default() };
            let course = self.vms.entry(spec.id).or_insert_with(fresh);
            for (values, value) in course.values.iter_mut().zip(seen(view, position)) {
                values.push(value.unwrap_or(f32::NAN));
            }
        }
        step
    }

    fn ask(&mut self, view: &View<'_>, step: usize, outputs: &[f32]) {
        self.origins.push(step);
        for (position, (spec, row)) in view.world.vms.iter().zip(outputs.chunks_exact(OUTPUTS)).enumerate() {
            let levels = level(view, position);
            let told = std::array::from_fn(|quantity| {
                let level = levels[quantity]?;
                let until = |horizon| forecast(&row[..FORECASTS], level, quantity, horizon);
                Some(std::array::from_fn(until))
            });
            if let Some(course) = self.vms.get_mut(&spec.id) {
                course.told.insert(step, told);
            }
        }
    }
}
