//! Asking a program for its version. It runs with nothing to read and a deadline, and at most a few
//! lines of its answer are looked at.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// The first word of the answer that looks like a version, such as `10.0.2`; `None` when the program
/// cannot be run, fails, takes longer than three seconds or gives no version.
pub(crate) fn of(program: &str, arguments: &[&str]) -> Option<String> {
    within(DEADLINE, program, arguments)
}

fn within(deadline: Duration, program: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    if !ended_well(&mut child, deadline) {
        return None;
    }
    let mut answer = Vec::new();
    child.stdout.take()?.take(4096).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let looks_like_one = |word: &&str| word.starts_with(|it: char| it.is_ascii_digit()) && word.contains('.');
    answer.split_whitespace().find(looks_like_one).map(str::to_owned)
}

/// A program that fills the pipe never ends by itself and runs into the deadline as well.
fn ended_well(child: &mut Child, deadline: Duration) -> bool {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if began.elapsed() < deadline => sleep(PAUSE),
            Ok(None) | Err(_) => {
                // It may have ended meanwhile; either way nothing is left of it after the wait.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Option<String> {
        of("/bin/sh", &["-c", script])
    }

    #[test]
    fn the_version_is_the_first_number_with_a_point() {
        let answer = shell("echo 'QEMU emulator version 10.0.2 (Debian 1:10.0.2)'");
        assert_eq!(answer.as_deref(), Some("10.0.2"));
        assert_eq!(shell("echo no version here"), None);
        assert_eq!(shell("echo 1.2; exit 3"), None);
        assert_eq!(of("/no/such/program", &[]), None);
    }

    #[test]
    fn a_program_that_hangs_or_never_stops_talking_is_ended() {
        let began = Instant::now();
        let short = Duration::from_millis(200);
        assert_eq!(within(short, "/bin/sh", &["-c", "exec sleep 60"]), None);
        assert_eq!(within(short, "/bin/sh", &["-c", "exec yes 1.0"]), None);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
