//! The texts of the kernel's files: what is understood, and what hostile ones come to.

use halcyon_host::resctrl::{
    MonitoringInfo, Resource, Schemata, parse_counter, parse_features, parse_mask, parse_number, parse_tasks,
};
use halcyon_model::CacheMask;
use proptest::prelude::*;

#[test]
fn a_schemata_of_each_maker_is_understood() {
    // The examples of Documentation/filesystems/resctrl.rst.
    let intel = Schemata::parse("    L3:0=fffff;1=fffff\n    MB:0=50;1=100\n").unwrap();
    assert_eq!(intel.get(Resource::L3, 1), Some(0xfffff));
    assert_eq!(intel.get(Resource::Bandwidth, 0), Some(50));
    let split = Schemata::parse("L3DATA:0=fffff;3=3c0\nL3CODE:0=fffff;3=0fffff\n").unwrap();
    assert_eq!(split.get(Resource::L3Code, 3), Some(0xfffff), "older kernels write zeros in front");
    let amd = Schemata::parse("MB:0=2048;1=2048\nSMBA:0=64\nL3:0=ffff;8=f\n").unwrap();
    assert_eq!(amd.get(Resource::SlowBandwidth, 0), Some(64));
    assert_eq!(amd.get(Resource::L3, 1), None, "ids have gaps");
    let newer = Schemata::parse("L4:0=5\nMB_HLIM:0=50\nMB:0=10\n").unwrap();
    assert_eq!(newer.to_string(), "MB:0=10\n", "what is not known is passed over");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("L3", "line 1", "`L3`"),
        ("MB:0=10\nL3:0=xyz", "line 2", "`xyz`"),
        ("L3:0=-1", "line 1", "`-1`"),
        ("L3:0=+1", "line 1", "`+1`"),
        ("L3:0=1ffffffff", "line 1", "`1ffffffff`"),
        ("MB:0=ff", "line 1", "decimal"),
        ("L3:0=f;0=f", "line 1", "not there before"),
        ("L3:0=f\nL3:1=f", "line 2", "not there before"),
        ("L3:uninitialized", "line 1", "uninitialized"),
        ("L3:0=", "line 1", "hexadecimal"),
        ("L3:=f", "line 1", "domain"),
    ];
    for (text, line, what) in cases {
        let error = Schemata::parse(text).unwrap_err().to_string();
        assert!(error.contains(line) && error.contains(what), "{text:?}: {error}");
    }
    let long = format!("L3:0={}", "f".repeat(1 << 20));
    assert!(Schemata::parse(&long).unwrap_err().to_string().len() < 200, "a message stays short");
}

#[test]
fn single_values() {
    assert_eq!(parse_number("16\n"), Some(16));
    for wrong in ["", "\n", "-1", "+1", "0x10", "99999999999", "1 2", "Unavailable"] {
        assert_eq!(parse_number(wrong), None, "{wrong:?}");
    }
    assert_eq!(parse_mask("7ff\n"), Some(CacheMask(0x7ff)));
    assert_eq!(parse_mask("7fg"), None);
    assert_eq!(parse_counter("18446744073709551615\n"), Ok(Some(u64::MAX)));
    assert_eq!(parse_counter("Unavailable\n"), Ok(None));
    assert!(parse_counter("18446744073709551616").is_err() && parse_counter("").is_err());
    let features = "llc_occupancy\nmbm_total_bytes\nmbm_total_bytes_config\nsomething_new\n";
    let known = MonitoringInfo { groups: 0, occupancy: true, total: true, local: false };
    assert_eq!(parse_features(features), known);
    assert_eq!(parse_tasks("").unwrap().len(), 0);
    assert_eq!(parse_tasks("12\n7\n\n").unwrap().into_iter().collect::<Vec<_>>(), [7, 12]);
    assert_eq!(parse_tasks("12\n7a\n"), Err("7a"));
}

fn schemata() -> impl Strategy<Value = Schemata> {
    let values = prop::collection::btree_map(any::<u32>(), any::<u32>(), 1..6);
    let lines = prop::collection::btree_map(0..Resource::ALL.len(), values, 0..Resource::ALL.len());
    lines.prop_map(|lines| Schemata {
        lines: lines.into_iter().map(|(index, values)| (Resource::ALL[index], values)).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_is_written_is_read_again(schemata in schemata()) {
        prop_assert_eq!(Schemata::parse(&schemata.to_string()), Ok(schemata));
    }

    #[test]
    fn any_text_is_understood_or_refused(text in "[ L3CODEMB:;=0-9a-fA-Fg+\n-]{0,80}") {
        if let Ok(schemata) = Schemata::parse(&text) {
            prop_assert_eq!(Schemata::parse(&schemata.to_string()), Ok(schemata));
        }
    }

    #[test]
    fn any_bytes_do_no_harm(text in any::<String>()) {
        let _ = (Schemata::parse(&text), parse_number(&text), parse_mask(&text), parse_features(&text));
        let _ = (parse_counter(&text), parse_tasks(&text));
    }
}
