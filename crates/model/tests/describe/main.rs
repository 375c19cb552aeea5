//! What a person who writes host files and VM files meets: the examples work, and every slip is answered
//! with the line to look at and never with a panic.

// Outside of `#[test]` functions clippy.toml does not lift this; these are tests all the same.
#![allow(clippy::unwrap_used)]

mod examples;
mod hostile;
mod hosts;
mod vms;

use halcyon_model::VmSpec;
use halcyon_model::describe::{DescribeError, Host, parse_host, parse_vms};

const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");
const SMALL: &str = include_str!("../../../../examples/hosts/small.toml");
const VMS: &str = include_str!("../../../../examples/vms/example.toml");

/// The least of a host, to which each test adds its slip.
const LEAST: &str = r#"name = "least"
[[socket]]
name = "s0"
cores = 4
[[memory]]
name = "m0"
socket = "s0"
capacity = "8GiB"
bandwidth = "20GB/s"
"#;

/// The line on which an addition to [`LEAST`] starts.
const ADDED: usize = 10;

/// A root port and a switch with two downstream ports.
const SWITCH: &str = r#"
[[root_port]]
name = "rp0"
socket = "s0"
width = "x16"
speed = "16GT/s"
[[switch]]
name = "sw0"
below = "rp0"
width = "x8"
speed = "32GT/s"
[[port]]
name = "p0"
switch = "sw0"
width = "x4"
speed = "16GT/s"
[[port]]
name = "p1"
switch = "sw0"
width = "x4"
speed = "16GT/s"
"#;

fn host(text: &str) -> Host {
    parse_host(text).unwrap()
}

fn refused(text: &str) -> DescribeError {
    parse_host(text).unwrap_err()
}

/// What is wrong with [`LEAST`] and `addition`.
fn slip(addition: &str) -> DescribeError {
    refused(&format!("{LEAST}{addition}"))
}

/// What is wrong with [`LEAST`], [`SWITCH`] and `addition`; the line is that within the addition.
fn fabric_slip(addition: &str) -> (usize, String) {
    let error = slip(&format!("{SWITCH}{addition}"));
    let start = ADDED + SWITCH.lines().count();
    (error.line.saturating_sub(start - 1), format!("{}: {}", error.element, error.problem))
}

fn vms(text: &str) -> Result<Vec<VmSpec>, DescribeError> {
    parse_vms(text, &host(TWO_SOCKET).topology)
}

fn says(error: &DescribeError, line: usize, words: &[&str]) {
    let text = error.to_string();
    assert!(text.starts_with(&format!("line {line}: ")), "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}
