//! The text form of an application's profile, read and written.
//!
//! The text that is written for a profile reads back as that very profile.

use std::fmt::Write;
use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use super::DescribeError;
use super::element::Element;
use super::names::check_name;
use super::text::Text;
use crate::profile::{Application, CacheResponse, Fit, FitError, GpuResponse, Response};
use crate::units::ByteSize;

/// The most characters of the line that names the source.
const MOST_SOURCE: usize = 400;
/// More misses than instructions have words, and more cycles or bytes than one of them moves.
const MOST_PER_INSTRUCTION: f64 = 1e6;
/// More bytes than any cache has.
const MOST_CACHE: f64 = 1e12;
/// More bytes per second than any memory moves.
const MOST_TRAFFIC: f64 = 1e14;
/// By how much shares may add up to more than all, as decimals that were rounded do.
const ROUNDING: f64 = 1e-9;
/// Clocks of machines, in cycles per second.
const CLOCKS: RangeInclusive<f64> = 1e6..=1e11;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationForm {
    name: Spanned<String>,
    source: Spanned<String>,
    cache: Spanned<CacheForm>,
    gpu: Option<Spanned<GpuForm>>,
    cpu: Option<CpuForm>,
    memory: Option<MemoryForm>,
    #[serde(default)]
    fit: FitForm,
}

