//! What every importer does with files that are wrong, by accident or on purpose.
//!
//! The rows are made up in the shape of the public files; their authors are named in the importers.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use halcyon_sim::trace::limits::MAX_RECORD_BYTES;
use halcyon_sim::trace::{self, Reading, TraceError, TraceFormat};
use proptest::prelude::*;
use tempfile::TempDir;

const GWA_TITLES: &str = "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\tCPU usage [%];\t\
Memory capacity provisioned [KB];\tMemory usage [KB];\tDisk read throughput [KB/s];\tDisk write throughput [KB/s];\t\
Network received throughput [KB/s];\tNetwork transmitted throughput [KB/s]\n";
const POD: &str = "pod_gpu_duty_cycle_anon.csv";
const POD_TITLES: &str = "value,timestamp_anon,container_ip\n";

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn read(path: &Path, format: TraceFormat) -> Result<Vec<Reading>, TraceError> {
    trace::open(path, Some(format))?.collect()
}

/// The error with its causes, as the command line prints it.
fn complaint(path: &Path, format: TraceFormat) -> String {
    let error = read(path, format).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(content).unwrap();
    zipped.finish().unwrap()
}

#[test]
fn each_text_format_names_file_line_and_what_it_wants() {
    use TraceFormat::{AlibabaGenAi, AzureVm, GwaT12, Halcyon, PlanetLab};
    let halcyon = |rows: &str| format!("# halcyon-trace 1\nvm,time_s,cpu\n{rows}");
    let gwa = |rows: &str| format!("{GWA_TITLES}{rows}");
    let pod = |rows: &str| format!("{POD_TITLES}{rows}");
    let gwa_row =
        |time: &str, cpu: &str| format!("{time};\t1;\t2600;\t0;\t{cpu};\t2097152;\t1;\t0;\t0;\t0;\t0\n");
    let row = |format, name, content: String, words: &'static [&'static str]| (format, name, content, words);
    let cases = [
        row(PlanetLab, "vm", "1\n2\n-3\n".into(), &["line 3", "`-3`", "0 to 100"]),
        row(PlanetLab, "vm", "1\n101\n".into(), &["line 2", "`101`"]),
        row(PlanetLab, "vm", "1\nNaN\n".into(), &["line 2", "`NaN`"]),
        row(PlanetLab, "vm", "1\n\n2\n".into(), &["line 3", "blank line"]),
        row(PlanetLab, "vm", "1\n2.5\n".into(), &["line 2", "`2.5`"]),
        row(PlanetLab, "vm", String::new(), &["an empty file"]),
        row(PlanetLab, "vm", "1\n\u{0}\u{1}\u{2}\n".into(), &["line 2", "\\u{0}"]),
        row(AzureVm, "a.csv", "0,vm,1,2\n".into(), &["line 1", "4 fields", "5 fields"]),
        row(AzureVm, "a.csv", "0,vm,1,2,-5\n".into(), &["line 1", "`-5`", "mean CPU"]),
        row(AzureVm, "a.csv", "0,vm,1,2,nan\n".into(), &["line 1", "`nan`", "finite"]),
        row(AzureVm, "a.csv", "0,vm,1,2,99999\n".into(), &["line 1", "`99999`", "0 to 100"]),
        row(AzureVm, "a.csv", "0,vm,1,2,1\n0,vm,1,2,1\n".into(), &["line 2", "second reading", "`vm`"]),
        row(
            AzureVm,
            "a.csv",
            "300,vm,1,2,1\n0,vm,1,2,1\n".into(),
            &["line 2", "going backwards", "after 300 s"],
        ),
        row(AzureVm, "a.csv", "0,,1,2,1\n".into(), &["line 1", "a VM's name"]),
        row(AzureVm, "a.csv", "-1,vm,1,2,1\n".into(), &["line 1", "`-1`", "in seconds"]),
        row(AzureVm, "a.csv", String::new(), &["empty file"]),
        row(GwaT12, "7.csv", String::new(), &["empty file", "titles"]),
        row(GwaT12, "7.csv", "Time;x\n1;2\n".into(), &["line 1", "timestamp [ms]"]),
        row(GwaT12, "7.csv", gwa(&gwa_row("1376314846", "-1")), &["line 2", "`-1`", "cpu usage [%]"]),
        row(GwaT12, "7.csv", gwa("1376314846;\t1\n"), &["line 2", "2 fields", "11 fields"]),
        row(
            GwaT12,
            "7.csv",
            gwa(&(gwa_row("900", "1") + &gwa_row("600", "1"))),
            &["line 3", "going backwards"],
        ),
        row(
            GwaT12,
            "7.csv",
            gwa(&(gwa_row("900", "1") + &gwa_row("900", "1"))),
            &["line 3", "second reading"],
        ),
        row(GwaT12, "7.csv", gwa(""), &["no reading"]),
        row(AlibabaGenAi, POD, pod("1.0,60.0,c\n101e9,120.0,c\n"), &["line 3", "`101e9`", "percent"]),
        row(AlibabaGenAi, POD, pod("1.0,60.0,c\n1.0,60.0,c\n"), &["second reading", "`c`"]),
        row(AlibabaGenAi, POD, pod("1.0,60.0,c\n1.0,0.0,c\n"), &["line 3", "going backwards"]),
        row(AlibabaGenAi, POD, pod("inf,60.0,c\n"), &["line 2", "`inf`", "finite"]),
        row(AlibabaGenAi, POD, "a,b\n".into(), &["line 1", "value is missing"]),
        row(AlibabaGenAi, "other.csv", pod(""), &["another name", "pod_memory_util"]),
        row(Halcyon, "h.csv", "vm,time_s\n".into(), &["line 1", "# halcyon-trace 1"]),
        row(Halcyon, "h.csv", "# halcyon-trace 2\n".into(), &["line 1", "# halcyon-trace 2"]),
        row(
            Halcyon,
            "h.csv",
            "# halcyon-trace 1\nvm,time_s,cpus\n".into(),
            &["line 2", "`cpus`", "cpu_peak"],
        ),
        row(Halcyon, "h.csv", "# halcyon-trace 1\nvm,cpu\n".into(), &["line 2", "`time_s`"]),
        row(Halcyon, "h.csv", "# halcyon-trace 1\nvm,vm,time_s\n".into(), &["line 2", "twice"]),
        row(Halcyon, "h.csv", halcyon("a,0,0.5\na,1,1.5\n"), &["line 4", "`1.5`", "0 to 1"]),
        row(Halcyon, "h.csv", halcyon("a,0,NaN\n"), &["line 3", "`NaN`"]),
        row(Halcyon, "h.csv", halcyon("a,1,0.5\na,0,0.5\n"), &["line 4", "going backwards"]),
        row(Halcyon, "h.csv", halcyon("a,1\n"), &["line 3", "2 fields", "3 fields"]),
    ];
    let folder = TempDir::new().unwrap();
    for (format, name, content, words) in cases {
        let path = file(&folder, name, &content);
        let text = complaint(&path, format);
        assert!(text.contains(name), "{text}");
        for word in words {
            assert!(text.contains(word), "{format}: `{word}` is not in: {text}");
        }
        // Compressed or not, and whatever the name says, the complaint is the same.
        fs::write(&path, gzip(content.as_bytes())).unwrap();
        assert_eq!(complaint(&path, format), text);
    }
}

