//! Files that people find complete or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// A file that is being written. An ordinary one takes its name when it is complete; a device or a pipe is
/// written to as it is, since nothing may take its place.
pub(crate) struct Whole {
    into: Into,
    path: PathBuf,
}

enum Into {
    Beside(NamedTempFile),
    Itself(File),
}

impl Whole {
    /// Begins one; dropped without an end, it leaves nothing behind.
    ///
    /// # Errors
    /// When no such file can be written.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        if path.is_dir() {
            bail!("cannot write {}: it is a folder; name a file in it", path.display());
        }
        let Some(name) = path.file_name() else {
            bail!("cannot write `{}`: it names no file", path.display());
        };
        if path.exists() && !path.is_file() {
            let tried = || format!("cannot write to {}", path.display());
            let file = File::options().write(true).open(path).with_context(tried)?;
            return Ok(Self { into: Into::Itself(file), path: path.into() });
        }
        // What a link leads to is replaced, and the link stays.
        let path = path.canonicalize().unwrap_or_else(|_| path.into());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut prefix = OsString::from(".");
        prefix.push(name);
        let folder = folder.unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).with_context(|| {
            format!("cannot write {}: name a folder that exists and is writable", path.display())
        })?;
        Ok(Self { into: Into::Beside(file), path })
    }

    /// It is complete; a file of this name is replaced.
    ///
    /// # Errors
    /// When the system will not; then all is as before.
    pub(crate) fn end(self) -> Result<()> {
        self.finish(|file, path| file.persist(path))
    }

    /// The same where no file of this name may be replaced.
    ///
    /// # Errors
    /// When there is one by now, or the system will not.
    pub(crate) fn end_if_new(self) -> Result<()> {
        self.finish(|file, path| file.persist_noclobber(path))
    }

    fn finish(
        self,
        persist: impl FnOnce(NamedTempFile, &Path) -> Result<File, tempfile::PersistError>,
    ) -> Result<()> {
        let tried = || format!("cannot write {}", self.path.display());
        if let Into::Beside(file) = self.into {
            file.as_file().sync_all().with_context(tried)?;
            share(file.as_file()).with_context(tried)?;
            persist(file, &self.path).map_err(|error| error.error).with_context(tried)?;
        }
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.into {
            Into::Beside(file) => file.write(bytes),
            Into::Itself(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.into {
            Into::Beside(file) => file.flush(),
            Into::Itself(file) => file.flush(),
        }
    }
}

/// Writes a text.
///
/// # Errors
/// When it cannot be written; then all is as before.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = Whole::begin(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    file.end()
}

/// Temporary files are their owner's alone; what comes of them is for everyone, like any other output.
pub(crate) fn share(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_link_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "before").expect("it is written");
        symlink(&file, &link).expect("a link");
        let mut begun = Whole::begin(&link).expect("it begins");
        begun.write_all(b"after").expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "before");
        begun.end().expect("it ends");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "after");
        assert!(link.is_symlink());
        drop(Whole::begin(&file).expect("it begins"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2, "nothing is left behind");
    }

    #[test]
    fn nothing_takes_the_place_of_what_is_no_ordinary_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_bits_truncate(0o600),
            0,
        )
        .expect("a pipe");
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read_to_string(pipe)
        });
        write(&pipe, "through the pipe").expect("it is written");
        assert_eq!(reader.join().expect("it reads").expect("it is text"), "through the pipe");
        assert!(pipe.symlink_metadata().expect("it is there").file_type().is_fifo());
    }
}
