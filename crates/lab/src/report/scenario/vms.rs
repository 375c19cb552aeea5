//! The VMs of a scenario: what each is, what it may hold, when it is there, and what it is asked to do.

use std::fmt::Write;

use halcyon_model::Objective;
use halcyon_sim::Guest;

use super::figure;
use super::sums::COLOURS;
use crate::report::markup::{clock, escape, grouped, short, trim};
use crate::report::view::{class, objective};
use crate::scenario::{MOMENTS, Outline, Scenario};

/// VMs in the table; of more, those with the highest CPU limits are shown.
const MOST_VMS: usize = 256;

const GIB: f64 = 1_073_741_824.0;

const COLUMNS: [(&str, &str); 10] = [
    ("VM, kind and program", ""),
    ("judged by", ""),
    ("weight", "n"),
    ("CPU (cores)", "n"),
    ("memory (GiB)", "n"),
    ("traffic (GB/s)", "n"),
    ("devices", ""),
    ("there", ""),
    ("CPU work (cores)", "spark"),
    ("working set (GiB)", "spark"),
];

pub(super) fn write(out: &mut String, scenario: &Scenario, outline: &Outline) {
    let mut shown: Vec<&Guest> = scenario.guests.iter().collect();
    shown.sort_by_key(|guest| (std::cmp::Reverse(guest.spec.cpu.limit), guest.spec.id));
    shown.truncate(MOST_VMS);
    shown.sort_by_key(|guest| guest.spec.id);
    let left_out = scenario.guests.len() - shown.len();
    let _ = write!(
        out,
        "<section id=\"vms\">\n<h2>The VMs</h2>\n<p class=\"note\">{} VMs: {} arrive later, {} leave earlier; the \
         response times of {} are measured, so that policies see them; {} run a program that policies do not know. \
         Sizes are what is reserved – the limit. Figures over time span the whole run, each point is the most in its {}; \
         each is as high as its own peak, with the limit dashed and the reservation dotted where they are below that.",
        grouped(outline.vms as u64),
        outline.arrive_later,
        outline.leave_earlier,
        outline.measured,
        outline.unlabelled,
        crate::report::markup::spell(scenario.duration.as_secs_f64() / f64::from(MOMENTS))
    );
    if left_out > 0 {
        let _ = write!(
            out,
            " Shown are the {MOST_VMS} with the highest CPU limits; {} more are left out here and count in the sums.",
            grouped(left_out as u64)
        );
    }
    out.push_str("</p>\n<div class=\"scroll\"><table class=\"guests\"><thead><tr>");
    for (name, class) in COLUMNS {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = write!(out, "<th scope=\"col\"{class}>{name}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for guest in shown {
        row(out, scenario, guest);
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn row(out: &mut String, scenario: &Scenario, guest: &Guest) {
    let Guest { spec, workload, signal, .. } = guest;
    let program = spec.application.as_deref().unwrap_or("unknown program");
    let seen = matches!(spec.objective, Objective::Latency { .. }).then_some(if *signal {
        "<small>measured</small>"
    } else {
        "<small>not measured</small>"
    });
    let kind = format!("{} · {program}", workload.application.name);
    let _ = write!(
        out,
        "<tr style=\"--c:{}\"><th scope=\"row\"><span title=\"{}\"><i class=\"swatch\"></i>{}</span>\
         <small title=\"{}\">{}</small></th><td>{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}<small>{} vCPUs</small></td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td>",
        COLOURS[class(spec.objective)],
        escape(&spec.name),
        short(&spec.name, 20),
        escape(&kind),
        short(&kind, 28),
        objective(spec.objective),
        seen.unwrap_or_default(),
        trim(spec.weight.as_f64()),
        range(spec.cpu.reservation.as_f64() / 1000.0, spec.cpu.limit.as_f64() / 1000.0),
        spec.vcpus,
        range(spec.memory.reservation.as_f64() / GIB, spec.memory.limit.as_f64() / GIB),
        range(spec.memory_bandwidth.reservation.as_f64() / 1e9, spec.memory_bandwidth.limit.as_f64() / 1e9),
        devices(guest),
        life(scenario, guest)
    );
    let demand = &workload.demand;
    let work = most(scenario, guest, |from, to| demand.most_work(from, to));
    spark(out, &work, spec.cpu.reservation.as_f64() / 1000.0, spec.cpu.limit.as_f64() / 1000.0);
    let set = most(scenario, guest, |from, to| demand.most_working_set(from, to) / GIB);
    spark(out, &set, spec.memory.reservation.as_f64() / GIB, spec.memory.limit.as_f64() / GIB);
    out.push_str("</tr>\n");
}

fn range(reservation: f64, limit: f64) -> String {
    format!("{} – {}", trim(reservation), trim(limit))
}

/// Devices and GPU slices, with how many it must have and how many it can use.
fn devices(guest: &Guest) -> String {
    let wishes = guest.spec.devices.iter().map(|wish| (wish.count, escape(&wish.class.to_string())));
    let slices = std::iter::once((guest.spec.gpu_slices, "slices".into()));
    let of_use = wishes.chain(slices).filter(|(count, _)| count.limit > 0);
    let all: Vec<String> =
        of_use.map(|(count, what)| format!("{} – {} {what}", count.reservation, count.limit)).collect();
    if all.is_empty() { "–".into() } else { all.join("<br/>") }
}

/// When it is there, in hours and minutes from the start.
fn life(scenario: &Scenario, guest: &Guest) -> String {
    let leaves = guest.leaves.filter(|leaves| *leaves < scenario.duration);
    if guest.arrives.is_zero() && leaves.is_none() {
        return "<small>all the time</small>".into();
    }
    let end = leaves.map_or_else(|| "end".into(), |leaves| clock(leaves.as_secs_f64()));
    format!("{} – {end}", clock(guest.arrives.as_secs_f64()))
}

/// The most in each of the stretches in which it is there.
fn most(scenario: &Scenario, guest: &Guest, most: impl Fn(f64, f64) -> f64) -> Vec<Option<f64>> {
    let step_s = scenario.duration.as_secs_f64() / f64::from(MOMENTS);
    let (arrives, leaves) =
        (guest.arrives.as_secs_f64(), guest.leaves.map_or(f64::INFINITY, |leaves| leaves.as_secs_f64()));
    (0..MOMENTS)
        .map(|moment| {
            let from = (step_s * f64::from(moment)).max(arrives);
            let to = (step_s * f64::from(moment + 1)).min(leaves);
            (from < to).then(|| most(from, to))
        })
        .collect()
}

/// A small figure over time, as high as what is asked; the bounds are drawn where they are within.
fn spark(out: &mut String, values: &[Option<f64>], reservation: f64, limit: f64) {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let peak = known.iter().copied().fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss)]
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let top = 1.1 * peak.max(1e-9);
    let y = |value: f64| 1000.0 * (1.0 - value / top).clamp(0.0, 1.0);
    let says = if known.is_empty() {
        "never there".into()
    } else {
        format!("mean {}, most {}", figure(mean), figure(peak))
    };
    let _ = write!(
        out,
        "<td class=\"spark\"><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\" role=\"img\"><title>{says}</title>"
    );
    let path = areas(values, &y);
    if !path.is_empty() {
        let _ = write!(out, "<path class=\"area\" d=\"{path}\"/>");
    }
    for (bound, class) in [(limit, "limit"), (reservation, "least")] {
        if bound > 0.0 && bound < top {
            let _ = write!(out, "<path class=\"{class}\" d=\"M0 {:.0}H1000\"/>", y(bound));
        }
    }
    let _ = write!(out, "</svg><small>{says}</small></td>");
}

/// The area below the values, one for each time in which there are some.
#[allow(clippy::cast_precision_loss)]
fn areas(values: &[Option<f64>], y: &dyn Fn(f64) -> f64) -> String {
    let x = |index: usize| 1000.0 * index as f64 / values.len().max(1) as f64;
    let mut path = String::new();
    let mut open = false;
    for (index, value) in values.iter().enumerate() {
        match value {
            Some(value) => {
                if !open {
                    let _ = write!(path, "M{:.0} 1000", x(index));
                }
                let _ = write!(path, "L{:.0} {:.0}H{:.0}", x(index), y(*value), x(index + 1));
                open = true;
            }
            None if open => {
                path.push_str("V1000Z");
                open = false;
            }
            None => {}
        }
    }
    if open {
        path.push_str("V1000Z");
    }
    path
}
