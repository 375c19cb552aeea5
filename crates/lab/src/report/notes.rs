//! What was changed and why: counts by kind and time, and the first notes as a list.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::frame::time_axis;
use super::markup::{clock, escape, grouped, spell};
use super::view::View;
use crate::record::{Note, Record};

/// Notes in the list of one policy.
const MOST_LISTED: usize = 250;
/// Letters of one note; a longer one is cut.
const MOST_LETTERS: usize = 160;
/// Bars of one kind.
const MOST_BARS: usize = 48;

pub(super) fn write(out: &mut String, view: &View<'_>) {
    out.push_str(
        "<section id=\"changes\">\n<h2>What changed and why</h2>\n<p class=\"note\">Shares of CPU and memory bandwidth change all \
         the time and are not listed; the VM in detail shows them as lines.</p>\n",
    );
    for (index, shown) in view.choices() {
        let _ = writeln!(out, "<div {} class=\"changes\" style=\"--c:{}\">", view.only(index), shown.colour);
        counts(out, view, shown.record);
        list(out, index, shown.record);
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

/// Length of time of one bar: an hour, less for a short run, more for one of days.
fn bar_seconds(seconds: f64) -> f64 {
    const STEPS: [f64; 6] = [60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];
    #[allow(clippy::cast_precision_loss)]
    let most = MOST_BARS as f64;
    let from = if seconds < 43_201.0 { 0 } else { 3 };
    STEPS[from..].iter().copied().find(|step| seconds / step <= most).unwrap_or(seconds / most)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn counts(out: &mut String, view: &View<'_>, record: &Record) {
    let each = bar_seconds(view.seconds());
    let bars = (view.seconds() / each).ceil().max(1.0) as usize;
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for note in &record.notes {
        let bar = ((note.at.as_secs_f64() / each) as usize).min(bars - 1);
        kinds.entry(note.kind).or_insert_with(|| vec![0; bars])[bar] += 1;
    }
    let most = kinds.values().flatten().copied().max().unwrap_or(0).max(1);
    let _ = writeln!(
        out,
        "<table class=\"kinds\"><caption>Changes begun, by kind and {}; the tallest bar is {}.</caption><tbody>",
        if each == 3600.0 { "hour".to_string() } else { spell(each) },
        grouped(most)
    );
    for (kind, counts) in &kinds {
        let sum: u64 = counts.iter().sum();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{kind}</th><td>{}</td><td class=\"n\">{}</td></tr>",
            histogram(counts, most),
            grouped(sum)
        );
    }
    if kinds.is_empty() {
        out.push_str("<tr><th scope=\"row\">no changes</th><td></td><td class=\"n\">0</td></tr>\n");
    }
    let _ = writeln!(
        out,
        "</tbody><tfoot aria-hidden=\"true\"><tr><td></td><td>{}</td><td></td></tr></tfoot></table>",
        time_axis(view.seconds())
    );
    if record.more_notes > 0 {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} later changes were not kept and are not counted here.</p>",
            grouped(record.more_notes)
        );
    }
}

#[allow(clippy::cast_precision_loss)]
fn histogram(counts: &[u64], most: u64) -> String {
    let width = 1000.0 / counts.len().max(1) as f64;
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\" role=\"img\"><title>",
    );
    let sum: u64 = counts.iter().sum();
    let _ = write!(out, "{} changes, by time</title><path class=\"grid\" d=\"M0 100H1000\"/>", grouped(sum));
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // One change among thousands is still to be seen.
        let height = (100.0 * *count as f64 / most as f64).max(4.0);
        let _ = write!(
            out,
            "<rect class=\"count\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{count}</title></rect>",
            width * index as f64 + 0.08 * width,
            100.0 - height,
            0.84 * width
        );
    }
    out.push_str("</svg>");
    out
}

fn list(out: &mut String, policy: usize, record: &Record) {
    let all = record.notes.len() as u64 + record.more_notes;
    let first = &record.notes[..record.notes.len().min(MOST_LISTED)];
    let kinds: std::collections::BTreeSet<&str> = first.iter().map(|note| note.kind).collect();
    let _ = write!(
        out,
        "<p class=\"controls\"><label>Kind <select class=\"kind\" data-list=\"{policy}\"><option value=\"\">all</option>"
    );
    for kind in kinds {
        let _ = write!(out, "<option>{kind}</option>");
    }
    let _ = write!(
        out,
        "</select></label> <label>Contains <input type=\"search\" class=\"words\" data-list=\"{policy}\" size=\"16\"/></label> \
         <span class=\"found\" id=\"found-{policy}\" aria-live=\"polite\">{}</span></p>\n<div class=\"scroll list\" tabindex=\"0\" role=\"region\" aria-label=\"Changes\"><table class=\"notes\" id=\"list-{policy}\">\
         <thead><tr><th scope=\"col\" class=\"n\">time</th><th scope=\"col\">kind</th><th scope=\"col\">what</th>\
         <th scope=\"col\">why</th></tr></thead><tbody>\n",
        if all > first.len() as u64 {
            format!("the first {} of {}", grouped(first.len() as u64), grouped(all))
        } else {
            format!("all {}", grouped(all))
        }
    );
    for note in first {
        line(out, note);
    }
    out.push_str("</tbody></table></div>\n");
}

fn line(out: &mut String, note: &Note) {
    let _ = writeln!(
        out,
        "<tr data-kind=\"{0}\"><td class=\"n\">{1}</td><td>{0}</td><td>{2}</td><td>{3}</td></tr>",
        note.kind,
        clock(note.at.as_secs_f64()),
        cut(&note.what),
        cut(&note.why)
    );
}

fn cut(text: &str) -> String {
    if text.len() <= MOST_LETTERS { escape(text) } else { super::markup::short(text, MOST_LETTERS) }
}
