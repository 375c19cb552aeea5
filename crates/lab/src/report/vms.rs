//! Where it is won and lost: each VM's utility under the static assignment and under a policy.

use std::fmt::Write;

use super::markup::{escape, short, signed};
use super::view::{CLASSES, View, class, objective};

/// VMs in the table; of more, those that gain most and those that lose most are shown.
const MOST_ROWS: usize = 64;
/// VMs that are this well off before and after are counted, not drawn.
const STEADY: f64 = 0.995;

pub(super) fn write(out: &mut String, view: &View<'_>) {
    let base = escape(view.shown[view.base].name);
    let _ = write!(
        out,
        "<section id=\"vms\">\n<h2>Where it is won and lost</h2>\n<p class=\"note\">Mean utility of each VM, 0 to 1: under \
         {base} (ring) and under the policy (dot), sorted by gain in each class.</p>\n"
    );
    for (index, shown) in view.choices() {
        let _ = writeln!(out, "<div {} style=\"--c:{}\">", view.only(index), shown.colour);
        policy(out, view, index);
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

fn policy(out: &mut String, view: &View<'_>, policy: usize) {
    let mut order: Vec<usize> = (0..view.scenario.guests.len()).collect();
    order.sort_by(|a, b| view.gain(policy, *b).total_cmp(&view.gain(policy, *a)).then(a.cmp(b)));
    let left_out = order.len().saturating_sub(MOST_ROWS);
    let won = order.iter().filter(|vm| view.gain(policy, **vm) > 0.005).count();
    let lost = order.iter().filter(|vm| view.gain(policy, **vm) < -0.005).count();
    let _ = write!(
        out,
        "<p class=\"note\">VMs that gain more than 0.005: <b>{won}</b>; that lose more: <b>{lost}</b>."
    );
    if left_out > 0 {
        order.drain(MOST_ROWS / 2..order.len() - MOST_ROWS / 2);
        let _ = write!(
            out,
            " Shown are the {} that gain most and the {} that gain least; {left_out} in between are left out, class \
             means count all.",
            MOST_ROWS / 2,
            MOST_ROWS / 2
        );
    }
    let _ = write!(
        out,
        "</p>\n<table class=\"dumbbells\"><thead><tr><th scope=\"col\">VM</th><th scope=\"col\" class=\"n wide\">{}</th>\
         <th scope=\"col\"><span class=\"scale\"><i>0</i><i>½</i><i>1</i></span></th><th scope=\"col\" class=\"n wide\">{}</th>\
         <th scope=\"col\" class=\"n\">gain</th></tr></thead>\n",
        escape(view.shown[view.base].name),
        escape(view.shown[policy].name)
    );
    for (number, name) in CLASSES.into_iter().enumerate() {
        let in_class = |vm: &usize| class(view.scenario.guests[*vm].spec.objective) == number;
        let all: Vec<usize> = (0..view.scenario.guests.len()).filter(in_class).collect();
        if all.is_empty() {
            continue;
        }
        out.push_str("<tbody>");
        let means = (mean(view, view.base, &all), mean(view, policy, &all));
        let title = format!("{} <small>{} VMs</small>", name, all.len());
        row(out, &title, means, " class=\"class\"");
        let (unmoved, moved): (Vec<usize>, Vec<usize>) =
            order.iter().copied().filter(in_class).partition(|vm| is_steady(view, policy, *vm));
        for vm in moved {
            let spec = &view.scenario.guests[vm].spec;
            let title = format!(
                "<span title=\"{} · {} vCPUs · {}\">{}</span>",
                escape(&spec.name),
                spec.vcpus,
                objective(spec.objective),
                short(&spec.name, 22)
            );
            row(out, &title, (view.utility(view.base, vm), view.utility(policy, vm)), "");
        }
        if !unmoved.is_empty() {
            let _ = write!(
                out,
                "<tr><td colspan=\"5\" class=\"steady\">{} more stay at {STEADY} or above</td></tr>",
                unmoved.len()
            );
        }
        out.push_str("</tbody>\n");
    }
    out.push_str("</table>\n");
}

/// Whether there is nothing to see of a VM.
fn is_steady(view: &View<'_>, policy: usize, vm: usize) -> bool {
    view.utility(view.base, vm) >= STEADY && view.utility(policy, vm) >= STEADY
}

/// Weighted as in the score.
fn mean(view: &View<'_>, policy: usize, vms: &[usize]) -> f64 {
    let weight = |vm: usize| view.scenario.guests[vm].spec.weight.as_f64();
    let weights: f64 = vms.iter().map(|vm| weight(*vm)).sum();
    let sum: f64 = vms.iter().map(|vm| weight(*vm) * view.utility(policy, *vm)).sum();
    if weights > 0.0 { sum / weights } else { 1.0 }
}

fn row(out: &mut String, title: &str, (before, after): (f64, f64), attributes: &str) {
    let gain = after - before;
    let kind = match gain {
        up if up > 0.005 => "up",
        down if down < -0.005 => "down",
        _ => "same",
    };
    // The ends keep clear of the edges.
    let x = |value: f64| 2.0 + 96.0 * value.clamp(0.0, 1.0);
    let (from, to) = (x(before), x(after));
    let _ = writeln!(
        out,
        "<tr{attributes}><th scope=\"row\">{title}</th><td class=\"n wide\">{before:.3}</td><td class=\"pair\">\
         <svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\"><title>{before:.3} to {after:.3}</title>\
         <line class=\"rail\" x1=\"2%\" x2=\"98%\" y1=\"50%\" y2=\"50%\"/>\
         <line class=\"{kind}\" x1=\"{from:.1}%\" x2=\"{to:.1}%\" y1=\"50%\" y2=\"50%\"/>\
         <circle class=\"before\" cx=\"{from:.1}%\" cy=\"50%\" r=\"3.2\"/><circle class=\"after {kind}\" cx=\"{to:.1}%\" cy=\"50%\" r=\"4\"/></svg>\
         </td><td class=\"n wide\">{after:.3}</td><td class=\"n {kind}\">{}</td></tr>",
        signed(gain, 3)
    );
}
