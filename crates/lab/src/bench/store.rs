//! Results on disk: one small file for each run, so that what was interrupted goes on where it stopped.
//!
//! A file's name and content say what it is the result of: the scenario with all that belongs to it, the
//! policy and the program. A file is written as a whole or not at all. One that is damaged is never
//! believed: it is said, and the run is done again.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::scenario::Scenario;

/// No file of a result is larger.
const MOST_BYTES: u64 = 1 << 20;

/// Why results cannot be kept, or one that was kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made or written.
    #[error("cannot keep results in {}; name a folder that can be written", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the result {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read the result {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what was written.
    #[error("the result {} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a result is the result of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    /// A hash of all that the run depends on, but for the policy and the program.
    pub(super) scenario: String,
    pub(super) seed: u64,
    /// The policy, or what else was made of the scenario.
    pub(super) policy: String,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    schema: u32,
    program: String,
    #[serde(flatten)]
    key: Key,
    /// A hash of the result as it stands in the file.
    sha256: String,
    result: T,
}

/// A folder of results.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    program: String,
}

/// A hash of everything in a scenario. Its form for programmers is complete, and the same on every
/// machine.
pub(super) fn scenario_hash(scenario: &Scenario) -> String {
    struct Hashing(Sha256);
    impl std::fmt::Write for Hashing {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut hashing = Hashing(Sha256::new());
    // Hashing takes whatever it is given.
    let _ = write!(hashing, "{scenario:?}");
    hex(&hashing.0.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Store {
    /// Opens a folder, and makes it if it is not there. `program` says which program the results are of:
    /// those of another one are not looked at.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, program: &str) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Folder { path: folder.into(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Better to hear of a folder that cannot be written before the runs than after the first.
        tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        Ok(Self { folder: folder.into(), program: program.into() })
    }

    fn path(&self, key: &Key) -> PathBuf {
        let mut hash = Sha256::new();
        for part in [&self.program, &key.scenario, &key.seed.to_string(), &key.policy] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let policy: String = key.policy.chars().take(32).map(plain).collect();
        self.folder.join(format!("{policy}-{}-{}.json", key.seed, &hex(&hash.finalize())[..24]))
    }

    /// The result of a run, if it is there.
    pub(super) fn load<T: Serialize + DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let path = self.path(key);
        let failed = |source| StoreError::Read { path: path.clone(), source };
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        let damaged = |problem: String| StoreError::Damaged { path: path.clone(), problem };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(damaged(format!("it is larger than {} KiB", MOST_BYTES >> 10)));
        }
        let kept: Kept<T> = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if kept.schema != 1 || kept.program != self.program || kept.key != *key {
            return Err(damaged("it is the result of something else".into()));
        }
        if sum(&kept.result).ok() != Some(kept.sha256) {
            return Err(damaged("its check sum does not fit".into()));
        }
        Ok(Some(kept.result))
    }

    /// Keeps the result of a run.
    pub(super) fn save<T: Serialize>(&self, key: Key, result: &T) -> Result<(), StoreError> {
        let path = self.path(&key);
        let failed = |source| StoreError::Write { path: path.clone(), source };
        let sha256 = sum(result).map_err(|error| failed(error.into()))?;
        let kept = Kept { schema: 1, program: self.program.clone(), key, sha256, result };
        let text = serde_json::to_vec(&kept).map_err(|error| failed(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.as_file().sync_data().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn sum<T: Serialize>(result: &T) -> Result<String, serde_json::Error> {
    Ok(hex(&Sha256::digest(serde_json::to_vec(result)?)))
}
