//! When and why policies differ, in one scenario.

use std::fmt::Write;

use super::windows::{Moment, Part, Want, mean};
use crate::bench::Detail;
use crate::record::{Note, Track};
use crate::report::markup::{clock, escape, grouped, short, signed, spell, trim};
use crate::report::view::{View, objective};

/// Changes that are named for one moment.
const MOST_CHANGES: usize = 5;
/// How far above what anybody had a chart reaches, as a multiple of that.
const MOST_WANTED: f64 = 2.0;

pub(super) fn head(out: &mut String, view: &View<'_>, detail: &Detail) {
    let _ = write!(
        out,
        "<section id=\"closely\" class=\"part\">\n<h2>One scenario closely: {}</h2>\n<p class=\"what\">The scenario in which the best \
         policy and static are furthest apart, so not a typical one. Seed {} · host <b>{}</b> · {} VMs · {} · demand: \
         {}</p>\n</section>\n",
        escape(&detail.name),
        detail.scenario.seed,
        escape(detail.scenario.topology.name()),
        grouped(detail.scenario.guests.len() as u64),
        spell(view.seconds()),
        escape(&detail.scenario.source)
    );
}

pub(super) fn write(out: &mut String, view: &View<'_>, moments: &[Moment]) {
    let (base, chosen) = (&view.shown[view.base], &view.shown[view.chosen]);
    let _ = write!(
        out,
        "<section id=\"why\">\n<h2>When and why they differ</h2>\n<p class=\"note\">The times marked above, in which {} and {} differ \
         most, and the VMs that make most of it. Grey area: what the VM wanted under {}, cut off where that is beyond all reach; the lines: what it had under each. \
         A VM that got less than it wanted earlier wants more later: work that was left waits.</p>\n",
        escape(chosen.name),
        escape(base.name),
        escape(base.name)
    );
    if moments.is_empty() {
        out.push_str("<p>They hardly differ at any time.</p>\n");
    }
    for (index, moment) in moments.iter().enumerate() {
        write_moment(out, view, moment, index + 1);
    }
    out.push_str("</section>\n");
}

fn write_moment(out: &mut String, view: &View<'_>, moment: &Moment, number: usize) {
    let chosen = view.shown[view.chosen].name;
    let verb = if moment.gain > 0.0 { "gains" } else { "loses" };
    let _ = write!(
        out,
        "<h3 class=\"moment\"><b>{number}</b> {} to {}: {} {verb} {:.3} of the host's utility</h3>\n<div class=\"causes\">\n",
        clock(moment.begins_s(view)),
        clock(moment.ends_s(view)),
        escape(chosen),
        moment.gain.abs()
    );
    for part in &moment.parts {
        cause(out, view, moment, part);
    }
    out.push_str("</div>\n");
    if moment.parts.is_empty() {
        out.push_str("<p class=\"note\">Many VMs add a little each.</p>\n");
    }
    changes(out, view, moment);
}

fn cause(out: &mut String, view: &View<'_>, moment: &Moment, part: &Part) {
    let spec = &view.scenario.guests[part.vm].spec;
    let want = part.short_of.unwrap_or(Want::Cpu);
    let _ = writeln!(
        out,
        "<figure class=\"cause\"><figcaption><b>{}</b> <small>weight {}, {}</small><br/>utility {:.2} → {:.2}, adds {}<br/>{}</figcaption>",
        short(&spec.name, 24),
        spec.weight.get(),
        objective(spec.objective),
        part.utility.0,
        part.utility.1,
        signed(part.adds, 3),
        reason(view, moment, part)
    );
    chart(out, view, moment, part.vm, want);
    out.push_str("</figure>\n");
}

/// What made the difference, in words and figures.
fn reason(view: &View<'_>, moment: &Moment, part: &Part) -> String {
    let Some(want) = part.short_of else {
        return "neither CPU, memory nor devices: look at cache, memory bandwidth, GPU, standstills and work left \
                from before; CPU is shown"
            .into();
    };
    let of = |shown: usize| {
        let track = view.shown[shown].record.vms.get(part.vm)?;
        let (wanted, got) = want.columns(track);
        let mean = |column: &[f32]| trim(mean(column, moment.from, moment.to));
        Some(format!("{} of {}", mean(got), mean(wanted)))
    };
    let text = |shown: usize| of(shown).unwrap_or_default();
    format!("{}: {} → {}", want.title(), text(view.base), text(view.chosen))
}

