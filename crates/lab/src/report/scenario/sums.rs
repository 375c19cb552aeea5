//! What all VMs together ask for over time, by what they are judged by, against what there is.

use std::fmt::Write;

use super::{figure, shares};
use crate::report::frame::{ticks, time_axis};
use crate::report::markup::escape;
use crate::report::view::{CLASSES, class};
use crate::scenario::{MOMENTS, Outline, Resource, Scenario, asked};

/// The colours of the classes.
pub(super) const COLOURS: [&str; 3] = ["var(--k2)", "var(--k1)", "var(--static)"];

/// The resources that [`asked`] tells of, in its order.
const RESOURCES: [&str; 5] = ["CPU", "memory", "memory traffic", "device traffic", "GPU time"];

/// Each resource, each moment, each class.
type Sums = Vec<Vec<[f64; 3]>>;

pub(super) fn write(out: &mut String, scenario: &Scenario, outline: &Outline) {
    let seconds = scenario.duration.as_secs_f64();
    out.push_str(
        "<section id=\"sums\">\n<h2>All VMs together</h2>\n<p class=\"note\">What all VMs that are there ask for, \
         stacked by what they are judged by. The dashed line is what the host has.</p>\n<p class=\"legend\">",
    );
    for (name, colour) in CLASSES.into_iter().zip(COLOURS) {
        let _ = write!(
            out,
            "<span style=\"--c:{colour}\"><i class=\"swatch\" style=\"opacity:.72\"></i>{name}</span> "
        );
    }
    out.push_str("</p>\n<div class=\"panels sums\">\n");
    let sums = sums(scenario);
    for (name, sums) in RESOURCES.into_iter().zip(&sums) {
        let resource = outline.resources.iter().find(|resource| resource.resource == name);
        if let Some(resource) = resource.filter(|resource| resource.peak > Some(0.0)) {
            panel(out, resource, sums, seconds);
        }
    }
    out.push_str("</div>\n</section>\n");
}

fn sums(scenario: &Scenario) -> Sums {
    let step_s = scenario.duration.as_secs_f64() / f64::from(MOMENTS);
    let mut sums = vec![vec![[0.0; 3]; MOMENTS as usize]; RESOURCES.len()];
    for guest in &scenario.guests {
        let class = class(guest.spec.objective);
        for moment in 0..MOMENTS {
            let Some(asked) = asked(guest, step_s * (f64::from(moment) + 0.5)) else { continue };
            for (sums, asked) in sums.iter_mut().zip(asked) {
                sums[moment as usize][class] += asked;
            }
        }
    }
    sums
}

fn panel(out: &mut String, resource: &Resource, sums: &[[f64; 3]], seconds: f64) {
    let name = escape(resource.resource);
    let peak = resource.peak.unwrap_or(0.0);
    let top = (1.06 * peak.max(resource.capacity)).max(1e-9);
    let says = shares(resource).map_or_else(String::new, |(mean, peak)| {
        format!(", {mean:.0}&#160;% asked on average, {peak:.0}&#160;% at most")
    });
    let _ = write!(
        out,
        "<div class=\"panel-table\"><h3>{name} <small>{} {} there{says}</small></h3>\n<div class=\"figure\">\
         <div class=\"yaxis\" aria-hidden=\"true\">",
        figure(resource.capacity),
        resource.unit
    );
    for value in y_ticks(resource.capacity, peak, top) {
        let _ = write!(
            out,
            "<span style=\"top:{:.1}%\">{}</span>",
            100.0 * (1.0 - value / top),
            if value > 0.0 { figure(value) } else { "0".into() }
        );
    }
    let _ = write!(
        out,
        "</div><div class=\"plot\"><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\" role=\"img\"><title>{name} asked for over time, by class</title>"
    );
    for at in ticks(seconds) {
        let _ = write!(out, "<path class=\"grid\" d=\"M{:.1} 0V1000\"/>", 1000.0 * at / seconds.max(1.0));
    }
    out.push_str("<path class=\"grid\" d=\"M0 1000H1000\"/>");
    for (class, colour) in COLOURS.into_iter().enumerate() {
        let below: Vec<f64> = sums.iter().map(|sums| sums[..class].iter().sum()).collect();
        let above: Vec<f64> = sums.iter().map(|sums| sums[..=class].iter().sum()).collect();
        if above != below {
            let _ = write!(
                out,
                "<path class=\"stack\" style=\"--c:{colour}\" d=\"{}\"/>",
                band(&below, &above, top)
            );
        }
    }
    let there = 1000.0 * (1.0 - resource.capacity / top);
    let _ = write!(
        out,
        "<path class=\"there\" d=\"M0 {there:.1}H1000\"/></svg></div>\n{}</div></div>\n",
        time_axis(seconds)
    );
}

/// Zero, what is there, and the most that is asked where that is clear of both.
fn y_ticks(capacity: f64, peak: f64, top: f64) -> Vec<f64> {
    let clear = |value: f64| value > 0.12 * top && (value - capacity).abs() > 0.12 * top;
    let mut ticks = vec![0.0, capacity];
    ticks.extend(Some(peak).filter(|peak| clear(*peak)));
    ticks
}

/// The area between two lines; each value stands for its stretch of time.
fn band(below: &[f64], above: &[f64], top: f64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let x = |index: usize| 1000.0 * index as f64 / below.len().max(1) as f64;
    let y = |value: f64| 1000.0 * (1.0 - value / top).clamp(0.0, 1.0);
    let mut path = String::new();
    for (index, value) in above.iter().enumerate() {
        let letter = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}H{:.1}", x(index), y(*value), x(index + 1));
    }
    for (index, value) in below.iter().enumerate().rev() {
        let _ = write!(path, "L{:.1} {:.1}H{:.1}", x(index + 1), y(*value), x(index));
    }
    path + "Z"
}
