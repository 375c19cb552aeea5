#![no_main]
//! Arbitrary text as the generator's parameters; what is accepted must generate shares of CPU.

use std::path::Path;
use std::time::Duration;

use halcyon_sim::trace::generator::{Generator, Parameters};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(parameters) = Parameters::parse(text, Path::new("fuzzed.toml")) else { return };
    let set = Generator::new(&parameters, 1).trace_set(3, Duration::from_secs(3600));
    for cpu in set.series.iter().flat_map(|series| &series.cpu).flatten() {
        assert!((0.0..=1.0).contains(cpu), "{cpu}");
    }
    let again = Parameters::parse(&parameters.to_toml(), Path::new("again.toml")).map_err(|error| error.to_string());
    assert_eq!(again, Ok(parameters));
});
