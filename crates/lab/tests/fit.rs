//! Fits recover what made tables were made from, and the profiles that come with Halcyon are what the
//! published tables give.

// Outside of `#[test]` functions clippy.toml does not lift these; these are tests all the same.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use halcyon_lab::fit::{CACHE_TABLE, FitFault, GPU_TABLE, HOST_TABLE, fit};
use halcyon_lab::profiles;
use halcyon_model::profile::{Application, parse_application, write_application};

/// Tables that were computed from the parameters in the tests below, with seven digits.
fn made() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/curves")
}

/// The published tables; they are not part of the repository.
fn published() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var_os("HALCYON_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let curves = data.join("curves");
    let found = [CACHE_TABLE, GPU_TABLE, HOST_TABLE].iter().all(|table| curves.join(table).is_file());
    if !found {
        println!(
            "skipped: no tables in {}; set HALCYON_DATA to the folder that holds curves/",
            curves.display()
        );
    }
    found.then_some(curves)
}

fn near(got: f64, wanted: f64, tolerance: f64) {
    assert!((got / wanted - 1.0).abs() <= tolerance, "{got} instead of {wanted}");
}

#[test]
fn the_curve_behind_a_made_table_is_found() {
    let fitted = fit(&made()).unwrap();
    near(fitted.clock.unwrap(), 2e9, 1e-5);
    let limits =
        [("knee", [2.0, 40.0, 8e6, 3.0, 0.6, 20.0, 70.0]), ("slope", [5.0, 25.0, 2e7, 1.2, 0.4, 6.0, 64.0])];
    for (name, wanted) in limits {
        let cache = fitted.profiles.get(name).unwrap().response.cache;
        let found = [
            cache.limit_misses,
            cache.most_misses,
            cache.half,
            cache.steepness,
            cache.cycles,
            cache.cycles_per_miss,
            cache.bytes_per_miss,
        ];
        for (found, wanted) in found.into_iter().zip(wanted) {
            near(found, wanted, 2e-3);
        }
        near(cache.footprint.unwrap(), 2e7, 1e-4);
    }
    let still = fitted.profiles.get("still").unwrap().response.cache;
    assert_eq!(still.effect(0.0), still.effect(1e9));
    near(still.instructions_per_cycle(0.0), 2.0, 1e-5);
    assert!(fitted.ipc().unwrap().worst < 1e-4);
}

#[test]
fn the_slices_cores_and_memory_behind_made_tables_are_found() {
    let fitted = fit(&made()).unwrap();
    let net = fitted.profiles.get("net").unwrap();
    let gpu = net.response.gpu.unwrap();
    near(gpu.fixed, 0.2, 1e-4);
    near(gpu.bandwidth, 0.5, 1e-4);
    assert_eq!(gpu.memory.get(), 5_000_000_000);
    assert!(net.source.contains("batch 16"), "of the batches, the one with the most sizes: {}", net.source);
    near(net.response.cpu_per_gpu.unwrap(), 6.0, 2e-3);
    near(net.response.paging.unwrap(), 1.5, 1e-3);
    assert!(net.fit.step_time.unwrap().worst < 1e-4 && net.fit.throughput.unwrap().worst < 2e-3);
    let light = fitted.profiles.get("light").unwrap().response;
    assert_eq!((light.cpu_per_gpu, light.paging, light.gpu), (Some(1.0), None, None));
}

fn monotone(application: &Application) {
    let (name, response) = (&application.name, application.response);
    let mut last = response.cache.effect(0.0);
    for step in 1..=400 {
        let now = response.cache.effect(f64::from(step) * 1e5);
        assert!(now.speed >= last.speed && now.traffic <= last.traffic, "{name} at step {step}");
        assert!(now.speed > 0.0 && now.speed <= 1.0 && now.traffic.is_finite(), "{name} at step {step}");
        last = now;
    }
    if let Some(gpu) = response.gpu {
        assert!((1..gpu.whole).all(|slices| gpu.speed(slices) <= gpu.speed(slices + 1)), "{name}");
        near(gpu.speed(gpu.whole), 1.0, 1e-9);
    }
}

#[test]
fn shipped_profiles_are_monotone_and_within_their_bounds() {
    let profiles = profiles::embedded();
    profiles.iter().for_each(monotone);
    let ipc: Vec<_> = profiles.iter().filter_map(|application| application.fit.ipc).collect();
    assert_eq!((profiles.len(), ipc.len()), (53, 40));
    assert!(ipc.iter().all(|error| error.median <= 0.022 && error.worst <= 0.045), "{ipc:?}");
    let mut medians: Vec<f64> = ipc.iter().map(|error| error.median).collect();
    medians.sort_by(f64::total_cmp);
    assert!(medians[medians.len() / 2] <= 0.002);
    let steps: Vec<_> = profiles.iter().filter_map(|application| application.fit.step_time).collect();
    assert!(steps.len() == 5 && steps.iter().all(|error| error.worst <= 0.08), "{steps:?}");
}

