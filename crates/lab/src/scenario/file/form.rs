//! The file as it is written, field by field; nothing here is checked beyond its type.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadForm {
    /// Looked at before all else.
    #[serde(rename = "schema")]
    pub(super) _schema: u32,
    pub(super) source: Spanned<String>,
    pub(super) seed: Spanned<SeedForm>,
    pub(super) duration_s: Spanned<f64>,
    pub(super) host: HostForm,
    #[serde(default)]
    pub(super) model: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

/// TOML's whole numbers end at 2⁶³; larger seeds are quoted.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum SeedForm {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostForm {
    pub(super) description: Spanned<String>,
}

/// Everything of one VM that a VM file does not have, as tables of `vm`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct OneForm {
    pub(super) vm: Option<Spanned<RunForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunForm {
    #[serde(default)]
    pub(super) life: LifeForm,
    pub(super) program: Option<Spanned<ProgramForm>>,
    pub(super) demand: Option<Spanned<DemandForm>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct LifeForm {
    pub(super) arrives_s: Option<Spanned<f64>>,
    pub(super) leaves_s: Option<Spanned<f64>>,
    pub(super) signal: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramForm {
    pub(super) kind: Spanned<String>,
    pub(super) request_ms: Spanned<f64>,
    pub(super) io_bytes: Spanned<f64>,
    pub(super) gpu_seconds: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DemandForm {
    pub(super) interval_s: Spanned<f64>,
    pub(super) work: Spanned<Vec<f64>>,
    pub(super) working_set_mb: Spanned<Vec<f64>>,
}
