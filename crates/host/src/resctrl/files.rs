//! The few things that are done with files: behind a trait, so that the tests can put a kernel there.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// One thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Files below one root. Paths are relative to it.
pub trait Files: Send {
    /// Where the root is, for messages.
    fn root(&self) -> &Path;

    /// Reads a file of at most `limit` bytes. What is not UTF-8 is replaced.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::FileTooLarge`] for a longer file.
    fn read(&self, path: &str, limit: usize) -> io::Result<String>;

    /// Writes a text with one call, as the kernel takes one command for each.
    ///
    /// # Errors
    /// What the operating system says.
    fn write(&self, path: &str, text: &str) -> io::Result<()>;

    /// Makes a folder.
    ///
    /// # Errors
    /// What the operating system says.
    fn make(&self, path: &str) -> io::Result<()>;

    /// Removes a folder that the kernel keeps.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Moves a folder to another name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// What is in a folder, by name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;
}

/// The most entries that are read of one folder.
const MOST_ENTRIES: usize = 1 << 20;

/// Files below a folder of this machine.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Where the kernel's documentation mounts resctrl.
    pub const RESCTRL: &'static str = "/sys/fs/resctrl";

    /// The files below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Never follows a link, never waits for a pipe.
    fn open(&self, path: &str, flags: OFlags) -> io::Result<std::fs::File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(rustix::fs::open(self.root.join(path), flags, Mode::empty())?.into())
    }
}

impl Files for Disk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<String> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            let why = format!("it is longer than the {limit} bytes that it may have");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let mut file = self.open(path, OFlags::WRONLY | OFlags::TRUNC)?;
        let written = loop {
            match file.write(text.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written == text.len() {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::WriteZero, "the kernel took only a part of it"))
        }
    }

    fn make(&self, path: &str) -> io::Result<()> {
        std::fs::create_dir(self.root.join(path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.root.join(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.root.join(path))?.take(MOST_ENTRIES) {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, is_folder: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }
}
