//! All figures of all policies: for all hosts together, then each.

use std::fmt::Write;

use super::{Bench, percent};
use crate::compare::Row;
use crate::report::markup::{escape, signed};

pub(super) fn write(out: &mut String, bench: &Bench<'_>) {
    out.push_str("<section id=\"policies\">\n<h2>All figures</h2>\n");
    for (index, (title, rows, cases)) in bench.groups().into_iter().enumerate() {
        let open = if index == 0 { " open=\"\"" } else { "" };
        let _ = writeln!(
            out,
            "<details{open}><summary>{} <small>{} scenarios</small></summary>",
            escape(&title),
            cases.len()
        );
        table(out, bench, rows);
        out.push_str("</details>\n");
    }
    out.push_str(
        "<p class=\"note\"><b>Objectives missed</b>: share of the windows of latency-critical VMs in which fewer than 99 % of \
         requests were in time. <b>Worst VM</b>: lowest mean utility of any VM, mean over scenarios. <b>Fallbacks</b>: decisions \
         that the heuristic made instead of the policy.",
    );
    if let Some(bytes) = bench.report.memory.process_peak_rss_bytes {
        let _ = write!(
            out,
            " <b>Memory</b>: the whole bench had {} MiB resident at most; what one policy took of it is not told apart.",
            bytes >> 20
        );
    }
    out.push_str("</p>\n</section>\n");
}

fn table(out: &mut String, bench: &Bench<'_>, rows: &[Row]) {
    out.push_str("<div class=\"scroll\"><table class=\"figures\"><thead><tr><th scope=\"col\">policy</th>");
    let head = [
        "utility",
        "p5",
        "95 % interval",
        "against reactive",
        "gap closed",
        "p5",
        "below bound",
        "missed",
        "worst VM",
        "changes/h",
        "limit cycles",
        "fallbacks",
        "decision µs p50 · p99",
    ];
    for title in head {
        let _ = write!(out, "<th scope=\"col\" class=\"n\">{title}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let mark = if bench.best == Some(row.policy.as_str()) { " class=\"best\"" } else { "" };
        let _ = write!(
            out,
            "<tr{mark} style=\"--c:{}\"><th scope=\"row\"><i class=\"swatch\"></i>{}</th>",
            bench.colour(&row.policy),
            escape(&row.policy)
        );
        for cell in cells(row) {
            let _ = write!(out, "<td class=\"n\">{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn cells(row: &Row) -> [String; 13] {
    let [low, high] = row.utility.ci95;
    let against = row.against_reactive.map_or_else(
        || "–".into(),
        |difference| {
            let half = difference.ci95.map(|[low, high]| (high - low) / 2.0);
            let half = half.map_or_else(String::new, |half| format!(" <small>±{half:.4}</small>"));
            format!("{}{half}", signed(difference.mean, 4))
        },
    );
    [
        format!("{:.4}", row.utility.mean),
        format!("{:.4}", row.utility.p5),
        format!("{low:.4}–{high:.4}"),
        against,
        percent(row.gap_recovered.mean),
        percent(row.gap_recovered.p5),
        percent(row.bound_gap_pct.map(|below| below / 100.0)),
        percent(Some(row.violations_pct / 100.0)),
        format!("{:.4}", row.worst_vm),
        format!("{:.1}", row.changes_per_hour),
        row.limit_cycles.to_string(),
        row.fallbacks.to_string(),
        format!("{:.1} · {:.1}", row.decision_us.p50, row.decision_us.p99),
    ]
}
