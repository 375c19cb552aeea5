//! The parts of a scenario's file that are more than one figure: what is right in them, and how they
//! become values and text again.

use halcyon_model::profile::{CacheResponse, GpuResponse, Response};
use halcyon_model::{DeviceWish, Objective, VmSpec};
use halcyon_sim::{Application, Demand};

use super::form::{CacheForm, DemandForm, GpuForm, ProgramForm};
use super::read::{Complaint, number};
use crate::scenario::lots::micros;

/// More than any figure of a program comes to.
const MOST: f64 = 1e15;
/// More cores than any machine has.
const MOST_CORES: f64 = 1e6;
/// More memory than any machine has, in megabytes.
const MOST_MB: f64 = 1e12;

pub(super) fn response(
    cache: &toml::Spanned<CacheForm>,
    gpu: Option<&toml::Spanned<GpuForm>>,
    paging: Option<&toml::Spanned<f64>>,
) -> Result<Response, Complaint> {
    Ok(Response {
        cache: cache_response(cache)?,
        gpu: gpu.map(gpu_response).transpose()?,
        paging: paging.map(|value| number("paging", value, 0.0, MOST)).transpose()?,
    })
}

fn cache_response(form: &toml::Spanned<CacheForm>) -> Result<CacheResponse, Complaint> {
    let cache = form.get_ref();
    let tiny = f64::MIN_POSITIVE;
    let figures = [
        ("least_misses", cache.least_misses, 0.0),
        ("most_misses", cache.most_misses, cache.least_misses.max(0.0)),
        ("half", cache.half, tiny),
        ("steepness", cache.steepness, tiny),
        ("cycles", cache.cycles, tiny),
        ("cycles_per_miss", cache.cycles_per_miss, 0.0),
        ("bytes_per_miss", cache.bytes_per_miss, 0.0),
        ("clock", cache.clock, tiny),
    ];
    for (name, value, least) in figures {
        if !(least..=MOST).contains(&value) {
            let least = if least > tiny { format!("from {least}") } else { "above or at zero".into() };
            let problem = format!("cache: {name} is {value}; it must be {least} and at most {MOST:e}");
            return Err(Complaint::at(form, problem));
        }
    }
    let CacheForm { least_misses, most_misses, half, steepness, .. } = *cache;
    let CacheForm { cycles, cycles_per_miss, bytes_per_miss, clock, .. } = *cache;
    Ok(CacheResponse {
        least_misses,
        most_misses,
        half,
        steepness,
        cycles,
        cycles_per_miss,
        bytes_per_miss,
        clock,
    })
}

fn gpu_response(form: &toml::Spanned<GpuForm>) -> Result<GpuResponse, Complaint> {
    let GpuForm { whole, fixed, scaling, memory } = *form.get_ref();
    let right = (1..=1024).contains(&whole)
        && (0.0..=1.0).contains(&fixed)
        && (0.0..=10.0).contains(&scaling)
        && memory <= halcyon_model::ByteSize::gib(1 << 20);
    if right {
        return Ok(GpuResponse { whole, fixed, scaling, memory });
    }
    let problem = "gpu: needs `whole` from 1 to 1024, `fixed` from 0 to 1, `scaling` from 0 to 10 and a `memory` \
                   that a GPU can have";
    Err(Complaint::at(form, problem))
}

pub(super) fn application(form: &ProgramForm) -> Result<Application, Complaint> {
    let kind = form.kind.get_ref();
    if kind.is_empty() || kind.chars().count() > 64 || kind.chars().any(char::is_control) {
        return Err(Complaint::at(&form.kind, "kind must have 1 to 64 characters"));
    }
    let request_ms = number("request_ms", &form.request_ms, 0.001, 3_600_000.0)?;
    let gpu_seconds = form.gpu_seconds.as_ref().map(|value| number("gpu_seconds", value, 0.0, 1e6));
    Ok(Application {
        name: kind.clone(),
        request: micros(request_ms / 1000.0),
        io_bytes: number("io_bytes", &form.io_bytes, 0.0, MOST)?,
        gpu_seconds: gpu_seconds.transpose()?.unwrap_or(0.0),
        response: response(&form.cache, form.gpu.as_ref(), form.paging.as_ref())?,
    })
}

