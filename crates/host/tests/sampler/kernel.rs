//! On the running kernel: this very process.

use halcyon_host::sampler::{Guest, Paces, Process, Roots, Sampler};
use halcyon_model::VmId;

use crate::tree::ms;

/// The control cycle may run on any thread.
const fn can_move<T: Send>() {}
const _: () = can_move::<Sampler>();

#[test]
fn a_real_process_is_read_and_its_time_grows() {
    let process = Process { pid: std::process::id(), started_ticks: None, vcpus: Vec::new() };
    let mut sampler = Sampler::new(Roots::default(), Paces::default());
    sampler.track(Guest { process: Some(process), ..Guest::new(VmId(1)) });
    let mut samples = Vec::new();
    sampler.sample(ms(0), &mut samples);
    let before = samples[0].counters.cpu_used_us.expect("it is read");
    // A thread that runs is charged at ticks of the scheduler, so that it takes some work to show.
    let grows = (1..100_000).any(|sweep| {
        sampler.sample(ms(sweep * 100), &mut samples);
        samples[0].counters.cpu_used_us.is_some_and(|used| used > before)
    });
    assert!(grows);
    let detail = sampler.detail(VmId(1)).expect("it is tracked");
    assert!(detail.resident_bytes.is_some_and(|bytes| bytes > 100_000));
    assert_eq!(sampler.troubles().count(), 0);
}
