//! Ctrl-C and termination: whoever waits finds out within a tenth of a second and returns, so that what
//! was started is stopped and removed on the way out. A second signal ends the lab at once; guests are then
//! ended by the kernel, since they are bound to the life of the lab.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Begins to listen for signals.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn watch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot watch for Ctrl-C")
}

/// Nothing, or that the lab is to end.
///
/// # Errors
/// After a signal.
pub(crate) fn check() -> anyhow::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits, unless a signal comes.
///
/// # Errors
/// After a signal.
pub(crate) fn sleep(time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
