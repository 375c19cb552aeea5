//! The files of a group that say how much CPU time it gets.

use std::cmp::Ordering;

use super::access::{CgroupError, MOST_BYTES, failed, number_in};
use super::files::{CpuMax, Limit};
use super::group::{Controller, Group, Version};
use crate::kept::Kept;

/// Weight and quota of one group, in files that stay open.
#[derive(Debug)]
pub struct CpuFiles {
    version: Version,
    weight: Kept,
    /// `cpu.max`, or version 1's quota.
    quota: Kept,
    /// Version 1 only.
    period: Kept,
    buffer: String,
}

impl CpuFiles {
    /// The files of a group.
    ///
    /// # Errors
    /// When it has no controller for CPU time.
    pub fn of(group: &Group) -> Result<Self, CgroupError> {
        let (version, folder) = group.folder(Controller::Cpu)?;
        let (_, limited) = group.quota_folder()?;
        let (weight, [quota, period]) = match version {
            Version::V1 => ("cpu.shares", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]),
            Version::V2 => ("cpu.weight", ["cpu.max", "cpu.max"]),
        };
        let weight = Kept::new(folder.join(weight));
        let [quota, period] = [quota, period].map(|name| Kept::new(limited.join(name)));
        Ok(Self { version, weight, quota, period, buffer: String::new() })
    }

    /// Which version they are of.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Its weight among its neighbours: 1 to 10,000 in version 2, shares of 2 to 262,144 in version 1.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn weight(&mut self) -> Result<u64, CgroupError> {
        let text = read(&mut self.weight, &mut self.buffer)?;
        number_in(self.weight.path(), text)
    }

    /// Sets its weight, in the version's own measure.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn set_weight(&mut self, weight: u64) -> Result<(), CgroupError> {
        write(&mut self.weight, &weight.to_string())
    }

    /// CPU time in each period.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn max(&mut self) -> Result<CpuMax, CgroupError> {
        let text = read(&mut self.quota, &mut self.buffer)?;
        if self.version == Version::V2 {
            return text.parse().map_err(|why| CgroupError::Odd { path: self.quota.path().into(), why });
        }
        let quota: i64 = number_in(self.quota.path(), text)?;
        let text = read(&mut self.period, &mut self.buffer)?;
        let period: i64 = number_in(self.period.path(), text)?;
        let quota_us = u64::try_from(quota).map_or(Limit::None, Limit::At);
        Ok(CpuMax { quota_us, period_us: u64::try_from(period.max(1)).unwrap_or(CpuMax::PERIOD_US) })
    }

    /// Sets CPU time in each period, where it is `before`.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn set_max(&mut self, before: CpuMax, max: CpuMax) -> Result<(), CgroupError> {
        if self.version == Version::V2 {
            return write(&mut self.quota, &max.to_string());
        }
        // Between the two writes the group has no more than the larger of before and after.
        match max.period_us.cmp(&before.period_us) {
            Ordering::Equal => self.set_quota(max),
            Ordering::Greater => {
                self.set_period(max)?;
                self.set_quota(max).inspect_err(|_| drop(self.set_period(before)))
            }
            Ordering::Less => {
                self.set_quota(max)?;
                self.set_period(max).inspect_err(|_| drop(self.set_quota(before)))
            }
        }
    }

    fn set_quota(&mut self, max: CpuMax) -> Result<(), CgroupError> {
        match max.quota_us {
            Limit::None => write(&mut self.quota, "-1"),
            Limit::At(quota) => write(&mut self.quota, &quota.to_string()),
        }
    }

    fn set_period(&mut self, max: CpuMax) -> Result<(), CgroupError> {
        write(&mut self.period, &max.period_us.to_string())
    }
}

fn read<'a>(file: &mut Kept, buffer: &'a mut String) -> Result<&'a str, CgroupError> {
    file.read(MOST_BYTES, buffer).map_err(|error| failed("read", file.path(), error))?;
    Ok(buffer)
}

fn write(file: &mut Kept, text: &str) -> Result<(), CgroupError> {
    file.write(text).map_err(|error| failed("write", file.path(), error))
}
