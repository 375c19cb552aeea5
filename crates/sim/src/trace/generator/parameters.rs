//! The generator's parameters: a TOML file that a person can read, checked before it is used.

use std::path::{Path, PathBuf};

use halcyon_model::units::ByteSize;
use serde::{Deserialize, Serialize};

/// How many traits a VM draws.
pub(super) const TRAITS: usize = 7;
const SCHEMA: u32 = 1;
const MAX_TABLE: usize = 1001;
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What distinguishes one VM from another within a population. Levels and spreads are on the logit
/// scale; the three shares are parts of the variance of a VM, the rest is white noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// The median.
    Level,
    /// Median less 16th percentile.
    Below,
    /// 84th percentile less median.
    Above,
    /// Share of the daily rhythm.
    Daily,
    /// Share of the slow drift.
    Slow,
    /// Share of the fast drift.
    Fast,
    /// Bursts in a day.
    BurstsPerDay,
}

impl Trait {
    /// Every trait, in the order of the correlation matrix.
    pub const ALL: [Self; TRAITS] =
        [Self::Level, Self::Below, Self::Above, Self::Daily, Self::Slow, Self::Fast, Self::BurstsPerDay];
}

/// A file of parameters that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// The file could not be read.
    #[error("cannot read generator parameters {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any honest one.
    #[error("generator parameters {path} have more than {MAX_FILE_BYTES} bytes: not a file of `halcyon trace fit`", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The text is no TOML, or a field is missing, misspelt or of another type.
    #[error("{path}, line {line}: {message}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A value that makes no sense.
    #[error("{path}: {field} {problem}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The field, with its population.
        field: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

/// All that the generator needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// The version of this form: 1.
    pub schema: u32,
    /// The data that the parameters were fitted to.
    pub source: String,
    /// The distance of two samples, in seconds.
    pub interval_s: u64,
    /// How large VMs are; empty if the data did not say.
    #[serde(default)]
    pub sizes: Vec<Size>,
    /// Kinds of VMs.
    pub populations: Vec<Population>,
}

/// A size of VM and how common it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// vCPUs.
    pub cores: f64,
    /// Memory.
    pub memory: ByteSize,
    /// How common, against the other sizes.
    pub weight: f64,
}

/// A kind of VM. Tables are quantiles at equal distances from the smallest to the largest value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Its name in reports.
    pub name: String,
    /// How common, against the other populations.
    pub weight: f64,
    /// The memory of the fast drift, in seconds.
    pub fast_s: f64,
    /// The memory of the slow drift, in seconds.
    pub slow_s: f64,
    /// The mean length of a burst, in seconds.
    pub burst_s: f64,
    /// Hours from the trace's start to the peak of the day's wave (traces do not say their hour).
    pub daily_peak_h: f64,
    /// How far VMs differ in that, in hours.
    pub daily_peak_spread_h: f64,
    /// The share of the rhythm's variance that the second harmonic has.
    pub daily_second: f64,
    /// How far bursts rise above the VM's level, on the logit scale.
    pub burst_size: Vec<f64>,
    /// [`Trait::Level`].
    pub level: Vec<f64>,
    /// [`Trait::Below`].
    pub below: Vec<f64>,
    /// [`Trait::Above`].
    pub above: Vec<f64>,
    /// [`Trait::Daily`].
    pub daily: Vec<f64>,
    /// [`Trait::Slow`].
    pub slow: Vec<f64>,
    /// [`Trait::Fast`].
    pub fast: Vec<f64>,
    /// [`Trait::BurstsPerDay`].
    pub bursts_per_day: Vec<f64>,
    /// How the traits go together, as correlations of their normal scores, in the order of
    /// [`Trait::ALL`].
    pub correlation: [[f64; TRAITS]; TRAITS],
}

impl Parameters {
    /// The parameters that come with Halcyon; [`Parameters::source`] says what they were fitted to.
    ///
    /// # Errors
    /// Never in a released build, which is tested with them.
    pub fn embedded() -> Result<Self, ParametersError> {
        Self::parse(include_str!("../generator.toml"), Path::new("generator.toml"))
    }

    /// Reads a file of parameters.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, has unknown or missing fields, or values out of range.
    pub fn load(path: &Path) -> Result<Self, ParametersError> {
        use std::io::Read;
        let unreadable = |source| ParametersError::Read { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(ParametersError::TooLarge { path: path.to_path_buf() });
        }
        Self::parse(&text, path)
    }

    /// Reads parameters from text; `path` only names it in messages.
    ///
    /// # Errors
    /// As [`Parameters::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ParametersError> {
        let parameters: Self = toml::from_str(text).map_err(|error| ParametersError::Syntax {
            path: path.to_path_buf(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().to_owned(),
        })?;
        parameters.check().map_err(|(field, problem)| ParametersError::Value {
            path: path.to_path_buf(),
            field,
            problem,
        })?;
        Ok(parameters)
    }

