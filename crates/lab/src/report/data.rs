//! What the script needs: thinned-out series as text, and the section that it draws one VM into.

use std::collections::BTreeSet;
use std::fmt::Write;

use halcyon_model::VmId;
use serde::Serialize;

use super::frame::time_axis;
use super::heat;
use super::markup::{escape, for_script, spell};
use super::series::{pairs, stride, thin};
use super::timeline::MOST_POINTS;
use super::view::{View, objective};
use crate::record::{Note, Record, Track};

/// VMs that can be looked at in detail.
const MOST_VMS: usize = 80;
/// Points of one series of one VM.
const MOST_DETAIL: usize = 240;
/// Marks of one VM under one policy.
const MOST_MARKS: usize = 240;

#[derive(Serialize)]
struct Data {
    base: usize,
    chosen: usize,
    seconds: f64,
    point_s: f64,
    cell_s: f64,
    detail_s: f64,
    kinds: Vec<&'static str>,
    rows: Vec<String>,
    policies: Vec<Policy>,
    vms: Vec<Vm>,
}

#[derive(Serialize)]
struct Policy {
    name: String,
    colour: String,
    utility: String,
    heat: Vec<String>,
}

#[derive(Serialize)]
struct Vm {
    name: String,
    what: String,
    /// The largest value of each series, over all policies.
    most: [f64; 8],
    policies: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    mean: f64,
    series: Vec<String>,
    /// Points of the series and kinds of change.
    marks: Vec<(usize, usize)>,
}

fn columns(track: &Track) -> [&[f32]; 8] {
    [
        &track.cpu_wanted,
        &track.cpu_used,
        &track.cpu_share,
        &track.working_set_gib,
        &track.memory_gib,
        &track.io_wanted_mb_s,
        &track.io_mb_s,
        &track.utility,
    ]
}

/// All data, safe inside a script element.
pub(super) fn json(view: &View<'_>) -> String {
    #[allow(clippy::cast_precision_loss)]
    let each = |stride: usize| view.window_s() * stride as f64;
    let kinds = kinds(view);
    let data = Data {
        base: view.base,
        chosen: view.chosen,
        seconds: view.seconds(),
        point_s: each(stride(view.windows(), MOST_POINTS)),
        cell_s: each(heat::columns(view)),
        detail_s: each(stride(view.windows(), MOST_DETAIL)),
        rows: heat::rows(view).iter().map(|vms| heat::row_name(view, vms)).collect(),
        policies: (0..view.shown.len()).map(|policy| policy_data(view, policy)).collect(),
        vms: detailed(view).into_iter().map(|vm| vm_data(view, vm, &kinds)).collect(),
        kinds,
    };
    for_script(&serde_json::to_string(&data).unwrap_or_else(|_| "null".into()))
}

