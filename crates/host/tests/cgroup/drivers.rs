//! What drivers make of files that others wrote, that cannot be written, or that never end.

use std::fs;
use std::os::unix::fs::symlink;

use halcyon_hal::testkit::Subject;
use halcyon_hal::{Actuate, Progress};
use halcyon_host::cgroup::{CgroupError, CpuFiles, NumberList, Version};
use halcyon_model::{Bandwidth, DeviceId, Grant, MilliCpu, Placement, SocketId, Step, VmId};

use super::site::{Site, site};

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

fn read(site: &Site, name: &str) -> String {
    fs::read_to_string(site.file(0, name)).expect("it is there")
}

fn put(site: &Site, name: &str, text: &str) {
    fs::write(site.file(0, name), text).expect("it is written");
}

/// A file that takes nothing, and never ends when it is read.
fn jam(site: &Site, name: &str) {
    fs::remove_file(site.file(0, name)).expect("it is there");
    symlink("/dev/full", site.file(0, name)).expect("a link");
}

fn place(site: &Site, to: Placement) -> Step {
    Step::Place { vm: VmId(0), from: Placement::from_holding(&site.start.holdings[0]), to }
}

#[test]
fn reading_twice_says_the_same_whatever_others_wrote() {
    for version in VERSIONS {
        for (weight, quota, period) in
            [(5000, 300_000, 100_000), (9999, 12_345, 54_321), (3, 1000, 1_000_000)]
        {
            let mut site = site(version);
            match version {
                Version::V1 => {
                    put(&site, "cpu.shares", &format!("{weight}\n"));
                    put(&site, "cpu.cfs_quota_us", &format!("{quota}\n"));
                    put(&site, "cpu.cfs_period_us", &format!("{period}\n"));
                }
                Version::V2 => {
                    put(&site, "cpu.weight", &format!("{weight}\n"));
                    put(&site, "cpu.max", &format!("{quota} {period}\n"));
                }
            }
            let once = site.held(&site.believed());
            assert!(once.holdings[0].cpu.share <= once.holdings[0].cpu.ceiling, "{once:?}");
            assert_eq!(site.held(&once), once, "{version:?}");
        }
    }
}

#[test]
fn no_quota_is_no_quota_whatever_its_period() {
    let mut site = site(Version::V2);
    let mut believed = site.believed();
    believed.holdings[0].cpu.ceiling = MilliCpu::new(1_000_000);
    put(&site, "cpu.max", "max 50000\n");
    assert_eq!(site.held(&believed), believed, "more than the socket has is what the machine gives");
}

#[test]
fn a_vm_is_on_the_socket_that_has_most_of_its_cpus() {
    for (cpus, socket) in [("30-40", 1), ("0-3,30", 0), ("", 0), ("100-200", 0), ("22-47", 1)] {
        let mut site = site(Version::V2);
        put(&site, "cpuset.cpus", &format!("{cpus}\n"));
        assert_eq!(site.held(&site.believed()).holdings[0].socket, SocketId(socket), "{cpus}");
    }
}

#[test]
fn what_cannot_be_read_in_part_is_believed_as_a_whole() {
    let mut site = site(Version::V2);
    put(&site, "cpuset.cpus", "24-47\n");
    put(&site, "cpu.max", "garbage\n");
    assert_eq!(site.held(&site.believed()), site.believed());
}

#[test]
fn a_socket_that_there_is_not_is_no_place() {
    let mut site = site(Version::V2);
    let here = Placement::from_holding(&site.start.holdings[0]);
    let error = site.assembly.begin(&place(&site, Placement { socket: SocketId(9), ..here }));
    assert!(error.is_err(), "{error:?}");
    assert_eq!(site.held(&site.believed()), site.believed());
}

#[test]
fn a_placement_that_fails_half_way_is_led_back_also_to_no_cpus_at_all() {
    for jammed in ["cpuset.mems", "cpu.weight", "cpu.max"] {
        let mut site = site(Version::V2);
        put(&site, "cpuset.cpus", "\n");
        let nodes = read(&site, "cpuset.mems");
        jam(&site, jammed);
        let here = Placement::from_holding(&site.start.holdings[0]);
        let cpu = Grant { share: MilliCpu::new(1111), ceiling: MilliCpu::new(2222) };
        let there = Placement { socket: SocketId(1), cpu, ..here };
        let error = site.assembly.begin(&place(&site, there)).expect_err("it cannot be written");
        assert!(error.to_string().contains(jammed), "{error}");
        // A write of nothing at all would not be one for the kernel.
        assert_eq!(read(&site, "cpuset.cpus"), "\n", "{jammed}");
        if jammed != "cpuset.mems" {
            assert_eq!(read(&site, "cpuset.mems"), nodes.trim_end(), "{jammed}");
        }
    }
}

#[test]
fn cpu_time_whose_quota_is_not_taken_keeps_its_weight() {
    for (version, weight, quota) in
        [(Version::V1, "cpu.shares", "cpu.cfs_quota_us"), (Version::V2, "cpu.weight", "cpu.max")]
    {
        let mut site = site(version);
        let before = read(&site, weight);
        jam(&site, quota);
        let from = site.start.holdings[0].cpu;
        let to = Grant { share: MilliCpu::new(1111), ceiling: MilliCpu::new(2222) };
        let step = Step::SetCpu { vm: VmId(0), socket: SocketId(0), from, to };
        let error = site.assembly.begin(&step).expect_err("it cannot be written");
        assert!(error.to_string().contains(quota), "{error}");
        assert_eq!(read(&site, weight), before);
    }
}

#[test]
fn a_file_that_never_ends_is_given_up() {
    let site = site(Version::V2);
    jam(&site, "cpuset.cpus");
    let error = site.groups[0].cpus().expect_err("it has no end");
    assert!(error.to_string().contains("4 MiB") && error.to_string().len() < 1000, "{error}");
    let many = "0-65535,".repeat(100_000).parse::<NumberList>().expect_err("there are no so many CPUs");
    assert!(many.to_string().len() < 200, "{many}");
}

#[test]
fn a_file_that_may_only_be_read_is_named_with_what_to_do() {
    let site = site(Version::V2);
    let path = site.file(0, "cpu.weight");
    let mut rights = fs::metadata(&path).expect("it is there").permissions();
    rights.set_readonly(true);
    fs::set_permissions(&path, rights).expect("they are set");
    match CpuFiles::of(&site.groups[0]).expect("it has them").set_weight(50) {
        Ok(()) => println!("skipped: root may write what may only be read"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("cpu.weight") && text.contains("root"), "{text}");
            assert!(matches!(error, CgroupError::Failed { what: "write", .. }));
        }
    }
}

#[test]
fn a_disk_gives_the_larger_of_both_directions() {
    let mut site = site(Version::V2);
    put(&site, "io.max", "8:0 rbps=1000000 wbps=3000000 riops=max wiops=max\n");
    let once = site.held(&site.believed());
    assert_eq!(once.devices[0].bandwidth.ceiling, Bandwidth::mb_per_s(3));
    assert_eq!(site.held(&once), once);
    let to = Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::mb_per_s(2) };
    let step = Step::SetDeviceBandwidth { device: DeviceId(0), from: once.devices[0].bandwidth, to };
    assert_eq!(site.assembly.begin(&step), Ok(Progress::Done));
    assert_eq!(read(&site, "io.max"), "8:0 rbps=2000000 wbps=2000000 riops=max wiops=max");
}
