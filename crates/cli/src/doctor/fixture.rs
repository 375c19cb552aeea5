//! Host trees for tests, built file by file in a temporary folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tempfile::TempDir;

use super::finding::{Finding, Status};
use super::root::Root;

/// A host's file tree in a folder that goes with it.
pub(crate) struct Tree {
    folder: TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn root(&self) -> Root {
        Root::new(self.path())
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let at = self.make_parent(path);
        fs::write(at, content).unwrap();
        self
    }

    /// Many files below one folder, each as `name content`.
    pub(crate) fn files(mut self, folder: &str, files: &[(&str, &str)]) -> Self {
        for (name, content) in files {
            self = self.file(&format!("{folder}/{name}"), content);
        }
        self
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        fs::create_dir_all(self.path().join(path)).unwrap();
        self
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        let at = self.make_parent(path);
        symlink(target, at).unwrap();
        self
    }

    pub(crate) fn socket(self, path: &str) -> Self {
        let at = self.make_parent(path);
        drop(UnixListener::bind(at).unwrap());
        self
    }

    fn make_parent(&self, path: &str) -> std::path::PathBuf {
        let at = self.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        at
    }
}

/// The finding of that name, its status first so that an assertion reads well.
pub(crate) fn named<'a>(findings: &'a [Finding], name: &str) -> (Status, &'a Finding) {
    let finding =
        findings.iter().find(|finding| finding.name == name).unwrap_or_else(|| panic!("no finding {name}"));
    (finding.status, finding)
}
