//! Writes the page of the documentation that lists what the learned policy sees.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(halcyon_policy::Features::page().as_bytes())
}