#[test]
fn a_gzip_file_that_breaks_off_is_an_error_after_its_good_rows() {
    let folder = TempDir::new().unwrap();
    let rows: String = (0..20_000).map(|row| format!("{},vm-{row},1,2,{}\n", row * 300, row % 97)).collect();
    let zipped = gzip(rows.as_bytes());
    let path = file(&folder, "azure.csv", &zipped[..zipped.len() / 2]);
    let text = complaint(&path, TraceFormat::AzureVm);
    assert!(text.contains("cannot read") && text.contains("azure.csv, line "), "{text}");
    assert_eq!(trace::open(&path, None).unwrap().filter(Result::is_err).count(), 1);
}

#[test]
fn ten_gigabytes_of_zeros_in_one_line_fail_at_the_limit() {
    let folder = TempDir::new().unwrap();
    // Ten gigabytes as a chain of gzip members, a few megabytes on disk.
    let member = gzip(&vec![b'0'; 256 << 20]);
    let mut zipped = Vec::new();
    for _ in 0..40 {
        zipped.extend_from_slice(&member);
    }
    for (format, name) in [
        (TraceFormat::PlanetLab, "vm"),
        (TraceFormat::AzureVm, "a.csv"),
        (TraceFormat::GwaT12, "b.csv"),
        (TraceFormat::AlibabaGenAi, POD),
        (TraceFormat::Halcyon, "h.csv"),
    ] {
        let text = complaint(&file(&folder, name, &zipped), format);
        let limit = format!("at most {MAX_RECORD_BYTES} bytes");
        assert!(text.contains(&limit) && text.contains("line 1"), "{text}");
    }
    let quoted = file(&folder, "h.csv", format!("# halcyon-trace 1\nvm,time_s\n\"{}", "\n".repeat(1 << 20)));
    assert!(complaint(&quoted, TraceFormat::Halcyon).contains("a longer record"));
    let wide = file(&folder, "h.csv", format!("# halcyon-trace 1\n{}", ",".repeat(1000)));
    assert!(complaint(&wide, TraceFormat::Halcyon).contains("more fields"));
}

