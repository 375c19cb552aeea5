//! The importers on the public traces themselves, where these are present: in the folder that
//! `HALCYON_DATA` names, or in `../shared/data` beside the workspace.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halcyon_sim::trace::{self, Progress, Reading, Selection, TraceFormat, TraceSet};

fn data(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HALCYON_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = root.join("traces").join(part);
    if !path.exists() {
        println!("skipped: {} is not there; set HALCYON_DATA to the data's folder", path.display());
        return None;
    }
    Some(path)
}

fn import(path: &Path, format: TraceFormat) -> (Vec<Reading>, Arc<Progress>) {
    assert_eq!(trace::detect(path).unwrap(), format);
    let progress = Arc::new(Progress::default());
    let readings = trace::open_watched(path, None, &progress).unwrap();
    (readings.collect::<Result<_, _>>().unwrap(), progress)
}

fn vms(readings: &[Reading]) -> usize {
    readings.iter().map(|reading| &reading.vm).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn planetlab_days_hold_288_samples_per_vm() {
    let Some(path) = data("planetlab/20110303.tar.gz") else { return };
    let (readings, progress) = import(&path, TraceFormat::PlanetLab);
    assert_eq!(readings.len(), 1052 * 288);
    assert_eq!(vms(&readings), 1052);
    assert_eq!(progress.bytes(), path.metadata().unwrap().len());
    assert!(readings.iter().all(|reading| reading.cpu.is_some_and(|cpu| cpu < 1.0)));
}

#[test]
fn bitbrains_in_opendc_form_has_32_vms_over_30_days() {
    let Some(path) = data("bitbrains") else { return };
    let (readings, _) = import(&path.join("trace.parquet"), TraceFormat::OpenDc);
    assert_eq!((readings.len(), vms(&readings)), (172_033, 32));
    let first = &readings[0];
    // Row 1 of the file: VM 1026, from 13:35:46 for ten minutes, 23.4 of 2926 MHz, 249972 KiB.
    assert_eq!(
        (&*first.vm, first.time, first.interval),
        ("1026", Duration::ZERO, Some(Duration::from_secs(600)))
    );
    assert!((first.cpu.unwrap() - 23.407_998 / 2_925.999_717).abs() < 1e-9);
    assert_eq!(first.memory_capacity_bytes, Some(249_972 * 1024));
}

#[test]
fn bitbrains_in_its_own_columns_is_read_in_seconds() {
    let Some(path) = data("bitbrains/gwa-t-12-sample.csv") else { return };
    let (readings, progress) = import(&path, TraceFormat::GwaT12);
    assert_eq!((readings.len(), vms(&readings)), (8619, 1));
    assert_eq!(readings[1].time, Duration::from_secs(300));
    assert_eq!(readings[0].memory_capacity_bytes, Some(2 << 30));
    assert_eq!(readings[0].cores, Some(1.0));
    assert!((readings[0].disk_write_bytes_s.unwrap() - 1.466_666_666 * 1024.0).abs() < 1e-3);
    assert!(progress.notes()[0].0.contains("read as seconds"));
}

#[test]
fn alibaba_pods_are_merged_by_time() {
    let Some(path) = data("alibaba-genai") else { return };
    let (readings, progress) = import(&path, TraceFormat::AlibabaGenAi);
    // 49 rows name no container.
    assert!(progress.notes().contains(&("rows without a container, left out", 49)), "{:?}", progress.notes());
    assert!(readings.is_sorted_by_key(|reading| reading.time));
    let values = |pick: fn(&Reading) -> bool| readings.iter().filter(|reading| pick(reading)).count();
    assert_eq!(values(|reading| reading.gpu_util.is_some()), 110_098);
    assert_eq!(values(|reading| reading.gpu_memory_bytes.is_some()), 112_898);
    assert_eq!(values(|reading| reading.memory_util.is_some()), 136_088 - 49);
    assert_eq!(vms(&readings), 132);
}

#[test]
fn a_collected_day_equals_the_file() {
    let Some(path) = data("planetlab/20110303.tar.gz") else { return };
    let selection = Selection::new(2000, Duration::from_secs(86_400), 7);
    let set = TraceSet::collect(trace::open(&path, None).unwrap(), &selection, &path).unwrap();
    assert_eq!((set.series.len(), set.samples(), set.shortfall), (1052, 288, Duration::ZERO));
    let mut readings = import(&path, TraceFormat::PlanetLab).0;
    readings.sort_by(|a, b| a.vm.cmp(&b.vm).then(a.time.cmp(&b.time)));
    #[allow(clippy::cast_possible_truncation)]
    let expected = readings.iter().map(|reading| reading.cpu.unwrap() as f32);
    let collected = set.series.iter().flat_map(|series| series.cpu.iter().map(|cpu| cpu.unwrap()));
    assert!(collected.zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_smaller_sample_of_vms_is_part_of_a_larger_one() {
    let Some(path) = data("bitbrains") else { return };
    let collect = |vms| {
        let selection = Selection::new(vms, Duration::from_secs(86_400 * 2), 3);
        TraceSet::collect(trace::open(&path, None).unwrap(), &selection, &path).unwrap()
    };
    let (few, more) = (collect(5), collect(12));
    assert_eq!((few.series.len(), more.series.len()), (5, 12));
    assert!(few.series.iter().all(|series| more.series.contains(series)));
}
