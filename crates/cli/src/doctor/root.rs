//! The file tree that the doctor looks at: the host's own, or a copy of one below a folder.
//!
//! Everything is read through here, and only read. No read is without a limit, only regular files are
//! opened (a FIFO would block, a device node may act on being opened), and below a folder a symbolic
//! link never leads out of it. Each failure says which of the three it is: not there, not permitted,
//! or there and of no use.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Access;

/// A whole file: sysfs gives at most a page, the larger ones in `/proc` some more.
const MAX_FILE: u64 = 1 << 20;
/// A folder: more than any host has devices or processes.
const MAX_ENTRIES: usize = 1 << 16;
/// As the kernel itself follows at most.
const MAX_LINKS: usize = 40;

/// Why something could not be read. The path is the one on the host looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Absent { path: String },
    Denied { path: String },
    Broken { path: String, why: String },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { path } => write!(f, "{path} is not there"),
            Self::Denied { path } => write!(f, "{path}: permission denied"),
            Self::Broken { path, why } => write!(f, "{path}: {why}"),
        }
    }
}

/// What a read gives.
pub(crate) type Reading<T> = Result<T, Unreadable>;

/// Turns "not there" into `None` and leaves the other failures.
pub(crate) fn if_there<T>(reading: Reading<T>) -> Reading<Option<T>> {
    match reading {
        Ok(value) => Ok(Some(value)),
        Err(Unreadable::Absent { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// A tree to look at. Paths are given without the leading slash, as in `proc/self/mounts`.
pub(crate) struct Root {
    base: PathBuf,
    #[cfg(test)]
    denied: Vec<String>,
}

impl Root {
    /// The tree at `base`: `/` for this host, any folder for a copy of another one.
    pub(crate) fn new(base: &Path) -> Self {
        Self {
            base: base.to_path_buf(),
            #[cfg(test)]
            denied: Vec::new(),
        }
    }

    /// Whether this is the running host, so that asking a program for its version makes sense.
    pub(crate) fn is_live(&self) -> bool {
        self.base == Path::new("/")
    }

    /// Makes a path refuse to be read. Tests run as root, whom no mode bits stop.
    #[cfg(test)]
    pub(crate) fn deny(mut self, path: &str) -> Self {
        self.denied.push(path.to_owned());
        self
    }

    /// The whole text of a regular file of at most 1 MiB, without the white space around it.
    pub(crate) fn text(&self, path: &str) -> Reading<String> {
        let bytes = self.bytes(path, MAX_FILE + 1)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(broken(path, format!("longer than {MAX_FILE} bytes")));
        }
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The first `limit` bytes of a regular file; what follows is of no interest to the caller.
    pub(crate) fn head(&self, path: &str, limit: u64) -> Reading<String> {
        Ok(String::from_utf8_lossy(&self.bytes(path, limit)?).into_owned())
    }

    /// A file that holds one decimal number.
    pub(crate) fn number(&self, path: &str) -> Reading<u64> {
        let text = self.text(path)?;
        text.parse().map_err(|_| broken(path, format!("holds {:?} where a number belongs", cut(&text))))
    }

    /// A file that holds one hexadecimal number, with or without `0x`.
    pub(crate) fn hex(&self, path: &str) -> Reading<u64> {
        let text = self.text(path)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        u64::from_str_radix(digits, 16)
            .map_err(|_| broken(path, format!("holds {:?} where a hexadecimal number belongs", cut(&text))))
    }

    /// The names in a folder, sorted.
    pub(crate) fn entries(&self, path: &str) -> Reading<Vec<String>> {
        let at = self.resolve(path)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(at).map_err(|error| failed(path, &error))?.take(MAX_ENTRIES) {
            let entry = entry.map_err(|error| failed(path, &error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether anything is at `path`, links followed.
    pub(crate) fn has(&self, path: &str) -> Reading<bool> {
        Ok(if_there(self.metadata(path))?.is_some())
    }

    /// Whether a socket is at `path`.
    pub(crate) fn has_socket(&self, path: &str) -> Reading<bool> {
        Ok(if_there(self.metadata(path))?.is_some_and(|found| found.file_type().is_socket()))
    }

    /// Where the symbolic link at `path` points, as it is written there.
    pub(crate) fn link(&self, path: &str) -> Reading<PathBuf> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let at = self.resolve(parent)?.join(name);
        self.check_denied(path)?;
        fs::read_link(at).map_err(|error| failed(path, &error))
    }

    /// Whether this process may read and write what is at `path`, asked without opening it.
    pub(crate) fn may_write(&self, path: &str) -> Reading<bool> {
        let at = self.resolve(path)?;
        match rustix::fs::access(at, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => Ok(true),
            Err(error) => match io::Error::from(error) {
                error if error.kind() == ErrorKind::PermissionDenied => Ok(false),
                error if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(false),
                error => Err(failed(path, &error)),
            },
        }
    }

    /// Whether what is at `path` opens for reading. For device nodes that do nothing on being opened:
    /// a container may refuse a device whose mode bits allow it.
    pub(crate) fn opens(&self, path: &str) -> Reading<()> {
        let at = self.resolve(path)?;
        File::open(at).map(drop).map_err(|error| failed(path, &error))
    }

    fn metadata(&self, path: &str) -> Reading<Metadata> {
        let at = self.resolve(path)?;
        fs::metadata(at).map_err(|error| failed(path, &error))
    }

    fn bytes(&self, path: &str, limit: u64) -> Reading<Vec<u8>> {
        if !self.metadata(path)?.is_file() {
            return Err(broken(path, "not a regular file".to_owned()));
        }
        let file = File::open(self.resolve(path)?).map_err(|error| failed(path, &error))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
        Ok(bytes)
    }

    fn check_denied(&self, path: &str) -> Reading<()> {
        #[cfg(test)]
        if self.denied.iter().any(|denied| path == denied || path.starts_with(&format!("{denied}/"))) {
            return Err(Unreadable::Denied { path: shown(path) });
        }
        let _ = path;
        Ok(())
    }

    /// The place of `path` on this machine. On the live host the kernel follows the links; below a
    /// folder they are followed here, so that `/var/run -> /run` stays inside.
    fn resolve(&self, path: &str) -> Reading<PathBuf> {
        self.check_denied(path)?;
        if self.is_live() {
            return Ok(self.base.join(path.trim_start_matches('/')));
        }
        let mut at = self.base.clone();
        let mut open: Vec<PathBuf> = Path::new(path).components().rev().map(|it| own(&it)).collect();
        let mut links = 0;
        while let Some(next) = open.pop() {
            match next.components().next() {
                Some(Component::RootDir) => at.clone_from(&self.base),
                Some(Component::ParentDir) if at != self.base => drop(at.pop()),
                Some(Component::Normal(name)) => {
                    at.push(name);
                    if let Ok(target) = fs::read_link(&at) {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(broken(path, "symbolic links without end".to_owned()));
                        }
                        at.pop();
                        open.extend(target.components().rev().map(|it| own(&it)));
                    }
                }
                _ => {}
            }
        }
        Ok(at)
    }
}

fn own(component: &Component<'_>) -> PathBuf {
    PathBuf::from(component.as_os_str())
}

fn shown(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A file that is there and says nothing usable.
pub(crate) fn broken(path: &str, why: String) -> Unreadable {
    Unreadable::Broken { path: shown(path), why }
}

fn failed(path: &str, error: &io::Error) -> Unreadable {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unreadable::Absent { path: shown(path) },
        ErrorKind::PermissionDenied => Unreadable::Denied { path: shown(path) },
        _ => broken(path, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::fixture::Tree;
    use super::*;

    #[test]
    fn links_stay_below_the_root_and_loops_end() {
        let tree = Tree::new().file("run/x", "inside").file("etc/y", "down");
        fs::create_dir_all(tree.path().join("var")).unwrap();
        symlink("/run", tree.path().join("var/run")).unwrap();
        symlink("../../../../../etc", tree.path().join("var/up")).unwrap();
        symlink("b", tree.path().join("a")).unwrap();
        symlink("a", tree.path().join("b")).unwrap();
        let root = tree.root();
        assert_eq!(root.text("var/run/x").unwrap(), "inside");
        assert_eq!(root.text("var/up/y").unwrap(), "down");
        assert!(root.text("a").unwrap_err().to_string().contains("without end"));
        assert!(root.entries("a/b/c").is_err());
    }

    #[test]
    fn nothing_but_regular_files_is_opened_and_none_without_end() {
        let tree = Tree::new().file("big", &"x".repeat(3 << 20)).file("n", "12 potatoes").file("h", "0xfz");
        let fifo = tree.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let root = tree.root();
        assert!(root.text("big").unwrap_err().to_string().contains("longer than"));
        assert_eq!(root.head("big", 10).unwrap().len(), 10);
        assert_eq!(root.text("fifo").unwrap_err().to_string(), "/fifo: not a regular file");
        assert!(root.number("n").unwrap_err().to_string().contains("\"12 potatoes\""));
        assert!(root.hex("h").is_err());
        assert_eq!(root.text("gone"), Err(Unreadable::Absent { path: "/gone".to_owned() }));
    }

    #[test]
    fn an_endless_device_of_the_live_host_is_refused() {
        assert!(
            Root::new(Path::new("/"))
                .text("dev/zero")
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
    }

    #[test]
    fn a_refusal_is_told_from_absence() {
        let error = failed("sys/x", &io::Error::from(ErrorKind::PermissionDenied));
        assert_eq!(error.to_string(), "/sys/x: permission denied");
        let root = Tree::new().file("sys/x/y", "1").root().deny("sys/x");
        assert!(matches!(root.number("sys/x/y"), Err(Unreadable::Denied { .. })));
        assert!(matches!(root.entries("sys/x"), Err(Unreadable::Denied { .. })));
        assert!(matches!(root.has("sys/x/y"), Err(Unreadable::Denied { .. })));
    }
}