#[test]
fn more_vms_than_the_limit_are_refused() {
    let folder = TempDir::new().unwrap();
    let rows: String = (0..=trace::limits::MAX_VMS).map(|vm| format!("0,{vm},1,1,1\n")).collect();
    let text = complaint(&file(&folder, "a.csv", rows), TraceFormat::AzureVm);
    assert!(text.contains("line 1000001") && text.contains("at most 1000000 VMs"), "{text}");
    let name = "x".repeat(257);
    let text = complaint(&file(&folder, "a.csv", format!("0,{name},1,1,1\n")), TraceFormat::AzureVm);
    assert!(text.contains("1 to 256 bytes"), "{text}");
}

fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_ustar();
        let bytes = path.as_bytes();
        // Written by hand, since the crate refuses the paths that are wanted here.
        header.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn tar_entries_that_are_no_plain_files_are_refused_by_name() {
    use tar::EntryType;
    let good = ("day/a", EntryType::Regular, "1\n2\n");
    let cases: [(&str, EntryType, &str, &str); 8] = [
        ("day/link", EntryType::Symlink, "", "Symlink"),
        ("day/hard", EntryType::Link, "", "Link"),
        ("day/pipe", EntryType::Fifo, "", "Fifo"),
        ("day/disk", EntryType::Block, "", "Block"),
        ("day/holes", EntryType::GNUSparse, "", "GNUSparse"),
        ("/etc/passwd", EntryType::Regular, "1\n", "relative path"),
        ("../../up", EntryType::Regular, "1\n", "relative path"),
        ("other/a", EntryType::Regular, "1\n", "second file for VM `a`"),
    ];
    let folder = TempDir::new().unwrap();
    for (path, kind, content, words) in cases {
        let archive = tar(&[("day/", EntryType::Directory, ""), good, (path, kind, content)]);
        let text = complaint(&file(&folder, "day.tar", &archive), TraceFormat::PlanetLab);
        assert!(text.contains(&format!("day.tar, entry {path}")) && text.contains(words), "{text}");
    }
    let archive = tar(&[good, ("day/b", EntryType::Regular, "1\n2\nx\n")]);
    let path = file(&folder, "day.tar", gzip(&archive));
    let text = complaint(&path, TraceFormat::PlanetLab);
    assert!(text.contains("day.tar, entry day/b, line 3: found `x`"), "{text}");
}

