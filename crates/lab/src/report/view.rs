//! What all parts of the report share: which runs are drawn, in which colour, and in which order the VMs are.

use std::fmt::Write;
use std::time::Duration;

use halcyon_model::Objective;

use super::markup::escape;
use crate::compare::{Comparison, Row};
use crate::record::Record;
use crate::run::RunResult;
use crate::scenario::Scenario;

/// A run that is drawn.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) run: &'a RunResult,
    pub(super) record: &'a Record,
    /// Its colour, as a CSS value.
    pub(super) colour: String,
}

/// A scenario with its runs.
pub(super) struct View<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) comparison: &'a Comparison,
    pub(super) shown: Vec<Shown<'a>>,
    /// The policy that is looked at first: the best that does not know the future, unless one is named.
    pub(super) chosen: usize,
    /// What it is compared with: the static assignment, or else the first.
    pub(super) base: usize,
    /// Positions of the VMs, those that gain most first.
    pub(super) order: Vec<usize>,
    /// Times that are marked in figures, in seconds.
    pub(super) spans: Vec<(f64, f64)>,
}

/// The colour of a policy among others.
pub(super) fn colour(name: &str, place: usize) -> String {
    match name {
        "static" => "var(--static)".into(),
        "clairvoyant" => "var(--ceiling)".into(),
        _ => format!("var(--k{})", place % 6),
    }
}

impl<'a> View<'a> {
    pub(super) fn new(scenario: &'a Scenario, comparison: &'a Comparison, runs: &'a [RunResult]) -> Self {
        let mut place = 0;
        let mut shown = Vec::new();
        for run in runs {
            let Some(record) = &run.record else { continue };
            let colour = colour(&run.policy, place);
            place += usize::from(colour.starts_with("var(--k"));
            shown.push(Shown { name: &run.policy, run, record, colour });
        }
        let base = shown.iter().position(|shown| shown.name == "static").unwrap_or(0);
        let candidates = (0..shown.len())
            .filter(|index| shown.len() == 1 || !matches!(shown[*index].name, "static" | "clairvoyant"));
        let utility = |index: usize| shown[index].run.score.utility;
        let chosen = candidates.max_by(|a, b| utility(*a).total_cmp(&utility(*b))).unwrap_or(base);
        let mut view =
            Self { scenario, comparison, shown, chosen, base, order: Vec::new(), spans: Vec::new() };
        let mut order: Vec<usize> = (0..scenario.guests.len()).collect();
        order.sort_by(|a, b| view.gain(chosen, *b).total_cmp(&view.gain(chosen, *a)).then(a.cmp(b)));
        view.order = order;
        view
    }

    /// The same, where `policy` is looked at first, if it was drawn and is not what is compared with.
    pub(super) fn looking_at(mut self, policy: &str) -> Self {
        let found = self.shown.iter().position(|shown| shown.name == policy);
        if let Some(chosen) = found.filter(|found| *found != self.base) {
            self.chosen = chosen;
            let mut order = std::mem::take(&mut self.order);
            order.sort_by(|a, b| self.gain(chosen, *b).total_cmp(&self.gain(chosen, *a)).then(a.cmp(b)));
            self.order = order;
        }
        self
    }

    /// A policy's row in the comparison.
    pub(super) fn row(&self, name: &str) -> Option<&'a Row> {
        self.comparison.policies.iter().find(|row| row.policy == name)
    }

    /// The policy whose row in the table is best without knowing the future.
    pub(super) fn best_row(&self) -> Option<&'a Row> {
        let fair = |row: &&Row| !matches!(row.policy.as_str(), "static" | "clairvoyant");
        let rows = self.comparison.policies.iter().filter(fair);
        rows.max_by(|a, b| a.utility.mean.total_cmp(&b.utility.mean))
    }

    /// Mean utility of a VM under a policy; one where nothing is known of it.
    pub(super) fn utility(&self, policy: usize, vm: usize) -> f64 {
        let id = self.scenario.guests[vm].spec.id;
        let Some(shown) = self.shown.get(policy) else { return 1.0 };
        // VMs that come and go are not in the order of the scenario.
        let scores = &shown.run.score.vms;
        let found = scores.get(vm).filter(|(known, _)| *known == id);
        let found = found.or_else(|| scores.iter().find(|(known, _)| *known == id));
        found.map_or(1.0, |(_, score)| score.mean())
    }

    /// What a VM gains under a policy.
    pub(super) fn gain(&self, policy: usize, vm: usize) -> f64 {
        self.utility(policy, vm) - self.utility(self.base, vm)
    }

    pub(super) fn name(&self, vm: usize) -> &'a str {
        &self.scenario.guests[vm].spec.name
    }

    pub(super) fn seconds(&self) -> f64 {
        self.scenario.duration.as_secs_f64()
    }

    pub(super) fn window_s(&self) -> f64 {
        self.scenario.parameters.window.as_secs_f64()
    }

    /// Windows that were recorded.
    pub(super) fn windows(&self) -> usize {
        self.shown.iter().map(|shown| shown.record.at_s.len()).max().unwrap_or(0)
    }

    /// The policies that can be chosen: all but the one that they are compared with.
    pub(super) fn choices(&self) -> impl Iterator<Item = (usize, &Shown<'a>)> {
        let base = self.base;
        let alone = self.shown.len() == 1;
        self.shown.iter().enumerate().filter(move |(index, _)| alone || *index != base)
    }

    /// The attributes of a part of the page that is about one policy.
    pub(super) fn only(&self, policy: usize) -> String {
        let hidden = if policy == self.chosen { "" } else { " hidden=\"\"" };
        format!("data-for=\"{policy}\"{hidden}")
    }
}

/// What a VM is judged by, as a class.
pub(super) const CLASSES: [&str; 3] = ["latency", "throughput", "best effort"];

/// The position of an objective among the classes.
pub(super) fn class(objective: Objective) -> usize {
    match objective {
        Objective::Latency { .. } => 0,
        Objective::Throughput => 1,
        Objective::BestEffort => 2,
    }
}

/// An objective as people read it.
pub(super) fn objective(objective: Objective) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    match objective {
        Objective::Latency { p99 } => format!("p99 ≤ {} ms", super::markup::trim(ms(p99))),
        Objective::Throughput => CLASSES[1].into(),
        Objective::BestEffort => CLASSES[2].into(),
    }
}

/// The radio buttons that choose a policy, which are the legend as well.
pub(super) fn chooser(out: &mut String, view: &View<'_>) {
    let base = &view.shown[view.base];
    out.push_str("<fieldset class=\"chooser\"><legend>Policy to look at</legend>\n");
    for (index, shown) in view.choices() {
        let checked = if index == view.chosen { " checked=\"\"" } else { "" };
        let _ = writeln!(
            out,
            "<label style=\"--c:{}\"><input type=\"radio\" name=\"policy\" value=\"{index}\"{checked}/>\
             <i class=\"swatch\"></i>{}</label>",
            shown.colour,
            escape(shown.name)
        );
    }
    let _ = writeln!(
        out,
        "<span class=\"versus\" style=\"--c:{}\">compared with <i class=\"swatch\"></i>{}</span></fieldset>\n\
         <noscript><p class=\"note\">Without JavaScript the figures show {}; the heat map and the VM in detail stay \
         empty.</p></noscript>",
        base.colour,
        escape(base.name),
        escape(view.shown[view.chosen].name)
    );
}
