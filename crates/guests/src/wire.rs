//! Lines over a unix socket, each waited for until a deadline: what the guest channel and the monitor share.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::interrupt;

/// How long one read may block before an interruption is looked for.
const LOOK_UP: Duration = Duration::from_millis(100);
/// No peer of the lab says more in one line.
const MOST_OF_A_LINE: usize = 4 << 20;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    partial: Vec<u8>,
}

impl Lines {
    /// Connects as soon as the socket is there.
    ///
    /// # Errors
    /// When nobody listens before the deadline.
    pub(crate) fn connect(path: &Path, deadline: Instant) -> anyhow::Result<Self> {
        loop {
            interrupt::check()?;
            match UnixStream::connect(path) {
                Ok(stream) => {
                    let stream = BufReader::new(stream);
                    return Ok(Self { path: path.into(), stream, partial: Vec::new() });
                }
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => {
                    return Err(error).with_context(|| format!("nobody listens at {}", path.display()));
                }
            }
        }
    }

    /// Sends one line.
    ///
    /// # Errors
    /// When the peer is gone or takes nothing for ten seconds.
    pub(crate) fn send(&mut self, line: &str) -> anyhow::Result<()> {
        let stream = self.stream.get_mut();
        let text = format!("{line}\n");
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .and_then(|()| stream.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// The next line, or `None` when there was none before the deadline.
    ///
    /// # Errors
    /// When the peer is gone, or says what is no line of text.
    pub(crate) fn next(&mut self, deadline: Instant) -> anyhow::Result<Option<String>> {
        let failed = || format!("cannot read from {}", self.path.display());
        loop {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.clamp(Duration::from_millis(1), LOOK_UP);
            self.stream.get_ref().set_read_timeout(Some(wait)).with_context(failed)?;
            match self.stream.read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = String::from_utf8(std::mem::take(&mut self.partial));
                    return line.map(Some).with_context(failed);
                }
                Ok(_) => bail!("{} was closed by its peer", self.path.display()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(failed),
            }
            if self.partial.len() > MOST_OF_A_LINE {
                bail!("{} sends a line without an end", self.path.display());
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(300)
    }

    #[test]
    fn a_line_in_two_pieces_is_one_line_and_silence_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut lines = Lines::connect(&path, soon()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"one").unwrap();
        assert_eq!(lines.next(Instant::now()).unwrap(), None);
        peer.write_all(b" line\n").unwrap();
        assert_eq!(lines.next(soon()).unwrap().as_deref(), Some("one line\n"));
        drop(peer);
        assert!(lines.next(soon()).unwrap_err().to_string().contains("closed by its peer"));
    }
}
