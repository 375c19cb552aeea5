#![no_main]
//! Arbitrary text as each file of a control group; what is understood is written as it was read.

use halcyon_host::cgroup::{CpuMax, IoMax, Limit, NumberList, Pressure};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(max) = text.parse::<CpuMax>() {
        assert_eq!(max.to_string().parse(), Ok(max));
    }
    if let Ok(limit) = text.parse::<Limit>() {
        assert_eq!(limit.to_string().parse(), Ok(limit));
    }
    if let Ok(list) = text.parse::<NumberList>() {
        assert_eq!(list.to_string().parse(), Ok(list));
    }
    if let Ok(io) = text.parse::<IoMax>() {
        assert_eq!(io.to_string().parse(), Ok(io));
    }
    let _ = IoMax::of(text, (8, 0));
    let _ = text.parse::<Pressure>();
});
