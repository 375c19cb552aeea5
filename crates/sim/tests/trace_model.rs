//! Collecting readings onto a grid, and the generator: its parameters, its VMs and its fit.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use halcyon_sim::trace::generator::{Generator, Parameters, Source, fit};
use halcyon_sim::trace::{Reading, Selection, TraceError, TraceSet};

const DAY: Duration = Duration::from_secs(86_400);

fn reading(vm: &str, time_s: u64, interval_s: Option<u64>, cpu: f64) -> Result<Reading, TraceError> {
    let time = Duration::from_secs(time_s);
    let interval = interval_s.map(Duration::from_secs);
    Ok(Reading { interval, cpu: Some(cpu), ..Reading::new(vm.into(), time) })
}

fn selection(vms: usize, minutes: u64) -> Selection {
    Selection::new(vms, Duration::from_secs(minutes * 60), 1)
}

fn collect(readings: Vec<Result<Reading, TraceError>>, selection: &Selection) -> TraceSet {
    TraceSet::collect(readings, selection, Path::new("test")).unwrap()
}

fn cpu(set: &TraceSet, series: usize) -> Vec<Option<f32>> {
    set.series[series].cpu.clone()
}

#[test]
fn finer_readings_are_averaged_and_coarser_ones_held() {
    let fine = vec![reading("a", 0, Some(60), 0.1), reading("a", 60, Some(240), 0.6)];
    let set = collect(fine, &selection(1, 5));
    assert_eq!(cpu(&set, 0), [Some(0.5)]);
    let coarse = vec![reading("a", 0, Some(600), 0.25), reading("a", 600, Some(300), 0.75)];
    assert_eq!(cpu(&collect(coarse, &selection(1, 15)), 0), [Some(0.25), Some(0.25), Some(0.75)]);
}

#[test]
fn short_gaps_are_held_and_long_ones_show() {
    let readings = vec![
        reading("a", 0, Some(300), 0.25),
        reading("a", 900, Some(300), 0.5),
        reading("a", 3600, Some(300), 0.75),
    ];
    let found = cpu(&collect(readings, &selection(1, 70)), 0);
    assert_eq!(found[..4], [Some(0.25), Some(0.25), Some(0.25), Some(0.5)]);
    assert_eq!(found[4..12], [None; 8]);
    assert_eq!(found[12..], [Some(0.75)]);
}

#[test]
fn a_trace_that_is_too_short_or_has_too_few_vms_says_so() {
    let set = collect(vec![reading("a", 3000, Some(300), 0.25)], &selection(9, 60));
    assert_eq!((set.series.len(), set.samples()), (1, 1));
    assert_eq!(set.shortfall, Duration::from_secs(55 * 60));
}

#[test]
fn what_is_collected_does_not_depend_on_the_order_of_the_vms() {
    let name = |vm: u64| format!("vm-{}", vm * 7919 % 100);
    let by_vm: Vec<_> = (0..100)
        .flat_map(|vm| (0..12).map(move |slot| (vm, slot)))
        .map(|(vm, slot)| (name(vm), 300 * (slot + vm % 3)))
        .collect();
    let mut by_time = by_vm.clone();
    by_time.sort_by_key(|(_, time)| *time);
    let read =
        |rows: Vec<(String, u64)>| rows.into_iter().map(|(vm, t)| reading(&vm, t, Some(300), 0.5)).collect();
    let (a, b) = (collect(read(by_vm), &selection(10, 60)), collect(read(by_time), &selection(10, 60)));
    assert_eq!(a, b);
    assert_eq!(a.series.len(), 10);
    assert!(a.series.is_sorted_by_key(|series| series.name.clone()));
    assert!(a.series.iter().all(|series| series.cpu.len() == 12));
}

