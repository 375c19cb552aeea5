//! The comparison as tables for people: all hosts together, then each.

use std::fmt::Write;

use halcyon_lab::Row;
use halcyon_lab::bench::{Report, ResourceRow};

/// Renders the result; `colour` marks the best policy that is not clairvoyant.
pub(super) fn render(report: &Report, colour: bool) -> String {
    let comparison = &report.comparison;
    let mut out = String::new();
    let hosts = &comparison.by_host;
    if hosts.len() != 1 {
        table(
            &mut out,
            &format!("all {} hosts", hosts.len()),
            report.cases.len(),
            &comparison.policies,
            colour,
        );
    }
    for (host, rows) in hosts {
        let scenarios = report.cases.iter().filter(|case| case.host == *host).count();
        table(&mut out, host, scenarios, rows, colour);
    }
    if report.by_resource.len() > 1 {
        resources(&mut out, report);
    }
    footnotes(&mut out, report);
    out
}

fn table(out: &mut String, title: &str, scenarios: usize, rows: &[Row], colour: bool) {
    let _ = writeln!(out, "{title}, {scenarios} scenario(s)");
    let head = [
        ("utility", "mean"),
        ("", "p5"),
        ("95 % interval", ""),
        ("against", "reactive"),
        ("gap closed", "mean"),
        ("", "p5"),
        ("below", "bound"),
        ("missed", "%"),
        ("worst", "VM"),
        ("changes", "/h"),
        ("limit", "cycles"),
        ("fall-", "backs"),
        ("decision µs", "p50"),
        ("", "p99"),
    ];
    for line in [0, 1] {
        let _ = write!(out, "  {:<12}", if line == 0 { "policy" } else { "" });
        for ((top, bottom), width) in head.iter().zip(WIDTHS) {
            let text = if line == 0 { top } else { bottom };
            let _ = write!(out, " {text:>width$}");
        }
        out.push('\n');
    }
    let fair = rows.iter().filter(|row| row.policy != "clairvoyant");
    let best = fair.max_by(|a, b| a.utility.mean.total_cmp(&b.utility.mean)).map(|row| &row.policy);
    for row in rows {
        let line = line(row);
        let marked = colour && best == Some(&row.policy);
        let _ = if marked { writeln!(out, "\x1b[1;32m{line}\x1b[0m") } else { writeln!(out, "{line}") };
    }
    out.push('\n');
}

const WIDTHS: [usize; 14] = [7, 7, 15, 16, 10, 8, 7, 7, 7, 8, 6, 6, 11, 8];

fn line(row: &Row) -> String {
    let percent =
        |share: Option<f64>| share.map_or_else(|| "–".into(), |share| format!("{:.1} %", 100.0 * share));
    let [low, high] = row.utility.ci95;
    let against = row.against_reactive.map_or_else(
        || "–".into(),
        |difference| match difference.ci95 {
            Some([_, high]) => format!("{:+.4} ±{:.4}", difference.mean, high - difference.mean),
            None => format!("{:+.4}", difference.mean),
        },
    );
    let cells = [
        format!("{:.4}", row.utility.mean),
        format!("{:.4}", row.utility.p5),
        format!("{low:.4}–{high:.4}"),
        against,
        percent(row.gap_recovered.mean),
        percent(row.gap_recovered.p5),
        percent(row.bound_gap_pct.map(|below| below / 100.0)),
        format!("{:.2}", row.violations_pct),
        format!("{:.4}", row.worst_vm),
        format!("{:.1}", row.changes_per_hour),
        row.limit_cycles.to_string(),
        row.fallbacks.to_string(),
        format!("{:.1}", row.decision_us.p50),
        format!("{:.1}", row.decision_us.p99),
    ];
    cells.iter().zip(WIDTHS).fold(format!("  {:<12}", row.policy), |mut line, (cell, width)| {
        let _ = write!(line, " {cell:>width$}");
        line
    })
}

fn resources(out: &mut String, report: &Report) {
    out.push_str("gap closed with one resource alone, all scenarios pooled (what it gains, in utility)\n");
    let _ = write!(out, "  {:<12}", "policy");
    for name in report.by_resource.keys() {
        let _ = write!(out, " {name:>20}");
    }
    out.push('\n');
    for policy in report.comparison.policies.iter().map(|row| &row.policy).filter(|name| *name != "static") {
        let _ = write!(out, "  {policy:<12}");
        for rows in report.by_resource.values() {
            let cell = rows.iter().find(|row| row.policy == *policy).map_or_else(|| "–".into(), resource);
            let _ = write!(out, " {cell:>20}");
        }
        out.push('\n');
    }
    out.push('\n');
}

fn resource(row: &ResourceRow) -> String {
    let pooled = row.gap_recovered.pooled;
    let share = pooled.map_or_else(|| "–".into(), |share| format!("{:.1} %", 100.0 * share));
    format!("{share} ({:+.4})", row.gain)
}

fn footnotes(out: &mut String, report: &Report) {
    let comparison = &report.comparison;
    if let Some(gap) = comparison.bound_gap_pct {
        let _ = writeln!(out, "The clairvoyant is {gap:.1} % below what nothing can exceed.");
    }
    out.push_str(
        "Gap closed: (U − U static) / (U clairvoyant − U static), where there is a gap. Below bound: how far below\n\
         what nothing can exceed. Against reactive: difference on the same scenarios, with half its 95 % interval.\n",
    );
    if let Some(bytes) = report.memory.process_peak_rss_bytes {
        #[allow(clippy::cast_precision_loss)]
        let mib = bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(
            out,
            "Memory: the whole bench had {mib:.0} MiB resident at most (not told apart by policy)."
        );
    }
}
