//! What ran, and what came of it in one sentence.

use std::fmt::Write;

use super::markup::{escape, grouped, spell, trim};
use super::view::View;
use crate::compare::Row;

pub(super) fn write(out: &mut String, view: &View<'_>) {
    let scenario = view.scenario;
    let topology = &scenario.topology;
    let cores: f64 = topology.sockets().iter().map(|socket| socket.cpu().as_f64() / 1000.0).sum();
    let memory: f64 = topology.nodes().iter().map(|node| node.available().as_f64()).sum();
    let more = match view.comparison.scenarios {
        0 | 1 => String::new(),
        many => format!(" · table over {many} scenarios, figures of the first"),
    };
    let _ = write!(
        out,
        "<header id=\"headline\">\n<p class=\"kicker\">Halcyon · policies side by side on one simulated host</p>\n\
         <h1>{}</h1>\n<p class=\"what\"><b>{}</b> ({} cores, {:.0} GiB for VMs) · {} VMs · {} · demand: {} · \
         seed {}{more}</p>\n</header>\n",
        result(view),
        escape(topology.name()),
        trim(cores),
        memory / f64::from(1 << 30),
        grouped(scenario.guests.len() as u64),
        spell(view.seconds()),
        escape(&scenario.source),
        scenario.seed
    );
}

/// The result in one sentence; it claims nothing where there is no gap.
fn result(view: &View<'_>) -> String {
    let Some(best) = view.best_row() else {
        return "Nothing to compare: only one policy ran.".into();
    };
    let name = escape(&best.policy);
    let shown = view.shown.iter().find(|shown| shown.name == best.policy);
    let colour = shown.map_or("inherit", |shown| &shown.colour);
    let misses = view.row("static").map_or_else(String::new, |base| misses(base, best));
    match best.gap_recovered.mean {
        Some(gap) if gap > 0.0 => format!(
            "<em style=\"color:{colour}\">{name}</em> closes <em style=\"color:{colour}\">{:.0}&#160;%</em> of the gap between the static assignment and a clairvoyant{misses}",
            100.0 * gap
        ),
        Some(_) => {
            format!("No policy beats the static assignment here; <em>{name}</em> comes closest{misses}")
        }
        None => format!("No policy that was tried does better here than the static assignment{misses}"),
    }
}

fn misses(base: &Row, best: &Row) -> String {
    let verb = if best.violations_pct < base.violations_pct { "fall" } else { "go" };
    format!(
        "; missed objectives {verb} from {:.1} to {:.1}&#160;% of windows.",
        base.violations_pct, best.violations_pct
    )
}
