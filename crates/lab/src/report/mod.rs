//! One run of every policy as one HTML file that needs nothing else: no network, no fonts, no libraries.
//!
//! Figures are drawn here as SVG; a small script adds the read-outs, the choice of a policy and of a VM, and
//! draws what would be too large to draw for every choice (the heat map and the VM in detail). Whatever comes
//! from outside is escaped, long series are thinned out to a fixed number of points, and the same runs give
//! the same bytes but for the decision times.

mod bench;
mod data;
mod fabric;
mod footnotes;
mod frame;
mod headline;
mod heat;
mod markup;
mod notes;
mod pools;
mod scenario;
mod series;
mod table;
mod timeline;
mod training;
mod view;
mod vms;

use std::fmt::Write;

use crate::compare::Comparison;
use crate::run::RunResult;
use crate::scenario::Scenario;
pub use bench::bench_html;
use markup::escape;
pub use scenario::scenario_html;
pub use training::training_html;
use view::View;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The report of one scenario: `runs` are the results of its policies, those with a record are drawn;
/// `comparison` is what the table says, over all scenarios; `policy` is looked at first, or else the best
/// that does not know the future; `command` repeats it.
#[must_use]
pub fn html(
    scenario: &Scenario,
    comparison: &Comparison,
    runs: &[RunResult],
    policy: Option<&str>,
    command: &str,
) -> String {
    let view = View::new(scenario, comparison, runs);
    let view = match policy {
        Some(policy) => view.looking_at(policy),
        None => view,
    };
    let mut out = String::with_capacity(1 << 20);
    head(&mut out, view.scenario.topology.name());
    headline::write(&mut out, &view);
    table::write(&mut out, &view);
    if view.shown.is_empty() {
        out.push_str("<p class=\"note\">Nothing was recorded, so there is nothing to draw.</p>\n");
    } else {
        view::chooser(&mut out, &view);
        timeline::write(&mut out, &view);
        vms::write(&mut out, &view);
        heat::write(&mut out, &view);
        data::write_detail(&mut out, &view);
        fabric::write(&mut out, &view);
        notes::write(&mut out, &view);
    }
    footnotes::write(&mut out, &view, command);
    tail(&mut out, &data::json(&view));
    out
}

/// What the page ends with; the script works on `data`.
fn tail(out: &mut String, data: &str) {
    let _ = write!(
        out,
        "</main>\n<script type=\"application/json\" id=\"data\">{data}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
}

fn head(out: &mut String, title: &str) {
    let title = escape(title);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\"/>\n\
         <link rel=\"icon\" href=\"data:,\"/>\n\
         <title>Halcyon on {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
}
