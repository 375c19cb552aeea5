//! What a VM is promised, what it may reach, and what it is judged by.

use std::time::Duration;

use crate::ids::VmId;
use crate::topology::DeviceClass;
use crate::units::{Bandwidth, ByteSize, MilliCpu, Weight};

/// The least and the most that a VM may hold of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds<T> {
    /// What it holds at every instant, whatever happens to its neighbours.
    pub reservation: T,
    /// What it never exceeds.
    pub limit: T,
}

impl<T: Copy + Ord> Bounds<T> {
    /// `amount`, moved into the bounds.
    #[must_use]
    pub fn clamp(&self, amount: T) -> T {
        amount.min(self.limit).max(self.reservation)
    }

    /// Whether `amount` is within the bounds.
    #[must_use]
    pub fn contains(&self, amount: T) -> bool {
        self.reservation <= amount && amount <= self.limit
    }
}

/// A virtual machine as its operator describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct VmSpec {
    /// Its id for as long as it runs.
    pub id: VmId,
    /// What people call it.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// How much it counts against its neighbours.
    pub weight: Weight,
    /// CPU time.
    pub cpu: Bounds<MilliCpu>,
    /// Memory.
    pub memory: Bounds<ByteSize>,
    /// Memory bandwidth.
    pub memory_bandwidth: Bounds<Bandwidth>,
    /// Devices that it must have or would like.
    pub devices: Vec<DeviceWish>,
    /// GPU compute slices: what it must have, and the most it can use.
    pub gpu_slices: Bounds<u32>,
    /// What it is judged by.
    pub objective: Objective,
    /// The name of its application profile, where known.
    pub application: Option<String>,
}

impl VmSpec {
    /// Its wish for devices of a class.
    #[must_use]
    pub fn wish(&self, class: DeviceClass) -> Option<&DeviceWish> {
        self.devices.iter().find(|wish| wish.class == class)
    }
}

/// Devices of one class that a VM must have or would like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceWish {
    /// What kind.
    pub class: DeviceClass,
    /// How many: what it must hold, and the most it can use.
    pub count: Bounds<u32>,
    /// Bandwidth of each of them through the fabric.
    pub bandwidth: Bounds<Bandwidth>,
}

/// What a VM is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Requests are to be answered within a time, 99 of 100 of them.
    Latency {
        /// The time.
        p99: Duration,
    },
    /// Work is to be done as fast as it would be alone.
    Throughput,
    /// Whatever is left is welcome.
    BestEffort,
}