#[test]
fn selections_that_no_memory_should_hold_are_refused() {
    let ask = |selection: &Selection| {
        TraceSet::collect(vec![reading("a", 0, None, 0.1)], selection, Path::new("t"))
            .unwrap_err()
            .to_string()
    };
    assert!(ask(&selection(usize::MAX, 60)).contains("ask for fewer VMs"));
    assert!(ask(&selection(0, 60)).contains("at least one VM"));
    let nothing = TraceSet::collect(Vec::new(), &selection(1, 60), Path::new("t")).unwrap_err().to_string();
    assert!(nothing.contains("t: found no reading"), "{nothing}");
}

#[test]
fn a_vm_depends_on_the_seed_and_its_number_alone() {
    let parameters = Parameters::embedded().unwrap();
    let generator = Generator::new(&parameters, 42);
    let (few, many) = (generator.trace_set(3, DAY), generator.trace_set(50, 2 * DAY));
    for (short, long) in few.series.iter().zip(&many.series) {
        assert_eq!((&short.name, &short.cpu[..]), (&long.name, &long.cpu[..288]));
    }
    assert_ne!(Generator::new(&parameters, 43).trace_set(3, DAY), few);
    assert_eq!(Generator::new(&parameters, 42).trace_set(3, DAY), few);
    assert!(many.series.iter().flat_map(|series| &series.cpu).flatten().all(|cpu| (0.0..=1.0).contains(cpu)));
}

#[test]
fn generated_vms_are_the_same_to_the_bit_on_any_machine() {
    let set = Generator::new(&Parameters::embedded().unwrap(), 7).trace_set(64, DAY);
    let bits = set.series.iter().flat_map(|series| &series.cpu).flatten().map(|cpu| u64::from(cpu.to_bits()));
    let sum = bits.fold(0_u64, |sum, bits| sum.rotate_left(5).wrapping_mul(0x0100_0000_01b3) ^ bits);
    // Another sum means other arithmetic or other parameters: say in the change which of them it was.
    assert_eq!(sum, 0x5bf4_fabb_5962_2f7a, "{sum:#x}");
}

#[test]
fn parameters_survive_their_text_and_mistakes_are_named() {
    let parameters = Parameters::embedded().unwrap();
    let text = parameters.to_toml();
    let parse = |text: &str| Parameters::parse(text, Path::new("p.toml"));
    assert_eq!(parse(&text).unwrap(), parameters);
    let complain = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
    };
    for (from, to, words) in [
        ("schema = 1", "schema = 9", &["p.toml: schema is 9"][..]),
        ("schema = 1", "schema = 1\nshema = 1", &["p.toml, line 3", "shema"]),
        ("interval_s = 300", "interval_s = 0", &["interval_s", "1 to 86400"]),
        ("interval_s = 300", "interval_s = \"x\"", &["line 4"]),
        ("fast_s = 1500.0", "fast_s = nan", &["population `planetlab, quiet`: fast_s is NaN"]),
        ("fast_s = 1500.0", "", &["missing field `fast_s`"]),
        ("level = [", "level = [9.0, ", &["level", "never fall"]),
        ("daily_second = 0.0", "daily_second = 2.0", &["daily_second is 2", "0 to 1"]),
        ("correlation = [[1.0", "correlation = [[0.5", &["correlation", "diagonal"]),
    ] {
        let error = complain(from, to);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn fitting_generated_vms_finds_their_statistics_again() {
    let generator = Generator::new(&Parameters::embedded().unwrap(), 11);
    let sets = vec![
        generator.trace_set(400, DAY),
        Generator::new(&Parameters::embedded().unwrap(), 12).trace_set(400, DAY),
    ];
    let fit = fit(&[Source { name: "own".into(), sets }]).unwrap();
    let measures = &fit.quality[0].measures;
    // Two draws of 400 VMs are 0.03 apart by chance alone.
    let of = |name: &str| measures.iter().find(|measure| measure.name.starts_with(name)).unwrap();
    assert!(of("KS distance of samples").generated < 0.12, "{measures:?}");
    assert!(of("mean CPU").difference().abs() < 0.03, "{measures:?}");
    assert!(of("autocorrelation, 5 min, mean").difference().abs() < 0.08, "{measures:?}");
    assert!(halcyon_sim::trace::generator::fit(&[]).is_none());
}