/// Kinds of change that were noted, by name.
fn kinds(view: &View<'_>) -> Vec<&'static str> {
    let notes = view.shown.iter().flat_map(|shown| &shown.record.notes);
    notes.map(|note| note.kind).collect::<BTreeSet<_>>().into_iter().collect()
}

fn policy_data(view: &View<'_>, policy: usize) -> Policy {
    let shown = &view.shown[policy];
    let utility = thin(&shown.record.utility, stride(view.windows(), MOST_POINTS));
    Policy {
        name: shown.name.into(),
        colour: shown.colour.clone(),
        utility: pairs(&utility, 1.0),
        heat: heat::cells(view, policy),
    }
}

/// The VMs that can be looked at: all, or those that gain most and those that gain least.
fn detailed(view: &View<'_>) -> Vec<usize> {
    let mut order = view.order.clone();
    if order.len() > MOST_VMS {
        order.drain(MOST_VMS / 2..order.len() - MOST_VMS / 2);
    }
    order
}

fn vm_data(view: &View<'_>, vm: usize, kinds: &[&'static str]) -> Vm {
    let spec = &view.scenario.guests[vm].spec;
    let stride = stride(view.windows(), MOST_DETAIL);
    let track = |record: &Record| {
        let track = record.vms.get(vm);
        track.map_or_else(Default::default, |track| columns(track).map(|column| thin(column, stride)))
    };
    let series: Vec<[Vec<f64>; 8]> = view.shown.iter().map(|shown| track(shown.record)).collect();
    let mut most = [0.0_f64; 8];
    for (most, column) in most.iter_mut().zip(0..) {
        let values = series.iter().flat_map(|series: &[Vec<f64>; 8]| &series[column]);
        *most = values.copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    }
    let policies = series.iter().enumerate().map(|(policy, series)| Detail {
        mean: view.utility(policy, vm),
        series: series.iter().zip(most).map(|(values, most)| pairs(values, most)).collect(),
        marks: marks(&view.shown[policy].record.notes, spec.id, kinds, view.window_s() * as_f64(stride)),
    });
    let policies = policies.collect();
    let what = format!("{} vCPUs, weight {}, {}", spec.vcpus, spec.weight.get(), objective(spec.objective));
    Vm { name: spec.name.clone(), what, most, policies }
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn marks(notes: &[Note], vm: VmId, kinds: &[&'static str], seconds: f64) -> Vec<(usize, usize)> {
    let own = notes.iter().filter(|note| note.vm == Some(vm));
    let place = |note: &Note| {
        let kind = kinds.binary_search(&note.kind).ok()?;
        Some(((note.at.as_secs_f64() / seconds) as usize, kind))
    };
    let marks: BTreeSet<(usize, usize)> = own.filter_map(place).collect();
    marks.into_iter().take(MOST_MARKS).collect()
}

/// The section that shows one VM.
pub(super) fn write_detail(out: &mut String, view: &View<'_>) {
    let shown = detailed(view);
    let left_out = view.scenario.guests.len() - shown.len();
    let each = spell(view.window_s() * as_f64(stride(view.windows(), MOST_DETAIL)));
    out.push_str("<section id=\"detail\">\n<h2>One VM in detail</h2>\n<p class=\"controls\"><label>VM <select id=\"vm\">");
    for (index, vm) in shown.iter().enumerate() {
        let _ = write!(out, "<option value=\"{index}\">{}</option>", escape(view.name(*vm)));
    }
    let _ = write!(
        out,
        "</select></label> <span id=\"vm-what\"></span></p>\n<p class=\"note\">Each point is a mean over {each}."
    );
    if left_out > 0 {
        let _ = write!(
            out,
            " The {} VMs that gain most and the {} that gain least can be chosen; {left_out} are left out.",
            MOST_VMS / 2,
            MOST_VMS / 2
        );
    }
    out.push_str("</p>\n<div id=\"panels\">");
    let axis = time_axis(view.seconds());
    let panels =
        [("cpu", "CPU, cores"), ("memory", "Memory, GiB"), ("io", "Devices, MB/s"), ("utility", "Utility")];
    for (id, title) in panels {
        let _ = write!(
            out,
            "<div class=\"panel\"><h3>{title} <span class=\"keys\" id=\"keys-{id}\"></span></h3><div class=\"figure\">\
             <div class=\"yaxis\" id=\"y-{id}\" aria-hidden=\"true\"></div><div class=\"plot\" data-panel=\"{id}\">\
             <svg xmlns=\"http://www.w3.org/2000/svg\" id=\"plot-{id}\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\">\
             <title>{title} of the chosen VM over time</title></svg><div class=\"cursor\" hidden=\"\"></div></div>{axis}</div></div>"
        );
    }
    out.push_str("<div class=\"panel\"><h3>Changes of this VM</h3><div class=\"figure\"><div class=\"plot marks\" id=\"marks\"></div>");
    out.push_str(&axis);
    out.push_str("</div></div></div>\n<p class=\"readout\" id=\"detail-readout\" aria-live=\"polite\">&#160;</p>\n</section>\n");
}
