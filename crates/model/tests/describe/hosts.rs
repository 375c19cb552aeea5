//! Slips in a host file, and what is made of a right one.

use std::time::Duration;

use halcyon_model::ChangeKind;
use halcyon_model::describe::typical;
use halcyon_model::topology::LinkEnd;

use super::{ADDED, LEAST, SWITCH, fabric_slip, host, refused, says, slip};

#[test]
fn a_link_is_as_good_as_the_worse_of_its_ends_and_starts_as_told() {
    let device = "[[device]]\nname = \"d\"\nclass = \"nvme\"\nport = \"p0\"\nwidth = \"x8\"\n\
                  speed = \"8GT/s\"\ninitial_width = \"x2\"\nbandwidth = \"1GB/s\"\n";
    let topology = host(&format!("{LEAST}{SWITCH}{device}")).topology;
    let links = &topology.fabric().links;
    assert!(matches!(links[0].lower, LinkEnd::Switch(_)));
    assert_eq!(links[0].capable.to_string(), "x8 16GT/s");
    assert_eq!(links[1].capable.to_string(), "x4 8GT/s");
    assert_eq!(links[1].initial.to_string(), "x2 8GT/s");
}

#[test]
fn changes_are_read_in_their_own_units() {
    let text = "[change.cpu]\ngranularity = \"100m\"\npace_ms = 250\ncost_s = 0.5\n\
                [change.memory-bandwidth]\ngranularity = \"100MB/s\"\n[change.device]\navailable = false\n";
    let capabilities = host(&format!("{LEAST}{text}")).capabilities;
    let cpu = capabilities.get(ChangeKind::Cpu).unwrap();
    assert_eq!((cpu.granularity, cpu.pace, cpu.cost_s), (100, Duration::from_millis(250), 0.5));
    assert_eq!(cpu.latency, typical().get(ChangeKind::Cpu).unwrap().latency);
    assert_eq!(capabilities.get(ChangeKind::MemoryBandwidth).unwrap().granularity, 100_000_000);
    assert!(!capabilities.allows(ChangeKind::Device));
}

#[test]
fn slips_in_the_host_are_answered_with_their_line() {
    says(&refused(""), 1, &["missing field `name`"]);
    says(&refused("name = \"x\"\n"), 1, &["the host", "[[socket]]"]);
    says(&refused("\u{0}\u{1}ELF\u{7f}"), 1, &["the file"]);
    says(&refused("name = \"a b\"\n"), 1, &["1 to 64 characters"]);
    says(&refused(&LEAST.replace("s0\"\ncores", "s0\\u001b[2J\"\ncores")), 3, &["a name has"]);
    says(&refused(&LEAST.replace("cores = 4", "cores = -4")), 4, &["in [[socket]]", "-4", "whole number"]);
    says(&refused(&LEAST.replace("cores = 4", "cores = nan")), 4, &["whole number"]);
    says(&refused(&LEAST.replace("cores = 4", "cores = 99999999999999999999")), 4, &[]);
    says(&refused(&LEAST.replace("cores = 4", "cores = 0")), 4, &["socket `s0`", "1 to 4096"]);
    says(&refused(&LEAST.replace("cores = 4", "coers = 4")), 4, &["unknown field `coers`", "`cores`"]);
    says(&refused(&LEAST.replace("cores = 4\n", "")), 2, &["missing field `cores`"]);
    says(&refused(&LEAST.replace("\"8GiB\"", "8")), 8, &["text in quotes"]);
    says(&refused(&LEAST.replace("8GiB", "8 GHz")), 8, &["`8 GHz` is not a size"]);
    says(&refused(&LEAST.replace("8GiB", "0GiB")), 8, &["memory `m0`", "capacity is zero"]);
    says(&refused(&LEAST.replace("8GiB", "8000000TiB")), 8, &["at most"]);
    says(&refused(&LEAST.replace("20GB/s", "NaNGB/s")), 9, &["is not a rate"]);
    says(
        &refused(&LEAST.replace("socket = \"s0\"", "socket = \"s9\"")),
        7,
        &["no socket `s9`", "known are s0"],
    );
    says(&refused(&LEAST.replace("socket = \"s0\"\n", "")), 6, &["either `socket`"]);
    says(&slip("host_memory = \"8GiB\"\n"), ADDED, &["memory `m0`", "leave some"]);
    says(&slip("[[socket]]\nname = \"m0\"\ncores = 1\n"), ADDED + 1, &["socket `m0`", "line 6", "rename"]);
    says(
        &slip("[[socket]]\nname = \"s1\"\ncores = 1\n"),
        ADDED + 1,
        &["socket `s1`", "no memory of its own"],
    );
    let distances = |table: &str| refused(&format!("distances = {table}\n{LEAST}"));
    says(&distances("[[10, 21]]"), 1, &["1 rows (sockets) of 1"]);
    says(&distances("[[9]]"), 1, &["10 (local) to 255"]);
}

