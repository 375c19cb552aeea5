//! The comparison as a table for people.

use std::fmt::Write;

use halcyon_lab::{Comparison, Row};

/// Renders the comparison; `colour` marks the best policy that is not clairvoyant.
pub(super) fn render(comparison: &Comparison, colour: bool) -> String {
    let mut text = String::new();
    let best = comparison
        .policies
        .iter()
        .filter(|row| row.policy != "clairvoyant")
        .max_by(|a, b| a.utility.mean.total_cmp(&b.utility.mean))
        .map(|row| row.policy.clone());
    let _ = writeln!(
        text,
        "{:<12} {:>7} {:>8} {:>8} {:>7} {:>8} {:>7} {:>14}",
        "policy", "utility", "gap", "missed", "worst", "changes", "limit", "decision (µs)"
    );
    let _ = writeln!(
        text,
        "{:<12} {:>7} {:>8} {:>8} {:>7} {:>8} {:>7} {:>7}{:>7}",
        "", "", "closed", "", "VM", "an hour", "cycles", "p50", "p99"
    );
    for row in &comparison.policies {
        let line = line(row);
        let mark = colour && Some(&row.policy) == best.as_ref();
        let _ = if mark { writeln!(text, "\x1b[1;32m{line}\x1b[0m") } else { writeln!(text, "{line}") };
    }
    let scenarios = comparison.scenarios;
    let _ = writeln!(text);
    let _ = write!(text, "{scenarios} scenario(s), seed {}. ", comparison.seed);
    if let Some(gap) = comparison.bound_gap_pct {
        let _ = write!(text, "The clairvoyant is {gap:.1} % below what nothing can exceed.");
    }
    text.push('\n');
    text
}

fn line(row: &Row) -> String {
    let gap = row.gap_recovered.mean.map_or_else(|| "–".into(), |gap| format!("{:.1} %", 100.0 * gap));
    format!(
        "{:<12} {:>7.4} {:>8} {:>6.2} % {:>7.4} {:>8.1} {:>7} {:>7.1}{:>7.1}",
        row.policy,
        row.utility.mean,
        gap,
        row.violations_pct,
        row.worst_vm,
        row.changes_per_hour,
        row.limit_cycles,
        row.decision_us.p50,
        row.decision_us.p99
    )
}
