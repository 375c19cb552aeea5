//! The page of a bench: which policy is better on which host, how sure that is, and, for one scenario that
//! ran once more under watch, when and why.

mod gaps;
mod headline;
mod intervals;
mod policies;
mod strips;
mod why;
mod windows;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::markup::escape;
use super::view::View;
use super::{data, fabric, footnotes, heat, notes, timeline, vms};
use crate::bench::{Detail, Report, ScenarioRow};
use crate::compare::Row;

/// The page of a bench; `detail` is the scenario that is looked at closely, if one is, and `command` repeats
/// the bench.
#[must_use]
pub fn bench_html(report: &Report, detail: Option<&Detail>, command: &str) -> String {
    let bench = Bench::new(report);
    let mut out = String::with_capacity(1 << 20);
    super::head(&mut out, "bench");
    headline::write(&mut out, &bench);
    intervals::write(&mut out, &bench);
    gaps::write(&mut out, &bench);
    policies::write(&mut out, &bench);
    strips::write(&mut out, &bench);
    match detail {
        Some(detail) => closely(&mut out, &bench, detail, command),
        None => {
            headline::footnotes(&mut out, command);
            super::tail(&mut out, "null");
        }
    }
    out
}

/// The scenario that ran once more, with all that the report of a single scenario shows.
fn closely(out: &mut String, bench: &Bench<'_>, detail: &Detail, command: &str) {
    let mut view = View::new(&detail.scenario, &bench.report.comparison, &detail.runs);
    for shown in &mut view.shown {
        // The best policy has the colour here that it has above.
        let colour = bench.colour(shown.name);
        if colour != "var(--other)" {
            shown.colour = colour.into();
        }
    }
    let moments = windows::moments(&view);
    view.spans = moments.iter().map(|moment| (moment.begins_s(&view), moment.ends_s(&view))).collect();
    why::head(out, &view, detail);
    if !view.shown.is_empty() {
        super::view::chooser(out, &view);
        timeline::write(out, &view);
        why::write(out, &view, &moments);
        vms::write(out, &view);
        heat::write(out, &view);
        data::write_detail(out, &view);
        fabric::write(out, &view);
        notes::write(out, &view);
    }
    footnotes::write(out, &view, command);
    super::tail(out, &data::json(&view));
}

/// What all parts of the page share.
struct Bench<'a> {
    report: &'a Report,
    /// The policy with the highest mean utility that does not know the future.
    best: Option<&'a str>,
    /// Scenarios by host.
    hosts: BTreeMap<&'a str, Vec<&'a ScenarioRow>>,
}

impl<'a> Bench<'a> {
    fn new(report: &'a Report) -> Self {
        let fair = |row: &&Row| !matches!(row.policy.as_str(), "static" | "clairvoyant");
        let rows = report.comparison.policies.iter().filter(fair);
        let best = rows.max_by(|a, b| a.utility.mean.total_cmp(&b.utility.mean));
        let mut hosts: BTreeMap<&str, Vec<&ScenarioRow>> = BTreeMap::new();
        for case in &report.cases {
            hosts.entry(&case.host).or_default().push(case);
        }
        Self { report, best: best.map(|row| row.policy.as_str()), hosts }
    }

    /// The colour of a policy: few stand out, so that they can be told apart.
    fn colour(&self, policy: &str) -> &'static str {
        match policy {
            "static" => "var(--static)",
            "clairvoyant" => "var(--ceiling)",
            _ if self.best == Some(policy) => "var(--k2)",
            "reactive" => "var(--k1)",
            _ => "var(--other)",
        }
    }

    /// All hosts together, if there are several, and each: title, rows and scenarios.
    fn groups(&self) -> Vec<(String, &'a [Row], Vec<&'a ScenarioRow>)> {
        let comparison = &self.report.comparison;
        let mut groups = Vec::new();
        if self.hosts.len() != 1 {
            let title = format!("all {} hosts", self.hosts.len());
            groups.push((title, comparison.policies.as_slice(), self.report.cases.iter().collect()));
        }
        for (host, rows) in &comparison.by_host {
            let cases = self.hosts.get(host.as_str()).cloned().unwrap_or_default();
            groups.push((host.clone(), rows.as_slice(), cases));
        }
        groups
    }

    /// The policies that stand out, as a legend.
    fn legend(&self, out: &mut String) {
        out.push_str("<p class=\"legend\">");
        for row in &self.report.comparison.policies {
            let colour = self.colour(&row.policy);
            if colour != "var(--other)" {
                let _ = write!(
                    out,
                    "<span style=\"--c:{colour}\"><i class=\"swatch\"></i>{}</span> ",
                    escape(&row.policy)
                );
            }
        }
        out.push_str("<span style=\"--c:var(--other)\"><i class=\"swatch\"></i>others</span></p>\n");
    }
}

/// A range of values as the width of a figure.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// A range with round ends around values; those that are no numbers are left out.
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return Self { low: 0.0, high: 1.0 };
        }
        let width = (high - low).max(0.004);
        let step =
            [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5].into_iter().find(|step| width / step <= 6.0);
        let step = step.unwrap_or(1.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step }
    }

    /// Where a value is, in percent of the width.
    fn x(self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low).max(1e-9);
        // The ends stay clear of the edge, so that marks there are whole.
        if share.is_finite() { 1.5 + 97.0 * share.clamp(0.0, 1.0) } else { 1.5 }
    }

    /// Low end, middle and high end as text.
    fn axis(self, signed: bool) -> String {
        let middle = f64::midpoint(self.low, self.high);
        let decimals = if self.high - self.low < 0.05 { 3 } else { 2 };
        let text = |value: f64| {
            if signed { super::markup::signed(value, decimals) } else { format!("{value:.decimals$}") }
        };
        let [low, middle, high] = [self.low, middle, self.high].map(text);
        format!("<span class=\"scale\"><i>{low}</i><i>{middle}</i><i>{high}</i></span>")
    }
}

/// Percent with a sign where it is negative, or a dash.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |share| format!("{:.1}&#160;%", 100.0 * share).replace('-', "−"))
}
