//! Answers of a daemon as people read them.

use std::fmt::Write;

use halcyon_api::{Mode, Plan, Point, Spread, Status, Trail, Vm};

/// Changes and events that are shown of one plan.
const SHOWN: usize = 40;

/// How the daemon is.
pub(super) fn status(status: &Status) -> String {
    let mode = match status.mode {
        Mode::Observe => "observe: measures only",
        Mode::Advise => "advise: decides and changes nothing",
        Mode::Act => "act: carries out what it decides",
    };
    let Status { cycle, changes, .. } = status;
    let mut rows = vec![
        ("host", format!("{}, {} VMs", status.host, status.vms)),
        ("mode", mode.into()),
        ("policy", status.policy.clone()),
        ("up for", duration(status.uptime_s)),
        (
            "cycles",
            format!(
                "{}, every {} ms; {} left out, {} failed",
                cycle.count, cycle.period_ms, cycle.missed, cycle.failed
            ),
        ),
        ("late by", spread(&cycle.late_us)),
        ("took", spread(&cycle.took_us)),
        ("decisions", spread(&cycle.decision_us)),
        (
            "changes",
            format!(
                "{} done, {} refused, {} failed, of {} plans",
                changes.done, changes.refused, changes.failed, changes.plans
            ),
        ),
    ];
    if let Some(why) = &status.fallback {
        rows.push(("heuristic", format!("decides for now: {why}")));
    }
    rows.extend(status.notices.iter().map(|notice| ("notice", notice.clone())));
    rows.extend(status.stuck.iter().map(|step| ("stuck", step.clone())));
    if let Some(trouble) = &status.trouble {
        rows.push(("trouble", trouble.clone()));
    }
    rows.iter().fold(String::new(), |mut text, (what, said)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<10} {said}");
        text
    })
}

fn spread(spread: &Spread) -> String {
    let Spread { p50: Some(p50), p99: Some(p99), most: Some(most) } = *spread else { return "–".into() };
    format!("{} (median), {} (p99), {} (most)", micro(p50), micro(p99), micro(most))
}

fn micro(us: f64) -> String {
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.2} ms", us / 1e3) }
}

fn duration(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.max(0.0) as u64;
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

/// VMs, a row each.
pub(super) fn vms(vms: &[Vm]) -> String {
    if vms.is_empty() {
        return "There is no VM.\n".into();
    }
    let width = vms.iter().map(|vm| vm.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<width$} {:<8} {:>7} {:>7} {:>7} {:>7}  {:>8} {:>8} {:>8} {:>10}  devices\n",
        "name", "state", "CPU", "sure of", "at most", "waits", "memory", "touched", "stalled", "traffic"
    );
    for vm in vms {
        let milli = |milli: Option<u64>| milli.map_or_else(|| "–".into(), cores);
        let _ = writeln!(
            text,
            "{:<width$} {:<8} {:>7} {:>7} {:>7} {:>7}  {:>8} {:>8} {:>8} {:>10}  {}",
            vm.name,
            vm.state.as_deref().unwrap_or("–"),
            milli(vm.cpu_used_milli),
            cores(vm.cpu_share_milli),
            cores(vm.cpu_ceiling_milli),
            milli(vm.cpu_waited_milli),
            gib(Some(vm.memory_bytes)),
            gib(vm.working_set_bytes),
            vm.memory_stalled.map_or_else(|| "–".into(), |share| format!("{:.0} %", share * 100.0)),
            vm.memory_bytes_per_s.map_or_else(|| "–".into(), rate),
            if vm.devices.is_empty() { "–".into() } else { vm.devices.join(", ") },
        );
    }
    text
}

#[allow(clippy::cast_precision_loss)]
fn cores(milli: u64) -> String {
    format!("{:.2}", milli as f64 / 1e3)
}

#[allow(clippy::cast_precision_loss)]
fn gib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "–".into(), |bytes| format!("{:.2} G", bytes as f64 / f64::from(1 << 30)))
}

#[allow(clippy::cast_precision_loss)]
fn rate(bytes: u64) -> String {
    format!("{:.2} GB/s", bytes as f64 / 1e9)
}

const NO_PLAN: &str = "No plan has changed anything so far.\n";

/// A plan and what became of it.
pub(super) fn plan(plan: Option<&Plan>) -> String {
    let Some(plan) = plan else { return NO_PLAN.into() };
    let mut text = head(plan);
    for change in plan.changes.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", change.headline);
    }
    more(&mut text, plan.changes.len());
    if !plan.events.is_empty() {
        let _ = writeln!(text, "what became of it");
    }
    for event in plan.events.iter().take(SHOWN) {
        let note = event.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        let _ = writeln!(text, "  {:.1} s  {} {}{note}", event.at_s, event.step, event.became);
    }
    more(&mut text, plan.events.len());
    text
}

/// A plan and why each of its changes is made.
pub(super) fn explain(plan: Option<&Plan>, vm: Option<&str>) -> String {
    let Some(plan) = plan else { return NO_PLAN.into() };
    let mut text = head(plan);
    if let (true, Some(vm)) = (plan.changes.is_empty(), vm) {
        let _ = writeln!(text, "  nothing of {vm}");
    }
    for change in plan.changes.iter().take(SHOWN) {
        let _ = writeln!(text, "\n{}", change.headline);
        for (what, fact) in &change.why {
            let _ = writeln!(text, "  {what:<9}  {fact}");
        }
    }
    more(&mut text, plan.changes.len());
    text
}

fn head(plan: &Plan) -> String {
    let count = plan.changes.len();
    let changes = if count == 1 { "change" } else { "changes" };
    let kind = if plan.carried_out { "plan" } else { "advice" };
    let fallback =
        plan.fallback.as_ref().map_or_else(String::new, |why| format!("; by the heuristic: {why}"));
    format!("{kind} {} at {:.1} s: {count} {changes}{fallback}\n", plan.number, plan.at_s)
}

fn more(text: &mut String, count: usize) {
    if count > SHOWN {
        let _ = writeln!(text, "  … and {} more (--json has all)", count - SHOWN);
    }
}

/// What VMs held and used, a block for each.
pub(super) fn history(trails: &[Trail]) -> String {
    let mut text = String::new();
    for trail in trails {
        let _ = writeln!(text, "{}, by {} s", trail.vm, trail.every_s);
        let _ = writeln!(
            text,
            "{:>10} {:>8} {:>8} {:>8} {:>9} {:>9}",
            "at", "CPU", "at most", "waits", "memory", "touched"
        );
        for point in &trail.points {
            text.push_str(&row(point));
        }
        text.push('\n');
    }
    if trails.is_empty() { "There is no VM.\n".into() } else { text }
}

fn row(point: &Point) -> String {
    let cores = |milli: Option<f64>| milli.map_or_else(|| "–".into(), |milli| format!("{:.2}", milli / 1e3));
    let gib = |bytes: Option<f64>| {
        bytes.map_or_else(|| "–".into(), |bytes| format!("{:.2} G", bytes / f64::from(1 << 30)))
    };
    format!(
        "{:>8.0} s {:>8} {:>8} {:>8} {:>9} {:>9}\n",
        point.at_s,
        cores(point.cpu_used_milli),
        cores(point.cpu_ceiling_milli),
        cores(point.cpu_waited_milli),
        gib(point.memory_bytes),
        gib(point.working_set_bytes)
    )
}