#[test]
fn slips_in_the_fabric_are_answered_with_their_line() {
    let device = |fields: &str| {
        fabric_slip(&format!("[[device]]\nname = \"d\"\nclass = \"nvme\"\nbandwidth = \"1GB/s\"\n{fields}\n"))
    };
    let cases = [
        (device(""), 2, "either `port`"),
        (device("port = \"p9\""), 5, "there is no port `p9`; known are p0, p1, rp0"),
        (device("port = \"sw0\""), 5, "is a switch, not a port"),
        (device("port = \"sw0.upstream\""), 5, "is a switch's upstream port, not a port"),
        (device("port = \"rp0\""), 5, "already holds switch `sw0`"),
        (device("part_of = \"d\""), 2, "no port of its own"),
        (device("port = \"p0\"\nwidth = \"x3\""), 6, "`x3` is not a link width"),
        (device("port = \"p0\"\nspeed = \"9GT/s\""), 6, "is not a link speed"),
        (device("port = \"p0\"\ninitial_width = \"x8\""), 6, "no wider than x4"),
        (device("port = \"p0\"\naddress = \"0:1\""), 6, "is not a PCI address"),
        (device("port = \"p0\"\niommu_group = -1"), 6, "whole number"),
        (device("port = \"p0\"\nclass = \"disk\""), 6, "duplicate key"),
    ];
    for (index, ((line, text), wanted, words)) in cases.iter().enumerate() {
        assert!(line == wanted && text.contains(words), "{index}: line {line}: {text}");
    }
}

#[test]
fn switches_that_hang_on_each_other_are_refused() {
    let switch = |name: &str, below: &str| {
        format!("[[switch]]\nname = \"{name}\"\nbelow = \"{below}\"\nwidth = \"x4\"\nspeed = \"8GT/s\"\n")
    };
    let port = |name: &str, switch: &str| {
        format!("[[port]]\nname = \"{name}\"\nswitch = \"{switch}\"\nwidth = \"x4\"\nspeed = \"8GT/s\"\n")
    };
    let ring = [switch("a", "b-p"), switch("b", "a-p"), port("a-p", "a"), port("b-p", "b")].concat();
    let (line, text) = fabric_slip(&ring);
    assert!(
        line == 3 && text.contains("switch `a`") && text.contains("comes back to itself"),
        "{line} {text}"
    );
    let (_, text) = fabric_slip(&[switch("a", "a-p"), port("a-p", "a")].concat());
    assert!(text.contains("comes back to itself"), "{text}");
    let chain: String = (0..20)
        .map(|at| {
            let below = if at == 0 { "p0".into() } else { format!("q{}", at - 1) };
            switch(&format!("w{at}"), &below) + &port(&format!("q{at}"), &format!("w{at}"))
        })
        .collect();
    let (_, text) = fabric_slip(&chain);
    assert!(text.contains("more than 16 switches"), "{text}");
}

#[test]
fn lane_pools_are_not_promised_twice() {
    let pool = "[[lane_pool]]\nname = \"lanes\"\nlanes = 4\n";
    let pooled = SWITCH.replace("switch = \"sw0\"", "switch = \"sw0\"\npool = \"lanes\"");
    let device = |name: &str, port: &str, more: &str| {
        format!(
            "[[device]]\nname = \"{name}\"\nclass = \"nvme\"\nport = \"{port}\"\nbandwidth = \"1GB/s\"\n{more}"
        )
    };
    let both = |more: &str| [pool, &pooled, &device("d0", "p0", more), &device("d1", "p1", more)].concat();
    says(&slip(&both("")), ADDED + 2, &["lane pool `lanes`", "has 4 lanes", "start with 8", "initial_width"]);
    host(&format!("{LEAST}{}", both("initial_width = \"x2\"\n")));
    let root = pooled.replace("socket = \"s0\"", "socket = \"s0\"\npool = \"lanes\"");
    says(&slip(&[pool, &root].concat()), ADDED + 18, &["port `p0`", "another socket or switch"]);
}

