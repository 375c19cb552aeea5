//! `halcyon scenario new`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use halcyon_lab::{Draw, Scenario, default_vms, profiles};
use halcyon_model::describe::parse_host;
use halcyon_sim::trace::{self, Progress, Selection, TraceFormat, TraceSet, generator};

use super::NewArgs;
use crate::demo::{print, setup};
use crate::trace::write_whole;

pub(super) fn draw(args: &NewArgs) -> Result<()> {
    let text = match &args.host {
        Some(path) => setup::read_text(path)?,
        None => setup::TWO_SOCKET.to_owned(),
    };
    let name = args.host.as_ref().map_or("the built-in host".into(), |path| path.display().to_string());
    let host = parse_host(&text).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    let profiles = match &args.profiles {
        Some(folder) => Arc::new(profiles::read_dir(folder)?),
        None => profiles::embedded(),
    };
    let vms = args.vms.map_or_else(|| default_vms(&host.topology), |vms| vms as usize);
    let traces = traces(args, vms)?;
    let draw = Draw {
        load: args.load.unwrap_or(0.6),
        overcommit: args.load.is_none().then_some(args.overcommit),
        memory_overcommit: args.memory_overcommit,
        signal: args.signal,
        churn: args.churn,
        ..Draw::new(vms, args.hours, args.seed)
    };
    let scenario = Scenario::draw_with(host.topology, host.capabilities, &traces, profiles, draw)
        .with_context(|| format!("cannot draw {vms} VMs for {name}"))?
        .with_description(&text);
    write_whole(&args.output, args.force, |file| Ok(scenario.write(file)?))?;
    let output = args.output.display();
    print(&format!(
        "{vms} VMs on {} for {} h written to {output}; run `halcyon scenario show {output}` to see what they ask for\n",
        scenario.topology.name(),
        args.hours.as_secs_f64() / 3600.0,
    ))
}

/// The series of all traces by turns, so that every one of them is there however few VMs are drawn.
fn traces(args: &NewArgs, vms: usize) -> Result<TraceSet> {
    if args.traces.is_empty() {
        let parameters = generator::Parameters::embedded()?;
        let duration = args.hours.max(Duration::from_secs(600));
        return Ok(generator::Generator::new(&parameters, args.seed).trace_set(vms, duration));
    }
    let each = vms.div_ceil(args.traces.len());
    let duration = args.hours.max(Duration::from_secs(300));
    let formats = args.traces.iter().map(|path| trace::detect(path)).collect::<Result<Vec<_>, _>>()?;
    // All have one grid: that of recordings only if there is nothing else.
    let recorded = formats.iter().all(|format| *format == TraceFormat::Recording);
    let selection = Selection::new(each, duration, args.seed);
    let selection = if recorded { selection.suited_to(TraceFormat::Recording) } else { selection };
    let one = |(path, format): (&PathBuf, &TraceFormat)| -> Result<TraceSet> {
        let progress = Arc::new(Progress::default());
        let readings = trace::open_watched(path, Some(*format), &progress)?;
        let set = TraceSet::collect(readings, &selection, path)?;
        if *format == TraceFormat::Recording {
            progress.notes().iter().for_each(|(note, _)| eprintln!("halcyon: {}: {note}", set.source));
        }
        Ok(set)
    };
    let mut sets = args.traces.iter().zip(&formats).map(one).collect::<Result<Vec<_>>>()?;
    for set in &sets {
        if !set.shortfall.is_zero() {
            let hours = set.shortfall.as_secs_f64() / 3600.0;
            eprintln!(
                "halcyon: {} is {hours:.1} h shorter than the run; it starts again at its end",
                set.source
            );
        }
    }
    let source = sets.iter().map(|set| set.source.as_str()).collect::<Vec<_>>().join(", ");
    let mut turns: Vec<_> = sets.iter_mut().map(|set| std::mem::take(&mut set.series).into_iter()).collect();
    let mut series = Vec::new();
    loop {
        let turn: Vec<_> = turns.iter_mut().filter_map(Iterator::next).collect();
        if turn.is_empty() {
            break;
        }
        series.extend(turn);
    }
    let first = sets.into_iter().next().context("no trace was given")?;
    Ok(TraceSet { source, series, ..first })
}