#[test]
fn broken_tar_archives_are_errors_and_sound_ones_are_read() {
    use tar::EntryType;
    let folder = TempDir::new().unwrap();
    let archive = tar(&[("day/a", EntryType::Regular, "1\n2\n"), ("day/b", EntryType::Regular, "3\n")]);
    let path = file(&folder, "day.tar", &archive);
    let names: Vec<_> =
        read(&path, TraceFormat::PlanetLab).unwrap().iter().map(|r| r.vm.to_string()).collect();
    assert_eq!(names, ["a", "a", "b"]);
    let mut damaged = archive.clone();
    damaged[1024 + 5] ^= 1;
    let text = complaint(&file(&folder, "day.tar", &damaged), TraceFormat::PlanetLab);
    assert!(text.contains("damaged header"), "{text}");
    let text = complaint(&file(&folder, "day.tar", &archive[..1300]), TraceFormat::PlanetLab);
    assert!(text.contains("day.tar"), "{text}");
    // A long name that claims to be huge must not be read into memory.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(10 << 30);
    header.set_cksum();
    let mut endless = header.as_bytes().to_vec();
    endless.resize(1 << 20, b'n');
    let text = complaint(&file(&folder, "day.tar", &endless), TraceFormat::PlanetLab);
    assert!(text.contains("longer name"), "{text}");
}

#[test]
fn folders_and_files_of_the_wrong_kind_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let text = trace::detect(folder.path()).unwrap_err().to_string();
    assert!(text.contains("no known format") && text.contains("planetlab"), "{text}");
    let text = complaint(folder.path(), TraceFormat::AzureVm);
    assert!(text.contains("found a folder"), "{text}");
    let text = complaint(folder.path(), TraceFormat::AlibabaGenAi);
    assert!(text.contains("pod_gpu_duty_cycle"), "{text}");
    let text = complaint(&folder.path().join("none.csv"), TraceFormat::Halcyon);
    assert!(text.contains("none.csv") && text.contains("No such file"), "{text}");
    let text = "nothing".parse::<TraceFormat>().unwrap_err().to_string();
    assert!(text.contains("`nothing`") && text.contains("gwa-t-12"), "{text}");
}

#[test]
fn parquet_that_is_not_or_breaks_off_is_refused() {
    let folder = TempDir::new().unwrap();
    for content in [&b"PAR1"[..], b"PAR1PAR1", b"", b"PAR1\xff\xff\xff\x7fPAR1", &[0; 4096]] {
        file(&folder, "meta.parquet", content);
        let path = file(&folder, "trace.parquet", content);
        let text = complaint(&path, TraceFormat::OpenDc);
        assert!(text.contains("meta.parquet as Parquet: "), "{text}");
    }
}

#[test]
fn good_small_files_are_read_as_documented() {
    let folder = TempDir::new().unwrap();
    let azure = "timestamp,vm id,min cpu,max cpu,avg cpu\n0,a,1,50,25\n0,b,0,0,0\n300,a,0,100,100.5\n";
    let readings = read(&file(&folder, "x", gzip(azure.as_bytes())), TraceFormat::AzureVm).unwrap();
    let shares: Vec<_> = readings.iter().map(|r| (&*r.vm, r.time.as_secs(), r.cpu, r.cpu_peak)).collect();
    let expected =
        [("a", 0, Some(0.25), Some(0.5)), ("b", 0, Some(0.0), Some(0.0)), ("a", 300, Some(1.0), Some(1.0))];
    assert_eq!(shares, expected);
    let ms = format!("{GWA_TITLES}1376314846000;\t2;\t5200;\t52;\t1;\t8388608;\t4194304;\t1;\t2;\t3;\t4\n");
    let reading = read(&file(&folder, "7.csv", ms), TraceFormat::GwaT12).unwrap().remove(0);
    assert_eq!((&*reading.vm, reading.time, reading.cores), ("7", Duration::ZERO, Some(2.0)));
    assert_eq!((reading.memory_capacity_bytes, reading.net_tx_bytes_s), (Some(8 << 30), Some(4096.0)));
    let pods = TempDir::new().unwrap();
    file(&pods, POD, format!("{POD_TITLES}50.0,60.0,c\n0.0,120.0,c\n"));
    file(&pods, "pod_memory_util_anon.csv", "timestamp_anon,value,container_ip\n60.0,0.25,c\n90.0,0.5,d\n");
    let readings = read(pods.path(), TraceFormat::AlibabaGenAi).unwrap();
    let merged: Vec<_> =
        readings.iter().map(|r| (&*r.vm, r.time.as_secs(), r.gpu_util, r.memory_util)).collect();
    let expected = [("c", 0, Some(0.5), Some(0.25)), ("d", 30, None, Some(0.5)), ("c", 60, Some(0.0), None)];
    assert_eq!(merged, expected);
}

