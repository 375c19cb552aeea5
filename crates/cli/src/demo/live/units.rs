//! Quantities in few characters.

use std::time::Duration;

pub(super) const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Memory, such as `1.25 GiB` or `512 MiB`.
pub(super) fn bytes(value: f64) -> String {
    if value >= 100.0 * GIB {
        format!("{:.0} GiB", value / GIB)
    } else if value >= GIB {
        format!("{:.1} GiB", value / GIB)
    } else {
        format!("{:.0} MiB", value / (1024.0 * 1024.0))
    }
}

/// A rate, such as `1.24 GB/s` or `35 MB/s`.
pub(super) fn rate(value: f64) -> String {
    if value >= 0.9995e9 {
        format!(
            "{:.*} GB/s",
            if value >= 99.95e9 { 0 } else { usize::from(value < 9.995e9) + 1 },
            value / 1e9
        )
    } else {
        format!("{:.0} MB/s", value / 1e6)
    }
}

/// Simulated time as hours, minutes and seconds.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A duration of little precision, such as `30 ms` or `2 s`.
pub(super) fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.0} s", ms / 1000.0) }
}

/// Work that waits: nothing, seconds, or minutes of one core.
pub(super) fn backlog(seconds: f64) -> String {
    match seconds {
        s if s < 0.05 => "–".into(),
        s if s < 99.95 => format!("{s:.1} s"),
        s if s < 5999.5 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

/// A speed-up, such as `360×`.
pub(super) fn speed(speed: f64) -> String {
    match speed {
        s if !s.is_finite() => "max".into(),
        s if s < 10.0 => format!("{}×", (s * 100.0).round() / 100.0),
        s => format!("{s:.0}×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_keep_about_three_digits() {
        assert_eq!([bytes(5e8), bytes(1.5 * GIB), bytes(248.0 * GIB)], ["477 MiB", "1.5 GiB", "248 GiB"]);
        assert_eq!([rate(3.5e7), rate(1.239e9), rate(31.5e9)], ["35 MB/s", "1.24 GB/s", "31.5 GB/s"]);
        assert_eq!(clock(Duration::from_secs(8073)), "02:14:33");
        assert_eq!([backlog(0.0), backlog(3.21), backlog(600.0)], ["–", "3.2 s", "10 min"]);
        assert_eq!([speed(360.0), speed(1.5), speed(f64::INFINITY)], ["360×", "1.5×", "max"]);
    }
}
