//! Utility over time: every policy as a line, the difference between static and the chosen one as an area.

use std::fmt::Write;

use super::frame::{ticks, time_axis};
use super::markup::{escape, spell};
use super::series::{stride, thin};
use super::view::View;

/// Points of one line.
pub(super) const MOST_POINTS: usize = 240;

/// What a figure over time spans.
struct Scale {
    low: f64,
    seconds: f64,
}

impl Scale {
    fn y(&self, value: f64) -> f64 {
        1000.0 * (1.0 - (value - self.low) / (1.0 - self.low)).clamp(0.0, 1.0)
    }

    fn x(&self, at: f64) -> f64 {
        1000.0 * at / self.seconds
    }
}

/// One policy, thinned out.
struct Line {
    at: Vec<f64>,
    utility: Vec<f64>,
}

pub(super) fn write(out: &mut String, view: &View<'_>) {
    let stride = stride(view.windows(), MOST_POINTS);
    let lines: Vec<Line> = view
        .shown
        .iter()
        .map(|shown| Line { at: middles(view, stride), utility: thin(&shown.record.utility, stride) })
        .collect();
    let lowest = lines.iter().flat_map(|line| &line.utility).copied().fold(1.0, f64::min);
    let low = (lowest * 10.0).floor().clamp(0.0, 9.0) / 10.0;
    let scale = Scale { low, seconds: view.seconds().max(1.0) };
    #[allow(clippy::cast_precision_loss)]
    let each = spell(view.window_s() * stride as f64);
    let from_zero = if low > 0.0 { format!(" The axis begins at {low:.1}.") } else { String::new() };
    let _ = write!(
        out,
        "<section id=\"timeline\">\n<h2>Utility over time</h2>\n<p class=\"note\">Utility of the host, weighted by VM, \
         before the cost of changes; each point is a mean over {each}.{from_zero} The area is what the policy \
         gains (its colour) or loses (hatched) against {}.</p>\n<div class=\"figure labelled\">\n",
        escape(view.shown[view.base].name)
    );
    y_axis(out, &scale);
    out.push_str("<div class=\"plot tall\" id=\"timeline-plot\">");
    plot(out, view, &lines, &scale);
    labels(out, view, &lines, &scale);
    for (number, (from, to)) in (1..).zip(&view.spans) {
        let left = scale.x(f64::midpoint(*from, *to)) / 10.0;
        let _ = write!(out, "<b class=\"moment-number\" style=\"left:{left:.2}%\">{number}</b>");
    }
    out.push_str("<div class=\"cursor\" hidden=\"\"></div></div>\n");
    out.push_str(&time_axis(scale.seconds));
    out.push_str(
        "</div>\n<p class=\"readout\" id=\"timeline-readout\" aria-live=\"polite\">&#160;</p>\n</section>\n",
    );
}

/// The middle of each point's time.
fn middles(view: &View<'_>, stride: usize) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss)]
    let middle = |index: usize| {
        let (from, to) = (index, (index + stride).min(view.windows()));
        view.window_s() * (from + to) as f64 / 2.0
    };
    (0..view.windows()).step_by(stride).map(middle).collect()
}

fn y_axis(out: &mut String, scale: &Scale) {
    out.push_str("<div class=\"yaxis\" aria-hidden=\"true\">");
    for value in y_ticks(scale) {
        let _ = write!(out, "<span style=\"top:{:.1}%\">{value:.1}</span>", scale.y(value) / 10.0);
    }
    out.push_str("</div>");
}

fn y_ticks(scale: &Scale) -> Vec<f64> {
    let step = if scale.low < 0.55 { 0.2 } else { 0.1 };
    let mut ticks = Vec::new();
    let mut value = 1.0;
    while value > scale.low - 1e-9 {
        ticks.push(value);
        value -= step;
    }
    ticks
}

