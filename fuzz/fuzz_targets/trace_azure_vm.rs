#![no_main]
//! Arbitrary bytes as a trace in the format AzureVm.

use halcyon_sim::trace::TraceFormat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| halcyon_fuzz::import(data, "azure.csv", TraceFormat::AzureVm));