#[test]
fn a_profile_reads_back_as_it_was_written() {
    for application in profiles::embedded().iter() {
        assert_eq!(parse_application(&write_application(application)).as_ref(), Ok(application));
    }
}

#[test]
fn the_published_tables_give_the_shipped_profiles_to_the_byte() {
    let Some(curves) = published() else { return };
    let fitted = fit(&curves).unwrap();
    let ipc = fitted.ipc().unwrap();
    assert!(ipc.median <= 0.02 && ipc.worst <= 0.08, "{ipc:?}");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/apps");
    for application in fitted.profiles.iter() {
        let text = fs::read_to_string(shipped.join(format!("{}.toml", application.name))).unwrap();
        assert_eq!(write_application(application), text);
    }
    assert_eq!(fitted.profiles.len(), profiles::embedded().len());
}

/// Fits a folder with one table.
fn refusal(table: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(table), text).unwrap();
    let fault = fit(folder.path()).unwrap_err();
    let source = std::error::Error::source(&fault).map(ToString::to_string).unwrap_or_default();
    format!("{fault}: {source}")
}

#[test]
fn what_is_no_table_is_refused_with_its_line() {
    const CACHE: &str = "bench,nr_ways,ipc,llcmpki,llc_usage_kb,bandwidth_mbps,llcm_bandwidth\n";
    for (row, wanted) in [
        ("a,1,1,1,1,1,1\n../b,1,1,1,1,1,1\n", "line 3: a program's name"),
        ("a,1,NaN,1,1,1,1\n", "line 2: ipc of `a` is NaN"),
        ("a,1,0,1,1,1,1\n", "line 2: ipc of `a` is 0"),
        ("a,1,1,-1,1,1,1\n", "line 2: llcmpki"),
        ("a,1,1,inf,1,1,1\n", "line 2: llcmpki"),
        ("a,99,1,1,1,1,1\n", "line 2: nr_ways of `a` is 99"),
        ("a,1,1,1,1,1,1\na,1,1,1,1,1,1\n", "line 3: `a` has this row already"),
        ("a,1,1,1\n", "line 2: the row does not fit"),
        ("a,x,1,1,1,1,1\n", "line 2: the row does not fit"),
        ("", "no row follows"),
    ] {
        let said = refusal(CACHE_TABLE, &format!("{CACHE}{row}"));
        assert!(said.contains(wanted), "{row:?}: {said}");
    }
    let said = refusal(CACHE_TABLE, "bench,ipc\na,1\n");
    assert!(said.contains("nr_ways"), "{said}");
    let said =
        refusal(GPU_TABLE, "model,batch,mig_compute_slices,mig_memory_gb,median_iteration_s\nn,1,3,20,1\n");
    assert!(said.contains("`n` was not measured on the whole GPU"), "{said}");
    let said = refusal(HOST_TABLE, "model,cpu_level,memory_level,relative_throughput\nn,9,1,1\n");
    assert!(said.contains("line 2: cpu_level"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(fit(empty.path()), Err(FitFault::NoTable { .. })));
    assert!(matches!(fit(&empty.path().join("absent")), Err(FitFault::Read { .. })));
}

#[test]
fn a_table_of_few_or_strange_rows_still_gives_a_profile_that_reads() {
    const CACHE: &str = "bench,nr_ways,ipc,llcmpki,llc_usage_kb,bandwidth_mbps,llcm_bandwidth\n";
    for rows in [
        "a,3,1,1,1,1,1\n",
        "a,1,1,0,1,0,0\na,2,1,0,1,0,0\n",
        "a,1,2,1,1,9,9\na,2,1,5,1,0,0\na,3,0.5,9,1,1,1\n",
        "a,1,1e-3,1e4,1e8,1e7,1e7\na,64,20,0,1,0,0\n",
        "a,1,1,1e4,1,1,1\na,2,1.1,1e-6,1,1e7,1\na,3,1.2,0,1,1,1\n",
        "a,60,1,1e4,1,1,1\na,64,20,1e-9,1,0,1\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CACHE_TABLE), format!("{CACHE}{rows}")).unwrap();
        let fitted = fit(folder.path()).unwrap();
        let application = fitted.profiles.get("a").unwrap();
        monotone(application);
        let text = write_application(application);
        assert_eq!(parse_application(&text).as_ref(), Ok(application), "{rows}\n{text}");
    }
}
