//! The way into a guest: a virtio-serial port on which a loop runs what it is given (`image/init.sh`).
//!
//! A request has a number and a time limit that the guest itself keeps, so that a program that hangs is
//! killed there and the next request is answered. Answers to requests that were given up on are skipped.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::wire::Lines;

/// How much longer than the guest's own limit an answer is waited for: an emulated guest is slow to fork,
/// and slower beside a busy one.
const GRACE: Duration = Duration::from_secs(10);

/// What a program in the guest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Its exit status; 137 when it was killed at its limit.
    pub(crate) status: i32,
    /// What it wrote to both of its outputs.
    pub(crate) output: String,
}

/// A connection to the loop in a guest.
#[derive(Debug)]
pub(crate) struct Channel {
    lines: Lines,
    next: u64,
}

/// A request that was sent and not yet answered.
#[derive(Debug)]
#[must_use]
pub(crate) struct Asked {
    id: u64,
    text: String,
    deadline: Instant,
}

impl Channel {
    /// Connects to the socket of the port. The guest need not be up.
    ///
    /// # Errors
    /// When nobody listens before the deadline.
    pub(crate) fn connect(path: &Path, deadline: Instant) -> anyhow::Result<Self> {
        Ok(Self { lines: Lines::connect(path, deadline)?, next: 0 })
    }

    /// Sends a request, to be waited for later: one at a time.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn ask(&mut self, text: &str, limit: Duration) -> anyhow::Result<Asked> {
        let id = self.next;
        self.next += 1;
        let seconds = limit.as_secs().max(1);
        self.lines.send(&format!("{id} {seconds} {}", base64(text.as_bytes())))?;
        Ok(Asked { id, text: text.into(), deadline: Instant::now() + limit + GRACE })
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// When none comes in time or the connection is gone.
    pub(crate) fn answer(&mut self, asked: &Asked) -> anyhow::Result<Outcome> {
        loop {
            let Some(line) = self.lines.next(asked.deadline)? else {
                bail!("the guest did not answer `{}` in time", asked.text);
            };
            let (id, outcome) = parse(&line).with_context(|| format!("the guest answered {line:?}"))?;
            if id == asked.id {
                return Ok(outcome);
            }
        }
    }
}

fn parse(line: &str) -> Option<(u64, Outcome)> {
    let mut words = line.split_whitespace();
    let (id, status) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let output = String::from_utf8_lossy(&unbase64(words.next().unwrap_or(""))?).into_owned();
    Some((id, Outcome { status, output }))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut word = 0_u32;
        for byte in chunk {
            let digit = ALPHABET.iter().position(|digit| digit == byte)?;
            word = word << 6 | u32::try_from(digit).ok()?;
        }
        word <<= 6 * (4 - chunk.len());
        bytes.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_the_channel_s_encoding() {
        for (plain, packed) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("ÿ?>", "w78/Pg==")]
        {
            assert_eq!(base64(plain.as_bytes()), packed);
            assert_eq!(unbase64(packed).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn an_answer_without_output_and_one_with_it_are_read() {
        assert_eq!(parse("3 0 \n"), Some((3, Outcome { status: 0, output: String::new() })));
        assert_eq!(parse("4 137 Zm9v\n"), Some((4, Outcome { status: 137, output: "foo".into() })));
        assert_eq!(parse("noise"), None);
    }
}