fn chart(out: &mut String, view: &View<'_>, moment: &Moment, vm: usize, want: Want) {
    let around = moment.to - moment.from;
    let (from, to) = (moment.from.saturating_sub(around), (moment.to + around).min(view.windows()));
    let tracks: Vec<Option<&Track>> = view.shown.iter().map(|shown| shown.record.vms.get(vm)).collect();
    let Some(base) = tracks.get(view.base).copied().flatten() else { return };
    let part = |column: &[f32]| -> Vec<f64> {
        let end = to.min(column.len());
        column[from.min(end)..end].iter().map(|value| f64::from(*value)).collect()
    };
    let wanted = part(want.columns(base).0);
    let got: Vec<Vec<f64>> =
        tracks.iter().map(|track| track.map_or_else(Vec::new, |track| part(want.columns(track).1))).collect();
    // Work that piles up wants more than anybody could give; its area is cut off above.
    let highest = |values: &mut dyn Iterator<Item = &f64>| values.copied().fold(0.0, f64::max);
    let had = highest(&mut got.iter().flatten());
    let most = highest(&mut wanted.iter()).min(MOST_WANTED * had).max(had).max(1e-9);
    #[allow(clippy::cast_precision_loss)]
    let x = |window: usize| 1000.0 * (window - from) as f64 / (to - from).max(1) as f64;
    let _ = write!(
        out,
        "<div class=\"cause-plot\"><span class=\"most\">{}</span><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\" role=\"img\"><title>{} wanted and had</title><rect class=\"moment-band\" x=\"{:.1}\" y=\"0\" \
         width=\"{:.1}\" height=\"1000\"/><path class=\"wanted\" d=\"{}L1000 1000L0 1000Z\"/>",
        trim(most),
        want.title(),
        x(moment.from),
        x(moment.to) - x(moment.from),
        steps(&wanted, most)
    );
    for (index, (shown, got)) in view.shown.iter().zip(&got).enumerate() {
        let class = match index {
            _ if index == view.base => "was",
            _ if shown.name == "clairvoyant" => "line ceiling",
            _ => "used",
        };
        let path = steps(got, most);
        let _ = write!(out, "<path class=\"{class}\" style=\"--c:{}\" d=\"{path}\"/>", shown.colour);
    }
    let seconds =
        |window: usize| clock(view.window_s() * f64::from(u32::try_from(window).unwrap_or(u32::MAX)));
    let _ = writeln!(
        out,
        "</svg></div><div class=\"ends\"><span>{}</span><span>{}</span></div>",
        seconds(from),
        seconds(to)
    );
}

/// A series of means as a line of steps from edge to edge.
#[allow(clippy::cast_precision_loss)]
fn steps(values: &[f64], most: f64) -> String {
    let width = 1000.0 / values.len().max(1) as f64;
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        let y = 1000.0 * (1.0 - (value / most).clamp(0.0, 1.0));
        let (letter, from) = (if index == 0 { 'M' } else { 'L' }, width * index as f64);
        let _ = write!(out, "{letter}{from:.1} {y:.1}L{:.1} {y:.1}", from + width);
    }
    if out.is_empty() { "M0 1000".into() } else { out }
}

/// What the policy changed for these VMs from shortly before until then.
fn changes(out: &mut String, view: &View<'_>, moment: &Moment) {
    let shown = &view.shown[view.chosen];
    let length = moment.ends_s(view) - moment.begins_s(view);
    let ids: Vec<_> = moment.parts.iter().map(|part| view.scenario.guests[part.vm].spec.id).collect();
    let concerns = |note: &&Note| {
        let at = note.at.as_secs_f64();
        note.vm.is_some_and(|vm| ids.contains(&vm))
            && (moment.begins_s(view) - length..moment.ends_s(view)).contains(&at)
    };
    let all: Vec<&Note> = shown.record.notes.iter().filter(concerns).collect();
    let name = escape(shown.name);
    if all.is_empty() {
        let _ = writeln!(
            out,
            "<p class=\"note\">{name} changed shares only, if anything, for these VMs around then.</p>"
        );
        return;
    }
    let _ = write!(out, "<p class=\"note\">What {name} changed for these VMs around then");
    if all.len() > MOST_CHANGES {
        let _ = write!(out, ", the first {MOST_CHANGES} of {}", grouped(all.len() as u64));
    }
    out.push_str(":</p>\n<ul class=\"did\">");
    for note in all.iter().take(MOST_CHANGES) {
        let _ = write!(
            out,
            "<li><b>{}</b> {} <small>{}</small></li>",
            clock(note.at.as_secs_f64()),
            short(&note.what, 90),
            short(&note.why, 120)
        );
    }
    out.push_str("</ul>\n");
}
