//! Profiles of applications as text: what is written reads back, and every slip is answered with its line.

// Outside of `#[test]` functions clippy.toml does not lift this; these are tests all the same.
#![allow(clippy::unwrap_used)]

use halcyon_model::ByteSize;
use halcyon_model::profile::{
    Application, CacheResponse, Fit, FitError, GpuResponse, Response, parse_application, write_application,
};
use proptest::prelude::*;

const WHOLE: &str = r#"name = "solver"
source = "made for the tests"

[cache]
limit_misses = 0.5
least_misses = 1.0
most_misses = 30
half_bytes = 8e6
steepness = 2.0
cycles = 0.6
cycles_per_miss = 20.0
bytes_per_miss = 64.0
clock_hz = 2.0e9
footprint_bytes = 2e7

[gpu]
slices = 7
memory = "10GB"
fixed = 0.25
bandwidth = 0.5

[cpu]
cores_per_gpu = 3.0

[memory]
paging = 0.9

[fit]
ipc = { median = 0.001, worst = 0.04 }
"#;

fn whole() -> Application {
    Application {
        name: "solver".into(),
        source: "made for the tests".into(),
        response: Response {
            cache: CacheResponse {
                limit_misses: 0.5,
                least_misses: 1.0,
                most_misses: 30.0,
                half: 8e6,
                steepness: 2.0,
                cycles: 0.6,
                cycles_per_miss: 20.0,
                bytes_per_miss: 64.0,
                clock: 2e9,
                footprint: Some(2e7),
            },
            gpu: Some(GpuResponse {
                whole: 7,
                fixed: 0.25,
                bandwidth: 0.5,
                memory: ByteSize::new(10_000_000_000),
            }),
            paging: Some(0.9),
            cpu_per_gpu: Some(3.0),
        },
        fit: Fit { ipc: Some(FitError { median: 0.001, worst: 0.04 }), ..Fit::default() },
    }
}

#[test]
fn everything_that_can_be_said_is_read_and_written() {
    assert_eq!(parse_application(WHOLE), Ok(whole()));
    assert_eq!(parse_application(&write_application(&whole())), Ok(whole()));
    let strange = Application { source: "a \"b\" 'c' \\ d é".into(), ..whole() };
    assert_eq!(parse_application(&write_application(&strange)), Ok(strange));
}

#[test]
fn little_is_needed() {
    let text = "name = \"a\"\nsource = \"b\"\ncache = { traffic = 5e8 }\n";
    let application = parse_application(text).unwrap();
    assert_eq!(application.response, Response::flat(5e8));
    assert_eq!(application.fit, Fit::default());
    assert_eq!(parse_application(&write_application(&application)), Ok(application));
}

#[test]
fn every_slip_is_answered_with_its_line() {
    for (from, to, line, words) in [
        ("name = \"solver\"", "name = \"../solver\"", 1, "1 to 64 characters"),
        ("made for the tests", "", 2, "source is one line"),
        ("made for the tests", "a\\nb", 2, "source is one line"),
        ("limit_misses = 0.5", "limit_misses = nan", 5, "limit_misses is NaN"),
        ("limit_misses = 0.5", "limit_misses = -0.5", 5, "limit_misses is -0.5"),
        ("limit_misses = 0.5", "limit_misses = 2.0", 6, "between limit_misses and most_misses"),
        ("most_misses = 30", "most_misses = 0.75", 6, "between limit_misses and most_misses"),
        ("most_misses = 30", "most_misses = inf", 7, "most_misses is inf"),
        ("most_misses = 30", "most_misses = \"30\"", 7, "expected a number"),
        ("half_bytes = 8e6", "half_bytes = 0", 8, "half_bytes is 0"),
        ("steepness = 2.0", "steepness = 0.0", 9, "steepness is 0"),
        ("steepness = 2.0", "steepnes = 2.0", 9, "unknown field `steepnes`"),
        ("steepness = 2.0", "", 4, "lacks `steepness`"),
        ("cycles = 0.6", "cycles = 0.0", 10, "cycles is 0"),
        ("clock_hz = 2.0e9", "clock_hz = 2.0", 13, "clock_hz is 2"),
        ("footprint_bytes = 2e7", "traffic = 1e9", 14, "has both `traffic`"),
        ("slices = 7", "slices = 0", 17, "slices is 0"),
        ("memory = \"10GB\"", "memory = \"0GB\"", 18, "memory of the GPU is zero"),
        ("fixed = 0.25", "fixed = 1.25", 19, "fixed is 1.25"),
        ("fixed = 0.25", "fixed = 0.75", 20, "add up to 1.25"),
        ("cores_per_gpu = 3.0", "cores_per_gpu = 0.0", 23, "cores_per_gpu is 0"),
        ("paging = 0.9", "paging = -0.9", 26, "paging is -0.9"),
        ("worst = 0.04", "worst = 0.0", 29, "below its median"),
        ("ipc = {", "speed = {", 29, "unknown field `speed`"),
    ] {
        assert!(WHOLE.contains(from));
        let error = parse_application(&WHOLE.replacen(from, to, 1)).unwrap_err();
        assert!(error.line == line && error.to_string().contains(words), "{to}: {error}");
    }
}

