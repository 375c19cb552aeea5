//! Explanations as people read them: a block for each change.

use std::fmt::{self, Write};
use std::time::Duration;

use halcyon_lab::Explained;
use halcyon_policy::Explanation;
use halcyon_policy::explain::{Driver, Forecast, Pressure, RunnerUp, Told};

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
    let gain: f64 = explained.changes.iter().filter_map(|change| change.gain_s_per_min).sum();
    let charged: f64 = explained.changes.iter().map(|change| change.cost.charged_s).sum();
    let gain = signed(gain);
    writeln!(
        out,
        "together {gain} s of utility per minute by its own estimate, for {charged:.2} s charged once"
    )?;
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
    let Explanation {
        vm,
        kind,
        part,
        from,
        to,
        reason,
        driver,
        need,
        holds,
        cost,
        gain_s_per_min,
        runner_up,
    } = change;
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
    match need.as_ref().zip(*holds) {
        Some((Told { amount, unit }, holds)) => {
            writeln!(out, "  need       {}; it holds {:.2} then", unit.text(*amount), unit.scaled(holds))?;
        }
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
    let needs = needed.unit.text(needed.amount);
    let there = there.map_or_else(String::new, |there| format!(" of {:.2}", needed.unit.scaled(there)));
    let taker = taker.as_ref().map_or_else(String::new, |taker| format!("; {taker} gets most"));
    format!("pressure: together the VMs need {needs}{there}{taker}")
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

#[cfg(test)]
mod tests {
    use halcyon_model::{ChangeKind, Generation, Reason};
    use halcyon_policy::explain::{Cost, Unit};

    use super::*;

    fn change() -> Explanation {
        Explanation {
            vm: Some("web-2".into()),
            kind: ChangeKind::Cpu,
            part: "s0".into(),
            from: "1.20 cores (up to 8.00)".into(),
            to: "2.40 cores (up to 8.00)".into(),
            reason: Reason::Demand { expected: 0.3 },
            driver: Driver::Forecast(Forecast {
                quantity: "cpu",
                horizon_s: 60.0,
                seen: 1.1,
                quantiles: [1.5, 2.0, 2.75],
                unit: Unit::Cores,
            }),
            need: Some(Told { amount: 2.4, unit: Unit::Cores }),
            holds: Some(2.4),
            cost: Cost {
                takes: Duration::from_millis(2),
                stands_still: Duration::from_secs(3),
                charged_s: 0.25,
            },
            gain_s_per_min: Some(30.0),
            runner_up: RunnerUp::Vm { name: "stream-1".into(), unmet: 0.125 },
        }
    }

    #[test]
    fn a_plan_reads_well() {
        let host = Explanation {
            vm: None,
            kind: ChangeKind::Link,
            part: "link rp0".into(),
            from: "x8 8GT/s".into(),
            to: "x16 8GT/s".into(),
            reason: Reason::Fit,
            driver: Driver::Reason,
            need: None,
            holds: None,
            gain_s_per_min: None,
            runner_up: RunnerUp::LeaveAsItIs,
            ..change()
        };
        let giver = Explanation {
            vm: Some("stream-1".into()),
            driver: Driver::Pressure(Pressure {
                needed: Told { amount: 17.2, unit: Unit::Cores },
                there: Some(15.0),
                taker: Some("web-2".into()),
            }),
            gain_s_per_min: Some(-0.001),
            ..change()
        };
        let changes = vec![change(), giver, host];
        let at = Duration::from_secs(60);
        let explained = Explained { at, plan: Generation(7), fallback: None, changes };
        insta::assert_snapshot!(render(Some(&explained), at, None));
        let one = render(Some(&explained), at, Some("web-2"));
        assert!(one.contains("\n2 more for others\n") && one.matches("runner-up").count() == 1, "{one}");
    }

    #[test]
    fn without_a_plan_it_says_so() {
        let text = render(None, Duration::from_secs(90), Some("web-2"));
        assert_eq!(text, "In the first 90 s no plan changed anything for web-2.\n");
    }
}
