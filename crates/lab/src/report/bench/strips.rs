//! Every scenario as a strip, on which each policy is a dot.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Bench, Range};
use crate::bench::{RunRow, ScenarioRow};
use crate::report::markup::{escape, spell};

/// Scenarios that are drawn.
const MOST_STRIPS: usize = 150;

/// What tells a scenario's runs from those of others.
type Place<'a> = (&'a str, &'a str, u64);

pub(super) fn write(out: &mut String, bench: &Bench<'_>) {
    let mut runs: BTreeMap<Place<'_>, Vec<&RunRow>> = BTreeMap::new();
    for run in &bench.report.runs {
        runs.entry((&run.host, &run.scenario, run.seed)).or_default().push(run);
    }
    let bounds = bench.report.cases.iter().filter_map(|case| case.bound);
    let range = Range::around(bench.report.runs.iter().map(|run| run.utility).chain(bounds));
    let _ = write!(
        out,
        "<section id=\"scenarios\">\n<h2>Every scenario</h2>\n<p class=\"note\">Utility of every policy (dots) and what nothing \
         can exceed (green line). Policies far apart on one strip: there is something to be won or lost in that \
         scenario.</p>\n"
    );
    bench.legend(out);
    let _ = write!(
        out,
        "<table class=\"strips\"><thead><tr><th scope=\"col\">scenario</th><th scope=\"col\" class=\"n\">VMs</th>\
         <th scope=\"col\" class=\"n wide\">time</th><th scope=\"col\">{}</th><th scope=\"col\" class=\"n\">best</th></tr></thead>\n<tbody>\n",
        range.axis(false)
    );
    for case in bench.report.cases.iter().take(MOST_STRIPS) {
        let place = (case.host.as_str(), case.scenario.as_str(), case.seed);
        strip(out, bench, case, runs.get(&place).map_or(&[][..], Vec::as_slice), range);
    }
    out.push_str("</tbody></table>\n");
    let left_out = bench.report.cases.len().saturating_sub(MOST_STRIPS);
    if left_out > 0 {
        let _ = writeln!(out, "<p class=\"note\">{left_out} more scenarios are not drawn.</p>");
    }
    out.push_str("</section>\n");
}

fn strip(out: &mut String, bench: &Bench<'_>, case: &ScenarioRow, runs: &[&RunRow], range: Range) {
    let _ = write!(
        out,
        "<tr><th scope=\"row\">{} <small>seed {}</small></th><td class=\"n\">{}</td><td class=\"n wide\">{}</td><td class=\"strip\">\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" height=\"18\" role=\"img\"><title>Utility by policy</title>\
         <line class=\"rail\" x1=\"1.5%\" x2=\"98.5%\" y1=\"9\" y2=\"9\"/>",
        escape(&case.scenario),
        case.seed,
        case.vms,
        case.hours.map_or_else(|| "–".into(), |hours| spell(3600.0 * hours))
    );
    if let Some(bound) = case.bound {
        let x = range.x(bound);
        let _ = write!(out, "<line class=\"bound-line\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"18\"/>");
    }
    // Those that stand out are drawn last, above the others.
    let mut order: Vec<&&RunRow> = runs.iter().collect();
    order.sort_by_key(|run| bench.colour(&run.policy) != "var(--other)");
    for run in order {
        let _ = write!(
            out,
            "<circle class=\"dot\" style=\"--c:{}\" cx=\"{:.2}%\" cy=\"9\" r=\"4\"><title>{} {:.4}</title></circle>",
            bench.colour(&run.policy),
            range.x(run.utility),
            escape(&run.policy),
            run.utility
        );
    }
    let fair = runs.iter().filter(|run| run.policy != "clairvoyant");
    let best = fair.max_by(|a, b| a.utility.total_cmp(&b.utility));
    let best = best.map_or_else(String::new, |run| escape(&run.policy));
    let _ = writeln!(out, "</svg></td><td class=\"n\">{best}</td></tr>");
}
