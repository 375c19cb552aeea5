//! All policies in one table, with small bars.

use std::fmt::Write;

use super::markup::escape;
use super::view::{View, colour};
use crate::compare::Row;

pub(super) fn write(out: &mut String, view: &View<'_>) {
    let rows = &view.comparison.policies;
    out.push_str(
        "<section id=\"policies\">\n<h2>All policies</h2>\n<div class=\"scroll\"><table class=\"policies\">\n<thead><tr>\
         <th scope=\"col\">policy</th><th scope=\"col\" class=\"n\">utility</th><th scope=\"col\" class=\"n\">gap closed</th>\
         <th scope=\"col\" class=\"n\">objectives missed</th><th scope=\"col\" class=\"n\">worst VM</th>\
         <th scope=\"col\" class=\"n\">changes per hour</th><th scope=\"col\" class=\"n\">limit cycles</th>\
         <th scope=\"col\" class=\"n\">decision p50 · p99 (µs)</th></tr></thead>\n<tbody>\n",
    );
    let best = view.best_row().map(|row| row.policy.as_str());
    let most = |value: fn(&Row) -> f64| rows.iter().map(value).fold(0.0, f64::max);
    let (missed, changes) = (most(|row| row.violations_pct), most(|row| row.changes_per_hour));
    let mut place = 0;
    for row in rows {
        let colour = colour(&row.policy, place);
        place += usize::from(colour.starts_with("var(--k"));
        let mark = if best == Some(row.policy.as_str()) { " class=\"best\"" } else { "" };
        let _ = write!(out, "<tr{mark} style=\"--c:{colour}\">");
        self::row(out, row, missed, changes);
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n<p class=\"note\"><b>Gap closed</b> is (U − U<sub>static</sub>) / \
         (U<sub>clairvoyant</sub> − U<sub>static</sub>): 0 % is the assignment that never changes, 100 % is a policy that \
         knows all demand to come and pays the same for its changes.");
    if let Some(gap) = view.comparison.bound_gap_pct {
        let _ = write!(out, " The clairvoyant itself is {gap:.1} % below what nothing can exceed.");
    }
    out.push_str(" Objectives missed: share of the windows of latency-critical VMs. Worst VM: lowest mean utility of any VM.</p>\n</section>\n");
}

fn row(out: &mut String, row: &Row, missed: f64, changes: f64) {
    let spread = row.utility.ci95[1] - row.utility.mean;
    let spread = if spread > 0.0 { format!(" <small>±{spread:.3}</small>") } else { String::new() };
    let gap = row.gap_recovered.mean;
    let gap_text = gap.map_or_else(|| "–".into(), |gap| format!("{:.1} %", 100.0 * gap));
    let _ = write!(
        out,
        "<th scope=\"row\"><i class=\"swatch\"></i>{}</th>{}{}{}{}{}<td class=\"n\">{}</td><td class=\"n\">{:.1} · {:.1}</td>",
        escape(&row.policy),
        bar(row.utility.mean, &format!("{:.4}{spread}", row.utility.mean)),
        bar(gap.unwrap_or(0.0), &gap_text),
        bar(share(row.violations_pct, missed), &format!("{:.2} %", row.violations_pct)),
        bar(row.worst_vm, &format!("{:.4}", row.worst_vm)),
        bar(share(row.changes_per_hour, changes), &format!("{:.1}", row.changes_per_hour)),
        row.limit_cycles,
        row.decision_us.p50,
        row.decision_us.p99
    );
}

fn share(value: f64, most: f64) -> f64 {
    if most > 0.0 { value / most } else { 0.0 }
}

fn bar(share: f64, text: &str) -> String {
    format!(
        "<td class=\"n\"><span>{text}</span><i class=\"bar\" style=\"width:{:.1}%\"></i></td>",
        100.0 * share.clamp(0.0, 1.0)
    )
}
