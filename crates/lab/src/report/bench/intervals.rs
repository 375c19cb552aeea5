//! How good each policy is on each host and how sure that is: means with their intervals.

use std::fmt::Write;

use super::{Bench, Range};
use crate::bench::ScenarioRow;
use crate::compare::Row;
use crate::report::markup::{escape, signed};
use crate::statistics::mean;

pub(super) fn write(out: &mut String, bench: &Bench<'_>) {
    out.push_str(
        "<section id=\"intervals\">\n<h2>How good, and how sure</h2>\n<p class=\"note\">On the left mean utility (dot) with its \
         95 % confidence interval (bar) and the 5th percentile over scenarios (tick); dashed: the mean of static; green: what \
         nothing can exceed. On the right the difference to reactive on the same scenarios: where its bar does not cross \
         zero, the policies differ. Each figure has a scale of its own.</p>\n",
    );
    bench.legend(out);
    out.push_str("<div class=\"panels\">\n");
    for (title, rows, cases) in bench.groups() {
        panel(out, bench, &title, rows, &cases);
    }
    out.push_str("</div>\n</section>\n");
}

fn panel(out: &mut String, bench: &Bench<'_>, title: &str, rows: &[Row], cases: &[&ScenarioRow]) {
    let bounds: Vec<f64> = cases.iter().filter_map(|case| case.bound).collect();
    let bound = (!bounds.is_empty()).then(|| mean(&bounds));
    let base = rows.iter().find(|row| row.policy == "static").map(|row| row.utility.mean);
    let ends = |row: &Row| [row.utility.mean, row.utility.p5, row.utility.ci95[0], row.utility.ci95[1]];
    let range = Range::around(rows.iter().flat_map(ends).chain(bound));
    let paired = rows.iter().filter_map(|row| row.against_reactive);
    let paired = paired.flat_map(|it| it.ci95.unwrap_or([it.mean; 2]));
    let paired = Range::around(paired.chain([0.0]));
    let _ = write!(
        out,
        "<div class=\"panel-table\"><h3>{} <small>{} scenarios</small></h3>\n<table class=\"intervals\"><thead><tr>\
         <th scope=\"col\">policy</th><th scope=\"col\" class=\"n\">utility</th><th scope=\"col\">{}</th>\
         <th scope=\"col\">{}</th></tr></thead>\n<tbody>\n",
        escape(title),
        cases.len(),
        range.axis(false),
        paired.axis(true)
    );
    for row in rows {
        let _ = writeln!(
            out,
            "<tr style=\"--c:{}\"><th scope=\"row\"><i class=\"swatch\"></i>{}</th><td class=\"n\">{:.4}</td>\
             <td class=\"strip\">{}</td><td class=\"strip\">{}</td></tr>",
            bench.colour(&row.policy),
            escape(&row.policy),
            row.utility.mean,
            utility(row, range, base, bound),
            difference(row, paired)
        );
    }
    out.push_str("</tbody></table></div>\n");
}

const SVG: &str =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" height=\"18\" role=\"img\"><title>";

fn vertical(class: &str, x: f64) -> String {
    format!("<line class=\"{class}\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"18\"/>")
}

fn utility(row: &Row, range: Range, base: Option<f64>, bound: Option<f64>) -> String {
    let [low, high] = row.utility.ci95;
    let mut out = format!(
        "{SVG}mean {:.4}, 95 % interval {low:.4} to {high:.4}, 5th percentile {:.4}</title>",
        row.utility.mean, row.utility.p5
    );
    if let Some(base) = base {
        out.push_str(&vertical("base-line", range.x(base)));
    }
    if let Some(bound) = bound {
        out.push_str(&vertical("bound-line", range.x(bound)));
    }
    interval(&mut out, range, low, row.utility.mean, high);
    let p5 = range.x(row.utility.p5);
    let _ = write!(out, "<line class=\"tick\" x1=\"{p5:.2}%\" x2=\"{p5:.2}%\" y1=\"5\" y2=\"13\"/></svg>");
    out
}

fn interval(out: &mut String, range: Range, low: f64, mean: f64, high: f64) {
    let _ = write!(
        out,
        "<line class=\"ci\" x1=\"{:.2}%\" x2=\"{:.2}%\" y1=\"9\" y2=\"9\"/><circle class=\"dot\" cx=\"{:.2}%\" cy=\"9\" r=\"4\"/>",
        range.x(low),
        range.x(high),
        range.x(mean)
    );
}

fn difference(row: &Row, range: Range) -> String {
    let Some(difference) = row.against_reactive else { return String::new() };
    let [low, high] = difference.ci95.unwrap_or([difference.mean; 2]);
    let mut out = format!("{SVG}{} against reactive</title>", signed(difference.mean, 4));
    out.push_str(&vertical("rail-line", range.x(0.0)));
    interval(&mut out, range, low, difference.mean, high);
    out.push_str("</svg>");
    out
}
