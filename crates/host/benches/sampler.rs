//! What one sweep of the sampler over 64 and 256 VMs costs: on files of a temporary folder, on the kernel's
//! own control groups and processes, and with QEMUs that are asked for statistics; and beside it what one
//! scrape of `prometheus-node-exporter` costs on the same machine, where that is installed.
//!
//! The figures to go by are those at 10 Hz. Back to back shows what files cost whose inodes are in the cache; the
//! kernel's VMs hardly run between two such sweeps, so that theirs is the cost of idle VMs.
//!
//! `cargo bench -p halcyon-host --bench sampler`
#![allow(clippy::print_stdout, reason = "figures are what a bench is for")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use halcyon_host::qmp::Bus;
use halcyon_host::sampler::{Counted, Guest, Paces, Roots, Sampler};
use halcyon_model::{DeviceId, VmId, VmSample};
use rustix::time::{ClockId, clock_gettime};

use support::exporter;
use support::fake::{self, Qemu};
use support::real;

const SWEEP: Duration = Duration::from_millis(100);
/// Ten virtual minutes back to back, and ten real seconds.
const BACK_TO_BACK: u32 = 600;
const PACED: u32 = 100;

fn main() {
    if real::is_guest() {
        return real::be_guest();
    }
    support::raise_limit_of_files();
    println!("CPU time of the thread that samples; 1 ms for each sweep is 1 % of a core at 10 Hz");
    for vms in [64, 256] {
        on_files(vms);
    }
    for vms in [64, 256] {
        on_the_kernel(vms);
    }
    with_qemu(64);
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn on_files(vms: u32) {
    let host = fake::Host::new(vms);
    let mut sampler = Sampler::new(host.roots(), Paces::default());
    (0..vms).for_each(|vm| sampler.track(host.guest(vm)));
    let run = |sweep| host.run(vms, sweep);
    measure(&format!("{vms} VMs on files in {}", host.place()), &mut sampler, run, |sample| {
        sample.counters.cpu_used_us.is_some()
            && sample.counters.cpu_waited_us.is_some()
            && sample.counters.memory_stalled_us.is_some()
            && sample.counters.memory_bytes.is_some()
            && sample.counters.device_bytes.len() == 2
    });
}

fn on_the_kernel(vms: u32) {
    let guests = match real::Guests::start(vms) {
        Ok(guests) => guests,
        Err(why) => return println!("{vms} VMs on the kernel's own groups: skipped, {why}"),
    };
    let mut sampler = Sampler::new(Roots::default(), Paces::default());
    guests.each(|guest| sampler.track(guest));
    measure(
        &format!("{vms} VMs on the kernel's groups and processes"),
        &mut sampler,
        |_| (),
        |sample| {
            sample.counters.cpu_used_us.is_some()
                && sample.counters.cpu_waited_us.is_some()
                && sample.counters.memory_stalled_us.is_some()
        },
    );
    let exporter = Path::new("/usr/bin/prometheus-node-exporter");
    match exporter::cost_of_a_scrape(exporter) {
        Ok((cpu, wall, bytes)) => println!(
            "  prometheus-node-exporter beside them: {:.2} ms of CPU time for each scrape ({:.2} ms, {bytes} bytes; \
             it tells of the host, and of no single VM)",
            cpu.as_secs_f64() * 1e3,
            wall.as_secs_f64() * 1e3
        ),
        Err(why) => println!("  prometheus-node-exporter beside them: skipped, {why}"),
    }
}

/// QEMUs that answer like real ones, each asked for block and guest statistics once a second.
fn with_qemu(vms: u32) {
    let bus = Bus::start().expect("a thread");
    let mut sampler = Sampler::new(Roots::default(), Paces::default());
    let qemus: Vec<Qemu> = (0..vms).map(|_| Qemu::start(&bus)).collect();
    for (vm, qemu) in (0..vms).zip(&qemus) {
        let disk = |disk: u32| (DeviceId(disk), Counted::Block(format!("disk{disk}")));
        sampler.track(Guest {
            qmp: Some(qemu.client.clone()),
            balloon: Some(Qemu::BALLOON.into()),
            devices: (0..Qemu::DISKS).map(disk).collect(),
            ..Guest::new(VmId(vm))
        });
    }
    let mut samples = Vec::new();
    let (began, before, cpu) = (Instant::now(), support::cpu_of_thread("qmp"), cpu_time());
    for sweep in 0..PACED {
        sampler.sample(SWEEP * sweep, &mut samples);
        std::thread::sleep((SWEEP * (sweep + 1)).saturating_sub(began.elapsed()));
    }
    let answered = samples.iter().filter(|sample| sample.counters.device_bytes.len() == 3).count();
    let share = |time: Duration| 100.0 * time.as_secs_f64() / began.elapsed().as_secs_f64();
    println!("{vms} QEMUs with 3 disks and a balloon, at 10 Hz; {answered} answered");
    println!("  the thread that samples: {:.2} % of a core", share(cpu_time().saturating_sub(cpu)));
    match (before, support::cpu_of_thread("qmp")) {
        (Some(before), Some(after)) => {
            println!(
                "  the thread that speaks with them: {:.2} % of a core",
                share(after.saturating_sub(before))
            );
        }
        _ => println!("  the thread that speaks with them: not known"),
    }
}

fn measure(what: &str, sampler: &mut Sampler, run: impl Fn(u32), is_whole: impl Fn(&VmSample) -> bool) {
    println!("{what}");
    let mut samples = Vec::new();
    let first = sweep(sampler, Duration::ZERO, &mut samples);
    assert!(samples.iter().all(is_whole), "{:?}", sampler.troubles().next());
    let in_a_row = |number: u32| {
        run(number);
        sweep(sampler, SWEEP * number, &mut samples)
    };
    let mut times: Vec<_> = (1..=BACK_TO_BACK).map(in_a_row).collect();
    print("back to back", &mut times);
    let (began, from) = (Instant::now(), SWEEP * (BACK_TO_BACK + 1));
    let paced = |number: u32| {
        run(BACK_TO_BACK + number);
        std::thread::sleep((SWEEP * number).saturating_sub(began.elapsed()));
        sweep(sampler, from + SWEEP * number, &mut samples)
    };
    let mut times: Vec<_> = (0..PACED).map(paced).collect();
    print("at 10 Hz", &mut times);
    println!("  {:<24} {:7.3} ms", "the first, files opened", first.1.as_secs_f64() * 1e3);
}

/// CPU time and wall time of one sweep.
fn sweep(sampler: &mut Sampler, now: Duration, samples: &mut Vec<VmSample>) -> (Duration, Duration) {
    let (began, before) = (Instant::now(), cpu_time());
    sampler.sample(now, samples);
    (cpu_time().saturating_sub(before), began.elapsed())
}

fn print(what: &str, times: &mut [(Duration, Duration)]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mean = ms(times.iter().map(|(cpu, _)| *cpu).sum::<Duration>()) / times.len() as f64;
    times.sort_unstable_by_key(|(cpu, _)| *cpu);
    let median = ms(times[times.len() / 2].0);
    times.sort_unstable_by_key(|(_, wall)| *wall);
    let at = |share: usize| ms(times[(times.len() - 1) * share / 100].1);
    println!(
        "  {what:<24} {mean:7.3} ms CPU for each sweep (median {median:.3}) = {mean:.2} % of a core at 10 Hz; \
         wall p50 {:.3} p99 {:.3} most {:.3} ms",
        at(50),
        at(99),
        at(100)
    );
}