pub(super) fn demand(form: &DemandForm) -> Result<Demand, Complaint> {
    let interval = number("interval_s", &form.interval_s, 0.001, 86_400.0)?;
    let (work, sets) = (form.work.get_ref(), form.working_set_mb.get_ref());
    if work.is_empty() || work.len() != sets.len() {
        let problem = format!(
            "has {} figures of work and {} of working_set_mb; write one of each for every interval",
            work.len(),
            sets.len()
        );
        return Err(Complaint::at(&form.work, problem));
    }
    Ok(Demand {
        interval: std::time::Duration::from_secs_f64(interval),
        work: column("work", &form.work, 1.0, MOST_CORES)?,
        working_set: column("working_set_mb", &form.working_set_mb, 1e6, MOST_MB)?,
    })
}

#[allow(clippy::cast_possible_truncation)]
fn column(name: &str, form: &toml::Spanned<Vec<f64>>, scale: f64, most: f64) -> Result<Vec<f32>, Complaint> {
    let values = form.get_ref();
    let odd = values.iter().enumerate().find(|(_, value)| !(0.0..=most).contains(*value));
    if let Some((at, value)) = odd {
        let problem = format!("{name}: figure {} is {value}; it must be from 0 to {most:e}", at + 1);
        return Err(Complaint::at(form, problem));
    }
    Ok(values.iter().map(|value| (value * scale) as f32).collect())
}

/// A VM as in a VM file.
pub(super) fn spec_text(spec: &VmSpec) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let objective = match spec.objective {
        Objective::Latency { p99 } => format!("{{ latency_p99_ms = {:?} }}", p99.as_secs_f64() * 1000.0),
        Objective::Throughput => "\"throughput\"".into(),
        Objective::BestEffort => "\"best-effort\"".into(),
    };
    let mut text = format!(
        "[[vm]]\nname = {}\nvcpus = {}\nweight = {}\n\
         cpu = {{ reservation = \"{}\", limit = \"{}\" }}\n\
         memory = {{ reservation = \"{}\", limit = \"{}\" }}\n\
         memory_bandwidth = {{ reservation = \"{}\", limit = \"{}\" }}\n",
        quoted(&spec.name),
        spec.vcpus,
        spec.weight.get(),
        spec.cpu.reservation,
        spec.cpu.limit,
        spec.memory.reservation,
        spec.memory.limit,
        spec.memory_bandwidth.reservation,
        spec.memory_bandwidth.limit,
    );
    if spec.gpu_slices.limit > 0 {
        let slices = spec.gpu_slices;
        text +=
            &format!("gpu_slices = {{ reservation = {}, limit = {} }}\n", slices.reservation, slices.limit);
    }
    text += &format!("objective = {objective}\n");
    if let Some(application) = &spec.application {
        text += &format!("application = {}\n", quoted(application));
    }
    text + &spec.devices.iter().map(wish_text).collect::<String>()
}

fn wish_text(wish: &DeviceWish) -> String {
    format!(
        "[[vm.device]]\nclass = \"{}\"\ncount = {{ reservation = {}, limit = {} }}\n\
         bandwidth = {{ reservation = \"{}\", limit = \"{}\" }}\n",
        wish.class,
        wish.count.reservation,
        wish.count.limit,
        wish.bandwidth.reservation,
        wish.bandwidth.limit
    )
}

/// How a program responds, as lines of a table.
pub(super) fn response_text(response: &Response) -> String {
    let CacheResponse { least_misses, most_misses, half, steepness, .. } = response.cache;
    let CacheResponse { cycles, cycles_per_miss, bytes_per_miss, clock, .. } = response.cache;
    let mut text = format!(
        "cache = {{ least_misses = {least_misses:?}, most_misses = {most_misses:?}, half = {half:?}, \
         steepness = {steepness:?}, cycles = {cycles:?}, cycles_per_miss = {cycles_per_miss:?}, \
         bytes_per_miss = {bytes_per_miss:?}, clock = {clock:?} }}\n"
    );
    if let Some(GpuResponse { whole, fixed, scaling, memory }) = response.gpu {
        text += &format!(
            "gpu = {{ whole = {whole}, fixed = {fixed:?}, scaling = {scaling:?}, memory = \"{memory}\" }}\n"
        );
    }
    if let Some(paging) = response.paging {
        text += &format!("paging = {paging:?}\n");
    }
    text
}
