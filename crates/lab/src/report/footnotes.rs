//! How the score is made, what the model leaves out, and how to get the same figures again.

use std::fmt::Write;

use super::markup::{escape, spell};
use super::view::View;

pub(super) fn write(out: &mut String, view: &View<'_>, command: &str) {
    let window = spell(view.window_s());
    let step = view.scenario.parameters.step.as_secs_f64();
    let cycles = view.shown.iter().map(|shown| shown.run.fallbacks).sum::<u64>();
    let _ = write!(
        out,
        "<footer id=\"footnotes\">\n<h2>Footnotes</h2>\n<dl>\n<dt>Score</dt><dd>In each window of {window} a VM yields 0 to 1: the \
         share of its requests inside their objective (latency-critical), or its throughput over what it would reach with \
         the host to itself (throughput, best effort). A VM of which nothing is asked does not count. The host's utility is \
         the mean over windows, weighted by VM, less the charged cost of changes. A window misses its objective when fewer \
         than 99 % of its requests are in time. The figures over time show means of the single steps before that cost, with \
         1 while nothing is asked, and so differ a little from the table.</dd>\n\
         <dt>Clairvoyant</dt><dd>A policy that knows all demand to come and pays the same for its changes. It is a yardstick, \
         not a bound: now and then another policy may be above it.</dd>\n\
         <dt>What the model leaves out</dt><dd>The host is simulated in steps of {}; policies see only noisy counters that lag. \
         Single requests are not simulated: shares in time come from a queue in closed form. Scheduling inside a guest, \
         interrupts, power and heat are left out, and so is how cache ways change a program's speed. Kinds of VMs, their needs \
         per request and the cost of paging are choices of the model, not measurements of one machine. One day of one trace \
         says little: compare over several scenarios before believing a difference.</dd>\n",
        spell(step)
    );
    let _ = writeln!(
        out,
        "<dt>Thinned out</dt><dd>Series are means over windows of {window}, and over several of them where a figure says \
         so; values in read-outs are rounded to 1 part in 4,096 (heat map: 1 in 64). Long lists are cut where the text \
         next to them says so.</dd>"
    );
    if cycles > 0 {
        let _ = writeln!(
            out,
            "<dt>Guard</dt><dd>{cycles} decisions of all policies together were made by the heuristic instead of the policy.</dd>"
        );
    }
    let _ = write!(
        out,
        "<dt>Again</dt><dd><code>{}</code><br/>The same command gives the same figures on any machine, but for the decision \
         times.</dd>\n</dl>\n</footer>\n",
        escape(command)
    );
}
