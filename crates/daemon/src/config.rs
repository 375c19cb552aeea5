//! The configuration of a daemon: one TOML file, read as a whole and taken as a whole or not at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use halcyon_api::Mode;
use serde::Deserialize;

const MOST_BYTES: u64 = 1 << 20;
const STATE: &str = "/var/lib/halcyon";
const CGROUPS: &str = "/sys/fs/cgroup";
const DEFAULT_PERIOD: Duration = Duration::from_millis(100);
const PERIODS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// What a daemon is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Which host.
    pub kind: Kind,
    /// What may be done to it.
    pub mode: Mode,
    /// Who decides.
    pub policy: String,
    /// Time between the starts of two cycles.
    pub period: Duration,
    /// Where to listen; none to leave that to the command line.
    pub socket: Option<PathBuf>,
    /// Users who may ask besides root and the daemon's own.
    pub users: Vec<u32>,
}

/// Which host a daemon drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The simulated host of a scenario.
    Sim {
        /// The scenario's file.
        scenario: PathBuf,
    },
    /// The host that the daemon runs on.
    Linux(Linux),
}

/// A Linux host with guests under QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linux {
    /// A file that describes the host; none to look at the machine.
    pub describe: Option<PathBuf>,
    /// A file with what VMs are promised, by name; none to promise each a little.
    pub vms: Option<PathBuf>,
    /// Folders with QMP sockets, or sockets.
    pub sockets: Vec<PathBuf>,
    /// Where the journal is, and what else has to outlive the daemon.
    pub state: PathBuf,
    /// Where control groups are.
    pub cgroups: PathBuf,
}

/// Why a configuration cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It has not the form that it should have.
    #[error("{}: {what}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, what is wrong, and what would be right.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    host: HostSection,
    #[serde(default)]
    control: ControlSection,
    #[serde(default)]
    api: ApiSection,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostSection {
    kind: HostKind,
    scenario: Option<PathBuf>,
    describe: Option<PathBuf>,
    vms: Option<PathBuf>,
    sockets: Option<Vec<PathBuf>>,
    state: Option<PathBuf>,
    cgroups: Option<PathBuf>,
}

