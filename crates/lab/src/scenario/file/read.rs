//! From text to a scenario, section by section.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halcyon_model::VmSpec;
use halcyon_model::describe::{DescribeError, Host, parse_host, parse_vms};
use halcyon_model::profile::{Application, Profiles, Response, parse_application};
use halcyon_sim::{Guest, Parameters, Workload};
use serde::Deserialize;
use toml::Spanned;

use super::form::{HeadForm, LifeForm, OneForm, SeedForm};
use super::model::FIGURES;
use super::sections::{Part, RunPart, Sections};
use super::{FileError, MOST_SCENARIO_BYTES, SCHEMA, parts, wrong};
use crate::scenario::draw::plugged;
use crate::scenario::{Draw, Scenario};

/// A year.
const MOST_SECONDS: f64 = 8760.0 * 3600.0;

/// What is wrong with a value.
pub(super) struct Complaint {
    pub(super) span: Range<usize>,
    pub(super) problem: String,
}

impl Complaint {
    pub(super) fn at<T>(value: &Spanned<T>, problem: impl Into<String>) -> Self {
        Self { span: value.span(), problem: problem.into() }
    }
}

/// A figure within a range; what is not a number is in none.
pub(super) fn number(name: &str, value: &Spanned<f64>, least: f64, most: f64) -> Result<f64, Complaint> {
    let found = *value.get_ref();
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    Err(Complaint::at(value, format!("{name} is {found}; it must be from {least} to {most:e}")))
}

/// The version alone, whatever else there is.
#[derive(Deserialize)]
struct Version {
    schema: Option<Spanned<toml::Value>>,
}

pub(super) fn scenario(text: &str, path: &Path) -> Result<Scenario, FileError> {
    if text.len() as u64 > MOST_SCENARIO_BYTES {
        let problem = format!("has more than {MOST_SCENARIO_BYTES} bytes; draw fewer VMs or hours");
        return Err(wrong(path, 1, "the file", &problem));
    }
    let Sections { head, specs, profiles, runs } = Sections::split(text, path)?;
    check_version(&head)?;
    let form: HeadForm = head.parse("the head of the file")?;
    let fault = |complaint: Complaint| head.wrong("the head of the file", &complaint);
    let duration = number("duration_s", &form.duration_s, 1.0, MOST_SECONDS).map_err(fault)?;
    let seed = seed(&form.seed).map_err(fault)?;
    let host = host(&head, &form.host.description)?;
    let parameters = parameters(&head, &form)?;
    let profiles = profiles.iter().map(profile).collect::<Result<Vec<_>, _>>()?;
    let specs = parse_vms(&specs, &host.topology).map_err(|error| described(path, &error, 0))?;
    let guests = guests(path, specs, &runs)?;
    let draw = Draw::new(guests.len(), Duration::from_secs_f64(duration), seed);
    let mut all = Profiles::default();
    profiles.into_iter().for_each(|profile| all.insert(profile));
    let source = form.source.get_ref().chars().filter(|c| !c.is_control()).take(400).collect();
    let scenario = Scenario::new(source, host.topology, host.capabilities, guests, draw)
        .map_err(|source| FileError::Start { path: path.to_path_buf(), source })?;
    let description = Some(Arc::from(form.host.description.into_inner()));
    Ok(Scenario { profiles: Arc::new(all), parameters, description, ..scenario })
}

fn check_version(head: &Part<'_>) -> Result<(), FileError> {
    let version: Version = head.parse("the head of the file")?;
    let Some(schema) = version.schema else {
        let problem = format!("has no `schema = {SCHEMA}`; make a scenario with `halcyon scenario new`");
        return Err(wrong(head.path, 1, "the file", &problem));
    };
    if schema.get_ref().as_integer() == Some(i64::from(SCHEMA)) {
        return Ok(());
    }
    let problem = format!(
        "is {}; this version reads {SCHEMA}: draw the scenario again, or use the version that wrote it",
        schema.get_ref()
    );
    Err(head.wrong("schema", &Complaint::at(&schema, problem)))
}

fn seed(form: &Spanned<SeedForm>) -> Result<u64, Complaint> {
    match form.get_ref() {
        SeedForm::Number(seed) => Ok(*seed),
        SeedForm::Text(text) => text
            .parse()
            .map_err(|_| Complaint::at(form, "seed must be a whole number, in quotes if it is huge")),
    }
}