#[test]
fn a_text_cut_short_anywhere_is_answered() {
    for end in 0..WHOLE.len() {
        let _ = parse_application(&WHOLE[..end]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC*", ascii in "[\\[\\]{}=\"a-z0-9.\n# ]{0,200}") {
        let _ = (parse_application(&text), parse_application(&ascii));
    }

    /// Whatever numbers a profile is read with, it stays finite and more cache or slices never hurt.
    #[test]
    fn what_is_read_is_monotone(numbers in proptest::array::uniform12(-2.0_f64..12.0)) {
        let mut values = numbers.iter().map(|exponent| libm::pow(10.0, *exponent));
        let mut text = String::new();
        for line in WHOLE.lines() {
            match line.split_once(" = ") {
                Some((name, old)) if old.parse::<f64>().is_ok() && name != "slices" => {
                    let value = values.next().unwrap_or(1.0);
                    text += &format!("{name} = {value:?}\n");
                }
                _ => text += &format!("{line}\n"),
            }
        }
        if let Ok(application) = parse_application(&text) {
            monotone(&application.response);
            prop_assert_eq!(parse_application(&write_application(&application)), Ok(application));
        }
    }

    #[test]
    fn responses_within_what_can_be_are_monotone(
        misses in proptest::array::uniform3(0.0_f64..1e6),
        shape in (0.0_f64..12.0, -3.0_f64..3.0, -3.0_f64..6.0, 0.0_f64..1e6, 0.0_f64..1e6),
    ) {
        let mut misses = misses;
        misses.sort_by(f64::total_cmp);
        let [limit_misses, least_misses, most_misses] = misses;
        let (half, steepness, cycles, cycles_per_miss, bytes_per_miss) = shape;
        let power = |exponent| libm::pow(10.0, exponent);
        let cache = CacheResponse {
            limit_misses,
            least_misses,
            most_misses,
            half: power(half).clamp(1.0, 1e12),
            steepness: power(steepness).clamp(1e-3, 1e3),
            cycles: power(cycles).clamp(1e-3, 1e6),
            cycles_per_miss,
            bytes_per_miss,
            clock: 2e9,
            footprint: None,
        };
        let response = Response { cache, ..Response::flat(0.0) };
        monotone(&response);
        let application = Application { response, ..whole() };
        prop_assert_eq!(parse_application(&write_application(&application)), Ok(application));
    }
}

fn monotone(response: &Response) {
    let sizes = [0.0, 1.0, 1e3, 1e5, 1e6, 3e6, 1e7, 3e7, 1e8, 1e10, 1e13, f64::INFINITY];
    for pair in sizes.windows(2) {
        let [less, more] = [pair[0], pair[1]].map(|bytes| response.cache.effect(bytes));
        assert!(less.speed.is_finite() && less.traffic.is_finite() && less.speed >= 0.0 && less.speed <= 1.0);
        assert!(more.speed >= less.speed && more.traffic <= less.traffic, "{response:?} {pair:?}");
    }
    if let Some(gpu) = response.gpu {
        assert!((0..gpu.whole).all(|slices| gpu.speed(slices) <= gpu.speed(slices + 1)));
    }
}