impl HostSection {
    /// The host, with paths relative to `base`.
    fn kind(self, base: &Path) -> Result<Kind, String> {
        let other = |key: &str, kind: &str| Err(format!("host.{key} is for kind = \"{kind}\"; remove it"));
        match self.kind {
            HostKind::Sim => {
                let linux = [
                    ("describe", self.describe.is_some()),
                    ("vms", self.vms.is_some()),
                    ("sockets", self.sockets.is_some()),
                    ("state", self.state.is_some()),
                    ("cgroups", self.cgroups.is_some()),
                ];
                if let Some((key, _)) = linux.into_iter().find(|(_, given)| *given) {
                    return other(key, "linux");
                }
                let Some(scenario) = self.scenario else {
                    return Err(
                        "host.scenario is missing: name a file that `halcyon scenario new` wrote".into()
                    );
                };
                Ok(Kind::Sim { scenario: base.join(scenario) })
            }
            HostKind::Linux if self.scenario.is_some() => other("scenario", "sim"),
            HostKind::Linux => {
                let sockets = self.sockets.unwrap_or_default();
                if sockets.is_empty() {
                    return Err(
                        "host.sockets is missing: name the folders where QEMU's QMP sockets are".into()
                    );
                }
                Ok(Kind::Linux(Linux {
                    describe: self.describe.map(|path| base.join(path)),
                    vms: self.vms.map(|path| base.join(path)),
                    sockets: sockets.into_iter().map(|path| base.join(path)).collect(),
                    state: self.state.map_or_else(|| STATE.into(), |path| base.join(path)),
                    cgroups: self.cgroups.map_or_else(|| CGROUPS.into(), |path| base.join(path)),
                }))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum HostKind {
    Sim,
    Linux,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ControlSection {
    mode: Option<Mode>,
    policy: Option<String>,
    period_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ApiSection {
    socket: Option<PathBuf>,
    #[serde(default)]
    users: Vec<u32>,
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// When it cannot be read, or with the first line that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text))
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Reads text; `path` names it in complaints, and its folder is what paths are relative to.
    ///
    /// # Errors
    /// With the first line that is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError::Form { path: path.into(), what };
        let file: File = toml::from_str(text).map_err(|error| wrong(told(&error, text)))?;
        let period = file.control.period_ms.map_or(DEFAULT_PERIOD, Duration::from_millis);
        if !PERIODS.contains(&period) {
            return Err(wrong(format!(
                "control.period_ms is {}; give one from {} to {}",
                period.as_millis(),
                PERIODS.start().as_millis(),
                PERIODS.end().as_millis()
            )));
        }
        let base = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            path: path.into(),
            kind: file.host.kind(base).map_err(wrong)?,
            mode: file.control.mode.unwrap_or(Mode::Advise),
            policy: file.control.policy.unwrap_or_else(|| "learned".into()),
            period,
            socket: file.api.socket.map(|socket| base.join(socket)),
            users: file.api.users,
        })
    }

    /// What of another configuration needs a new start, if anything does.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        if self.kind != other.kind {
            return Some("[host]");
        }
        (self.socket != other.socket || self.users != other.users).then_some("[api]")
    }
}

/// Line and complaint, in one line.
fn told(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim().replace('\n', "; ");
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(
        || message.clone(),
        |before| format!("line {}: {message}", 1 + before.matches('\n').count()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/halcyon/halcyon.toml"))
    }

    #[test]
    fn what_is_left_out_is_careful() {
        let config = parsed("[host]\nkind = \"sim\"\nscenario = \"day.toml\"").expect("it is one");
        assert_eq!(config.kind, Kind::Sim { scenario: "/etc/halcyon/day.toml".into() });
        assert_eq!((config.mode, config.policy.as_str()), (Mode::Advise, "learned"));
        assert_eq!((config.period, config.socket), (Duration::from_millis(100), None));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let host = "[host]\nkind = \"sim\"\nscenario = \"day.toml\"\n";
        for (text, said) in [
            ("", "host"),
            ("[host]\nkind = \"vax\"\nscenario = \"x\"", "line 2"),
            ("[host]\nkind = \"sim\"", "scenario"),
            (&format!("{host}[control]\nmode = \"rule\""), "line 5"),
            (&format!("{host}[control]\npolcy = \"learned\""), "polcy"),
            (&format!("{host}[control]\nperiod_ms = 1"), "control.period_ms is 1"),
            (&format!("{host}[control]\nperiod_ms = -1"), "line 5"),
            (&format!("{host}[api]\nusers = [-7]"), "line 5"),
            ("\0", "line 1"),
        ] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains(said) && error.contains("halcyon.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn a_linux_host_needs_sockets_alone() {
        let config =
            parsed("[host]\nkind = \"linux\"\nsockets = [\"/run/vms\", \"one.qmp\"]").expect("it is one");
        let Kind::Linux(linux) = config.kind else { panic!("{:?}", config.kind) };
        assert_eq!(linux.sockets, [Path::new("/run/vms"), Path::new("/etc/halcyon/one.qmp")]);
        assert_eq!((linux.state.as_path(), linux.describe), (Path::new(STATE), None));
        for (text, said) in [
            ("[host]\nkind = \"linux\"", "host.sockets is missing"),
            ("[host]\nkind = \"linux\"\nsockets = []", "host.sockets is missing"),
            ("[host]\nkind = \"linux\"\nsockets = [\"a\"]\nscenario = \"b\"", "host.scenario is for"),
            ("[host]\nkind = \"sim\"\nscenario = \"b\"\nvms = \"v\"", "host.vms is for"),
        ] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_needs_a_restart_is_known() {
        let host = "[host]\nkind = \"sim\"\nscenario = \"day.toml\"\n";
        let before = parsed(host).expect("it is one");
        let calmer = parsed(&format!("{host}[control]\nmode = \"observe\"\nperiod_ms = 500")).expect("one");
        assert_eq!(before.needs_restart(&calmer), None);
        let other = parsed(&host.replace("day", "night")).expect("it is one");
        assert_eq!(before.needs_restart(&other), Some("[host]"));
    }
}
