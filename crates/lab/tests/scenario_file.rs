//! Scenarios as files: what is drawn, written and read is one and the same, and no text breaks the reader.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{HOUR, TWO_SOCKET, generated, run};
use halcyon_lab::{Draw, FileError, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_sim::trace::TraceSet;

const GPU_BOX: &str = include_str!("../../../examples/hosts/gpu-box.toml");
const EXAMPLE: &str = include_str!("../../../examples/scenarios/small.toml");

fn drawn(host: &str, traces: &TraceSet, draw: Draw) -> Scenario {
    let parsed = parse_host(host).expect("a host");
    let scenario = Scenario::draw(parsed.topology, parsed.capabilities, traces, draw).expect("the VMs fit");
    scenario.with_description(host)
}

fn some(host: &str, vms: usize, seed: u64) -> Scenario {
    let draw = Draw { overcommit: Some(3.0), churn: 0.4, signal: 0.5, ..Draw::new(vms, HOUR, seed) };
    let mut scenario = drawn(host, &generated(vms, HOUR, seed), draw);
    scenario.parameters.burst_sigma = 0.1 + 0.2;
    scenario.parameters.patience = Duration::from_millis(7300);
    scenario.parameters.counter_lag = false;
    scenario
}

fn text(scenario: &Scenario) -> String {
    let mut out = Vec::new();
    scenario.write(&mut out).expect("it can be written");
    String::from_utf8(out).expect("text")
}

fn parse(text: &str) -> Result<Scenario, FileError> {
    Scenario::parse(text, Path::new("s.toml"))
}

fn refused(text: &str) -> (usize, String) {
    match parse(text) {
        Ok(_) => panic!("it must be refused"),
        Err(error @ FileError::Wrong { line, .. }) => (line, error.to_string()),
        Err(error) => panic!("refused without a line: {error}"),
    }
}

#[test]
fn what_is_read_is_what_was_drawn_to_the_bit() {
    for (host, vms) in [(TWO_SOCKET, 24), (GPU_BOX, 20)] {
        for seed in [1, 2, u64::MAX] {
            let scenario = some(host, vms, seed);
            let written = text(&scenario);
            let read = parse(&written).unwrap_or_else(|error| panic!("{error}"));
            for (read, drawn) in read.guests.iter().zip(&scenario.guests) {
                assert_eq!(read, drawn);
            }
            assert!(read == scenario, "the rest of it differs");
            assert_eq!(text(&read), written);
        }
    }
}

#[test]
fn running_what_was_read_is_running_what_was_drawn() {
    let scenario = some(TWO_SOCKET, 16, 5);
    let read = parse(&text(&scenario)).expect("it is read");
    for policy in ["static", "reactive"] {
        assert_eq!(run(&scenario, policy).score, run(&read, policy).score);
    }
}

#[test]
fn a_host_that_holds_odd_text_is_still_embedded_word_by_word() {
    for extra in ["# it's '''quoted''' \\ \"\"\"\n", "# no break at the end", "# '", "# tab\t and more\r\n"] {
        let host = format!("{TWO_SOCKET}\n{extra}");
        let scenario = some(&host, 3, 1);
        let read = parse(&text(&scenario)).unwrap_or_else(|error| panic!("{extra:?}: {error}"));
        assert_eq!(read.description.as_deref(), Some(host.as_str()));
    }
}

#[test]
fn the_example_reads_and_runs() {
    let example = parse(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(text(&example), EXAMPLE, "make it again with the command in docs/src/scenarios.md");
    assert!(run(&example, "reactive").score.utility > 0.3);
}

/// Replaces the first `from` of a good file; gives the line on which it stood and what is said about it.
fn changed(from: &str, to: &str) -> (usize, (usize, String)) {
    let good = text(&some(GPU_BOX, 6, 1));
    let at = good.find(from).unwrap_or_else(|| panic!("`{from}` is not in the file"));
    let line = 1 + good[..at].matches('\n').count();
    (line, refused(&good.replacen(from, to, 1)))
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (from, to, says) in [
        ("schema = 1", "schema = 2", "this version reads 1"),
        ("duration_s = 3600.0", "duration_s = nan", "must be from"),
        ("duration_s = 3600.0", "duration_s = -5", "must be from"),
        ("cores = 32", "cores = 0", "cores is 0"),
        ("burst_sigma = ", "burst_sigam = ", "there is no `burst_sigam`"),
        ("counter_lag = false", "counter_lag = 7", "neither true nor false"),
        ("patience_s = 7.3", "patience_s = inf", "must be from"),
        ("vcpus = ", "vcpus = -", "expected"),
        ("request_ms = ", "request_ms = -", "request_ms is -"),
        ("io_bytes = ", "io_byte = ", "unknown field `io_byte`"),
        ("interval_s = 300.0", "interval_s = 0", "interval_s is 0"),
        ("interval_s = 300.0", "interval_s = 300.0\nwork = [1]", "duplicate key"),
        ("\n[vm.demand]", "\n[vm.demands]", "unknown field `demands`"),
        ("half_bytes = ", "half_bytes = -", "half_bytes"),
    ] {
        let (line, (found, message)) = changed(from, to);
        assert!(message.contains(says), "{from} → {to}: {message}");
        assert!(message.starts_with(&format!("s.toml: line {found}: ")), "{message}");
        assert!(found.abs_diff(line) <= 2, "{from} is on line {line}, not {found}: {message}");
    }
}

#[test]
fn demand_that_is_none_is_refused() {
    let mut good = some(TWO_SOCKET, 2, 1);
    for guest in &mut good.guests {
        (guest.signal, guest.arrives, guest.leaves) = (false, Duration::ZERO, None);
        guest.spec.gpu_slices.reservation = 0;
        guest.workload.demand.work = vec![0.5, 0.25];
        guest.workload.demand.working_set = vec![1e9, 2e9];
    }
    let good = text(&good);
    let work = "work = [\n  0.5, 0.25,\n]";
    for (to, says) in [
        ("work = [0.5, nan]", "figure 2 is NaN"),
        ("work = [0.5, -0.5]", "figure 2 is -0.5"),
        ("work = [1e99, 1]", "figure 1 is 1"),
        ("work = [1]", "has 1 figures of work and 2"),
        ("work = []", "has 0 figures of work"),
        ("", "missing field `work`"),
    ] {
        assert!(good.contains(work));
        let (_, message) = refused(&good.replacen(work, to, 1));
        assert!(message.contains(says) && message.contains("VM `"), "{to}: {message}");
    }
    let life = "[vm.life]\narrives_s = 9\nleaves_s = 9\n[vm.program]\n";
    let (_, message) = refused(&good.replacen("[vm.program]\n", life, 1));
    assert!(message.contains("leaves before it arrives"), "{message}");
}

#[test]
fn scenarios_without_vms_are_neither_read_nor_written() {
    let good = text(&some(TWO_SOCKET, 1, 1));
    let (_, message) = refused(good.split("[[vm]]").next().expect("a head"));
    assert!(message.contains("has no VM"), "{message}");
    let mut empty = some(TWO_SOCKET, 1, 1);
    empty.guests.clear();
    let error = empty.write(&mut Vec::new()).expect_err("nothing to write");
    assert!(error.to_string().contains("it has no VM"), "{error}");
}

#[test]
fn reservations_that_cannot_be_kept_are_refused() {
    let scenario = some(TWO_SOCKET, 4, 1);
    let mut greedy = scenario.clone();
    for guest in &mut greedy.guests {
        guest.arrives = Duration::ZERO;
        guest.spec.vcpus = 20;
        guest.spec.cpu.limit = halcyon_model::MilliCpu::cores(20);
        guest.spec.cpu.reservation = halcyon_model::MilliCpu::cores(20);
    }
    let error = parse(&text(&greedy)).expect_err("80 of 44 CPUs");
    assert!(matches!(error, FileError::Start { .. }), "{error}");
}

#[test]
fn a_fabric_that_comes_back_to_itself_is_refused() {
    let good = text(&some(TWO_SOCKET, 2, 1));
    let (_, message) = refused(&good.replacen("below = \"rp0\"", "below = \"sw0-p0\"", 1));
    assert!(message.contains("sw0") && message.contains("line"), "{message}");
}

#[test]
fn no_cut_and_no_flipped_byte_makes_the_reader_fall() {
    let good = text(&some(GPU_BOX, 3, 1)).into_bytes();
    for at in (0..good.len()).step_by(211) {
        let cut = String::from_utf8_lossy(&good[..at]).into_owned();
        let _ = parse(&cut);
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 7);
        let _ = parse(&String::from_utf8_lossy(&flipped));
    }
}

#[test]
fn other_texts_are_refused_in_no_time() {
    let started = Instant::now();
    for odd in [
        String::new(),
        "schema = 1".into(),
        "[[vm]]\n".repeat(20_000),
        "[[profile]]\n".repeat(20_000),
        "schema = 1\nsource = [".to_string() + &"[".repeat(100_000),
        "[vm.demand]\nwork = [1]\n".into(),
        "\u{0}\u{1b}[31m\n= = =".into(),
        "x".repeat(9 << 20),
        "[[vm]]\n[vm.demand]\nwork = [".to_string() + &"1,".repeat(2 << 20),
    ] {
        let (_, message) = refused(&odd);
        assert!(message.len() < 2000 && !message.contains('\u{1b}'));
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let error = Scenario::read(Path::new("/does/not/exist.toml")).expect_err("there is none");
    assert_eq!(error.to_string(), "cannot read the scenario /does/not/exist.toml");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latin.toml");
    std::fs::write(&path, b"schema = 1\n# \xff").expect("written");
    let error = Scenario::read(&path).expect_err("not UTF-8");
    assert!(error.to_string().contains("line 2") && error.to_string().contains("UTF-8"), "{error}");
}

/// The largest number of VMs that one host may have is drawn, written and read, or refused, at once.
#[test]
fn ten_thousand_vms_take_no_minutes() {
    let large = TWO_SOCKET.replace("cores = 24", "cores = 2000").replace("256GiB", "16384GiB");
    let started = Instant::now();
    let draw = Draw { overcommit: Some(3.0), ..Draw::new(10_000, HOUR, 1) };
    let scenario = drawn(&large, &generated(200, HOUR, 1), draw);
    let read = parse(&text(&scenario)).unwrap_or_else(|error| panic!("{error}"));
    assert!(read == scenario);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_scenario_too_long_to_be_read_is_not_written() {
    let mut scenario = some(TWO_SOCKET, 30, 1);
    for guest in &mut scenario.guests {
        guest.workload.demand.work = vec![0.123_4; 800_000];
    }
    let error = scenario.write(&mut std::io::sink()).expect_err("too long");
    assert!(error.to_string().contains("draw fewer VMs or hours"), "{error}");
}

#[test]
fn draws_that_make_no_sense_are_refused() {
    let traces = generated(2, HOUR, 1);
    let good = Draw::new(2, HOUR, 1);
    for draw in [
        Draw { load: f64::NAN, ..good },
        Draw { overcommit: Some(0.0), ..good },
        Draw { overcommit: Some(f64::INFINITY), ..good },
        Draw { memory_overcommit: -1.0, ..good },
        Draw { signal: 1.5, ..good },
        Draw { churn: f64::NAN, ..good },
        Draw { duration: Duration::ZERO, ..good },
    ] {
        let host = parse_host(TWO_SOCKET).expect("a host");
        let drawn = Scenario::draw(host.topology, host.capabilities, &traces, draw);
        assert!(drawn.is_err(), "{draw:?}");
    }
}