    /// The text of a file of parameters.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let header = "# Parameters of Halcyon's demand generator, made by `halcyon trace fit`.\n";
        toml::to_string(self).map_or_else(|_| String::new(), |text| format!("{header}{text}"))
    }

    /// The size at `rank` (0 to 1) among all sizes.
    pub(super) fn size(&self, rank: f64) -> Option<&Size> {
        let mut left = rank * self.sizes.iter().map(|size| size.weight).sum::<f64>();
        self.sizes.iter().find(|size| {
            left -= size.weight;
            left < 0.0
        })
    }

    fn check(&self) -> Result<(), (String, String)> {
        let refuse = |field: &str, problem: &str| Err((field.to_owned(), problem.to_owned()));
        if self.schema != SCHEMA {
            return refuse("schema", &format!("is {}, this Halcyon reads {SCHEMA}", self.schema));
        }
        if !(1..=86_400).contains(&self.interval_s) {
            return refuse("interval_s", "must be from 1 to 86400 seconds");
        }
        if self.populations.is_empty() || self.populations.len() > 64 || self.sizes.len() > 1024 {
            return refuse("populations", "must be 1 to 64, with at most 1024 sizes");
        }
        for size in &self.sizes {
            positive("sizes.cores", size.cores, 1e6)?;
            positive("sizes.weight", size.weight, 1e9)?;
        }
        self.populations.iter().try_for_each(Population::check)
    }
}

impl Population {
    /// The quantiles of a trait.
    #[must_use]
    pub fn table(&self, which: Trait) -> &[f64] {
        match which {
            Trait::Level => &self.level,
            Trait::Below => &self.below,
            Trait::Above => &self.above,
            Trait::Daily => &self.daily,
            Trait::Slow => &self.slow,
            Trait::Fast => &self.fast,
            Trait::BurstsPerDay => &self.bursts_per_day,
        }
    }

    fn check(&self) -> Result<(), (String, String)> {
        let name = |field: &str| format!("population `{}`: {field}", self.name);
        positive(&name("weight"), self.weight, 1e9)?;
        positive(&name("fast_s"), self.fast_s, 1e9)?;
        positive(&name("slow_s"), self.slow_s, 1e9)?;
        positive(&name("burst_s"), self.burst_s, 1e9)?;
        within(&name("daily_peak_h"), self.daily_peak_h, (0.0, 24.0))?;
        within(&name("daily_peak_spread_h"), self.daily_peak_spread_h, (0.0, 24.0))?;
        within(&name("daily_second"), self.daily_second, (0.0, 1.0))?;
        table(&name("burst_size"), &self.burst_size, (0.0, 20.0))?;
        table(&name("level"), &self.level, (-20.0, 20.0))?;
        table(&name("below"), &self.below, (0.0, 20.0))?;
        table(&name("above"), &self.above, (0.0, 20.0))?;
        table(&name("daily"), &self.daily, (0.0, 1.0))?;
        table(&name("slow"), &self.slow, (0.0, 1.0))?;
        table(&name("fast"), &self.fast, (0.0, 1.0))?;
        table(&name("bursts_per_day"), &self.bursts_per_day, (0.0, 1000.0))?;
        for (index, row) in self.correlation.iter().enumerate() {
            for (other, value) in row.iter().enumerate() {
                within(&name("correlation"), *value, (-1.0, 1.0))?;
                let mirrored = self.correlation[other][index];
                if (value - mirrored).abs() > 1e-9 || (index == other && (*value - 1.0).abs() > 1e-9) {
                    return Err((name("correlation"), "must be symmetric with ones on its diagonal".into()));
                }
            }
        }
        Ok(())
    }
}

fn positive(field: &str, value: f64, most: f64) -> Result<(), (String, String)> {
    if value > 0.0 && value <= most {
        return Ok(());
    }
    Err((field.to_owned(), format!("is {value}, must be above 0 and at most {most}")))
}

fn within(field: &str, value: f64, (least, most): (f64, f64)) -> Result<(), (String, String)> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err((field.to_owned(), format!("is {value}, must be from {least} to {most}")))
}

fn table(field: &str, values: &[f64], range: (f64, f64)) -> Result<(), (String, String)> {
    if values.is_empty() || values.len() > MAX_TABLE || !values.is_sorted() {
        return Err((field.to_owned(), format!("must be 1 to {MAX_TABLE} values that never fall")));
    }
    values.iter().try_for_each(|value| within(field, *value, range))
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
