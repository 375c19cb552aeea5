//! Which VM has which number. A journal names VMs by their numbers, so that a name keeps its number across
//! restarts, for as long as the file is there.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use halcyon_model::VmId;

/// A file of that size names more VMs than any host ever saw.
const MOST_BYTES: u64 = 16 << 20;

/// Numbers of VMs by name.
#[derive(Debug)]
pub struct Ids {
    /// None where nothing outlives the program.
    path: Option<PathBuf>,
    by_name: BTreeMap<String, u32>,
    names: BTreeMap<u32, String>,
}

/// Why numbers cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// The file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not one of these.
    #[error("{} is no list of numbers of VMs: {what}; move it away to begin anew", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Ids {
    /// Numbers that last as long as the program.
    #[must_use]
    pub const fn passing() -> Self {
        Self { path: None, by_name: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Numbers kept in a file, which is made when the first is given.
    ///
    /// # Errors
    /// When there is such a file and it is not right.
    pub fn open(path: &Path) -> Result<Self, IdsError> {
        let failed = |source| IdsError::File { what: "read", path: path.into(), source };
        let mut text = String::new();
        match std::fs::File::open(path) {
            Ok(file) => drop(file.take(MOST_BYTES).read_to_string(&mut text).map_err(failed)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => text.push_str("{}"),
            Err(error) => return Err(failed(error)),
        }
        let form = |what: String| IdsError::Form { path: path.into(), what };
        let by_name: BTreeMap<String, u32> =
            serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        let names: BTreeMap<u32, String> = by_name.iter().map(|(name, id)| (*id, name.clone())).collect();
        if names.len() < by_name.len() {
            return Err(form("two VMs have one number".into()));
        }
        Ok(Self { path: Some(path.into()), by_name, names })
    }

    /// The name behind a number.
    #[must_use]
    pub fn name(&self, vm: VmId) -> Option<&str> {
        self.names.get(&vm.0).map(String::as_str)
    }

    /// The number of a name, a new one where it has none.
    ///
    /// # Errors
    /// When a new one cannot be kept; then it is not given.
    pub fn id(&mut self, name: &str) -> Result<VmId, IdsError> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(VmId(*id));
        }
        let id = self.names.last_key_value().map_or(0, |(last, _)| last + 1);
        self.by_name.insert(name.into(), id);
        if let Err(error) = self.keep() {
            self.by_name.remove(name);
            return Err(error);
        }
        self.names.insert(id, name.into());
        Ok(VmId(id))
    }

    fn keep(&self) -> Result<(), IdsError> {
        let Some(path) = &self.path else { return Ok(()) };
        let failed = |source| IdsError::File { what: "write", path: path.clone(), source };
        super::make_folder(path).map_err(failed)?;
        let unfinished = path.with_extension("unfinished");
        let text = serde_json::to_string_pretty(&self.by_name).unwrap_or_default();
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&unfinished)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, path)
        };
        write().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_across_restarts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/vms.json");
        let mut ids = Ids::open(&path).expect("there is none yet");
        let [a, b] = ["a", "b"].map(|name| ids.id(name).expect("a number"));
        assert_eq!((a, b, ids.id("a").expect("its number")), (VmId(0), VmId(1), VmId(0)));
        let mut again = Ids::open(&path).expect("it is there");
        assert_eq!((again.id("b").expect("its number"), again.id("c").expect("a number")), (b, VmId(2)));
        assert_eq!(again.name(b), Some("b"));
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vms.json");
        for text in ["", "[]", "{\"a\": -1}", "{\"a\": 1, \"b\": 1}", "\0"] {
            std::fs::write(&path, text).expect("it is written");
            let error = Ids::open(&path).expect_err(text).to_string();
            assert!(error.contains("vms.json"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
        }
    }

    #[test]
    fn a_number_that_cannot_be_kept_is_not_given() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("state"), "a file").expect("it is written");
        let mut ids = Ids { path: Some(folder.path().join("state/vms.json")), ..Ids::passing() };
        ids.id("a").expect_err("its folder is a file");
        assert_eq!(ids.name(VmId(0)), None);
    }
}
