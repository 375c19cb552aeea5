//! The HTML report of short runs, and of hostile names.

mod common;

use std::time::Duration;

use common::{HOUR, Still, scenario};
use halcyon_lab::{POLICIES, Run, RunResult, Scenario, compare, html};

fn runs(scenario: &Scenario) -> Vec<RunResult> {
    let run = |policy| {
        let mut run = Run::new(scenario, policy, true).expect("the run starts");
        while !run.is_over() {
            run.tick(&Still).expect("the cycle goes on");
        }
        run.finish()
    };
    POLICIES.into_iter().map(run).collect()
}

fn report(scenario: &Scenario) -> String {
    let results = [(scenario.topology.name().to_string(), runs(scenario))];
    html(scenario, &compare(scenario.seed, &results), &results[0].1, "halcyon demo")
}

#[test]
fn every_section_is_there_and_the_same_runs_give_the_same_bytes() {
    let scenario = scenario(12, HOUR / 2, 3);
    let page = report(&scenario);
    let sections = [
        "All policies",
        "Utility over time",
        "Where it is won and lost",
        "One VM in detail",
        "The fabric",
        "Footnotes",
    ];
    for section in sections {
        assert!(page.contains(section), "{section}");
    }
    for policy in POLICIES {
        assert!(page.contains(policy), "{policy}");
    }
    assert_eq!(page, report(&scenario));
}

#[test]
fn nothing_is_fetched_from_elsewhere() {
    let page = report(&scenario(4, HOUR / 4, 3));
    for reference in ["http://", "https://", "src=\"", "@import", "url("] {
        let found = page.match_indices(reference).map(|(at, _)| &page[at..page.len().min(at + 60)]);
        // Neither the name of the SVG namespace nor a pattern of the page itself is fetched.
        let found: Vec<_> =
            found.filter(|at| !at.contains("www.w3.org") && !at.starts_with("url(#")).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn names_from_outside_stay_text() {
    let mut scenario = scenario(6, HOUR / 4, 3);
    let evil = "</script><script>alert(1)</script>\"'&";
    scenario.source = evil.into();
    for guest in &mut scenario.guests {
        guest.spec.name = evil.into();
    }
    let page = report(&scenario);
    assert!(!page.contains("<script>alert"), "a name became markup");
    assert_eq!(page.matches("</script>").count(), 2, "a name ended the data or the script");
}

#[test]
fn tags_are_balanced() {
    let page = report(&scenario(6, HOUR / 4, 3));
    let body = &page[page.find("<main>").expect("a body")..page.find("<script").expect("a script")];
    for tag in ["table", "tr", "td", "th", "svg", "g", "text", "section", "div", "figure", "details"] {
        let opened = body.matches(&format!("<{tag} ")).count() + body.matches(&format!("<{tag}>")).count();
        let closed = body.matches(&format!("</{tag}>")).count();
        assert_eq!(opened, closed, "{tag}");
    }
}

#[test]
fn a_long_run_of_many_vms_stays_small_enough_to_open() {
    let mut scenario = scenario(32, HOUR / 4, 3);
    scenario.parameters.window = Duration::from_secs(1);
    let size = report(&scenario).len();
    assert!(size < 4 << 20, "{size} bytes");
}
