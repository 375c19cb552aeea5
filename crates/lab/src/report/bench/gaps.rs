//! How much of the gap between the static assignment and the clairvoyant is closed: on each host, and with
//! each resource alone.

use std::fmt::Write;

use super::{Bench, percent};
use crate::bench::ResourceRow;
use crate::report::markup::{escape, signed};

pub(super) fn write(out: &mut String, bench: &Bench<'_>) {
    let comparison = &bench.report.comparison;
    if comparison.policies.iter().all(|row| row.gap_recovered.mean.is_none()) {
        return;
    }
    out.push_str(
        "<section id=\"gaps\">\n<h2>Gap closed, by host</h2>\n<p class=\"note\">(U − U<sub>static</sub>) / (U<sub>clairvoyant</sub> − \
         U<sub>static</sub>), mean over the scenarios that have a gap; small: the 5th percentile. 0 % never changes \
         anything, 100 % knows all demand to come and pays the same for its changes.</p>\n",
    );
    let groups = bench.groups();
    let head = groups.iter().map(|(title, ..)| title.clone()).collect::<Vec<_>>();
    open(out, &head);
    for row in &comparison.policies {
        let of = |rows: &[crate::compare::Row]| rows.iter().find(|found| found.policy == row.policy).cloned();
        let cells = groups.iter().map(|(_, rows, _)| {
            let gap = of(rows).map(|row| row.gap_recovered);
            let small = gap.and_then(|gap| gap.p5).map(|p5| percent(Some(p5))).unwrap_or_default();
            cell(gap.and_then(|gap| gap.mean), &small)
        });
        line(out, bench, &row.policy, &cells.collect::<String>());
    }
    out.push_str("</tbody></table></div>\n</section>\n");
    resources(out, bench);
}

fn open(out: &mut String, head: &[String]) {
    out.push_str("<div class=\"scroll\"><table class=\"matrix\"><thead><tr><th scope=\"col\">policy</th>");
    for title in head {
        let _ = write!(out, "<th scope=\"col\" class=\"n\">{}</th>", escape(title));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
}

fn line(out: &mut String, bench: &Bench<'_>, policy: &str, cells: &str) {
    let _ = writeln!(
        out,
        "<tr style=\"--c:{}\"><th scope=\"row\"><i class=\"swatch\"></i>{}</th>{cells}</tr>",
        bench.colour(policy),
        escape(policy)
    );
}

/// A share with a bar that begins at zero; what is below zero is hatched.
fn cell(share: Option<f64>, small: &str) -> String {
    let width = 100.0 * share.unwrap_or(0.0).abs().min(1.0);
    let below = if share.is_some_and(|share| share < 0.0) { " below" } else { "" };
    format!(
        "<td class=\"n\"><span>{} <small>{small}</small></span><i class=\"bar{below}\" style=\"width:{width:.1}%\"></i></td>",
        percent(share)
    )
}

/// The same with one resource at a time, if that ran.
fn resources(out: &mut String, bench: &Bench<'_>) {
    let ways = &bench.report.by_resource;
    if ways.len() < 2 {
        return;
    }
    out.push_str(
        "<section id=\"resources\">\n<h2>Gap closed with one resource alone</h2>\n<p class=\"note\">Policy, static and \
         clairvoyant may change that resource only; all scenarios of hosts that can change it together. Small: what is gained \
         in utility over static.</p>\n",
    );
    open(out, &ways.keys().cloned().collect::<Vec<_>>());
    for row in bench.report.comparison.policies.iter().filter(|row| row.policy != "static") {
        let cells = ways.values().map(|rows| {
            let found = rows.iter().find(|found| found.policy == row.policy);
            found.map_or_else(|| cell(None, ""), resource)
        });
        line(out, bench, &row.policy, &cells.collect::<String>());
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn resource(row: &ResourceRow) -> String {
    cell(row.gap_recovered.pooled, &signed(row.gain, 4))
}
