//! The forms of the files that count: read from text that nobody trusts.

use std::str::FromStr;
use std::time::Duration;

use super::files::{OddText, odd};
use super::group::Version;

/// What `cpu.stat` counts since the group was made; what a kernel does not say is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuStat {
    /// CPU time used; version 1 has it in another hierarchy.
    pub used: Option<Duration>,
    /// Periods in which there was something to run.
    pub periods: Option<u64>,
    /// Periods in which the quota was used up.
    pub throttled_periods: Option<u64>,
    /// Time for which tasks were held back by the quota.
    pub throttled: Option<Duration>,
}

impl CpuStat {
    /// Of a file of either version. Lines that are not known are passed over, as kernels add some.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut stat = Self::default();
        for (name, number) in keyed(text) {
            match name {
                "usage_usec" => stat.used = Some(Duration::from_micros(number)),
                "nr_periods" => stat.periods = Some(number),
                "nr_throttled" => stat.throttled_periods = Some(number),
                "throttled_usec" => stat.throttled = Some(Duration::from_micros(number)),
                "throttled_time" => stat.throttled = Some(Duration::from_nanos(number)),
                _ => {}
            }
        }
        stat
    }
}

/// What `memory.stat` says of a group and all below it; what a kernel does not say is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStat {
    /// Bytes on the lists of pages that are in use, as the kernel last aged them.
    pub active_bytes: Option<u64>,
    /// Pages that were aged since the group was made; version 1 does not say.
    pub scanned_pages: Option<u64>,
    /// Page faults since the group was made, those that waited for a disk among them.
    pub faults: Option<u64>,
    /// Page faults that waited for a disk.
    pub major_faults: Option<u64>,
}

impl MemoryStat {
    /// Of a file of either version.
    #[must_use]
    pub fn of(text: &str, version: Version) -> Self {
        // Version 1 has each figure twice: of the group alone, and with all below it.
        let prefix = if version == Version::V1 { "total_" } else { "" };
        let (mut stat, mut anonymous, mut file) = (Self::default(), None, None);
        for (name, number) in keyed(text) {
            match name.strip_prefix(prefix) {
                Some("active_anon") => anonymous = Some(number),
                Some("active_file") => file = Some(number),
                Some("pgscan") => stat.scanned_pages = Some(number),
                Some("pgfault") => stat.faults = Some(number),
                Some("pgmajfault") => stat.major_faults = Some(number),
                _ => {}
            }
        }
        let both: Option<(u64, u64)> = anonymous.zip(file);
        stat.active_bytes = both.map(|(anonymous, file)| anonymous.saturating_add(file));
        stat
    }
}

/// What a group moved to and from one disk since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskStat {
    /// Bytes read and written.
    pub bytes: u64,
    /// Reads and writes.
    pub operations: u64,
}

impl DiskStat {
    /// Of `io.stat`, if the disk is in it: the kernel lists those that the group has used.
    #[must_use]
    pub fn of(text: &str, disk: (u32, u32)) -> Option<Self> {
        let line = line_of(text, disk).next()?;
        let of = |key: &str| {
            let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(name, _)| *name == key)?.1.parse::<u64>().ok()
        };
        Some(Self {
            bytes: of("rbytes")?.saturating_add(of("wbytes")?),
            operations: of("rios")?.saturating_add(of("wios")?),
        })
    }

    /// Of version 1's `blkio.throttle.io_service_bytes` and `blkio.throttle.io_serviced`.
    #[must_use]
    pub fn of_v1(bytes: &str, operations: &str, disk: (u32, u32)) -> Option<Self> {
        let sum = |text: &str| {
            let of = |kind: &str| {
                let found = line_of(text, disk).find_map(|line| line.trim().strip_prefix(kind));
                found?.trim().parse::<u64>().ok()
            };
            Some(of("Read")?.saturating_add(of("Write")?))
        };
        Some(Self { bytes: sum(bytes)?, operations: sum(operations)? })
    }
}

/// What stands behind a disk's number, line by line.
fn line_of(text: &str, disk: (u32, u32)) -> impl Iterator<Item = &str> {
    text.lines().filter_map(move |line| {
        let (number, rest) = line.split_once(' ')?;
        let (major, minor) = number.split_once(':')?;
        ((major.parse().ok()?, minor.parse().ok()?) == disk).then_some(rest)
    })
}

/// How long tasks stood still for want of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stalled {
    /// Share of the last ten seconds, 0 to 1.
    pub lately: f64,
    /// Since the group was made.
    pub total: Duration,
}

/// A pressure file (PSI).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// At least one task stood still.
    pub some: Stalled,
    /// All tasks that had something to do stood still; older kernels do not say so for CPU.
    pub full: Option<Stalled>,
}

impl FromStr for Pressure {
    type Err = OddText;

