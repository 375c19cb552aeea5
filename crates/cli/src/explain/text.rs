//! Explanations as people read them: a block for each change.

use std::fmt::{self, Write};
use std::time::Duration;

use halcyon_lab::Explained;
use halcyon_policy::Explanation;
use halcyon_policy::explain::{Driver, Forecast, Pressure, RunnerUp};

/// A plan and why, or that there is none.
pub(super) fn render(explained: Option<&Explained>, until: Duration, vm: Option<&str>) -> String {
    let Some(explained) = explained else {
        let whom = vm.map_or_else(String::new, |vm| format!(" for {vm}"));
        return format!("In the first {} s no plan changed anything{whom}.\n", until.as_secs_f64());
    };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = all(&mut out, explained, vm);
    out
}

fn all(out: &mut String, explained: &Explained, vm: Option<&str>) -> fmt::Result {
    let count = explained.changes.len();
    let changes = if count == 1 { "change" } else { "changes" };
    writeln!(out, "plan {} at {} s: {count} {changes}", explained.plan, explained.at.as_secs_f64())?;
    if let Some(why) = &explained.fallback {
        writeln!(out, "made by the heuristic, so no needs are known: {why}")?;
    }
    let shown = explained.changes.iter().filter(|change| vm.is_none() || change.vm.as_deref() == vm);
    let mut left_out = count;
    for change in shown {
        left_out -= 1;
        writeln!(out)?;
        block(out, change)?;
    }
    if left_out > 0 {
        writeln!(out, "\n{left_out} more for others")?;
    }
    Ok(())
}

fn block(out: &mut String, change: &Explanation) -> fmt::Result {
    let Explanation { vm, kind, part, from, to, reason, driver, need, cost, gain_s_per_min, runner_up } =
        change;
    let whose = vm.as_deref().unwrap_or("host");
    let on = if part.is_empty() { String::new() } else { format!(" on {part}") };
    writeln!(out, "{whose}: {kind}{on}: {from} → {to}")?;
    writeln!(out, "  reason     {reason}")?;
    match driver {
        Driver::Forecast(forecast) => writeln!(out, "  driver     {}", foreseen(forecast))?,
        Driver::Pressure(pressure) => writeln!(out, "  driver     {}", pressed(pressure))?,
        Driver::Need(_) => writeln!(out, "  driver     its need, as the network told it")?,
        Driver::Reason => writeln!(out, "  driver     only the reason is known")?,
    }
    match need {
        Some(need) => writeln!(out, "  need       {}", need.unit.text(need.amount))?,
        None => writeln!(out, "  need       not told as an amount")?,
    }
    write!(out, "  cost       {} until it has effect", seconds(cost.takes))?;
    if !cost.stands_still.is_zero() {
        write!(out, ", stands still for {}", seconds(cost.stands_still))?;
    }
    writeln!(out, ", {:.2} s of utility charged", cost.charged_s)?;
    match gain_s_per_min {
        Some(gain) => writeln!(out, "  gain       {} s of utility per minute", signed(*gain))?,
        None => writeln!(out, "  gain       not estimated")?,
    }
    match runner_up {
        RunnerUp::Vm { name, unmet } => {
            writeln!(out, "  runner-up  {name}, which lacks {:.0} % of what it needs", unmet * 100.0)
        }
        RunnerUp::LeaveAsItIs => writeln!(out, "  runner-up  leave it as it is"),
    }
}

fn foreseen(forecast: &Forecast) -> String {
    let Forecast { quantity, horizon_s, seen, quantiles, unit } = forecast;
    let [low, middle, high] = quantiles.map(|value| unit.scaled(value));
    format!(
        "{quantity} over the next {horizon_s} s: {low:.2} / {middle:.2} / {high:.2} {} (10 / 50 / 90 %), now {:.2}",
        unit.name(),
        unit.scaled(*seen)
    )
}

fn pressed(pressure: &Pressure) -> String {
    let Pressure { needed, there, taker } = pressure;
    let (needs, there) = (needed.unit.text(needed.amount), needed.unit.scaled(*there));
    let taker = taker.as_ref().map_or_else(String::new, |taker| format!("; {taker} gets most"));
    format!("pressure: together the VMs need {needs} of {there:.2}{taker}")
}

/// With a sign, and no minus before nothing.
fn signed(gain: f64) -> String {
    let text = format!("{gain:+.2}");
    if text == "-0.00" { "+0.00".into() } else { text }
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{} s", duration.as_secs_f64())
    }
}
