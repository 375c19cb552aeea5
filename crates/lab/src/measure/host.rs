//! Hosts that grow with their VMs, for measurements of time.

use std::fmt::Write;
use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_sim::trace::generator::{Generator, Parameters};

use crate::bench::Refusal;
use crate::scenario::{Draw, Scenario};

/// A scenario of generated demand on a host that grows with its VMs, so that a VM meets the same
/// neighbourhood at every size and only the number of VMs changes: two sockets with a cache of 16 ways and
/// 15 classes of service each and, for every 32 VMs, 48 cores, 512 GiB and a switch with eight devices.
///
/// # Errors
/// When there are no VMs or too many.
pub fn grown(vms: usize, duration: Duration, seed: u64) -> Result<Scenario, Refusal> {
    let text = host_text(vms);
    let host = parse_host(&text)?;
    let parameters = Parameters::embedded()?;
    let traces = Generator::new(&parameters, seed).trace_set(vms, duration);
    let draw = Draw::new(vms, duration, seed);
    let scenario = Scenario::draw(host.topology, host.capabilities, &traces, draw)?;
    Ok(scenario.with_description(&text))
}

fn host_text(vms: usize) -> String {
    let blocks = vms.div_ceil(32);
    let mut text = format!("name = \"grown-{vms}\"\n");
    for socket in 0..2 {
        let _ = write!(
            text,
            "[[socket]]\nname = \"s{socket}\"\ncores = {}\nhost_cpu = \"2\"\n\
             cache = {{ size = \"{}MiB\", ways = 16, min_ways = 1, classes = 15 }}\n\
             [[memory]]\nname = \"m{socket}\"\nsocket = \"s{socket}\"\ncapacity = \"{}GiB\"\nbandwidth = \"{}GB/s\"\n",
            24 * blocks,
            48 * blocks,
            256 * blocks,
            100 * blocks
        );
    }
    for block in 0..blocks {
        let _ = write!(
            text,
            "[[root_port]]\nname = \"rp{block}\"\nsocket = \"s{}\"\nwidth = \"x16\"\nspeed = \"16GT/s\"\n\
             [[switch]]\nname = \"sw{block}\"\nbelow = \"rp{block}\"\nwidth = \"x16\"\nspeed = \"16GT/s\"\n",
            block % 2
        );
        for slot in 0..8 {
            let _ = write!(
                text,
                "[[port]]\nname = \"p{block}-{slot}\"\nswitch = \"sw{block}\"\nwidth = \"x4\"\nspeed = \"16GT/s\"\n\
                 [[device]]\nname = \"d{block}-{slot}\"\nclass = \"nvme\"\nport = \"p{block}-{slot}\"\n\
                 width = \"x4\"\nspeed = \"16GT/s\"\nbandwidth = \"6800MB/s\"\n"
            );
        }
    }
    text
}
