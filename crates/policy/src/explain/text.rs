//! Explanations as people read them.

use std::time::Duration;

use super::{Cost, Driver, Explanation, Forecast, Pressure, RunnerUp, Told};

/// Whose, where, what: one line.
#[must_use]
pub fn headline(change: &Explanation) -> String {
    let Explanation { vm, kind, part, from, to, .. } = change;
    let whose = vm.as_deref().unwrap_or("host");
    let on = if part.is_empty() { String::new() } else { format!(" on {part}") };
    format!("{whose}: {kind}{on}: {from} → {to}")
}

/// All that is known of why, each with its name.
#[must_use]
pub fn facts(change: &Explanation) -> Vec<(&'static str, String)> {
    let Explanation { reason, driver, need, holds, cost, gain_s_per_min, runner_up, .. } = change;
    let driver = match driver {
        Driver::Forecast(forecast) => Some(foreseen(forecast)),
        Driver::Pressure(pressure) => Some(pressed(pressure)),
        Driver::Need(_) => Some("its need, as the network told it".into()),
        Driver::Reason => None,
    };
    let need = need.as_ref().zip(*holds).map(|(Told { amount, unit }, holds)| {
        format!("{}; it holds {:.2} then", unit.text(*amount), unit.scaled(holds))
    });
    let gain = gain_s_per_min.map(|gain| format!("{} s of utility per minute", signed(gain)));
    let runner_up = runner_up.as_ref().map(|runner_up| match runner_up {
        RunnerUp::Vm { name, unmet } => {
            format!("{name}, which lacks {:.0} % of what it needs", unmet * 100.0)
        }
        RunnerUp::LeaveAsItIs => "leave it as it is".into(),
    });
    let all = [
        ("reason", Some(reason.to_string())),
        ("driver", driver),
        ("need", need),
        ("cost", Some(charged(cost))),
        ("gain", gain),
        ("runner-up", runner_up),
    ];
    all.into_iter().filter_map(|(what, fact)| Some((what, fact?))).collect()
}

fn charged(cost: &Cost) -> String {
    let Cost { takes, stands_still, charged_s } = *cost;
    let still = if stands_still.is_zero() {
        String::new()
    } else {
        format!(", stands still for {}", seconds(stands_still))
    };
    format!("takes {}{still}, {charged_s:.2} s of utility charged", seconds(takes))
}

fn foreseen(forecast: &Forecast) -> String {
    let Forecast { quantity, horizon_s, seen, quantiles, unit } = forecast;
    let [low, middle, high] = quantiles.map(|value| unit.scaled(value));
    let (now, unit) = (unit.scaled(*seen), unit.name());
    format!(
        "{quantity} over {horizon_s} s: {low:.2} / {middle:.2} / {high:.2} {unit} (10/50/90 %), now {now:.2}"
    )
}

fn pressed(pressure: &Pressure) -> String {
    let Pressure { needed, there, taker } = pressure;
    let unit = needed.unit;
    let there = there.map_or_else(String::new, |there| format!(" of {:.2}", unit.scaled(there)));
    let taker = taker.as_ref().map_or_else(String::new, |taker| format!("; {taker} gets most"));
    format!("pressure: {:.2}{there} {} needed by all{taker}", unit.scaled(needed.amount), unit.name())
}

/// With a sign, and no minus before nothing.
#[must_use]
pub fn signed(gain: f64) -> String {
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
