//! The card of a model, and its curves as a table for programs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroUsize;

use halcyon_lab::train::{LEARNED_SHARE, Row, Stage, Training, Verdict, Verdicts};
use halcyon_policy::Features;
use halcyon_policy::learned::OUTPUTS;

use super::folder::WEIGHTS;

/// Rounds that a card tells of at most; the curves have all.
const MOST_ROUNDS: usize = 40;

/// A difference with half its interval.
pub(super) fn difference(verdict: &Verdict) -> String {
    let mean = verdict.difference.mean;
    let ci95 = verdict.difference.ci95;
    ci95.map_or_else(
        || signed(mean),
        |[low, high]| {
            format!(
                "{} ±{:.4} (95 % interval {} to {})",
                signed(mean),
                high - mean,
                signed(low),
                signed(high)
            )
        },
    )
}

/// With its sign, but for what rounds to nothing.
pub(super) fn signed(value: f64) -> String {
    if value.abs() < 0.00005 { "0.0000".into() } else { format!("{value:+.4}") }
}

/// One row for each round; wall-clock time, which alone differs from one training to the same another
/// time, stands in the last column.
pub(super) fn curves(rows: &[Row]) -> String {
    let losses: BTreeSet<&str> = rows.iter().flat_map(|row| row.losses.keys()).map(String::as_str).collect();
    let mut out = String::from("round,kind,vms");
    for loss in &losses {
        let _ = write!(out, ",loss_{loss}");
    }
    out.push_str(
        ",runs_utility,held_out_utility,held_out_reactive,difference,difference_half_width,seconds\n",
    );
    for row in rows {
        let _ = write!(out, "{},{},{}", row.round, row.kind, row.vms);
        for loss in &losses {
            let _ = write!(out, ",{}", figure(row.losses.get(*loss).copied()));
        }
        let _ = writeln!(
            out,
            ",{},{},{},{},{},{:.3}",
            figure(row.utility),
            figure(Some(row.score)),
            figure(Some(row.reactive)),
            figure(Some(row.score - row.reactive)),
            figure(row.half_width),
            row.seconds
        );
    }
    out
}

/// Nothing where nothing is known.
fn figure(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.6}"))
}

/// What the weights are, for whoever finds them.
pub(super) fn text(training: &Training, verdicts: &Verdicts, command: &str, threads: NonZeroUsize) -> String {
    let mut out = format!(
        "# {WEIGHTS}\n\nWeights of Halcyon's policy `learned`. They were made by\n\n```sh\n{command}\n```\n\n\
         with Halcyon {}; the same command gives the same weights, to the last bit, on any machine.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    facts(&mut out, training, threads);
    scores(&mut out, training, verdicts);
    rounds(&mut out, training);
    limits(&mut out, training);
    out
}

fn facts(out: &mut String, training: &Training, threads: NonZeroUsize) {
    let recipe = training.recipe();
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "| {name} | {text} |");
    };
    row("", String::new());
    row("---", "---".into());
    row("format", "safetensors, F32; its metadata names the feature table that it is for".into());
    let width = training.best().map_or(recipe.course.width, |(_, network)| network.shape().width);
    let (features, host) = (Features::PER_VM, Features::HOST);
    row(
        "network",
        format!("{features} features of a VM, {host} of the host, width {width}, {OUTPUTS} outputs of a VM"),
    );
    row("data", data(training));
    for stage in &recipe.course.stages {
        row(stage.name(), settings(stage));
    }
    row("seed", recipe.course.seed.to_string());
    let seconds: f64 = training.rows().iter().map(|row| row.seconds).sum();
    row("time", format!("{seconds:.0} s for all rounds, on {threads} threads at the end"));
    out.push('\n');
}

fn data(training: &Training) -> String {
    if training.has_origin() {
        format!(
            "recordings of a host (files named in the command): the first {:.0} % of their time, in parts \
             at random moments with seeds of their own for what happens between the recorded values",
            100.0 * LEARNED_SHARE
        )
    } else {
        "drawn scenarios on every host shape of `examples/hosts` and at three loads, with generated demand \
         fitted to public traces; no seed of them is one that is judged on"
            .into()
    }
}

fn settings(stage: &Stage) -> String {
    let minutes = |length: std::time::Duration| length.as_secs_f64() / 60.0;
    match stage {
        Stage::Imitate(it) => format!(
            "imitation of a controller that knows the future: {} rounds of {} runs of {:.0} simulated minutes, a \
             sample every {} cycles, at most {} VMs of samples kept; {} steps of {} VMs in each, rate {} falling to \
             a tenth",
            it.rounds,
            it.runs,
            minutes(it.length),
            it.every,
            it.kept,
            it.steps,
            it.batch,
            it.rate
        ),
        Stage::Reinforce(it) => format!(
            "reinforcement by the utility that came of what was tried: {} rounds of {} scenarios of {:.0} simulated \
             minutes, each played {} times; gone through {} times by {} VMs, rate {} falling to a tenth, clip {}, \
             others' gains counted {}, half a minute in which an objective was kept {} more",
            it.rounds,
            it.scenarios,
            minutes(it.length),
            it.turns,
            it.epochs,
            it.batch,
            it.rate,
            it.clip,
            it.others,
            it.kept
        ),
    }
}