/// Either `traffic` alone or all of the others but `footprint`, which may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheForm {
    traffic: Option<Spanned<f64>>,
    limit_misses: Option<Spanned<f64>>,
    least_misses: Option<Spanned<f64>>,
    most_misses: Option<Spanned<f64>>,
    half_bytes: Option<Spanned<f64>>,
    steepness: Option<Spanned<f64>>,
    cycles: Option<Spanned<f64>>,
    cycles_per_miss: Option<Spanned<f64>>,
    bytes_per_miss: Option<Spanned<f64>>,
    clock_hz: Option<Spanned<f64>>,
    footprint_bytes: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuForm {
    slices: Spanned<u32>,
    fixed: Spanned<f64>,
    bandwidth: Spanned<f64>,
    memory: Spanned<ByteSize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CpuForm {
    cores_per_gpu: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryForm {
    paging: Spanned<f64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FitForm {
    ipc: Option<Spanned<ErrorForm>>,
    misses: Option<Spanned<ErrorForm>>,
    bandwidth: Option<Spanned<ErrorForm>>,
    step_time: Option<Spanned<ErrorForm>>,
    throughput: Option<Spanned<ErrorForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorForm {
    median: Spanned<f64>,
    worst: Spanned<f64>,
}

/// Reads the profile of an application.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse_application(text: &str) -> Result<Application, DescribeError> {
    let text = Text::open(text)?;
    let form: ApplicationForm = text.read()?;
    let element = Element::new(&text, "the application".into(), form.name.span());
    check_name(&element, &form.name)?;
    let source = form.source.get_ref();
    let fits = !source.trim().is_empty() && source.chars().count() <= MOST_SOURCE;
    element.ensure_at(&form.source, fits && !source.chars().any(char::is_control), || {
        format!("source is one line of 1 to {MOST_SOURCE} characters that says what was measured by whom")
    })?;
    let numbers = Numbers { element: &element };
    let cpu = form.cpu.as_ref().map(|cpu| &cpu.cores_per_gpu);
    let paging = form.memory.as_ref().map(|memory| &memory.paging);
    Ok(Application {
        name: form.name.get_ref().clone(),
        source: source.clone(),
        response: Response {
            cache: numbers.cache(&form.cache)?,
            gpu: form.gpu.as_ref().map(|gpu| numbers.gpu(gpu)).transpose()?,
            paging: paging.map(|k| numbers.within("paging", k, 1e-9..=1e6)).transpose()?,
            cpu_per_gpu: cpu.map(|cores| numbers.within("cores_per_gpu", cores, 1e-3..=1e4)).transpose()?,
        },
        fit: Fit {
            ipc: numbers.error("ipc", form.fit.ipc.as_ref())?,
            misses: numbers.error("misses", form.fit.misses.as_ref())?,
            bandwidth: numbers.error("bandwidth", form.fit.bandwidth.as_ref())?,
            step_time: numbers.error("step_time", form.fit.step_time.as_ref())?,
            throughput: numbers.error("throughput", form.fit.throughput.as_ref())?,
        },
    })
}

/// Numbers of one application, each within what can be.
struct Numbers<'a> {
    element: &'a Element<'a>,
}

impl Numbers<'_> {
    fn within(
        &self,
        what: &str,
        value: &Spanned<f64>,
        range: RangeInclusive<f64>,
    ) -> Result<f64, DescribeError> {
        let number = *value.get_ref();
        // A NaN is in no range.
        self.element.ensure_at(value, range.contains(&number), || {
            format!("{what} is {number}; it must be from {:?} to {:?}", range.start(), range.end())
        })?;
        Ok(number)
    }

    fn cache(&self, form: &Spanned<CacheForm>) -> Result<CacheResponse, DescribeError> {
        let (span, form) = (form.span(), form.get_ref());
        let curve = [
            ("limit_misses", &form.limit_misses, 0.0..=MOST_PER_INSTRUCTION),
            ("least_misses", &form.least_misses, 0.0..=MOST_PER_INSTRUCTION),
            ("most_misses", &form.most_misses, 0.0..=MOST_PER_INSTRUCTION),
            ("half_bytes", &form.half_bytes, 1.0..=MOST_CACHE),
            ("steepness", &form.steepness, 1e-3..=1e3),
            ("cycles", &form.cycles, 1e-3..=MOST_PER_INSTRUCTION),
            ("cycles_per_miss", &form.cycles_per_miss, 0.0..=MOST_PER_INSTRUCTION),
            ("bytes_per_miss", &form.bytes_per_miss, 0.0..=MOST_PER_INSTRUCTION),
            ("clock_hz", &form.clock_hz, CLOCKS),
        ];
        if let Some(traffic) = &form.traffic {
            let other = curve.iter().find(|(_, value, _)| value.is_some()).map(|(what, ..)| *what);
            let other = other.or_else(|| form.footprint_bytes.as_ref().map(|_| "footprint_bytes"));
            self.element.ensure_at(traffic, other.is_none(), || {
                format!("has both `traffic` (no response to cache) and `{}`; keep one", other.unwrap_or(""))
            })?;
            return Ok(CacheResponse::flat(self.within("traffic", traffic, 0.0..=MOST_TRAFFIC)?));
        }
        let mut numbers = [0.0; 9];
        for (number, (what, value, range)) in numbers.iter_mut().zip(curve) {
            let Some(value) = value else {
                let problem = format!("[cache] lacks `{what}`; give the whole curve, or `traffic` alone");
                return Err(self.element.fault_at(&span, &problem));
            };
            *number = self.within(what, value, range)?;
        }
        let [limit_misses, least_misses, most_misses, half, steepness, cycles, cost, bytes, clock] = numbers;
        self.ordered(form, limit_misses <= least_misses && least_misses <= most_misses)?;
        let footprint = form.footprint_bytes.as_ref();
        Ok(CacheResponse {
            limit_misses,
            least_misses,
            most_misses,
            half,
            steepness,
            cycles,
            cycles_per_miss: cost,
            bytes_per_miss: bytes,
            clock,
            footprint: footprint
                .map(|bytes| self.within("footprint_bytes", bytes, 1.0..=MOST_CACHE))
                .transpose()?,
        })
    }

    fn ordered(&self, form: &CacheForm, condition: bool) -> Result<(), DescribeError> {
        let Some(least) = &form.least_misses else { return Ok(()) };
        self.element.ensure_at(least, condition, || {
            "least_misses must lie between limit_misses and most_misses".into()
        })
    }

    fn gpu(&self, form: &Spanned<GpuForm>) -> Result<GpuResponse, DescribeError> {
        let form = form.get_ref();
        let fixed = self.within("fixed", &form.fixed, 0.0..=1.0)?;
        let bandwidth = self.within("bandwidth", &form.bandwidth, 0.0..=1.0)?;
        self.element.ensure_at(&form.bandwidth, fixed + bandwidth <= 1.0 + ROUNDING, || {
            format!("fixed and bandwidth are shares of one time, but add up to {}", fixed + bandwidth)
        })?;
        Ok(GpuResponse {
            whole: self.element.count("slices", &form.slices, 1..=1024)?,
            fixed,
            bandwidth,
            memory: self.element.size("memory of the GPU", &form.memory)?,
        })
    }

    fn error(
        &self,
        what: &str,
        form: Option<&Spanned<ErrorForm>>,
    ) -> Result<Option<FitError>, DescribeError> {
        let Some(form) = form.map(Spanned::get_ref) else { return Ok(None) };
        let median = self.within(&format!("median of {what}"), &form.median, 0.0..=1e6)?;
        let worst = self.within(&format!("worst of {what}"), &form.worst, 0.0..=1e6)?;
        self.element.ensure_at(&form.worst, median <= worst, || {
            format!("worst of {what} is {worst}, below its median of {median}")
        })?;
        Ok(Some(FitError { median, worst }))
    }
}

/// Writes the profile of an application, for [`parse_application`] to read.
#[must_use]
pub fn write_application(application: &Application) -> String {
    let quoted = |words: &str| toml::Value::from(words).to_string();
    let mut text =
        format!("name = {}\nsource = {}\n", quoted(&application.name), quoted(&application.source));
    let Response { cache, gpu, paging, cpu_per_gpu } = &application.response;
    write_cache(&mut text, cache);
    if let Some(gpu) = gpu {
        section(&mut text, "gpu", &[]);
        let _ = writeln!(text, "slices = {}\nmemory = \"{}\"", gpu.whole, gigabytes(gpu.memory));
        rows(&mut text, &[("fixed", gpu.fixed), ("bandwidth", gpu.bandwidth)]);
    }
    if let Some(cores) = cpu_per_gpu {
        section(&mut text, "cpu", &[("cores_per_gpu", *cores)]);
    }
    if let Some(paging) = paging {
        section(&mut text, "memory", &[("paging", *paging)]);
    }
    write_fit(&mut text, &application.fit);
    text
}

fn write_cache(text: &mut String, cache: &CacheResponse) {
    if let Some(traffic) = cache.flat_traffic() {
        return section(text, "cache", &[("traffic", traffic)]);
    }
    let curve = [
        ("limit_misses", cache.limit_misses),
        ("least_misses", cache.least_misses),
        ("most_misses", cache.most_misses),
        ("half_bytes", cache.half),
        ("steepness", cache.steepness),
        ("cycles", cache.cycles),
        ("cycles_per_miss", cache.cycles_per_miss),
        ("bytes_per_miss", cache.bytes_per_miss),
        ("clock_hz", cache.clock),
    ];
    section(text, "cache", &curve);
    rows(text, cache.footprint.map(|bytes| ("footprint_bytes", bytes)).as_slice());
}

fn write_fit(text: &mut String, fit: &Fit) {
    let errors = [
        ("ipc", fit.ipc),
        ("misses", fit.misses),
        ("bandwidth", fit.bandwidth),
        ("step_time", fit.step_time),
        ("throughput", fit.throughput),
    ];
    if errors.iter().all(|(_, error)| error.is_none()) {
        return;
    }
    section(text, "fit", &[]);
    for (what, FitError { median, worst }) in errors.into_iter().filter_map(|(what, e)| Some((what, e?))) {
        let _ = writeln!(text, "{what} = {{ median = {median:?}, worst = {worst:?} }}");
    }
}

/// Device memory is sold in decimal gigabytes.
fn gigabytes(memory: ByteSize) -> String {
    const GIGABYTE: u64 = 1_000_000_000;
    let whole = memory.get().is_multiple_of(GIGABYTE);
    if whole { format!("{}GB", memory.get() / GIGABYTE) } else { memory.to_string() }
}

fn section(text: &mut String, name: &str, numbers: &[(&str, f64)]) {
    let _ = writeln!(text, "\n[{name}]");
    rows(text, numbers);
}

fn rows(text: &mut String, numbers: &[(&str, f64)]) {
    for (what, number) in numbers {
        let _ = writeln!(text, "{what} = {number:?}");
    }
}
