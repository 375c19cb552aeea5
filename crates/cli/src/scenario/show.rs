//! `halcyon scenario show`.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use halcyon_lab::{Course, Outline, Resource, Scenario, scenario_html};

use super::ShowArgs;
use crate::demo::{print, report};

/// Characters of a course over time.
const WIDTH: usize = 60;
/// The most programs that are named of one kind.
const MOST_PROGRAMS: usize = 6;

pub(super) fn show(args: &ShowArgs) -> Result<()> {
    report::check(args.html.as_deref())?;
    let scenario = Scenario::read(&args.file)?;
    if let Some(path) = &args.html {
        let word = |path: &Path| report::quoted(&path.to_string_lossy());
        let command = format!("halcyon scenario show {} --html {}", word(&args.file), word(path));
        report::save(path, &scenario_html(&scenario, &command))?;
        eprintln!("halcyon: the page is in {}", path.display());
        return Ok(());
    }
    let outline = scenario.outline();
    if args.json {
        let json = serde_json::to_string_pretty(&outline).context("cannot write the scenario as JSON")?;
        return print(&(json + "\n"));
    }
    print(&text(&outline))
}

fn text(outline: &Outline) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = head(&mut out, outline);
    let _ = kinds(&mut out, outline);
    let _ = resources(&mut out, outline);
    let _ = courses(&mut out, outline);
    out
}

fn head(out: &mut String, outline: &Outline) -> std::fmt::Result {
    let objectives = &outline.objectives;
    writeln!(out, "host        {}", outline.host)?;
    writeln!(out, "demand      {}", outline.source)?;
    writeln!(out, "run         {} h, seed {}", hours(outline), outline.seed)?;
    writeln!(
        out,
        "VMs         {}; {} arrive later, {} leave earlier; {} without a known program",
        outline.vms, outline.arrive_later, outline.leave_earlier, outline.unlabelled
    )?;
    let within = match objectives.p99_ms {
        Some((least, most)) => format!(" (p99 of {least} to {most} ms, {} measured)", outline.measured),
        None => String::new(),
    };
    writeln!(
        out,
        "objectives  {} latency{within}, {} throughput, {} best effort",
        objectives.latency, objectives.throughput, objectives.best_effort
    )
}

/// To a few seconds: a recording ends when it ends.
fn hours(outline: &Outline) -> f64 {
    (outline.hours * 1000.0).round() / 1000.0
}

fn kinds(out: &mut String, outline: &Outline) -> std::fmt::Result {
    writeln!(out, "\n{:<12} {:>5} {:>8} {:>10}  programs", "kind", "VMs", "cores", "GiB")?;
    for kind in &outline.kinds {
        let more = kind.programs.len().saturating_sub(MOST_PROGRAMS);
        let mut programs = kind.programs[..kind.programs.len() - more].join(", ");
        if more > 0 {
            programs += &format!(" and {more} more");
        }
        let name: String = kind.kind.chars().take(12).collect();
        writeln!(out, "{name:<12} {:>5} {:>8.1} {:>10.1}  {programs}", kind.vms, kind.cpu, kind.memory_gib)?;
    }
    Ok(())
}

fn resources(out: &mut String, outline: &Outline) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<15} {:>10} {:>10} {:>10} {:>10} {:>10}  unit",
        "resource", "there", "limits", "reserved", "mean", "peak"
    )?;
    for resource in &outline.resources {
        let Resource { resource: name, unit, capacity, limits, reserved, mean, peak } = resource;
        let share = |value: Option<f64>| {
            value.map_or("–".into(), |value| format!("{:.0} %", 100.0 * value / capacity.max(1e-9)))
        };
        let limits = limits.map_or("–".into(), |limits| format!("{:.2} x", limits / capacity.max(1e-9)));
        writeln!(
            out,
            "{name:<15} {capacity:>10.1} {limits:>10} {:>10} {:>10} {:>10}  {unit}",
            share(Some(*reserved)),
            share(*mean),
            share(*peak)
        )?;
    }
    for devices in &outline.devices {
        writeln!(
            out,
            "{:<15} {:>10} {:>10} {:>10}",
            format!("{} devices", devices.class),
            devices.there,
            format!("{} wanted", devices.wanted),
            devices.reserved
        )?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn courses(out: &mut String, outline: &Outline) -> std::fmt::Result {
    let Course { vms, cpu, memory_gib, memory_traffic_gb_s, device_traffic_gb_s, gpu, .. } = &outline.course;
    let vms: Vec<f64> = vms.iter().map(|vms| *vms as f64).collect();
    writeln!(out, "\nover {} h, from nothing to the most:", hours(outline))?;
    let rows = [
        ("VMs", &vms, ""),
        ("CPU", cpu, "cores"),
        ("memory", memory_gib, "GiB"),
        ("memory traffic", memory_traffic_gb_s, "GB/s"),
        ("device traffic", device_traffic_gb_s, "GB/s"),
        ("GPU time", gpu, "GPUs"),
    ];
    for (name, course, unit) in rows {
        let most = course.iter().copied().fold(0.0, f64::max);
        if most > 0.0 {
            let row = format!("{name:<15} {} {most:.1} {unit}", sparkline(course, most));
            writeln!(out, "{}", row.trim_end())?;
        }
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn sparkline(course: &[f64], most: f64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let chunks = course.chunks(course.len().div_ceil(WIDTH).max(1));
    let mean = |chunk: &[f64]| chunk.iter().sum::<f64>() / chunk.len().max(1) as f64;
    chunks.map(|chunk| BARS[((mean(chunk) / most * 8.0) as usize).min(7)]).collect()
}
