#![no_main]
//! Arbitrary text as each file of resctrl; a schemata that is understood is written as it was read.

use halcyon_host::resctrl::{
    Schemata, parse_counter, parse_features, parse_mask, parse_number, parse_tasks,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(schemata) = Schemata::parse(text) {
        assert_eq!(Schemata::parse(&schemata.to_string()), Ok(schemata));
    }
    if let Some(number) = parse_number(text) {
        assert_eq!(parse_number(&number.to_string()), Some(number));
    }
    if let Some(mask) = parse_mask(text) {
        assert_eq!(parse_mask(&mask.to_string()), Some(mask));
    }
    if let Ok(Some(counter)) = parse_counter(text) {
        assert_eq!(parse_counter(&counter.to_string()), Ok(Some(counter)));
    }
    if let Ok(tasks) = parse_tasks(text) {
        assert!(tasks.len() <= text.lines().count());
    }
    let _ = parse_features(text);
});
