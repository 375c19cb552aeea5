//! The parts of a scenario's file that are more than one figure: what is right in them, and how they
//! become values and text again.

use halcyon_model::profile::{self, Response, write_application};
use halcyon_model::{DeviceWish, Objective, VmSpec};
use halcyon_sim::{Application, Demand};

use super::form::{DemandForm, ProgramForm};
use super::read::{Complaint, number};
use crate::scenario::lots::micros;

/// More than any figure of a program comes to.
const MOST: f64 = 1e15;
/// More cores than any machine has.
const MOST_CORES: f64 = 1e6;
/// More memory than any machine has, in megabytes.
const MOST_MB: f64 = 1e12;

pub(super) fn application(form: &ProgramForm, response: Response) -> Result<Application, Complaint> {
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
        response,
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

/// How a program responds, as tables of the table `above`.
pub(super) fn response_text(response: &Response, above: &str) -> String {
    let nameless = profile::Application {
        name: String::new(),
        source: String::new(),
        response: *response,
        fit: profile::Fit::default(),
    };
    // Behind its name and source.
    let text = write_application(&nameless);
    nested(&text.lines().skip(2).map(|line| format!("{line}\n")).collect::<String>(), above)
}

/// A text with its tables put under another, without its blank lines.
pub(super) fn nested(text: &str, above: &str) -> String {
    let line = |line: &str| match line.strip_prefix('[') {
        Some(header) => format!("[{above}.{header}\n"),
        None => format!("{line}\n"),
    };
    text.lines().filter(|line| !line.is_empty()).map(line).collect()
}
