//! `halcyon trace`: importing traces of real VMs, looking at them, fitting and running the generator.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use halcyon_sim::trace::generator::{Generator, Parameters, Source, fit};
use halcyon_sim::trace::{
    self, Column, Progress, Reading, Selection, Series, TraceError, TraceFormat, TraceSet, Writer,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::whole::Whole;

/// Import, show, fit and generate traces of VM demand.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Debug, Subcommand)]
enum TraceCommand {
    /// Convert a public trace into Halcyon's form.
    Import(ImportArgs),
    /// Say what a trace holds.
    Show(ShowArgs),
    /// Fit the demand generator to traces and say how well it does on days held back.
    Fit(FitArgs),
    /// Write a trace of generated VMs.
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The trace: a file, a folder or an archive, as its format has it.
    path: PathBuf,
    /// Its format: halcyon, planetlab, gwa-t-12, opendc, alibaba-genai, azure-vm or recording. Detected if
    /// left out.
    #[arg(long)]
    format: Option<TraceFormat>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// The file to write, or - for standard output; compressed if its name ends in .gz.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The trace.
    path: PathBuf,
    /// Its format; detected if left out.
    #[arg(long)]
    format: Option<TraceFormat>,
}

#[derive(Debug, Args)]
struct FitArgs {
    /// Traces with CPU use. Those of one format make one population; of several, every second one is
    /// held back to judge the fit, of a single one the second half of its time.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Where to write the parameters; none are written if left out.
    #[arg(short, long, value_name = "FILE.toml")]
    output: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// How many VMs.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vms: u32,
    /// How many hours.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=87_600))]
    hours: u32,
    /// One seed, one trace.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Parameters made by `halcyon trace fit`; the built-in ones if left out.
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs one of the subcommands.
///
/// # Errors
/// With a message that names the file and the place in it.
pub(crate) fn run(args: &TraceArgs) -> anyhow::Result<()> {
    let done = match &args.command {
        TraceCommand::Import(args) => import(args),
        TraceCommand::Show(args) => show(args),
        TraceCommand::Fit(args) => fit_generator(args),
        TraceCommand::Generate(args) => generate(args),
    };
    done.or_else(unless_pipe_closed)
}

/// A reader that has seen enough, as `head` has, is no failure.
fn unless_pipe_closed(error: anyhow::Error) -> anyhow::Result<()> {
    let closed = error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    });
    if closed { Ok(()) } else { Err(error) }
}

fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::default());
    let readings = trace::open_watched(&args.path, args.format, &progress)?;
    let mut watch = Watch::new(&args.path, &progress);
    let rows = write_trace(&args.output, |reading_sink| {
        for reading in readings {
            reading_sink(&reading?)?;
            watch.row();
        }
        Ok(())
    })?;
    watch.end();
    let mut out = aside(&args.output);
    writeln!(out, "{rows} readings written to {}", place(&args.output))?;
    for (note, times) in progress.notes() {
        writeln!(out, "note: {note} ({times})")?;
    }
    Ok(())
}

fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let parameters = match &args.parameters {
        Some(path) => Parameters::load(path)?,
        None => Parameters::embedded()?,
    };
    let generator = Generator::new(&parameters, args.seed);
    let duration = Duration::from_secs(u64::from(args.hours) * 3600);
    let interval = Duration::from_secs(parameters.interval_s);
    let rows = write_trace(&args.output, |sink| {
        // One VM at a time, so that any number of them fits into memory.
        for vm in 0..u64::from(args.vms) {
            for reading in readings_of(&generator.series(vm, duration), interval) {
                sink(&reading)?;
            }
        }
        Ok(())
    })?;
    writeln!(aside(&args.output), "{rows} readings written to {}", place(&args.output))?;
    Ok(())
}

fn readings_of(series: &Series, interval: Duration) -> impl Iterator<Item = Reading> {
    let name: Arc<str> = series.name.as_str().into();
    let (cores, memory) = (series.cores, series.memory_capacity.map(|memory| memory.get()));
    (0_u32..).zip(&series.cpu).map(move |(index, cpu)| Reading {
        interval: Some(interval),
        cpu: cpu.map(f64::from),
        cores,
        memory_capacity_bytes: memory,
        ..Reading::new(Arc::clone(&name), interval * index)
    })
}

/// What a trace is filled with: it gives every reading to the sink that it is called with.
trait Fill: FnOnce(&mut dyn FnMut(&Reading) -> Result<(), TraceError>) -> Result<(), TraceError> {}
impl<F> Fill for F where
    F: FnOnce(&mut dyn FnMut(&Reading) -> Result<(), TraceError>) -> Result<(), TraceError>
{
}

