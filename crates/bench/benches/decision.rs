//! Whole decisions of the learned policy at 64 and 1,024 VMs on one core, with the network by itself in
//! Halcyon's kernel and in tract, an established engine, after each of them.
//!
//! `cargo bench -p halcyon-bench` prints the table and fails if the two networks do not agree. `-- 300`
//! makes it so many decisions.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]

mod tract;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use halcyon_control::Stopwatch;
use halcyon_lab::measure::{Part, decision_time};
use halcyon_policy::learned::embedded_network;
use tract::Tract;

const SIZES: [usize; 2] = [64, 1024];
const DECISIONS: u32 = 3000;

struct WallClock(Instant);

impl Stopwatch for WallClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn main() -> Result<()> {
    // Cargo itself adds `--bench`.
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let decisions = asked.unwrap_or(DECISIONS).clamp(1, 1_000_000);
    let clock = WallClock(Instant::now());
    for vms in SIZES {
        let mut tract = Tract::new(embedded_network()?);
        let found =
            decision_time(vms, decisions, &clock, Some(&mut tract)).map_err(|error| anyhow!(error))?;
        print!("{found}");
        let named = |name: &str| found.parts.iter().find(|part| part.name == name);
        if let (Some(ours), Some(theirs)) = (named("network"), named("tract")) {
            let ratio = |of: fn(&Part) -> f64| of(theirs) / of(ours);
            let (middle, high) = (ratio(|part| part.p50_us), ratio(|part| part.p99_us));
            println!("  tract takes {middle:.2} times as long as our kernel at p50, {high:.2} at p99\n");
        }
    }
    Ok(())
}
