//! All that is read of a host's NVIDIA GPUs, as JSON.
//!
//! `cargo run -p halcyon-host --example nvml_read [READINGS]` reads once, or so many times with a second
//! between; on a host without GPUs it says why there is nothing to read.
#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use halcyon_host::nvml::Library;

fn main() -> Result<(), Box<dyn Error>> {
    let readings: u32 = std::env::args().nth(1).map_or(Ok(1), |count| count.parse())?;
    let mut library = match Library::open() {
        Ok(library) => library,
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            println!("{}", serde_json::json!({ "unavailable": error.to_string(), "cause": cause }));
            return Ok(());
        }
    };
    for number in 0..readings {
        if number > 0 {
            std::thread::sleep(Duration::from_secs(1));
        }
        let began = Instant::now();
        let reading = library.read();
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        println!("{:#}", serde_json::json!({ "took_ms": took_ms, "reading": reading }));
    }
    Ok(())
}
