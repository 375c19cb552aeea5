//! The frame of a figure over time: ticks and labels as text that keeps its size, the plot as SVG that
//! stretches.

use std::fmt::Write;

use super::markup::clock;

/// Steps between ticks on the time axis, in seconds.
const STEPS: [f64; 13] = [
    60.0,
    300.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    604_800.0,
    2_419_200.0,
    9_676_800.0,
];

/// Ticks on a time axis of this length, at most seven.
pub(super) fn ticks(seconds: f64) -> Vec<f64> {
    let fits = |step: &&f64| seconds / **step <= 6.01;
    let step = STEPS.iter().find(fits).copied().unwrap_or(seconds.max(1.0));
    let mut ticks = Vec::new();
    let mut at = 0.0;
    while at <= seconds && ticks.len() < 64 {
        ticks.push(at);
        at += step;
    }
    ticks
}

/// The labels below a time axis.
pub(super) fn time_axis(seconds: f64) -> String {
    let mut out = String::from("<div class=\"xaxis\" aria-hidden=\"true\">");
    for at in ticks(seconds) {
        let label = if seconds > 172_800.0 { format!("{:.0} h", at / 3600.0) } else { clock(at) };
        let left = 100.0 * at / seconds.max(1.0);
        // The label at the end stays inside, clear of what is next to the figure.
        let last = if left > 97.0 { " class=\"last\"" } else { "" };
        let _ = write!(out, "<span{last} style=\"left:{left:.2}%\">{label}</span>");
    }
    out.push_str("</div>");
    out
}
