#![no_main]
//! Arbitrary text as VM descriptions; VMs that are accepted and admitted must hold what the checker allows.

use std::sync::LazyLock;

use halcyon_model::describe::{Host, parse_host, parse_vms};
use halcyon_model::{World, admit, check};
use libfuzzer_sys::fuzz_target;

static HOST: LazyLock<Host> = LazyLock::new(|| {
    parse_host(include_str!("../../examples/hosts/two-socket.toml")).expect("the example is well described")
});

fuzz_target!(|text: &str| {
    let Ok(vms) = parse_vms(text, &HOST.topology) else { return };
    let world = World { topology: &HOST.topology, vms: &vms, capabilities: &HOST.capabilities };
    if let Ok(start) = admit(world) {
        assert_eq!(check(world, &start), Ok(()));
    }
});
