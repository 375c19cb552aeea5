//! From arguments to scenarios.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use halcyon_lab::{Draw, Scenario};
use halcyon_model::describe::{Host, parse_host};
use halcyon_sim::trace::{self, Selection, TraceSet, generator};

use super::Args;

/// The host that is simulated when none is described.
const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");

/// No description of a host is larger.
const MOST_BYTES: u64 = 16 << 20;

pub(super) fn hours(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of hours"))?;
    if !(hours >= 0.05 && hours <= 8760.0) {
        return Err("must be from 0.05 to 8760 hours".into());
    }
    Ok(Duration::from_secs_f64(hours * 3600.0))
}

pub(super) fn load(text: &str) -> Result<f64, String> {
    let load: f64 = text.parse().map_err(|_| format!("`{text}` is not a share"))?;
    if load > 0.0 && load <= 4.0 { Ok(load) } else { Err("must be above 0 and at most 4".into()) }
}

/// Simulated seconds per second; `max` is infinite.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    if text == "max" {
        return Ok(f64::INFINITY);
    }
    let speed: f64 =
        text.trim_end_matches('x').parse().map_err(|_| format!("`{text}` is neither a number nor `max`"))?;
    if speed > 0.0 && speed.is_finite() { Ok(speed) } else { Err("must be above 0".into()) }
}

/// Reads the host and draws as many scenarios as were asked for.
pub(super) fn scenarios(args: &Args) -> Result<Vec<Scenario>> {
    let host = host(args.host.as_deref())?;
    (0..u64::from(args.scenarios))
        .map(|index| {
            let seed = args.seed.wrapping_add(index);
            let traces = traces(args, seed)?;
            let draw = Draw { vms: args.vms as usize, duration: args.hours, seed, load: args.load };
            Ok(Scenario::draw(host.topology.clone(), host.capabilities.clone(), &traces, draw)?)
        })
        .collect()
}

fn host(path: Option<&Path>) -> Result<Host> {
    let Some(path) = path else {
        return parse_host(TWO_SOCKET).context("the host that is built in");
    };
    let text = read_text(path)?;
    parse_host(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// Reads a text file that a person wrote, and not more of it than such a file can have.
fn read_text(path: &Path) -> Result<String> {
    use std::io::Read;
    let tried = || format!("cannot read the host description {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(tried)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(tried)?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!("{} is larger than {} MiB; that is no host description", path.display(), MOST_BYTES >> 20);
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        anyhow::anyhow!("{}: line {line}: is not UTF-8 text", path.display())
    })
}

fn traces(args: &Args, seed: u64) -> Result<TraceSet> {
    let vms = args.vms as usize;
    match &args.trace {
        Some(path) => {
            let readings = trace::open(path, args.format)?;
            let selection = Selection::new(vms, args.hours.max(Duration::from_secs(300)), seed);
            Ok(TraceSet::collect(readings, &selection, path)?)
        }
        None => {
            let parameters = generator::Parameters::embedded()?;
            let duration = args.hours.max(Duration::from_secs(600));
            Ok(generator::Generator::new(&parameters, seed).trace_set(vms, duration))
        }
    }
}