fn plot(out: &mut String, view: &View<'_>, lines: &[Line], scale: &Scale) {
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"tl-t tl-d\">\
         <title id=\"tl-t\">Utility of the host over time, by policy</title><desc id=\"tl-d\">{}</desc>\
         <defs><pattern id=\"hatch\" width=\"6\" height=\"30\" patternUnits=\"userSpaceOnUse\">\
         <path d=\"M0 30L6 0\" class=\"hatch\"/></pattern></defs>",
        describe(view)
    );
    for (from, to) in &view.spans {
        let (from, to) = (scale.x(*from), scale.x(*to));
        let _ = write!(
            out,
            "<rect class=\"moment-band\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"1000\"/>",
            to - from
        );
    }
    for value in y_ticks(scale) {
        let y = scale.y(value);
        let _ = write!(out, "<path class=\"grid\" d=\"M0 {y:.1}H1000\"/>");
    }
    for at in ticks(scale.seconds) {
        let x = scale.x(at);
        let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} 0V1000\"/>");
    }
    for (index, shown) in view.choices() {
        let (gain, loss) = areas(&lines[view.base], &lines[index], scale);
        let _ = write!(
            out,
            "<g {} style=\"--c:{}\"><path class=\"gain\" d=\"{gain}\"/><path class=\"loss\" d=\"{loss}\"/></g>",
            view.only(index),
            shown.colour
        );
    }
    for (index, (shown, line)) in view.shown.iter().zip(lines).enumerate() {
        let role = match index {
            _ if index == view.base => "line base",
            _ if index == view.chosen => "line chosen",
            _ => "line",
        };
        let dashed = if shown.name == "clairvoyant" { " ceiling" } else { "" };
        let _ = write!(
            out,
            "<path class=\"{role}{dashed}\" data-line=\"{index}\" style=\"--c:{}\" d=\"{}\"><title>{}</title></path>",
            shown.colour,
            path(&line.at, &line.utility, scale),
            escape(shown.name)
        );
    }
    out.push_str("</svg>");
}

fn describe(view: &View<'_>) -> String {
    let means: Vec<String> = view
        .shown
        .iter()
        .map(|shown| format!("{} {:.3}", escape(shown.name), shown.run.score.utility))
        .collect();
    format!("Mean utility less the cost of changes: {}.", means.join(", "))
}

fn path(at: &[f64], values: &[f64], scale: &Scale) -> String {
    let mut out = String::new();
    for (index, (at, value)) in at.iter().zip(values).enumerate() {
        let letter = if index == 0 { 'M' } else { 'L' };
        let _ = write!(out, "{letter}{:.1} {:.1}", scale.x(*at), scale.y(*value));
    }
    out
}

/// Where the second line is above the first, and where it is below.
fn areas(base: &Line, line: &Line, scale: &Scale) -> (String, String) {
    let between = |side: fn(f64, f64) -> f64| {
        let edge: Vec<f64> = base.utility.iter().zip(&line.utility).map(|(b, l)| side(*b, *l)).collect();
        let mut area = path(&line.at, &edge, scale);
        for (at, value) in base.at.iter().zip(&base.utility).rev() {
            let _ = write!(area, "L{:.1} {:.1}", scale.x(*at), scale.y(*value));
        }
        if !area.is_empty() {
            area.push('Z');
        }
        area
    };
    (between(f64::max), between(f64::min))
}

/// The lines' names at their ends, moved apart where they would overlap.
fn labels(out: &mut String, view: &View<'_>, lines: &[Line], scale: &Scale) {
    const APART: f64 = 6.5;
    let last = |line: &Line| {
        let tail = &line.utility[line.utility.len().saturating_sub(3)..];
        #[allow(clippy::cast_precision_loss)]
        let mean = tail.iter().sum::<f64>() / tail.len().max(1) as f64;
        scale.y(mean) / 10.0
    };
    let mut places: Vec<(f64, usize)> =
        lines.iter().enumerate().map(|(index, line)| (last(line), index)).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut top = -APART;
    for (place, _) in &mut places {
        *place = place.max(top + APART);
        top = *place;
    }
    // What ran out below is pushed back up.
    let mut bottom = 100.0 + APART;
    for (place, _) in places.iter_mut().rev() {
        *place = place.min(bottom - APART);
        bottom = *place;
    }
    for (place, index) in places {
        let shown = &view.shown[index];
        let _ = write!(
            out,
            "<span class=\"end\" data-line=\"{index}\" style=\"top:{place:.1}%;--c:{}\">{}</span>",
            shown.colour,
            super::markup::short(shown.name, 14)
        );
    }
}
