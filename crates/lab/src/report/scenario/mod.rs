//! The page of a scenario: the host, the VMs on it, and what they ask of it, before any policy has run.

mod host;
mod sums;
mod vms;

use std::fmt::Write;

use super::markup::{escape, grouped, spell};
use crate::scenario::{Outline, Resource, Scenario};

/// The page of a scenario; `command` repeats it.
#[must_use]
pub fn scenario_html(scenario: &Scenario, command: &str) -> String {
    let outline = scenario.outline();
    let mut out = String::with_capacity(1 << 18);
    super::head(&mut out, scenario.topology.name());
    headline(&mut out, scenario, &outline);
    sums::write(&mut out, scenario, &outline);
    host::write(&mut out, scenario, &outline);
    vms::write(&mut out, scenario, &outline);
    footnotes(&mut out, command);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn headline(out: &mut String, scenario: &Scenario, outline: &Outline) {
    let _ = write!(
        out,
        "<header id=\"headline\">\n<p class=\"kicker\">Halcyon · a scenario</p>\n<h1>{}</h1>\n<p class=\"what\">\
         <b>{}</b> · {} VMs · {} · demand: {} · seed {}</p>\n</header>\n",
        busiest(outline),
        escape(&outline.host),
        grouped(outline.vms as u64),
        spell(scenario.duration.as_secs_f64()),
        escape(&outline.source),
        outline.seed
    );
}

/// What is asked for most, in one sentence.
fn busiest(outline: &Outline) -> String {
    let known = outline.resources.iter().filter_map(|resource| Some((resource, shares(resource)?)));
    let Some((resource, (mean, peak))) = known.max_by(|a, b| a.1.1.total_cmp(&b.1.1)) else {
        return "Nothing is asked of the host.".into();
    };
    format!(
        "Most is asked of <em style=\"color:var(--k2)\">{}</em>: {mean:.0}&#160;% of what is there on average, \
         {peak:.0}&#160;% at the busiest moment.",
        escape(resource.resource)
    )
}

/// Mean and peak of what is asked of a resource, in percent of what is there.
fn shares(resource: &Resource) -> Option<(f64, f64)> {
    let percent = |asked: f64| 100.0 * asked / resource.capacity;
    (resource.capacity > 0.0).then_some((percent(resource.mean?), percent(resource.peak?)))
}

/// A figure with as many digits as it is worth.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        tiny if tiny > 0.0 && tiny < 0.0005 => "&lt;&#160;0.001".into(),
        small if small > 0.0 && small < 0.1 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

fn footnotes(out: &mut String, command: &str) {
    let _ = write!(
        out,
        "<footer id=\"footnotes\">\n<h2>Footnotes</h2>\n<dl>\
         <dt>Demand</dt><dd>What arrives by the scenario's own figures, if everything were served at once. In a run it \
         bursts from second to second around these means, and what is not served in time waits.</dd>\
         <dt>Work</dt><dd>Seconds of one core at full speed for each second; a program that is slowed down, by a cache \
         that is too small or by paging, takes more CPU time for the same work.</dd>\
         <dt>Memory traffic</dt><dd>As if every VM had all the cache that helps it. With less there is more.</dd>\
         <dt>Again</dt><dd><code>{}</code></dd></dl>\n</footer>\n",
        escape(command)
    );
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn figures_have_as_many_digits_as_they_are_worth() {
        assert_eq!(
            [0.0, 0.0126, 0.126, 12.34, 1234.5].map(figure),
            ["0.00", "0.013", "0.13", "12.3", "1234"]
        );
        assert_eq!(figure(1e-5), "&lt;&#160;0.001");
    }
}