fn scores(out: &mut String, training: &Training, verdicts: &Verdicts) {
    let exam = training.recipe().exam;
    let minutes = exam.length.as_secs_f64() / 60.0;
    let _ = writeln!(
        out,
        "## Score\n\nOn {} scenarios of {minutes:.0} simulated minutes that nothing was learned from and nothing \
         chosen by. Mean utility; the difference is between pairs of the same scenario.\n\n\
         | against | these weights | the other | difference |\n|---|---|---|---|",
        verdicts.reactive.scenarios
    );
    let origin = verdicts.origin.iter().map(|verdict| ("the weights it began with", verdict));
    for (name, verdict) in std::iter::once(("`reactive`", &verdicts.reactive)).chain(origin) {
        let (utility, other) = (verdict.utility, verdict.other);
        let _ = writeln!(out, "| {name} | {utility:.4} | {other:.4} | {} |", difference(verdict));
    }
    if verdicts.origin.is_some_and(|verdict| !verdict.is_better()) {
        out.push_str(
            "\nThe whole interval of the last row would have to be above zero. It is not, so there are no \
             weights here: keep those that you have.\n",
        );
    }
    out.push('\n');
}

fn rounds(out: &mut String, training: &Training) {
    let rows = training.rows();
    let best = training.best().map_or(0, |(round, _)| round);
    let score = |round: usize| rows.iter().find(|row| row.round == round).map(|row| row.score);
    let _ = writeln!(
        out,
        "## Curves\n\nThe weights are those after round {best}, which had the highest utility on {} further \
         scenarios ({}); `curves.html` draws the curves and `curves.csv` has their figures.\n",
        training.recipe().exam.chosen,
        score(best).map_or_else(|| "–".into(), |score| format!("{score:.4}"))
    );
    out.push_str("| round | kind | losses | utility of its runs | held-out utility | against `reactive` |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    let step = rows.len().div_ceil(MOST_ROUNDS).max(1);
    for (place, row) in rows.iter().enumerate() {
        if place % step != 0 && place + 1 != rows.len() && row.round != best {
            continue;
        }
        let losses: Vec<String> = row.losses.iter().map(|(name, loss)| format!("{name} {loss:.4}")).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {:.4} | {} |",
            row.round,
            row.kind,
            losses.join(", "),
            row.utility.map_or_else(String::new, |utility| format!("{utility:.4}")),
            row.score,
            signed(row.score - row.reactive)
        );
    }
    out.push('\n');
}

fn limits(out: &mut String, training: &Training) {
    out.push_str("## Limits\n\n");
    out.push_str(if training.has_origin() {
        "- The recordings say what one host was asked to do. What is held back is a later time of the same \
         VMs; on other hosts, or with other VMs, these weights may be worse than those that they began with.\n\
         - Demand is replayed, not answered: a VM that is served worse asks for no less later, but for the \
         work that waits.\n"
    } else {
        "- Hosts and mixes of VMs unlike those that were drawn are untried.\n\
         - Runs of more than the simulated minutes above were not part of training; `halcyon bench` has longer ones.\n"
    });
    out.push_str(
        "- All runs were on a simulated host. Where the network cannot be trusted, the heuristic decides instead; \
         every plan is checked by rules that do not depend on it.\n",
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(round: usize, losses: &[(&str, f64)]) -> Row {
        Row {
            round,
            kind: "imitate".into(),
            losses: losses.iter().map(|(name, loss)| ((*name).to_owned(), *loss)).collect::<BTreeMap<_, _>>(),
            vms: 10,
            utility: (round > 0).then_some(0.5),
            score: 0.75,
            reactive: 0.5,
            half_width: None,
            seconds: 1.5,
        }
    }

    #[test]
    fn curves_have_a_column_for_every_loss_and_nothing_where_there_is_none() {
        let text = curves(&[row(0, &[]), row(1, &[("actions", 0.25)]), row(2, &[("value", 4.0)])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "round,kind,vms,loss_actions,loss_value,runs_utility,held_out_utility,held_out_reactive,difference,\
             difference_half_width,seconds"
        );
        assert_eq!(lines[1], "0,imitate,10,,,,0.750000,0.500000,0.250000,,1.500");
        assert_eq!(lines[3], "2,imitate,10,,4.000000,0.500000,0.750000,0.500000,0.250000,,1.500");
    }
}
