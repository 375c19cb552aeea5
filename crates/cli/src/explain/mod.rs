//! `halcyon explain`: why the learned policy changed what it changed.

mod json;
pub(crate) mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, anyhow};
use halcyon_lab::{Scenario, explain};
use halcyon_policy::Learned;

use crate::ask;
use crate::bench::{INTERRUPTED, USAGE, output};
use crate::demo::{print, stop_on_interrupt};
use crate::weights;

/// Say why a plan changes what it changes
///
/// Without a scenario: why the running daemon's newest plan is as it is. With one: runs it under the learned
/// policy up to a moment, and explains the plan made then, or the last one before it that changed something.
/// For each change: the forecast or the need that drove it, what it costs and gains by the policy's own
/// estimate, and who would have come next.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A scenario; the running daemon if left out
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    /// Simulated time since the start, such as 90s, 10m or 1.5h; the first 10 minutes if left out
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time, requires = "scenario")]
    at: Option<Duration>,
    /// Only changes for this VM
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Weights for the policy, as `halcyon train` writes them; those that come with Halcyon if left out
    #[arg(long, value_name = "FILE", requires = "scenario")]
    model: Option<PathBuf>,
    /// Write the explanation as JSON; to standard output, instead of the text, if FILE is - or left out
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// The daemon's socket; /run/halcyon/halcyon.sock if left out
    #[arg(long, value_name = "PATH", env = crate::ask::SOCKET)]
    socket: Option<PathBuf>,
    /// Ask the daemon again every second, until Ctrl-C
    #[arg(long, conflicts_with = "scenario")]
    watch: bool,
}

/// How long a run goes on where no time is asked for.
const AT: Duration = Duration::from_secs(600);
/// VMs that a message lists.
const LISTED: usize = 20;

/// Seconds unless a unit says otherwise.
fn time(text: &str) -> Result<Duration, String> {
    let (number, scale) = match text.char_indices().next_back() {
        Some((end, 's')) => (&text[..end], 1.0),
        Some((end, 'm')) => (&text[..end], 60.0),
        Some((end, 'h')) => (&text[..end], 3600.0),
        _ => (text, 1.0),
    };
    let wrong = || format!("`{text}` is not a time; give one such as 90s, 10m or 1.5h");
    let seconds = number.trim().parse::<f64>().map_err(|_| wrong())? * scale;
    // So also NaN is refused.
    if !(seconds > 0.0 && seconds <= 8760.0 * 3600.0) {
        return Err("must be above 0 and at most 8760h".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    output::check_json(args.json.as_deref())?;
    let Some(path) = &args.scenario else {
        if let Some(file) = args.json.as_deref().filter(|file| file.exists()) {
            eprintln!(
                "halcyon: {} is there already; give a scenario before --json, or another file",
                file.display()
            );
            return Ok(ExitCode::from(USAGE));
        }
        return ask::explain(args.socket.clone(), args.vm.as_deref(), args.json.as_deref(), args.watch);
    };
    let scenario = Scenario::read(path)?;
    if let Some(mistake) = mistake(args, &scenario) {
        eprintln!("halcyon: {mistake}");
        return Ok(ExitCode::from(USAGE));
    }
    let learned = Learned::new(weights::read(args.model.as_deref())?);
    let stop = stop_on_interrupt()?;
    let until = args.at.unwrap_or(AT).min(scenario.duration);
    let explained = explain(&scenario, learned, until, args.vm.as_deref(), &stop)
        .map_err(|error| anyhow!(error).context(format!("cannot run {}", path.display())))?;
    if stop.load(Ordering::Relaxed) {
        eprintln!("halcyon: interrupted; nothing was explained");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let form = json::Explained::new(explained.as_ref(), until, args.vm.as_deref());
    match output::json(args.json.as_deref(), &form)? {
        Some(json) => print(&json)?,
        None => print(&text::render(explained.as_ref(), until, args.vm.as_deref()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is asked of this scenario that it does not have.
fn mistake(args: &Args, scenario: &Scenario) -> Option<String> {
    if let Some(at) = args.at.filter(|at| *at > scenario.duration) {
        let (at, end) = (at.as_secs_f64(), scenario.duration.as_secs_f64());
        return Some(format!("--at {at:.0}s is beyond the end of the scenario, which lasts {end:.0}s"));
    }
    let names = || scenario.guests.iter().map(|guest| guest.spec.name.as_str());
    let vm = args.vm.as_deref().filter(|vm| !names().any(|name| name == *vm))?;
    let listed = names().take(LISTED).collect::<Vec<_>>().join(", ");
    let more = names().count().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("there is no VM `{vm}` in the scenario; choose one of {listed}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1.5h", 5400), ("600", 600)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-5s", "0", "nan", "inf", "1e300h", "10 apples", "5µ", "9000h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
