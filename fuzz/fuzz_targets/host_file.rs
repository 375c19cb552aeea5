#![no_main]
//! Arbitrary text as a host description; what is accepted must be a host on which nothing runs.

use halcyon_model::describe::parse_host;
use halcyon_model::{World, admit, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(host) = parse_host(text) else { return };
    let world = World { topology: &host.topology, vms: &[], capabilities: &host.capabilities };
    let empty = admit(world).expect("no VM asks for anything");
    assert_eq!(check(world, &empty), Ok(()));
});