#[test]
fn parts_and_groups_keep_to_their_owners() {
    let whole = "[[device]]\nname = \"nic\"\nclass = \"nic\"\nport = \"p0\"\nbandwidth = \"1GB/s\"\n";
    let part = |more: &str| {
        format!("{whole}[[device]]\nname = \"vf\"\nclass = \"nic\"\npart_of = \"nic\"\n{more}\n")
    };
    let (line, text) = fabric_slip(&part("bandwidth = \"2GB/s\""));
    assert!(line == 10 && text.contains("has only 1GB/s"), "{line} {text}");
    let (_, text) = fabric_slip(&part("bandwidth = \"1GB/s\"\nwidth = \"x4\""));
    assert!(text.contains("the link is that of `nic`"), "{text}");
    let (line, text) = fabric_slip(
        "[[device]]\nname = \"a\"\nclass = \"nvme\"\nport = \"p0\"\nbandwidth = \"1GB/s\"\niommu_group = 3\n\
         [[device]]\nname = \"b\"\nclass = \"nvme\"\nport = \"p1\"\nbandwidth = \"1GB/s\"\niommu_group = 3\n\
         host_owned = true\n",
    );
    assert!(line == 8 && text.contains("device `b`") && text.contains("another owner"), "{line} {text}");
}

#[test]
fn memory_behind_a_device_belongs_to_the_host() {
    let device = "[[device]]\nname = \"cxl\"\nclass = \"cxl-memory\"\nport = \"p0\"\nbandwidth = \"1GB/s\"\n";
    let node = |device: &str| {
        format!(
            "[[memory]]\nname = \"m-{device}\"\ndevice = \"{device}\"\ncapacity = \"1GiB\"\nbandwidth = \"1GB/s\"\n"
        )
    };
    let text = format!("{LEAST}{SWITCH}{device}{}", node("cxl"));
    assert!(host(&text).topology.fabric().devices[0].host_owned);
    let (line, text) = fabric_slip(&format!("{device}host_owned = false\n{}", node("cxl")));
    assert!(line == 6 && text.contains("therefore owns it"), "{line} {text}");
    let twice = node("cxl") + &node("cxl").replace("m-cxl", "m-again");
    let (line, text) = fabric_slip(&format!("{device}{twice}"));
    assert!(line == 13 && text.contains("another memory node"), "{line} {text}");
    let (line, text) = fabric_slip(&(device.replace("cxl-memory", "nvme") + &node("cxl")));
    assert!(line == 8 && text.contains("class nvme"), "{line} {text}");
}

#[test]
fn slips_in_gpus_and_changes_are_answered_with_their_line() {
    let device = "[[device]]\nname = \"g\"\nclass = \"gpu\"\nport = \"p0\"\nbandwidth = \"1GB/s\"\n";
    let gpu = "[[gpu]]\ndevice = \"g\"\nmemory = \"40GiB\"\nslices = 8\n";
    let profile = |span: u32, starts: &str| {
        format!("[[gpu.profile]]\nname = \"p\"\ncompute = 1\nspan = {span}\nstarts = {starts}\n")
    };
    let slips = [
        (gpu.to_owned(), 7, "[[gpu.profile]]"),
        (gpu.to_owned() + &profile(9, "[0]"), 13, "span of `p` is 9"),
        (gpu.to_owned() + &profile(4, "[5]"), 14, "cannot start after 4"),
        (gpu.to_owned() + &profile(1, "[]"), 14, "one or more different slices"),
        (gpu.to_owned() + &profile(1, "[0]") + &profile(1, "[0]"), 16, "there twice"),
        ("[change.cpus]\n".to_owned(), 6, "unknown field `cpus`"),
        ("[change.cpu]\npace_ms = -1\n".to_owned(), 7, "whole number"),
        ("[change.cpu]\npace_ms = 86400001\n".to_owned(), 7, "more than a day"),
        ("[change.cpu]\ncost_s = nan\n".to_owned(), 7, "cost_s is NaN"),
        ("[change.cpu]\ncost_s = -0.1\n".to_owned(), 7, "from 0 to"),
        ("[change.cpu]\ngranularity = 0\n".to_owned(), 7, "from 1 to"),
        ("[change.cpu]\ngranularity = -1\n".to_owned(), 7, "negative"),
        ("[change.cpu]\ngranularity = \"1MiB\"\n".to_owned(), 7, "is not a CPU amount"),
        ("[change.link]\ngranularity = \"1\"\n".to_owned(), 7, "plain number"),
        ("[change.link]\ngranularity = [1]\n".to_owned(), 7, "neither a whole number"),
        ("[change.cache-mask]\npace_ms = 1\n".to_owned(), 6, "no socket has a cache"),
        ("[change.cpu]\navailable = false\npace_ms = 1\n".to_owned(), 6, "has figures"),
    ];
    for (addition, wanted, words) in slips {
        let (line, text) = fabric_slip(&format!("{device}{addition}"));
        assert!(line == wanted && text.contains(words), "{addition}\nline {line}: {text}");
    }
}
