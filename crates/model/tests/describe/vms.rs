//! Slips in a file of VMs.

use halcyon_model::describe::{DescribeError, MOST_VMS};

use super::{says, vms};

/// One VM with further lines after the fourth.
fn vm_slip(lines: &str) -> DescribeError {
    let text = format!(
        "[[vm]]\nname = \"a\"\nvcpus = 4\nmemory = {{ reservation = \"1GiB\", limit = \"2GiB\" }}\n{lines}"
    );
    vms(&text).unwrap_err()
}

#[test]
fn slips_in_vms_are_answered_with_their_line() {
    assert_eq!(vms("").unwrap(), []);
    let cases = [
        ("weight = 0", 5, "a weight from 1 to 10000"),
        ("memory = {}", 5, "duplicate key"),
        (
            "cpu = { reservation = \"3\", limit = \"2\" }",
            5,
            "cpu: the reservation of 3 is above the limit of 2",
        ),
        ("cpu = { limit = \"5\" }", 5, "above the VM's 4 vcpus"),
        ("cpu = { limit = \"0\" }", 5, "never runs"),
        ("cpu = { reservation = 1 }", 5, "text in quotes"),
        ("cpu = { reservations = \"1\" }", 5, "unknown field"),
        ("memory_bandwidth = { reservation = \"101GB/s\" }", 5, "a socket of this host has at most 100GB/s"),
        ("memory_bandwidth = { limit = \"200000GB/s\" }", 5, "more than any machine"),
        ("objective = { latency_p99_ms = nan }", 5, "latency_p99_ms is NaN"),
        ("objective = { latency_p99_ms = -1 }", 5, "from 0.001"),
        ("objective = \"fast\"", 5, "unknown variant `fast`"),
        ("application = \"a b\"", 5, "1 to 64 characters"),
        ("gpu_slices = { reservation = 8 }", 5, "a GPU of this host has at most 7"),
        ("[[vm.device]]\nclass = \"nvme\"\ncount = { reservation = 9 }", 7, "has at most 8"),
        ("[[vm.device]]\nclass = \"nvme\"\ncount = { limit = 0 }", 7, "from 1 to 1024"),
        ("[[vm.device]]\nclass = \"nvme\"\n[[vm.device]]\nclass = \"nvme\"", 8, "nvme twice"),
        ("[[vm.device]]\nclass = \"nvme\"\nbandwidth = { reservation = \"7GB/s\" }", 7, "this host has 0"),
        (
            "[[vm]]\nname = \"a\"\nvcpus = 1\nmemory = { reservation = \"1GiB\", limit = \"1GiB\" }",
            6,
            "line 2",
        ),
        ("[[vm]]\nname = \"b\"\nvcpus = 1", 5, "missing field `memory`"),
        ("[[vm]]\nname = \"b\"\nvcpus = 0\nmemory = {}", 7, "from 1 to 1024"),
        (
            "[[vm]]\nname = \"b\"\nvcpus = 1\nmemory = { limit = \"1GiB\" }",
            8,
            "both a reservation and a limit",
        ),
        (
            "[[vm]]\nname = \"b\"\nvcpus = 1\nmemory = { reservation = \"0B\", limit = \"1GiB\" }",
            8,
            "cannot live on 0B",
        ),
        (
            "[[vm]]\nname = \"b\"\nvcpus = 1\nmemory = { reservation = \"1TiB\", limit = \"1TiB\" }",
            8,
            "all memory of this host has at most 624GiB",
        ),
    ];
    for (lines, wanted, words) in cases {
        let error = vm_slip(lines);
        assert!(error.line == wanted && error.problem.contains(words), "{lines}\n{error}");
    }
}

#[test]
fn a_file_may_hold_ten_thousand_vms_and_no_more() {
    let one = |index: usize| {
        format!("[[vm]]\nname=\"v{index}\"\nvcpus=1\nmemory={{reservation=\"1MiB\",limit=\"1GiB\"}}\n")
    };
    let most: String = (0..MOST_VMS).map(one).collect();
    assert_eq!(vms(&most).unwrap().len(), MOST_VMS);
    says(&vms(&(most + &one(MOST_VMS))).unwrap_err(), 4 * MOST_VMS + 2, &["10001 VMs", "at most 10000"]);
}
