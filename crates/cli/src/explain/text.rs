//! Explanations as people read them: a block for each change.

use std::fmt::{self, Write};
use std::time::Duration;

use halcyon_lab::Explained;
use halcyon_policy::Explanation;
use halcyon_policy::explain::text::{facts, headline, signed};

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
    writeln!(out, "{}", together(explained))?;
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

/// What a plan comes to, or why that is not known: one line.
pub(crate) fn together(explained: &Explained) -> String {
    if let Some(why) = &explained.fallback {
        return format!("made by the heuristic, so no needs are known: {why}");
    }
    let gains = explained.changes.iter().filter_map(|change| change.gain_s_per_min);
    let charged: f64 = explained.changes.iter().map(|change| change.cost.charged_s).sum();
    match gains.reduce(|sum, gain| sum + gain) {
        Some(gain) => {
            let gain = signed(gain);
            format!("together {gain} s of utility per minute by its own estimate, {charged:.2} s charged")
        }
        None => format!("{charged:.2} s of utility charged"),
    }
}

fn block(out: &mut String, change: &Explanation) -> fmt::Result {
    writeln!(out, "{}", headline(change))?;
    facts(change).into_iter().try_for_each(|(what, fact)| writeln!(out, "  {what:<WIDTH$}  {fact}"))
}

/// Columns of the longest name of a fact.
pub(crate) const WIDTH: usize = 9;

#[cfg(test)]
mod tests {
    use halcyon_model::{ChangeKind, Generation, Reason};
    use halcyon_policy::explain::{Cost, Driver, Forecast, Pressure, RunnerUp, Told, Unit};

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
            runner_up: Some(RunnerUp::Vm { name: "stream-1".into(), unmet: 0.125 }),
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
            runner_up: None,
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
            runner_up: Some(RunnerUp::LeaveAsItIs),
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
    fn a_plan_of_the_heuristic_says_why_it_was_made() {
        let why = "the decision took 51.0 ms".to_string();
        let (at, plan) = (Duration::from_secs(60), Generation(7));
        let explained = Explained { at, plan, fallback: Some(why), changes: vec![change()] };
        let text = render(Some(&explained), at, None);
        let second = "made by the heuristic, so no needs are known: the decision took 51.0 ms";
        assert_eq!(text.lines().nth(1), Some(second), "{text}");
    }

    #[test]
    fn without_a_plan_it_says_so() {
        let text = render(None, Duration::from_secs(90), Some("web-2"));
        assert_eq!(text, "In the first 90 s no plan changed anything for web-2.\n");
    }
}
