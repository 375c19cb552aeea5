//! A bench as whoever relies on it meets it: the same result however it came about.

mod common;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Still, scenario};
use halcyon_lab::bench::{
    BenchError, BuiltIn, Case, Entry, Event, Memory, Plan, Report, Resource, Store, detail, run, telling,
};
use halcyon_lab::{POLICIES, bench_html};

const LENGTH: Duration = Duration::from_secs(420);

fn entries() -> Vec<Entry> {
    let entry = |seed| Entry::new("six".into(), seed, LENGTH, move |length| Ok(scenario(6, length, seed)));
    (1..=3).map(entry).collect()
}

fn names() -> Vec<String> {
    POLICIES.iter().map(|name| (*name).to_string()).collect()
}

/// Runs everything and says which results were made again.
fn bench(threads: usize, alone: &[Resource], store: Option<&Store>) -> (Vec<Case>, Vec<String>) {
    let (entries, policies) = (entries(), names());
    let plan = Plan { entries: &entries, policies: &policies, alone, make: &BuiltIn, threads, store };
    let again = Mutex::new(Vec::new());
    let watch = |event: Event<'_>| {
        if let Event::Again(error) = event {
            again.lock().expect("nothing is in the way").push(error.to_string());
        }
    };
    let cases = run(&plan, &Still, &watch, &AtomicBool::new(false))
        .expect("nothing is in the way")
        .expect("nothing is in the way");
    (cases, again.into_inner().expect("nothing is in the way"))
}

fn json(cases: &[Case]) -> String {
    let report = Report::new(cases, Memory { process_peak_rss_bytes: None });
    serde_json::to_string_pretty(&report).expect("nothing is in the way")
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let alone = [Resource::Cpu, Resource::Memory];
    let (one, _) = bench(1, &alone, None);
    let (four, _) = bench(4, &alone, None);
    assert_eq!(json(&one), json(&four));
    assert_eq!(one.iter().map(|case| case.seed).collect::<Vec<_>>(), [1, 2, 3]);
    for case in &one {
        assert_eq!(case.runs.iter().map(|run| run.policy.as_str()).collect::<Vec<_>>(), POLICIES);
        assert!(case.bound <= 1.0 && case.runs.iter().all(|run| run.utility <= case.bound + 1e-9));
        assert_eq!(case.alone.len(), 2, "the host can change both");
    }
}

#[test]
fn what_was_interrupted_goes_on_and_comes_to_the_same() {
    let folder = tempfile::tempdir().expect("nothing is in the way");
    let store = Store::open(folder.path(), "test 1").expect("nothing is in the way");
    let (entries, policies) = (entries(), names());
    let plan = Plan {
        entries: &entries,
        policies: &policies,
        alone: &[],
        make: &BuiltIn,
        threads: 2,
        store: Some(&store),
    };
    let (stop, done, kept) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let watch = |event: Event<'_>| {
        if matches!(event, Event::Done { .. }) && done.fetch_add(1, Ordering::Relaxed) == 6 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    assert_eq!(
        run(&plan, &Still, &watch, &stop).expect("nothing is in the way"),
        None,
        "what was stopped is no result"
    );
    let files = std::fs::read_dir(folder.path()).expect("nothing is in the way").count();
    assert_eq!(files, done.load(Ordering::Relaxed), "what was finished was kept, and nothing else");
    assert!(files < plan.runs());
    let count = |event: Event<'_>| {
        kept.fetch_add(usize::from(matches!(event, Event::Done { kept: true })), Ordering::Relaxed);
    };
    let resumed = run(&plan, &Still, &count, &AtomicBool::new(false))
        .expect("nothing is in the way")
        .expect("nothing is in the way");
    assert_eq!(kept.load(Ordering::Relaxed), files);
    assert_eq!(json(&resumed), json(&bench(2, &[], None).0));
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("nothing is in the way")
        .map(|file| file.expect("nothing is in the way").path())
        .collect();
    files.sort();
    files
}

