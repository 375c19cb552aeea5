//! Explanations as programs read them. Amounts are in the unit that stands beside them.

use std::time::Duration;

use halcyon_policy::Explanation;
use halcyon_policy::explain::{self, Driver, RunnerUp};
use serde::Serialize;

/// Of this form.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Explained<'a> {
    schema: u32,
    until_s: f64,
    /// Null where no plan changed anything.
    plan: Option<Plan<'a>>,
}

#[derive(Debug, Serialize)]
struct Plan<'a> {
    number: u64,
    at_s: f64,
    fallback: Option<&'a str>,
    changes: Vec<Change<'a>>,
}

#[derive(Debug, Serialize)]
struct Change<'a> {
    vm: Option<&'a str>,
    kind: &'static str,
    part: &'a str,
    from: &'a str,
    to: &'a str,
    reason: String,
    /// Which of the following two drove it; `need` or `reason` where neither did.
    driver: &'static str,
    forecast: Option<Forecast>,
    pressure: Option<Pressure<'a>>,
    need: Option<Amount>,
    cost: Cost,
    gain_s_per_min: Option<f64>,
    /// Null where nobody else lacks any of it, or the needs do not tell.
    runner_up: Option<Lack<'a>>,
}

#[derive(Debug, Serialize)]
struct Forecast {
    quantity: &'static str,
    horizon_s: f64,
    unit: &'static str,
    now: f64,
    p10: f64,
    p50: f64,
    p90: f64,
}

#[derive(Debug, Serialize)]
struct Pressure<'a> {
    needed: f64,
    there: Option<f64>,
    unit: &'static str,
    taker: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Amount {
    amount: f64,
    unit: &'static str,
    /// What the VM holds of it once the change is made.
    holds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Cost {
    takes_s: f64,
    stands_still_s: f64,
    charged_s: f64,
}

#[derive(Debug, Serialize)]
struct Lack<'a> {
    vm: &'a str,
    unmet: f64,
}

impl<'a> Explained<'a> {
    pub(super) fn new(
        explained: Option<&'a halcyon_lab::Explained>,
        until: Duration,
        vm: Option<&str>,
    ) -> Self {
        let plan = explained.map(|explained| Plan {
            number: explained.plan.0,
            at_s: explained.at.as_secs_f64(),
            fallback: explained.fallback.as_deref(),
            changes: explained
                .changes
                .iter()
                .filter(|change| vm.is_none() || change.vm.as_deref() == vm)
                .map(Change::new)
                .collect(),
        });
        Self { schema: SCHEMA, until_s: until.as_secs_f64(), plan }
    }
}

impl<'a> Change<'a> {
    fn new(change: &'a Explanation) -> Self {
        let (driver, forecast, pressure) = match &change.driver {
            Driver::Forecast(forecast) => ("forecast", Some(Forecast::new(forecast)), None),
            Driver::Pressure(pressure) => ("pressure", None, Some(Pressure::new(pressure))),
            Driver::Need(_) => ("need", None, None),
            Driver::Reason => ("reason", None, None),
        };
        let need = change.need.as_ref();
        Self {
            vm: change.vm.as_deref(),
            kind: change.kind.name(),
            part: &change.part,
            from: &change.from,
            to: &change.to,
            reason: change.reason.to_string(),
            driver,
            forecast,
            pressure,
            need: need.map(|need| Amount {
                amount: need.unit.scaled(need.amount),
                unit: need.unit.name(),
                holds: change.holds.map(|holds| need.unit.scaled(holds)),
            }),
            cost: Cost {
                takes_s: change.cost.takes.as_secs_f64(),
                stands_still_s: change.cost.stands_still.as_secs_f64(),
                charged_s: change.cost.charged_s,
            },
            gain_s_per_min: change.gain_s_per_min,
            runner_up: match &change.runner_up {
                Some(RunnerUp::Vm { name, unmet }) => Some(Lack { vm: name, unmet: *unmet }),
                Some(RunnerUp::LeaveAsItIs) | None => None,
            },
        }
    }
}

impl Forecast {
    fn new(forecast: &explain::Forecast) -> Self {
        let explain::Forecast { quantity, horizon_s, seen, quantiles, unit } = forecast;
        let [p10, p50, p90] = quantiles.map(|value| unit.scaled(value));
        Self { quantity, horizon_s: *horizon_s, unit: unit.name(), now: unit.scaled(*seen), p10, p50, p90 }
    }
}

impl<'a> Pressure<'a> {
    fn new(pressure: &'a explain::Pressure) -> Self {
        let unit = pressure.needed.unit;
        Self {
            needed: unit.scaled(pressure.needed.amount),
            there: pressure.there.map(|there| unit.scaled(there)),
            unit: unit.name(),
            taker: pressure.taker.as_deref(),
        }
    }
}
