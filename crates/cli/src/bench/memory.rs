//! How much memory this process took.

/// The most that this process had resident, in bytes (proc(5), `VmHWM` in /proc/self/status); nothing
/// where the kernel does not say.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_as_the_kernel_writes_it() {
        // Linux 6.12, /proc/self/status.
        assert_eq!(peak("VmPeak:\t    8264 kB\nVmHWM:\t    5216 kB\n"), Some(5_341_184));
        assert_eq!(peak("VmPeak:\t    8264 kB\n"), None);
        assert_eq!(peak("VmHWM:\t many kB\n"), None);
    }
}
