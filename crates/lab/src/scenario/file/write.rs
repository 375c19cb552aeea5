//! From a scenario to text.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use halcyon_model::profile::write_application;
use halcyon_sim::{Guest, Parameters};

use super::model::FIGURES;
use super::parts::{nested, response_text, spec_text};
use super::{FileError, MOST_SCENARIO_BYTES, SCHEMA};
use crate::scenario::Scenario;

const PREFACE: &str = "\
# A scenario for Halcyon: a host, the VMs on it, what each of them is asked to do, and the seed of everything
# random in a run. Made by `halcyon scenario new`; look at it with `halcyon scenario show`. It depends on no
# other file, and running it gives the same result on any machine.
#
# Amounts with units are in quotes, as in host files and VM files. Work is counted in seconds of one core at
# full speed; demand of 2.5 is what two and a half cores can do.
";

const HOST: &str = "
# The host, word by word as its file describes it.
[host]
";

const MODEL: &str = "
# Constants of the performance model that are not the usual ones.
[model]
";

const PROFILES: &str = "
# What is known of programs, in the form of application profiles: how misses, and with them speed and memory
# traffic, follow from the last-level cache that a program holds, and speed from GPU slices. Policies may look
# up the program that a VM's `application` names; VMs without one are unknown to them.
";

const VMS: &str = "
# The VMs. Each [[vm]] is as in a VM file: what it is promised, what it may reach, what it is judged by.
#   [vm.life]     when it arrives and leaves, in seconds (there from the start and to the end if left out), and
#                 whether its response times are measured, so that policies see them (`signal`)
#   [vm.program]  its kind; the work of one request; device traffic in bytes, and seconds of a whole GPU, for
#                 each unit of work. The tables below it say how it really responds to what it holds, in the
#                 form of a profile
#   [vm.demand]   work that arrives, in cores, and working set, in millions of bytes: means over intervals
";

pub(super) fn scenario(scenario: &Scenario, out: &mut impl io::Write) -> Result<(), FileError> {
    let refuse = |what: &str| FileError::Form { what: what.into() };
    let host = scenario.description.as_deref();
    let host = host
        .ok_or_else(|| refuse("the text that describes its host is not known; draw it from a host file"))?;
    if scenario.guests.is_empty() {
        return Err(refuse("it has no VM; draw it with at least one"));
    }
    let mut left = MOST_SCENARIO_BYTES;
    let mut put = |text: &str| {
        left = left.checked_sub(text.len() as u64).ok_or_else(|| {
            refuse(&format!(
                "it would have more than {} MiB; draw fewer VMs or hours",
                MOST_SCENARIO_BYTES >> 20
            ))
        })?;
        out.write_all(text.as_bytes()).map_err(FileError::Write)
    };
    put(&head(scenario, host))?;
    put(&model(&scenario.parameters))?;
    put(PROFILES)?;
    for profile in scenario.profiles.iter() {
        put(&format!("[[profile]]\n{}\n", nested(&write_application(profile), "profile")))?;
    }
    put(VMS)?;
    scenario.guests.iter().try_for_each(|guest| put(&vm(guest)?))?;
    out.flush().map_err(FileError::Write)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn head(scenario: &Scenario, host: &str) -> String {
    let seed = match i64::try_from(scenario.seed) {
        Ok(seed) => seed.to_string(),
        Err(_) => format!("\"{}\"", scenario.seed),
    };
    // Between three quotes a text stands as it is, unless it has such quotes itself.
    let plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let verbatim = !host.contains("'''") && !host.ends_with('\'') && host.chars().all(plain);
    let host = if verbatim { format!("'''\n{host}'''") } else { quoted(host) };
    format!(
        "{PREFACE}schema = {SCHEMA}\n\n# Where the demand comes from.\nsource = {}\n\
         # Of bursts, noise and failures in a run.\nseed = {seed}\n# How long a run lasts.\n\
         duration_s = {}\n{HOST}description = {host}\n",
        quoted(&scenario.source),
        seconds(scenario.duration),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:?}", time.as_secs_f64())
}

fn model(parameters: &Parameters) -> String {
    let usual = Parameters::default();
    let mut text = String::from(MODEL);
    for figure in &FIGURES {
        let value = figure.get(parameters);
        if value != figure.get(&usual) {
            let _ = writeln!(text, "{} = {value}", figure.name);
        }
    }
    text
}

fn vm(guest: &Guest) -> Result<String, FileError> {
    let mut text = String::from("\n");
    text += &spec_text(&guest.spec);
    if guest.signal || guest.leaves.is_some() || !guest.arrives.is_zero() {
        text += "[vm.life]\n";
        if !guest.arrives.is_zero() {
            let _ = writeln!(text, "arrives_s = {}", seconds(guest.arrives));
        }
        if let Some(leaves) = guest.leaves {
            let _ = writeln!(text, "leaves_s = {}", seconds(leaves));
        }
        if guest.signal {
            text += "signal = true\n";
        }
    }
    let application = &guest.workload.application;
    let _ = write!(
        text,
        "[vm.program]\nkind = {}\nrequest_ms = {:?}\nio_bytes = {:?}\n",
        quoted(&application.name),
        application.request.as_secs_f64() * 1000.0,
        application.io_bytes,
    );
    if application.gpu_seconds > 0.0 {
        let _ = writeln!(text, "gpu_seconds = {:?}", application.gpu_seconds);
    }
    text += &response_text(&application.response, "vm.program");
    let demand = &guest.workload.demand;
    let _ = writeln!(text, "[vm.demand]\ninterval_s = {}", seconds(demand.interval));
    column(&mut text, "work", &demand.work, 0, guest)?;
    column(&mut text, "working_set_mb", &demand.working_set, 6, guest)?;
    Ok(text)
}

/// Numbers divided by a power of ten, with as many digits as it takes to read the same ones again.
fn column(text: &mut String, name: &str, values: &[f32], power: i32, guest: &Guest) -> Result<(), FileError> {
    const IN_A_LINE: usize = 16;
    let _ = write!(text, "{name} = [");
    for (index, value) in values.iter().enumerate() {
        if !value.is_finite() {
            let what = format!("the {name} of {} has a figure that is not a number", guest.spec.name);
            return Err(FileError::Form { what });
        }
        text.push_str(if index % IN_A_LINE == 0 { "\n  " } else { " " });
        let _ = write!(text, "{},", shifted(*value, power));
    }
    text.push_str("\n]\n");
    Ok(())
}

/// A number divided by a power of ten, exactly, in decimal.
fn shifted(value: f32, power: i32) -> f64 {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}", exponent - power).parse().unwrap_or(0.0)
}