fn optional<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(value)
}

prop_compose! {
    fn any_reading()(
        vm in "[^\\p{Cc}]{1,60}",
        nanos in 0..10_000_000_000_000_000_000_u64,
        interval in optional(0..10_000_000_000_000_u64),
        shares in proptest::array::uniform4(optional(0.0..=1.0_f64)),
        rates in proptest::array::uniform5(optional(0.0..1e300_f64)),
        sizes in proptest::array::uniform3(optional(any::<u64>())),
    ) -> Reading {
        Reading {
            interval: interval.map(Duration::from_nanos),
            cpu: shares[0],
            cpu_peak: shares[1],
            memory_util: shares[2],
            gpu_util: shares[3],
            cores: rates[0],
            disk_read_bytes_s: rates[1],
            disk_write_bytes_s: rates[2],
            net_rx_bytes_s: rates[3],
            net_tx_bytes_s: rates[4],
            memory_bytes: sizes[0],
            memory_capacity_bytes: sizes[1],
            gpu_memory_bytes: sizes[2],
            ..Reading::new(vm.chars().take(60).collect::<String>().into(), Duration::from_nanos(nanos))
        }
    }
}

/// What the formats' own words look like, so that arbitrary bytes get past the first line.
fn almost_a_trace() -> impl Strategy<Value = Vec<u8>> {
    let heads = prop_oneof![
        Just(String::new()),
        Just(GWA_TITLES.to_owned()),
        Just(POD_TITLES.to_owned()),
        Just("# halcyon-trace 1\nvm,time_s,interval_s,cpu\n".to_owned()),
    ];
    let rows = prop_oneof!["[0-9.,;\t\n\"a-c-]{0,200}".prop_map(String::into_bytes), any::<Vec<u8>>()];
    (heads, rows).prop_map(|(head, rows)| [head.into_bytes(), rows].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_reading_survives_the_form(reading in any_reading()) {
        let mut writer = trace::Writer::new(Vec::new()).unwrap();
        writer.write(&reading).unwrap();
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "h.csv", writer.finish().unwrap());
        let mut text = String::new();
        fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        prop_assert_eq!(trace::detect(&path).unwrap(), TraceFormat::Halcyon);
        let back = read(&path, TraceFormat::Halcyon);
        prop_assert!(back.is_ok(), "{}: {:?}", text, back);
        prop_assert_eq!(back.unwrap(), vec![reading]);
    }

    #[test]
    fn no_bytes_make_an_importer_panic(content in almost_a_trace(), zip in any::<bool>()) {
        let folder = TempDir::new().unwrap();
        let content = if zip { gzip(&content) } else { content };
        file(&folder, "meta.parquet", &content);
        for name in ["trace.parquet", POD, "plain"] {
            let path = file(&folder, name, &content);
            let _ = trace::detect(&path);
            for format in TraceFormat::ALL {
                if let Ok(readings) = trace::open(&path, Some(format)) {
                    prop_assert!(readings.filter(Result::is_err).count() <= 1);
                }
            }
        }
    }
}
