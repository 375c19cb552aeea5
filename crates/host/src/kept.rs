//! Files of the kernel that are read or written over and over: opened once, so that each access costs one
//! system call or two in place of a walk along its path.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

/// File systems whose files say themselves that what they belonged to is gone (Linux, `uapi/linux/magic.h`):
/// proc, sysfs, both versions of control groups, resctrl.
const KERNEL: [u64; 5] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x0765_5821];
/// What is read of a file at first.
const FIRST: usize = 4096;
/// The kernel gives as many whole records as fit into a page, or one that is longer. No file that is read
/// here has records of half a page, so that what ends before has no more to give.
const SURELY_ALL: usize = 2048;

/// A file that stays open once it was used.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    reader: Option<Open>,
    writer: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whether its file system is one of [`KERNEL`].
    is_kernel: bool,
}

impl Kept {
    /// A file that nobody has to have made yet.
    #[must_use]
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, reader: None, writer: None }
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All that is in it now, in place of what `text` held.
    ///
    /// # Errors
    /// When it cannot be opened or read, has more than `most` bytes, or is no text.
    pub(crate) fn read(&mut self, most: usize, text: &mut String) -> io::Result<()> {
        let mut bytes = std::mem::take(text).into_bytes();
        bytes.clear();
        let path = &self.path;
        again(&mut self.reader, || File::open(path), |file| whole(file, most, &mut bytes))?;
        *text =
            String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(())
    }

    /// Writes `text` as one value. The file is never made by that.
    ///
    /// # Errors
    /// When it cannot be opened or the kernel does not take all of it.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        // A write of nothing never reaches the kernel, which takes an empty line for an empty list.
        let line = if text.is_empty() { "\n" } else { text }.as_bytes();
        let path = &self.path;
        let open = || OpenOptions::new().write(true).open(path);
        again(&mut self.writer, open, |file| {
            // The kernel takes each write as a value of its own, so that a rest must not follow.
            if file.write_at(line, 0)? < line.len() {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "only a part was taken"));
            }
            // Its files have no length; what is left of a longer text in an ordinary file goes.
            let length = line.len() as u64;
            if file.metadata()?.len() > length { file.set_len(length) } else { Ok(()) }
        })
    }
}

/// Uses a file that may be open, or else a new one: where the old one belonged to something that is gone,
/// there may be another under the same name.
fn again(
    kept: &mut Option<Open>,
    open: impl Fn() -> io::Result<File>,
    mut work: impl FnMut(&File) -> io::Result<()>,
) -> io::Result<()> {
    if let Some(open) = kept.as_ref().filter(|open| open.is_there()) {
        match work(&open.file) {
            Err(error) if is_gone(&error) => {}
            done => return done,
        }
    }
    *kept = None;
    let file = open()?;
    let done = work(&file);
    *kept = Some(Open::new(file));
    done
}

impl Open {
    fn new(file: File) -> Self {
        // Its type has another sign on other machines.
        let kind = |of: rustix::fs::StatFs| u64::try_from(of.f_type).ok();
        let is_kernel = rustix::fs::fstatfs(&file).ok().and_then(kind).is_some_and(|of| KERNEL.contains(&of));
        Self { file, is_kernel }
    }

    fn is_there(&self) -> bool {
        self.is_kernel || self.file.metadata().is_ok_and(|of| of.nlink() > 0)
    }
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::NODEV, Errno::STALE, Errno::SRCH]
        .iter()
        .any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

fn whole(file: &File, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    loop {
        let length = bytes.len();
        bytes.reserve(if length == 0 { FIRST } else { length });
        let room = bytes.capacity() - length;
        match rustix::io::pread(file, spare_capacity(bytes), length as u64) {
            Ok(0) => return Ok(()),
            Ok(more) if length == 0 && more < room.min(SURELY_ALL) && more <= most => return Ok(()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if bytes.len() > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {most} bytes"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text(kept: &mut Kept) -> io::Result<String> {
        let mut text = "what was here before".to_string();
        kept.read(10_000, &mut text)?;
        Ok(text)
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let mut kept = Kept::new(path.clone());
        assert!(text(&mut kept).is_err() && kept.write("1").is_err(), "it is not made by being used");
        fs::write(&path, "a longer text\n").expect("a file");
        assert_eq!(text(&mut kept).expect("it is read"), "a longer text\n");
        kept.write("42").expect("it is written");
        assert_eq!(text(&mut kept).expect("it is read"), "42");
        let long = "x".repeat(9999);
        fs::write(&path, &long).expect("a file");
        assert_eq!(text(&mut kept).expect("it is read"), long);
        fs::write(&path, "x".repeat(10_001)).expect("a file");
        assert_eq!(text(&mut kept).expect_err("too much").kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, [0xff, 0xfe]).expect("a file");
        assert_eq!(text(&mut kept).expect_err("no text").kind(), io::ErrorKind::InvalidData);
        fs::write(&path, "").expect("a file");
        assert_eq!(text(&mut kept).expect("it is read"), "");
    }

    #[test]
    fn another_file_of_the_same_name_is_taken_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "old").expect("a file");
        let mut kept = Kept::new(path.clone());
        assert_eq!(text(&mut kept).expect("it is read"), "old");
        kept.write("old").expect("it is written");
        fs::remove_file(&path).expect("it is there");
        assert!(text(&mut kept).is_err() && kept.write("1").is_err(), "it is gone");
        fs::write(&path, "new").expect("a file");
        assert_eq!(text(&mut kept).expect("it is read"), "new");
        kept.write("newer").expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("it is read"), "newer");
    }
}