    fn from_str(text: &str) -> Result<Self, OddText> {
        let expected = "`some avg10=… total=…`";
        let of = |kind: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(kind))?;
            let value = |key: &str| {
                let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
                words.find(|(name, _)| *name == key).map(|(_, value)| value)
            };
            let lately = value("avg10")?.parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share))?;
            let total = Duration::from_micros(value("total")?.parse().ok()?);
            Some(Stalled { lately: lately / 100.0, total })
        };
        Ok(Self { some: of("some").ok_or_else(|| odd(text, expected))?, full: of("full") })
    }
}

/// Lines of `name number`, as in `cpu.stat` and `memory.stat`. Lines of another form are passed over.
fn keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name, number.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let psi = "some avg10=12.50 avg60=1.00 avg300=0.20 total=123456\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pressure: Pressure = psi.parse().expect("it is whole");
        assert_eq!(pressure.some, Stalled { lately: 0.125, total: Duration::from_micros(123_456) });
        assert_eq!(pressure.full.map(|full| full.total), Some(Duration::from_micros(7)));
        let v2 = "usage_usec 5\nuser_usec 3\nodd\nnr_throttled x\nthrottled_usec 9\n";
        let (used, throttled) = (Some(Duration::from_micros(5)), Some(Duration::from_micros(9)));
        assert_eq!(CpuStat::of(v2), CpuStat { used, throttled, ..CpuStat::default() });
        let v1 = "nr_periods 2\nnr_throttled 1\nthrottled_time 9000\n";
        let counted = CpuStat { used: None, periods: Some(2), throttled_periods: Some(1), throttled };
        assert_eq!(CpuStat::of(v1), counted);
    }

    #[test]
    fn memory_and_disks_are_read_in_both_versions() {
        let v2 = "anon 9\nactive_anon 4096\nactive_file 8192\npgscan 7\npgscan_kswapd 3\npgfault 5\npgmajfault 1\n";
        let stat = MemoryStat::of(v2, Version::V2);
        assert_eq!((stat.active_bytes, stat.scanned_pages), (Some(12_288), Some(7)));
        assert_eq!((stat.faults, stat.major_faults), (Some(5), Some(1)));
        let v1 =
            "active_anon 1\nactive_file 1\ntotal_active_anon 10\ntotal_active_file 20\ntotal_pgfault 3\n";
        let stat = MemoryStat::of(v1, Version::V1);
        let expected = MemoryStat { active_bytes: Some(30), faults: Some(3), ..MemoryStat::default() };
        assert_eq!(stat, expected);
        let v2 = "8:0 \n8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n";
        let moved = DiskStat { bytes: 4608, operations: 3 };
        assert_eq!(DiskStat::of(v2, (8, 16)), Some(moved));
        assert_eq!((DiskStat::of(v2, (8, 0)), DiskStat::of(v2, (9, 0))), (None, None));
        let bytes = "8:0 Read 1\n8:16 Read 4096\n8:16 Write 512\n8:16 Total 4608\nTotal 4609\n";
        let operations = "8:16 Read 2\n8:16 Write 1\n";
        assert_eq!(DiskStat::of_v1(bytes, operations, (8, 16)), Some(moved));
        assert_eq!(DiskStat::of_v1(bytes, operations, (8, 0)), None);
    }

    #[test]
    fn what_is_no_pressure_is_said_to_be_none() {
        for text in ["", "some", "some avg10=nan total=1", "some avg10=1 total=-1", "full avg10=0 total=1"] {
            assert!(text.parse::<Pressure>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_the_kernel_writes_is_read_as_it_is(
            used in any::<u64>(), throttled in any::<u64>(), total in any::<u64>(), lately in 0..=10_000_u32,
        ) {
            let stat = CpuStat::of(&format!("usage_usec {used}\nnr_new 3\nthrottled_usec {throttled}\n"));
            prop_assert_eq!(stat.used, Some(Duration::from_micros(used)));
            prop_assert_eq!(stat.throttled, Some(Duration::from_micros(throttled)));
            let (whole, hundredths) = (lately / 100, lately % 100);
            let text = format!("some avg10={whole}.{hundredths:02} avg60=0.00 avg300=0.00 total={total}\n");
            let some = text.parse::<Pressure>().expect("it is whole").some;
            prop_assert_eq!(some.total, Duration::from_micros(total));
            prop_assert!((some.lately - f64::from(lately) / 10_000.0).abs() < 1e-9);
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,80}|((some|full|total|avg10|usage_usec)?[-0-9. =\n]{1,12}){0,10}") {
            let _ = (text.parse::<Pressure>(), CpuStat::of(&text), MemoryStat::of(&text, Version::V1));
            let _ = (DiskStat::of(&text, (8, 0)), DiskStat::of_v1(&text, &text, (8, 0)));
        }
    }
}
