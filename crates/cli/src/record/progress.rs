//! How far a recording is: one line that changes on a terminal, now and then a line elsewhere; both on standard
//! error.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use halcyon_sim::recording::Tally;
use indicatif::{ProgressBar, ProgressStyle};

use super::show;

/// Between two lines where nobody watches, and between two states of the one that changes.
const LINES: Duration = Duration::from_secs(60);
const STATES: Duration = Duration::from_millis(200);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    shown: Instant,
}

impl Progress {
    pub(super) fn new(host: &str, path: &Path) -> Self {
        eprintln!("halcyon: recording {host} to {}; Ctrl-C ends it", path.display());
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { bar, shown: Instant::now() }
    }

    pub(super) fn show(&mut self, tally: Tally, lasted: Duration, vms: usize) {
        let every = if self.bar.is_some() { STATES } else { LINES };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let size = show::size(tally.bytes, tally.samples);
        let text = format!("{}, {} snapshots, {vms} VMs now, {size}", show::time(lasted), tally.snapshots);
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("halcyon: {text}"),
        }
    }

    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("halcyon: {text}")),
            None => eprintln!("halcyon: {text}"),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
