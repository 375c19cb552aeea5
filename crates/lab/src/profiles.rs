//! Application profiles: those that come with Halcyon, and an operator's own in a folder.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use halcyon_model::describe::DescribeError;
use halcyon_model::profile::{Profiles, parse_application};

/// The longest profile that is read, in bytes; one needs a thousand.
const MOST_BYTES: u64 = 64 << 10;
/// The most profiles that are read from one folder.
const MOST_PROFILES: usize = 10_000;

macro_rules! shipped {
    ($($name:literal)*) => {
        /// Names and texts of the profiles that come with Halcyon.
        const SHIPPED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../../profiles/apps/", $name, ".toml")))),*
        ];
    };
}

#[rustfmt::skip]
shipped! {
    "GemsFDTD06" "alexnet" "ammp00" "applu00" "apsi00" "astar06" "bert" "bzip206" "cactusADM06"
    "calculix06" "crafty00" "dealII06" "deepspeech" "embedding" "gamess06" "gap00" "gcc00" "gcc06"
    "gnmt" "gnn" "gobmk06" "gromacs06" "gzip00" "h264ref06" "hmmer06" "leslie3d06" "libquantum06"
    "lstm" "m5" "mcf00" "milc06" "omnetpp06" "parser00" "perlbench06" "perlbmk00" "povray06" "res18"
    "resnet" "shufflenet" "sixtrack00" "sjeng06" "sphinx306" "swim00" "tonto06" "transformer" "twolf00"
    "vae" "vortex00" "vpr00" "wrf06" "wupwise00" "xalancbmk06" "zeusmp06"
}

/// Why a folder of profiles could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The folder or a file in it could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not a profile.
    #[error("{} is not the profile of an application", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: DescribeError,
    },
    /// A file is not named after its application.
    #[error("{} holds the profile of `{name}`; call the file {name}.toml", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The application.
        name: String,
    },
    /// There is too much of something.
    #[error("{}: {problem}", path.display())]
    TooMuch {
        /// The folder or file.
        path: PathBuf,
        /// Of what.
        problem: String,
    },
}

/// The profiles that come with Halcyon.
#[must_use]
pub fn embedded() -> Arc<Profiles> {
    static PROFILES: LazyLock<Arc<Profiles>> = LazyLock::new(|| {
        let mut profiles = Profiles::default();
        // That each of them reads is a matter of the tests.
        for application in SHIPPED.iter().filter_map(|(_, text)| parse_application(text).ok()) {
            profiles.insert(application);
        }
        Arc::new(profiles)
    });
    Arc::clone(&PROFILES)
}

/// Reads every `NAME.toml` of a folder.
///
/// # Errors
/// The first file, by name, that is not the profile of its name.
pub fn read_dir(folder: &Path) -> Result<Profiles, ProfileError> {
    let failed = |source| ProfileError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > MOST_PROFILES {
            let problem = format!("the folder holds more than {MOST_PROFILES} profiles");
            return Err(ProfileError::TooMuch { path: folder.to_owned(), problem });
        }
    }
    paths.sort();
    let mut profiles = Profiles::default();
    for path in paths {
        let text = read(&path)?;
        let application =
            parse_application(&text).map_err(|source| ProfileError::Form { path: path.clone(), source })?;
        if path.file_stem().is_none_or(|stem| stem != application.name.as_str()) {
            return Err(ProfileError::Name { path, name: application.name });
        }
        profiles.insert(application);
    }
    Ok(profiles)
}

fn read(path: &Path) -> Result<String, ProfileError> {
    let failed = |source| ProfileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST_BYTES {
        let problem = format!("a profile has at most {MOST_BYTES} bytes");
        return Err(ProfileError::TooMuch { path: path.to_owned(), problem });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/apps")
    }

    #[test]
    fn what_is_embedded_is_what_the_folder_holds() {
        let read = read_dir(&folder()).unwrap();
        assert_eq!(*embedded(), read);
        assert_eq!(SHIPPED.len(), read.len());
        assert!(SHIPPED.iter().zip(read.iter()).all(|((name, _), found)| *name == found.name));
    }

    #[test]
    fn a_folder_with_something_else_is_refused_by_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_dir(folder.path()).unwrap().is_empty());
        let path = folder.path().join("gcc.toml");
        fs::write(&path, "name = \"mcf\"\nsource = \"made\"\n[cache]\ntraffic = 1.0\n").unwrap();
        let error = read_dir(folder.path()).unwrap_err().to_string();
        assert!(error.contains("gcc.toml") && error.contains("mcf.toml"), "{error}");
        fs::write(&path, "name = \"gcc\"\n").unwrap();
        assert!(matches!(read_dir(folder.path()), Err(ProfileError::Form { .. })));
        fs::write(&path, vec![b'#'; 1 << 17]).unwrap();
        assert!(matches!(read_dir(folder.path()), Err(ProfileError::TooMuch { .. })));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read_dir(folder.path()), Err(ProfileError::Read { .. })));
        assert!(matches!(read_dir(&folder.path().join("absent")), Err(ProfileError::Read { .. })));
    }
}