/// A complaint about a description, whose first line is `above` lines below the start of the file.
fn described(path: &Path, error: &DescribeError, above: usize) -> FileError {
    wrong(path, above + error.line, &error.element, &error.problem)
}

fn host(head: &Part<'_>, description: &Spanned<String>) -> Result<Host, FileError> {
    // The text starts on the line after the opening quotes.
    let above = head.line(&description.span());
    parse_host(description.get_ref()).map_err(|error| described(head.path, &error, above))
}

fn parameters(head: &Part<'_>, form: &HeadForm) -> Result<Parameters, FileError> {
    let mut parameters = Parameters::default();
    for (name, value) in &form.model {
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == name.get_ref()) else {
            let all: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
            let problem = format!("there is no `{}`; the constants are {}", name.get_ref(), all.join(", "));
            return Err(head.wrong("model", &Complaint::at(name, problem)));
        };
        let set = figure.set(&mut parameters, value.get_ref());
        set.map_err(|problem| head.wrong(figure.name, &Complaint::at(value, problem)))?;
    }
    Ok(parameters)
}

fn profile(part: &Part<'_>) -> Result<Application, FileError> {
    parse_application(&part.text).map_err(|error| described(part.path, &error, part.first - 1))
}

fn guests(path: &Path, specs: Vec<VmSpec>, runs: &[RunPart<'_>]) -> Result<Vec<Guest>, FileError> {
    if specs.is_empty() {
        let problem =
            "has no VM; add a [[vm]] with its program and demand, or draw a scenario with at least one";
        return Err(wrong(path, 1, "the file", problem));
    }
    if specs.len() != runs.len() {
        let problem = "write every VM's first line as `[[vm]]`, without blanks and on a line of its own";
        return Err(wrong(path, 1, "the file", problem));
    }
    specs.into_iter().zip(runs).map(|(spec, run)| guest(spec, run)).collect()
}

fn guest(spec: VmSpec, RunPart { run, response }: &RunPart<'_>) -> Result<Guest, FileError> {
    let element = format!("VM `{}`", spec.name);
    let missing = |what: &str| {
        let problem = format!("has no [vm.{what}]; add one after its [[vm]]");
        wrong(run.path, run.first, &element, &problem)
    };
    let form: OneForm = run.parse(&element)?;
    let form = form.vm.ok_or_else(|| missing("program"))?.into_inner();
    let program = form.program.ok_or_else(|| missing("program"))?;
    let demand = form.demand.ok_or_else(|| missing("demand"))?;
    let fault = |complaint: Complaint| run.wrong(&element, &complaint);
    let workload = Workload {
        application: parts::application(program.get_ref(), self::response(response, &element)?)
            .map_err(fault)?,
        demand: parts::demand(demand.get_ref()).map_err(fault)?,
    };
    let mut guest = Guest::new(spec, workload);
    live(&mut guest, &form.life).map_err(fault)?;
    Ok(guest)
}

/// A profile without a name of its own.
fn response(part: &Part<'_>, element: &str) -> Result<Response, FileError> {
    const NAME: &str = "name = \"program\"\nsource = \"the scenario\"\n";
    let text = format!("{NAME}{}", part.text);
    let known = parse_application(&text).map_err(|error| {
        let line = (part.first + error.line).saturating_sub(3).max(part.first);
        wrong(part.path, line, element, &error.problem)
    })?;
    Ok(known.response)
}

fn live(guest: &mut Guest, form: &LifeForm) -> Result<(), Complaint> {
    let time = |name: &str, value: &Option<Spanned<f64>>| match value {
        Some(value) => {
            number(name, value, 0.0, MOST_SECONDS).map(|seconds| Some(Duration::from_secs_f64(seconds)))
        }
        None => Ok(None),
    };
    guest.arrives = time("arrives_s", &form.arrives_s)?.unwrap_or_default();
    guest.leaves = time("leaves_s", &form.leaves_s)?;
    guest.signal = form.signal.unwrap_or(false);
    if let Some(value) = form.arrives_s.as_ref().filter(|_| !guest.arrives.is_zero() && plugged(&guest.spec))
    {
        let problem = "arrives later, but reserves devices or GPU slices, which are plugged in before a VM boots; \
                       let it be there from the start, or reserve none";
        return Err(Complaint::at(value, problem));
    }
    match &form.leaves_s {
        Some(value) if guest.leaves <= Some(guest.arrives) => {
            Err(Complaint::at(value, "leaves before it arrives; let leaves_s be later than arrives_s"))
        }
        _ => Ok(()),
    }
}
