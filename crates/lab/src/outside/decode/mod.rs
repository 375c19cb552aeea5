//! From the wire to the model. Nothing on the wire is trusted: every index leads somewhere, every figure
//! can be, or the field is named and what is wrong with it.

mod held;
mod host;
mod proposal;
mod snapshot;
#[cfg(test)]
mod tests;
mod vms;

pub(super) use held::held;
pub(super) use host::{capabilities, host};
pub(super) use proposal::proposal;
pub(super) use snapshot::samples;
pub(super) use vms::{Names, vms};

use std::time::Duration;

use halcyon_model::LinkSetting;
use halcyon_model::topology::DeviceClass;
use halcyon_model::units::{Bandwidth, ByteSize, Lanes};

use super::encode::{CLASSES, SPEEDS};
use super::error::{Flaw, ensure, printable};
use super::wire;

/// More memory than one machine has.
const MOST_MEMORY: u64 = 1 << 60;
/// A faster link than any machine has.
const MOST_BANDWIDTH: u64 = 100_000_000_000_000;
/// The longest that anything here lasts: a year.
pub(super) const MOST_SECONDS: f64 = 366.0 * 86_400.0;
const MOST_NAME: usize = 64;

fn check_name(field: impl FnOnce() -> String, name: &str) -> Result<(), Flaw> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    ensure(!name.is_empty() && name.len() <= MOST_NAME && name.chars().all(plain), field, || {
        format!(
            "is `{}`; a name has 1 to {MOST_NAME} characters out of a-z, A-Z, 0-9, `-`, `_`, `.` and `:`",
            printable(name)
        )
    })
}

fn index(field: impl FnOnce() -> String, index: u32, there: usize, what: &str) -> Result<u32, Flaw> {
    ensure((index as usize) < there, field, || {
        format!("is {index}, but the host has {there} {what}, counted from 0")
    })?;
    Ok(index)
}

fn range(field: impl FnOnce() -> String, value: u32, least: u32, most: u32) -> Result<u32, Flaw> {
    ensure((least..=most).contains(&value), field, || {
        format!("is {value}; it must be from {least} to {most}")
    })?;
    Ok(value)
}

fn size(field: impl FnOnce() -> String, bytes: u64) -> Result<ByteSize, Flaw> {
    ensure(bytes <= MOST_MEMORY, field, || format!("is {bytes}, more bytes than any machine has"))?;
    Ok(ByteSize::new(bytes))
}

fn rate(field: impl FnOnce() -> String, bytes: u64) -> Result<Bandwidth, Flaw> {
    ensure(bytes <= MOST_BANDWIDTH, field, || {
        format!("is {bytes}, more bytes per second than any machine moves")
    })?;
    Ok(Bandwidth::new(bytes))
}

/// A time in whole microseconds, so that every machine rounds alike.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn time(field: impl FnOnce() -> String, seconds: f64) -> Result<Duration, Flaw> {
    ensure((0.0..=MOST_SECONDS).contains(&seconds), field, || {
        format!("is {seconds}; it must be from 0 to {MOST_SECONDS} (a year, in seconds)")
    })?;
    Ok(Duration::from_micros(libm::round(seconds * 1e6) as u64))
}

fn link_setting(field: &str, setting: wire::LinkSetting) -> Result<LinkSetting, Flaw> {
    #[allow(clippy::float_cmp)]
    let speed = SPEEDS.iter().find(|(_, rate)| *rate == setting.gt_per_s).map(|(speed, _)| *speed);
    let Some(width) = Lanes::new(setting.lanes) else {
        let problem = format!("is {}; a link has 1, 2, 4, 8 or 16 lanes", setting.lanes);
        return Err(Flaw::new(format!("{field}.lanes"), problem));
    };
    match speed {
        Some(speed) => Ok(LinkSetting { width, speed }),
        None => {
            let problem = format!("is {}; link speeds are 2.5, 5, 8, 16, 32 or 64", setting.gt_per_s);
            Err(Flaw::new(format!("{field}.gt_per_s"), problem))
        }
    }
}

fn class(class: wire::DeviceClass) -> DeviceClass {
    let found = CLASSES.iter().find(|(_, wire)| *wire == class);
    found.map_or(DeviceClass::Accelerator, |(known, _)| *known)
}
