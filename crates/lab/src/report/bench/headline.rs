//! What ran, and what came of it in one sentence.

use std::fmt::Write;

use super::Bench;
use crate::compare::Row;
use crate::report::markup::{escape, grouped, spell};

pub(super) fn write(out: &mut String, bench: &Bench<'_>) {
    let cases = &bench.report.cases;
    let hours: f64 = cases.iter().filter_map(|case| case.hours).sum();
    let vms: usize = cases.iter().map(|case| case.vms).sum();
    let hosts: Vec<String> =
        bench.hosts.iter().map(|(host, cases)| format!("{} ({})", escape(host), cases.len())).collect();
    let _ = write!(
        out,
        "<header id=\"headline\">\n<p class=\"kicker\">Halcyon · policies over many scenarios</p>\n<h1>{}</h1>\n\
         <p class=\"what\"><b>{} policies</b> · {} scenarios with {} VMs, {} in all · hosts: {}</p>\n</header>\n",
        result(bench),
        bench.report.comparison.policies.len(),
        grouped(cases.len() as u64),
        grouped(vms as u64),
        spell(3600.0 * hours),
        hosts.join(", ")
    );
}

fn result(bench: &Bench<'_>) -> String {
    let rows = &bench.report.comparison.policies;
    let row = |name: &str| rows.iter().find(|row| row.policy == name);
    let Some(best) = bench.best.and_then(row) else {
        return "Nothing to compare: no policy ran beside the yardsticks.".into();
    };
    let name = format!("<em style=\"color:{}\">{}</em>", bench.colour(&best.policy), escape(&best.policy));
    let gap = match best.gap_recovered.mean {
        Some(gap) if gap > 0.0 => {
            format!("{name} closes {:.0}&#160;% of the gap between static and clairvoyant", 100.0 * gap)
        }
        _ => format!("{name} has the highest mean utility, {:.4}", best.utility.mean),
    };
    format!("{gap}{}", lead(best))
}

/// How sure it is that the best is better than what Halcyon does without learning.
fn lead(best: &Row) -> String {
    let Some(difference) = best.against_reactive.filter(|_| best.policy != "reactive") else {
        return ".".into();
    };
    match difference.ci95 {
        Some([low, _]) if low > 0.0 => format!(", and is better than reactive by {:.4}.", difference.mean),
        _ => "; that it is better than reactive is not certain.".into(),
    }
}

/// What a page without a scenario to look at closely ends with.
pub(super) fn footnotes(out: &mut String, command: &str) {
    let _ = write!(
        out,
        "<footer id=\"footnotes\">\n<h2>Footnotes</h2>\n<dl><dt>Again</dt><dd><code>{}</code><br/>The same command gives \
         the same figures on any machine, but for decision times and memory.</dd></dl>\n</footer>\n",
        escape(command)
    );
}