/// Writes a trace beside its place and moves it there when it is complete, or to standard output; gives the
/// number of rows.
fn write_trace(output: &OutputArgs, fill: impl Fill) -> anyhow::Result<u64> {
    if is_stdout(&output.output) {
        return write_rows(BufWriter::new(io::stdout().lock()), fill);
    }
    let zipped = output.output.extension().is_some_and(|extension| extension == "gz");
    let mut rows = 0;
    write_whole(&output.output, output.force, |file| {
        let out: Box<dyn Write> =
            if zipped { Box::new(GzEncoder::new(file, Compression::default())) } else { Box::new(file) };
        rows = write_rows(out, fill)?;
        Ok(())
    })?;
    Ok(rows)
}

fn write_rows(out: impl Write, fill: impl Fill) -> anyhow::Result<u64> {
    let (mut rows, mut writer) = (0, Writer::new(out)?);
    fill(&mut |reading| {
        rows += 1;
        writer.write(reading)
    })?;
    writer.finish()?.flush()?;
    Ok(rows)
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Where to say what was written: not in the midst of it.
fn aside(output: &OutputArgs) -> Box<dyn Write> {
    if is_stdout(&output.output) { Box::new(io::stderr()) } else { Box::new(io::stdout().lock()) }
}

/// What people call the place that was written to.
fn place(output: &OutputArgs) -> String {
    if is_stdout(&output.output) { "standard output".into() } else { output.output.display().to_string() }
}

/// Runs `write` on a temporary file beside `path`, and renames it to `path` if all went well.
pub(crate) fn write_whole(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut BufWriter<&mut Whole>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if is_stdout(path) {
        bail!(
            "`-` is no file, and this does not go to standard output; name a file, or ./- for one of that name"
        );
    }
    if path.exists() && !force {
        bail!("{} exists; give another name, or --force to replace it", path.display());
    }
    let mut file = Whole::begin(path)?;
    let mut buffer = BufWriter::new(&mut file);
    write(&mut buffer)?;
    buffer.flush().with_context(|| format!("cannot write {}", path.display()))?;
    drop(buffer);
    if force { file.end() } else { file.end_if_new() }
}

/// Progress on the error stream: a bar on a terminal, now and then a line otherwise.
struct Watch {
    bar: Option<ProgressBar>,
    progress: Arc<Progress>,
    rows: u64,
}

impl Watch {
    const BAR_ROWS: u64 = 1 << 14;
    const LINE_ROWS: u64 = 5_000_000;

    fn new(path: &Path, progress: &Arc<Progress>) -> Self {
        let size = path.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
        let bar = io::stderr().is_terminal().then(|| {
            let style = "{bar:30} {bytes} of {total_bytes}, {msg}, {elapsed}";
            let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.with_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Self { bar, progress: Arc::clone(progress), rows: 0 }
    }

    fn row(&mut self) {
        self.rows += 1;
        if let Some(bar) = &self.bar {
            if self.rows.is_multiple_of(Self::BAR_ROWS) {
                bar.set_position(self.progress.bytes());
                bar.set_message(format!("{} readings", self.rows));
            }
        } else if self.rows.is_multiple_of(Self::LINE_ROWS) {
            // A closed error stream is no reason to stop an import.
            let _ = writeln!(io::stderr(), "{} readings, {} bytes read", self.rows, self.progress.bytes());
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What `show` says of one column.
#[derive(Debug, Clone, Copy)]
struct Summary {
    count: u64,
    sum: f64,
    least: f64,
    most: f64,
}

const NO_VALUES: Summary = Summary { count: 0, sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY };
/// How many VMs get a sparkline, and over which time.
const SHOWN_VMS: usize = 5;
const SHOWN_TIME: Duration = Duration::from_secs(7 * 86_400);

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let format = args.format.map_or_else(|| trace::detect(&args.path), Ok)?;
    let progress = Arc::new(Progress::default());
    let mut summaries = [NO_VALUES; Column::ALL.len()];
    let mut latest: BTreeMap<Arc<str>, Duration> = BTreeMap::new();
    let mut intervals: BTreeMap<Duration, u64> = BTreeMap::new();
    let mut span = (Duration::MAX, Duration::ZERO);
    let mut rows = 0_u64;
    let readings = trace::open_watched(&args.path, Some(format), &progress)?;
    let noted = readings.inspect(|reading| {
        let Ok(reading) = reading else { return };
        rows += 1;
        let end = reading.time + reading.interval.unwrap_or_default();
        span = (span.0.min(reading.time), span.1.max(end));
        if let Some(before) = latest.insert(Arc::clone(&reading.vm), reading.time) {
            // Few distances are common; a hostile trace must not make many of them stay.
            if intervals.len() < 10_000 {
                *intervals.entry(reading.time.saturating_sub(before)).or_default() += 1;
            }
        }
        for (column, summary) in Column::ALL.into_iter().zip(&mut summaries) {
            if let Some(value) = reading.column(column) {
                summary.count += 1;
                summary.sum += value;
                summary.least = summary.least.min(value);
                summary.most = summary.most.max(value);
            }
        }
    });
    let selection = Selection::new(SHOWN_VMS, SHOWN_TIME, 0).suited_to(format);
    let set = TraceSet::collect(noted, &selection, &args.path)?;
    let common =
        intervals.iter().max_by_key(|(_, times)| **times).map(|(interval, _)| interval.as_secs_f64());
    let mut out = io::stdout().lock();
    writeln!(out, "format    {format}")?;
    if format == TraceFormat::Recording {
        crate::record::show::describe(&args.path, &mut out)?;
    }
    writeln!(out, "VMs       {}", latest.len())?;
    writeln!(out, "readings  {rows}")?;
    writeln!(out, "span      {:.1} hours", span.1.saturating_sub(span.0).as_secs_f64() / 3600.0)?;
    writeln!(
        out,
        "interval  {}",
        common.map_or_else(|| "one reading per VM".into(), |s| format!("{s} s mostly"))
    )?;
    for (note, times) in progress.notes() {
        writeln!(out, "note      {note} ({times})")?;
    }
    write_summaries(&mut out, &summaries)?;
    write_sparklines(&mut out, &set)
}

#[allow(clippy::cast_precision_loss)]
fn write_summaries(out: &mut impl Write, summaries: &[Summary]) -> anyhow::Result<()> {
    writeln!(out, "\n{:<20} {:>12} {:>14} {:>14} {:>14}", "column", "readings", "least", "mean", "most")?;
    for (column, summary) in Column::ALL.into_iter().zip(summaries).filter(|(_, summary)| summary.count > 0) {
        let Summary { count, sum, least, most } = *summary;
        let mean = sum / count as f64;
        writeln!(out, "{:<20} {count:>12} {least:>14.4} {mean:>14.4} {most:>14.4}", column.name())?;
    }
    Ok(())
}

fn write_sparklines(out: &mut impl Write, set: &TraceSet) -> anyhow::Result<()> {
    let hours = set.interval.as_secs_f64() * f64::from(u32::try_from(set.samples())?) / 3600.0;
    let digits = if hours < 10.0 { 2 } else { 0 };
    writeln!(out, "\n{} VMs over the first {hours:.digits$} hours, 0 to 100 %", set.series.len())?;
    for series in &set.series {
        let shown = [Column::Cpu, Column::GpuUtil, Column::MemoryUtil].into_iter().find_map(|column| {
            Some((column, series.column(column)?)).filter(|(_, v)| v.iter().any(Option::is_some))
        });
        if let Some((column, values)) = shown {
            let name: String = series.name.chars().take(32).collect();
            writeln!(out, "{name:<32} {:<12} {}", column.name(), sparkline(values))?;
        }
    }
    Ok(())
}

/// Sixty characters; a blank is a time without readings.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn sparkline(values: &[Option<f32>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let chunks = values.chunks(values.len().div_ceil(60).max(1));
    let bar = |chunk: &[Option<f32>]| {
        let known: Vec<f32> = chunk.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f32>() / known.len() as f32;
        if known.is_empty() { ' ' } else { BARS[((mean * 8.0) as usize).min(7)] }
    };
    chunks.map(bar).collect()
}

/// Enough VMs to fit on; more would only take longer.
const FIT_VMS: usize = 5000;
const FIT_TIME: Duration = Duration::from_secs(30 * 86_400);

fn fit_generator(args: &FitArgs) -> anyhow::Result<()> {
    let mut sources: BTreeMap<TraceFormat, Vec<TraceSet>> = BTreeMap::new();
    for path in &args.paths {
        let format = trace::detect(path)?;
        let selection = Selection::new(FIT_VMS, FIT_TIME, 1);
        sources.entry(format).or_default().push(TraceSet::collect(
            trace::open(path, Some(format))?,
            &selection,
            path,
        )?);
    }
    let sources: Vec<Source> =
        sources.into_iter().map(|(format, sets)| Source { name: format.to_string(), sets }).collect();
    let fit = fit(&sources).context("no VM with at least 100 readings of CPU use: nothing to fit")?;
    let mut out = io::stdout().lock();
    for quality in &fit.quality {
        writeln!(out, "{}: judged on {} VM series held back", quality.source, quality.vms)?;
        writeln!(out, "  {:<34} {:>9} {:>9} {:>10}", "", "real", "generated", "difference")?;
        for measure in &quality.measures {
            let difference = measure.difference();
            let (name, real, generated) = (measure.name, measure.real, measure.generated);
            writeln!(out, "  {name:<34} {real:>9.4} {generated:>9.4} {difference:>+10.4}")?;
        }
    }
    if let Some(path) = &args.output {
        write_whole(path, args.force, |file| Ok(file.write_all(fit.parameters.to_toml().as_bytes())?))?;
        writeln!(out, "parameters written to {}", path.display())?;
    }
    Ok(())
}
