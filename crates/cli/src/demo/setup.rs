//! From arguments to scenarios.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use halcyon_lab::{Draw, Scenario};
use halcyon_model::VmSpec;
use halcyon_model::describe::{Host, parse_host, parse_vms};
use halcyon_sim::trace::{self, Progress, Selection, TraceSet, generator};

use super::Args;

/// The host that is simulated when none is described.
pub(crate) const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");

/// No description of a host or of VMs is larger.
const MOST_BYTES: u64 = 16 << 20;

pub(crate) fn hours(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of hours"))?;
    if !(0.05..=8760.0).contains(&hours) {
        return Err("must be from 0.05 to 8760 hours".into());
    }
    Ok(Duration::from_secs_f64(hours * 3600.0))
}

pub(crate) fn load(text: &str) -> Result<f64, String> {
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
    let specs = args.vm_file.as_deref().map(|path| vm_specs(path, &host)).transpose()?;
    (0..u64::from(args.scenarios))
        .map(|index| {
            let seed = args.seed.wrapping_add(index);
            let traces = traces(args, vms(args, specs.as_deref()), seed)?;
            let vms = vms(args, specs.as_deref());
            let draw = Draw { load: args.load, ..Draw::new(vms, args.hours, seed) };
            let (topology, capabilities) = (host.topology.clone(), host.capabilities.clone());
            Ok(match &specs {
                Some(specs) => Scenario::of_vms(topology, capabilities, specs.clone(), &traces, draw)?,
                None => Scenario::draw(topology, capabilities, &traces, draw)?,
            })
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

fn vm_specs(path: &Path, host: &Host) -> Result<Vec<VmSpec>> {
    let specs = parse_vms(&read_text(path)?, &host.topology);
    let specs = specs.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    if specs.is_empty() {
        bail!("{} describes no VM; add a [[vm]] table", path.display());
    }
    Ok(specs)
}

fn vms(args: &Args, specs: Option<&[VmSpec]>) -> usize {
    specs.map_or(args.vms as usize, <[VmSpec]>::len)
}

/// Reads a text file that a person wrote, and not more of it than such a file can have.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    use std::io::Read;
    let tried = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(tried)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(tried)?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!(
            "{} is larger than {} MiB; that is no description of a host or of VMs",
            path.display(),
            MOST_BYTES >> 20
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        anyhow::anyhow!("{}: line {line}: is not UTF-8 text", path.display())
    })
}

fn traces(args: &Args, vms: usize, seed: u64) -> Result<TraceSet> {
    let Some(path) = &args.trace else {
        let parameters = generator::Parameters::embedded()?;
        let duration = args.hours.max(Duration::from_secs(600));
        return Ok(generator::Generator::new(&parameters, seed).trace_set(vms, duration));
    };
    let format = args.format.map_or_else(|| trace::detect(path), Ok)?;
    let progress = Arc::new(Progress::default());
    let readings = trace::open_watched(path, Some(format), &progress)?;
    let selection = Selection::new(vms, args.hours.max(Duration::from_secs(300)), seed).suited_to(format);
    let set = TraceSet::collect(readings, &selection, path)?;
    if seed == args.seed {
        progress.notes().iter().for_each(|(note, _)| eprintln!("halcyon: {}: {note}", set.source));
        say_what_is_short(&set, vms);
    }
    Ok(set)
}

fn say_what_is_short(set: &TraceSet, vms: usize) {
    let known = |column: &[Option<f32>]| column.iter().any(Option::is_some);
    if !set.series.iter().any(|series| known(&series.cpu)) {
        eprintln!("halcyon: {} has no CPU use; its GPU use stands in for it", set.source);
    }
    if set.series.len() < vms {
        eprintln!(
            "halcyon: {} has {} VMs; they serve for {vms}, shifted in time",
            set.source,
            set.series.len()
        );
    }
    if !set.shortfall.is_zero() {
        let hours = set.shortfall.as_secs_f64() / 3600.0;
        eprintln!("halcyon: {} is {hours:.1} h shorter than the run; it starts again at its end", set.source);
    }
}
