//! What a recording is, in words, and its figures as people read them.

// Rounded for people anyway.
#![allow(clippy::cast_precision_loss)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use halcyon_model::{VmSample, VmSpec};
use halcyon_sim::recording::Reader;

/// What may be read of a VM, and whether it was.
type Figure = (&'static str, fn(&VmSample) -> bool);

const FIGURES: [Figure; 11] = [
    ("CPU time used", |sample| sample.counters.cpu_used_us.is_some()),
    ("CPU time waited for", |sample| sample.counters.cpu_waited_us.is_some()),
    ("stood still for memory", |sample| sample.counters.memory_stalled_us.is_some()),
    ("stood still for devices", |sample| sample.counters.io_stalled_us.is_some()),
    ("memory traffic", |sample| sample.counters.memory_bytes.is_some()),
    ("working set", |sample| sample.working_set.is_some()),
    ("cache filled", |sample| sample.cache.is_some()),
    ("device traffic", |sample| !sample.counters.device_bytes.is_empty()),
    ("GPU busy", |sample| sample.counters.gpu_busy_us.is_some()),
    ("p99", |sample| sample.signal.is_some_and(|signal| signal.p99.is_some())),
    ("backlog", |sample| sample.signal.is_some_and(|signal| signal.backlog_s.is_some())),
];

/// Says what a recording holds: whose, of when, how much, how it ends, and what was read of its VMs.
pub(crate) fn describe(path: &Path, out: &mut impl Write) -> Result<()> {
    let mut reader = Reader::open(path)?;
    let mut vms = BTreeSet::new();
    let (mut snapshots, mut samples, mut most) = (0_u64, 0_u64, 0);
    let (mut read, mut host, mut begun, mut at) =
        ([0_u64; FIGURES.len()], String::new(), None, Duration::ZERO);
    let mut known = None;
    while reader.advance()? {
        let now = reader.now();
        begun.get_or_insert((now.wall, now.snapshot.at));
        at = now.snapshot.at;
        snapshots += 1;
        samples += now.snapshot.vms.len() as u64;
        most = most.max(now.snapshot.vms.len());
        for (count, (_, is_read)) in read.iter_mut().zip(FIGURES) {
            *count += now.snapshot.vms.iter().filter(|sample| is_read(sample)).count() as u64;
        }
        if let Some(inventory) = reader.inventory()
            && !known.as_ref().is_some_and(|known| std::sync::Arc::ptr_eq(known, inventory))
        {
            host = inventory.topology.name().to_owned();
            vms.extend(inventory.vms.iter().map(|VmSpec { id, name, .. }| (*id, name.clone())));
            known = Some(inventory.clone());
        }
    }
    let ending = reader.ending().map_or_else(String::new, |ending| ending.to_string());
    writeln!(out, "host      {host}")?;
    writeln!(out, "in all    {} VMs, at most {most} at once", vms.len())?;
    if let Some((wall, first)) = begun {
        writeln!(out, "begun     {}", utc(wall))?;
        let lasted = at.saturating_sub(first);
        let apart = lasted.as_secs_f64() / (snapshots.max(2) - 1) as f64;
        writeln!(out, "snapshots {snapshots} over {}, every {apart:.3} s on average", time(lasted))?;
    }
    writeln!(out, "size      {} in {} frames", size(reader.bytes(), samples), reader.frames())?;
    writeln!(out, "end       {ending}")?;
    let read = FIGURES.iter().zip(read).filter(|(_, count)| *count > 0);
    let share = |((name, _), count): (&Figure, u64)| {
        format!("{name} {:.0} %", 100.0 * count as f64 / samples.max(1) as f64)
    };
    writeln!(out, "read      {}\n", read.map(share).collect::<Vec<_>>().join(", "))?;
    Ok(())
}

/// A length of time.
pub(crate) fn time(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", length.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Bytes, and what of them a VM takes in one snapshot.
pub(crate) fn size(bytes: u64, samples: u64) -> String {
    let unit = match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    if samples == 0 {
        unit
    } else {
        format!("{unit}, {:.1} per VM and snapshot", bytes as f64 / samples as f64)
    }
}

/// A moment since 1970 in the Gregorian calendar.
fn utc(wall: Duration) -> String {
    let (days, second) = (wall.as_secs() / 86_400, wall.as_secs() % 86_400);
    // Years begin in March here, so that the day that some of them have more is the last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{:02} UTC", year + 400 * era, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_days_of_the_calendar() {
        let text = |seconds| utc(Duration::from_secs(seconds));
        assert_eq!(text(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(text(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(text(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(text(1_709_251_200), "2024-03-01 00:00:00 UTC");
        assert_eq!(text(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
