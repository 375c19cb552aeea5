//! The HTML report of short runs, and of hostile names.

mod common;

use common::{HOUR, Still, scenario};
use halcyon_lab::{Note, POLICIES, Run, RunResult, Scenario, Track, compare, html, scenario_html};
use halcyon_model::VmId;

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
    html(scenario, &compare(scenario.seed, &results), &results[0].1, None, "halcyon demo")
}

#[test]
fn every_section_is_there_and_the_same_runs_give_the_same_bytes() {
    let scenario = scenario(12, HOUR / 2, 3);
    let page = report(&scenario);
    let sections = [
        "All policies",
        "Utility over time",
        "Where it is won and lost",
        "Every VM over time",
        "What changed and why",
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

/// What is wrong with markup by the rules of XML: tags nest, attributes are quoted and none is there twice.
fn fault(markup: &str) -> Option<String> {
    let mut open = Vec::new();
    let mut rest = markup;
    while let Some(at) = rest.find('<') {
        let tag_end = end_of_tag(&rest[at..])?;
        let tag = &rest[at + 1..at + tag_end];
        rest = &rest[at + tag_end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let opened = open.pop();
            if opened != Some(name) {
                return Some(format!("</{name}> closes {opened:?}"));
            }
            continue;
        }
        let body = tag.strip_suffix('/').unwrap_or(tag);
        let (name, attributes) = body.split_once(' ').unwrap_or((body, ""));
        let mut names: Vec<&str> = attributes.split('"').step_by(2).map(str::trim).collect();
        if names.pop() != Some("") || names.iter().any(|name| !name.ends_with('=')) {
            return Some(format!("attributes of <{tag}>"));
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some(format!("an attribute twice in <{tag}>"));
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.last().map(|name| format!("<{name}> stays open"))
}

/// Where a tag ends; a `>` inside quotes is none.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.find(|letter| {
        quoted ^= letter == '"';
        letter == '>' && !quoted
    })
}

#[test]
fn the_page_is_well_formed() {
    assert!(fault("<p><b></p></b>").is_some() && fault("<p a=1></p>").is_some() && fault("<p>").is_some());
    let mut scenario = scenario(6, HOUR / 4, 3);
    scenario.guests[0].spec.name = "<b>\"'&>\u{1b}".into();
    let page = report(&scenario);
    let body = &page[page.find("<main>").expect("a body")..page.find("<script").expect("a script")];
    assert_eq!(fault(body), None);
    let script = page.find("id=\"data\">").expect("data") + "id=\"data\">".len();
    let data = &page[script..script + page[script..].find("</script>").expect("an end")];
    let data: serde_json::Value = serde_json::from_str(data).expect("the data are JSON");
    assert_eq!(data["vms"].as_array().map(Vec::len), Some(6));
}

#[test]
fn a_day_of_a_thousand_vms_stays_small_enough_to_open() {
    const VMS: usize = 1024;
    const WINDOWS: usize = 1440;
    let mut scenario = scenario(8, HOUR / 10, 3);
    let mut results = runs(&scenario);
    for run in &mut results {
        let record = run.record.as_mut().expect("a record");
        record.at_s = (1..=WINDOWS).map(|window| 60.0 * window as f64).collect();
        record.utility = (0..WINDOWS).map(|window| (window % 7) as f64 / 7.0).collect();
        let tracks: Vec<Track> = record.vms.iter().map(|track| stretched(track, WINDOWS)).collect();
        record.vms = tracks.iter().cycle().take(VMS).cloned().collect();
        let note = Note {
            at: HOUR,
            vm: Some(VmId(0)),
            kind: "memory",
            what: "wide & ".repeat(400),
            why: "<&>".repeat(400),
        };
        record.notes = vec![note; 20_000];
        run.score.vms = run.score.vms.iter().copied().cycle().take(VMS).collect();
    }
    let guests = scenario.guests.iter().cycle().take(VMS).cloned();
    scenario.guests = guests.collect();
    for (index, guest) in scenario.guests.iter_mut().enumerate() {
        guest.spec.id = VmId::at(index);
    }
    scenario.duration = 24 * HOUR;
    let results = [("host".to_string(), results)];
    let page = html(&scenario, &compare(1, &results), &results[0].1, None, "halcyon demo");
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
    for said in ["960 in between are left out", "3 VMs share a row", "944 are left out", "the first 250 of"] {
        assert!(page.contains(said), "{said}");
    }
}

/// The same over and over.
fn stretched(track: &Track, windows: usize) -> Track {
    let long = |values: &[f32]| values.iter().copied().cycle().take(windows).collect();
    Track {
        name: track.name.clone(),
        cpu_wanted: long(&track.cpu_wanted),
        cpu_used: long(&track.cpu_used),
        cpu_share: long(&track.cpu_share),
        working_set_gib: long(&track.working_set_gib),
        memory_gib: long(&track.memory_gib),
        io_wanted_mb_s: long(&track.io_wanted_mb_s),
        io_mb_s: long(&track.io_mb_s),
        utility: long(&track.utility),
    }
}

#[test]
fn the_page_of_a_scenario_shows_host_vms_and_demand_and_fetches_nothing() {
    let mut scenario = scenario(12, HOUR / 2, 3);
    scenario.guests[0].leaves = Some(HOUR / 8);
    scenario.guests[1].arrives = HOUR / 4;
    scenario.guests[2].arrives = HOUR;
    scenario.guests[3].workload.demand.work = vec![0.0; 4];
    let page = scenario_html(&scenario, "halcyon scenario show a.toml --html a.html");
    for text in ["All VMs together", "The host", "The VMs", "two-socket", "0:15 – end", "0:00 – 0:08"] {
        assert!(page.contains(text), "{text}");
    }
    for guest in &scenario.guests {
        assert!(page.contains(&guest.spec.name), "{}", guest.spec.name);
    }
    assert_eq!(page.matches("class=\"spark\"><svg").count(), 2 * scenario.guests.len());
    assert_eq!(page.matches("never there").count(), 4, "both figures of a VM that comes after the end");
    assert!(
        !page.contains("<script") && !page.contains("NaN") && !page.contains("inf"),
        "it needs no script"
    );
    assert_eq!(page, scenario_html(&scenario, "halcyon scenario show a.toml --html a.html"));
    let body = page.split_once("<body>").expect("a body").1.replace("</html>", "").replace("</body>", "");
    assert_eq!(fault(&body), None);
}

#[test]
fn names_in_the_page_of_a_scenario_stay_text_and_very_many_vms_are_counted() {
    let mut scenario = scenario(300, HOUR / 4, 3);
    let evil = "</td><script>alert(1)</script>\"'&";
    scenario.source = evil.into();
    for guest in &mut scenario.guests {
        guest.spec.name = evil.into();
        guest.spec.application = Some(evil.into());
        guest.workload.application.name = evil.into();
    }
    let page = scenario_html(&scenario, evil);
    assert!(!page.contains("<script"), "a name became markup");
    assert!(page.contains("44 more are left out here"));
    let body = page.split_once("<body>").expect("a body").1.replace("</html>", "").replace("</body>", "");
    assert_eq!(fault(&body), None);
}

#[test]
fn the_policy_that_is_named_is_looked_at_first() {
    let scenario = scenario(6, HOUR / 4, 3);
    let results = [(scenario.topology.name().to_string(), runs(&scenario))];
    let page = |policy| html(&scenario, &compare(3, &results), &results[0].1, policy, "halcyon demo");
    let checked = |page: &str| {
        let (before, _) = page.split_once(" checked=\"\"").expect("one is checked");
        before.rsplit_once("value=\"").map(|(_, value)| value.trim_end_matches('"').to_string())
    };
    for (index, policy) in POLICIES.into_iter().enumerate().skip(1) {
        assert_eq!(checked(&page(Some(policy))), Some(index.to_string()), "{policy}");
    }
    assert_eq!(page(Some("static")), page(None), "what all are compared with is no choice");
}