#[test]
fn damaged_results_are_said_and_made_again() {
    let folder = tempfile::tempdir().expect("nothing is in the way");
    let store = Store::open(folder.path(), "test 1").expect("nothing is in the way");
    let (cases, _) = bench(2, &[], Some(&store));
    let files = files(folder.path());
    std::fs::write(&files[0], "{").expect("nothing is in the way");
    std::fs::write(&files[1], vec![b' '; 2 << 20]).expect("nothing is in the way");
    let text = std::fs::read_to_string(&files[2]).expect("nothing is in the way");
    let (before, after) = text.split_once("\"result\":").expect("nothing is in the way");
    // One digit of the result.
    let digit = after.rfind(|letter: char| letter.is_ascii_digit()).expect("nothing is in the way");
    let other = if after.as_bytes()[digit] == b'7' { "8" } else { "7" };
    let changed = format!("{before}\"result\":{}{other}{}", &after[..digit], &after[digit + 1..]);
    std::fs::write(&files[2], changed).expect("nothing is in the way");
    std::fs::copy(&files[4], &files[3]).expect("nothing is in the way");
    let (again, mut said) = bench(2, &[], Some(&store));
    said.sort();
    assert_eq!(said.len(), 4, "{said:?}");
    for (file, said) in files.iter().zip(&said) {
        assert!(said.contains(&file.display().to_string()) && said.contains("damaged"), "{said}");
    }
    assert!(said[2].contains("check sum") && said[3].contains("something else"), "{said:?}");
    assert_eq!(json(&again), json(&cases));
    assert!(bench(2, &[], Some(&store)).1.is_empty(), "what was damaged is whole again");
}

#[test]
fn results_of_another_program_are_not_used() {
    let folder = tempfile::tempdir().expect("nothing is in the way");
    bench(2, &[], Some(&Store::open(folder.path(), "test 1").expect("nothing is in the way")));
    let before = files(folder.path()).len();
    bench(2, &[], Some(&Store::open(folder.path(), "test 2").expect("nothing is in the way")));
    assert_eq!(files(folder.path()).len(), 2 * before);
}

#[test]
fn what_cannot_be_made_is_named() {
    let policies = vec!["static".to_string(), "lucky".to_string()];
    let plan = |entries: &[Entry]| {
        let plan = Plan { entries, policies: &policies, alone: &[], make: &BuiltIn, threads: 1, store: None };
        run(&plan, &Still, &|_| {}, &AtomicBool::new(false)).unwrap_err()
    };
    let lucky = plan(&entries());
    assert!(matches!(&lucky, BenchError::Policy { name, .. } if name == "lucky"), "{lucky}");
    let broken = [Entry::new("broken".into(), 9, LENGTH, |_| Err("no such file".into()))];
    let broken = plan(&broken).to_string();
    assert!(broken.contains("broken") && broken.contains('9'), "{broken}");
    let nothing =
        Plan { entries: &[], policies: &policies, alone: &[], make: &BuiltIn, threads: 4, store: None };
    let nothing = run(&nothing, &Still, &|_| {}, &AtomicBool::new(false))
        .expect("nothing is in the way")
        .expect("nothing is in the way");
    assert!(nothing.is_empty());
    assert!(json(&nothing).contains("\"scenarios\": 0"));
}

#[test]
fn the_page_shows_the_bench_and_one_scenario() {
    let (cases, _) = bench(2, &[Resource::Cpu], None);
    let report = Report::new(&cases, Memory { process_peak_rss_bytes: Some(1 << 26) });
    let (index, names) = telling(&cases).expect("nothing is in the way");
    let looked = || {
        detail(&entries()[index], &names, &BuiltIn, &Still, &AtomicBool::new(false))
            .expect("nothing is in the way")
    };
    let page = bench_html(&report, looked().as_ref(), "halcyon bench <x>");
    let sections = [
        "How good, and how sure",
        "Gap closed, by host",
        "Gap closed with one resource alone",
        "All figures",
        "Every scenario",
        "One scenario closely",
        "When and why they differ",
        "Where it is won and lost",
        "Footnotes",
        "halcyon bench &lt;x&gt;",
        "64 MiB",
    ];
    for section in sections {
        assert!(page.contains(section), "{section}");
    }
    assert_eq!(page, bench_html(&report, looked().as_ref(), "halcyon bench <x>"));
    let alone = bench_html(&report, None, "halcyon bench");
    assert!(alone.contains("Every scenario") && !alone.contains("One scenario closely"));
}

#[test]
fn names_from_outside_stay_text_on_the_page() {
    let (mut cases, _) = bench(2, &[], None);
    let evil = "</script><script>alert(1)</script>\"'&";
    for case in &mut cases {
        (case.name, case.host) = (evil.into(), evil.into());
        case.runs[3].policy = evil.into();
    }
    let report = Report::new(&cases, Memory { process_peak_rss_bytes: None });
    let page = bench_html(&report, None, evil);
    assert!(!page.contains("<script>alert"), "a name became markup");
    assert_eq!(page.matches("</script>").count(), 2);
}
