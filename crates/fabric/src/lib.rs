//! The interconnect fabric: CXL switches that are told by a fabric manager which device belongs to which
//! host, spoken to in the bytes of their own protocol.
//!
//! What a switch says is hostile until it was read, and what it did is believed only after it was read
//! back. Nothing here decides who should have a device.
pub mod cxl_fm;
