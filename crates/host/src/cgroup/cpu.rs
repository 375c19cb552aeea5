//! CPU time of VMs, and the socket that they run on.
//!
//! A share becomes a weight and a ceiling a quota of each period of 100 ms. Version 1 counts shares from 2
//! to 262,144, of which one is a milli-CPU here. Version 2 has weights from 1 to 10,000, of which the whole
//! socket is 10,000: the ratio of two shares is within 1 % as long as both are above a hundredth of the
//! socket. A ceiling of the whole socket or more is no quota at all, which spares the kernel the
//! counting.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Driver, ObserveError, Progress, Ticket, error_chain};
use halcyon_model::{
    Assignment, Capabilities, ChangeKind, Control, Grant, Holding, MilliCpu, Placement, SocketId, Step, VmId,
};

use super::access::CgroupError;
use super::cpu_files::CpuFiles;
use super::files::{CpuMax, Limit, NumberList};
use super::group::{Controller, Group, Version};

/// The least quota that the kernel takes is a millisecond of a period: ten milli-CPU.
const LEAST_QUOTA_US: u64 = 1000;
const US_PER_MILLI: u64 = CpuMax::PERIOD_US / 1000;

/// What belongs to a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketCpus {
    /// Its CPUs.
    pub cpus: NumberList,
    /// The memory nodes that a VM placed there may use; none when placement leaves memory alone.
    pub nodes: Option<NumberList>,
    /// All its CPU time.
    pub time: MilliCpu,
}

/// Changes CPU time and placement of VMs through their groups.
#[derive(Debug)]
pub struct CpuDriver {
    guests: BTreeMap<VmId, Guest>,
    sockets: Sockets,
    places: bool,
}

#[derive(Debug)]
struct Guest {
    group: Group,
    /// None where the group has no controller for CPU time.
    files: Option<CpuFiles>,
    /// What the files were read to say, or were given since.
    known: Option<Setting>,
}

/// What a group's files say about its CPU time.
#[derive(Debug, Clone, Copy)]
struct Setting {
    weight: u64,
    max: CpuMax,
}

impl Setting {
    fn of(files: &mut CpuFiles) -> Result<Self, CgroupError> {
        Ok(Self { weight: files.weight()?, max: files.max()? })
    }

    /// Writes what is different from `before`; where not all of it can be, nothing stays changed.
    fn put(self, files: &mut CpuFiles, before: Self) -> Result<(), CgroupError> {
        if self.weight != before.weight {
            files.set_weight(self.weight)?;
        }
        if self.max.is_as(before.max) {
            return Ok(());
        }
        files.set_max(before.max, self.max).inspect_err(|_| {
            // The error that is told is the first one; a group that is gone cannot be led back.
            let _ = files.set_weight(before.weight);
        })
    }
}

impl Guest {
    fn new(group: Group) -> Self {
        let files = CpuFiles::of(&group).ok();
        Self { group, files, known: None }
    }

    fn files(&mut self) -> Result<&mut CpuFiles, CgroupError> {
        let missing =
            || CgroupError::Missing { controller: Controller::Cpu, group: self.group.name().into() };
        self.files.as_mut().ok_or_else(missing)
    }

    fn grant(&mut self, sockets: &Sockets, socket: SocketId, to: Grant<MilliCpu>) -> Result<(), CgroupError> {
        let known = self.known.take();
        let files = self.files()?;
        let before = known.map_or_else(|| Setting::of(files), Ok)?;
        let weight = sockets.weight(files.version(), socket, to.share);
        let after = Setting { weight, max: sockets.max(socket, to.ceiling) };
        after.put(files, before)?;
        self.known = Some(after);
        Ok(())
    }

    fn place(&mut self, sockets: &Sockets, socket: &SocketCpus, to: &Placement) -> Result<(), CgroupError> {
        let group = self.group.clone();
        let cpus = group.cpus()?;
        let nodes = socket.nodes.as_ref().map(|to| Ok((group.nodes()?, to))).transpose()?;
        let leave_cpus = || drop(group.set_cpus(&cpus));
        let leave_nodes = || nodes.iter().for_each(|(before, _)| drop(group.set_nodes(before)));
        group.set_cpus(&socket.cpus)?;
        if let Some((_, to)) = &nodes {
            group.set_nodes(to).inspect_err(|_| leave_cpus())?;
        }
        self.grant(sockets, to.socket, to.cpu).inspect_err(|_| {
            leave_nodes();
            leave_cpus();
        })
    }

    fn read(&mut self, sockets: &Sockets, places: bool, holding: &mut Holding) -> Result<(), CgroupError> {
        self.known = None;
        // All is read before anything is said, so that what cannot be read leaves all as it is believed.
        let cpus = if places { self.group.cpus()? } else { NumberList::default() };
        let files = self.files()?;
        let (version, setting) = (files.version(), Setting::of(files)?);
        let socket = sockets.nearest(&cpus, holding.socket);
        let Grant { mut share, mut ceiling } = holding.cpu;
        if !sockets.max(socket, ceiling).is_as(setting.max) {
            ceiling = sockets.ceiling(socket, setting.max);
        }
        if sockets.weight(version, socket, share) != setting.weight {
            share = sockets.share(version, socket, setting.weight);
        }
        self.known = Some(setting);
        holding.socket = socket;
        holding.cpu = Grant { share: share.min(ceiling), ceiling };
        Ok(())
    }
}

/// What belongs to each socket, and how its CPU time is told to the kernel.
#[derive(Debug)]
struct Sockets(Vec<SocketCpus>);

impl Sockets {
    fn time(&self, socket: SocketId) -> MilliCpu {
        self.0.get(socket.index()).map_or(MilliCpu::MAX, |socket| socket.time)
    }

    fn weight(&self, version: Version, socket: SocketId, share: MilliCpu) -> u64 {
        match version {
            Version::V1 => share.get().clamp(2, 262_144),
            Version::V2 => {
                let whole = u128::from(self.time(socket).get().max(1));
                let weight = (u128::from(share.get()) * 10_000 + whole / 2) / whole;
                u64::try_from(weight).unwrap_or(u64::MAX).clamp(1, 10_000)
            }
        }
    }

    fn share(&self, version: Version, socket: SocketId, weight: u64) -> MilliCpu {
        match version {
            // Two is the least that the kernel knows, and stands for nothing.
            Version::V1 => MilliCpu::new(if weight <= 2 { 0 } else { weight }),
            Version::V2 => {
                let share = u128::from(weight.min(10_000)) * u128::from(self.time(socket).get()) / 10_000;
                MilliCpu::new(if weight <= 1 { 0 } else { u64::try_from(share).unwrap_or(u64::MAX) })
            }
        }
    }

    fn max(&self, socket: SocketId, ceiling: MilliCpu) -> CpuMax {
        let quota = ceiling.get().saturating_mul(US_PER_MILLI).max(LEAST_QUOTA_US);
        let quota_us = if ceiling >= self.time(socket) { Limit::None } else { Limit::At(quota) };
        CpuMax { quota_us, period_us: CpuMax::PERIOD_US }
    }

    fn ceiling(&self, socket: SocketId, max: CpuMax) -> MilliCpu {
        match max.quota_us {
            Limit::None => self.time(socket),
            Limit::At(quota) => {
                let milli = u128::from(quota) * 1000 / u128::from(max.period_us.max(1));
                MilliCpu::new(u64::try_from(milli).unwrap_or(u64::MAX))
            }
        }
    }

    /// The socket that has most of these CPUs; the believed one if no other has more. A group that may run
    /// everywhere was never placed, and is where it is believed to be.
    fn nearest(&self, cpus: &NumberList, believed: SocketId) -> SocketId {
        let shared =
            |socket: SocketId| self.0.get(socket.index()).map_or(0, |socket| cpus.shared_with(&socket.cpus));
        let others = (0..self.0.len()).map(SocketId::at);
        others.fold(believed, |best, other| if shared(other) > shared(best) { other } else { best })
    }
}

impl CpuDriver {
    /// A driver of these groups on these sockets, by socket id. VMs are placed where every group has a
    /// cpuset and the CPUs of every socket are known.
    #[must_use]
    pub fn new(groups: BTreeMap<VmId, Group>, sockets: Vec<SocketCpus>) -> Self {
        let known = sockets.len() > 1 && sockets.iter().all(|socket| !socket.cpus.0.is_empty());
        let places = known && groups.values().all(|group| group.has(Controller::Cpuset));
        let guests = groups.into_iter().map(|(vm, group)| (vm, Guest::new(group))).collect();
        Self { guests, sockets: Sockets(sockets), places }
    }
}

impl Actuate for CpuDriver {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::from_micros(100)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let refuse = |why: String| ActuateError { step: step.to_string(), why };
        let vm = step.vm().ok_or_else(|| refuse("this driver changes CPU time of VMs only".into()))?;
        let guest = self.guests.get_mut(&vm).ok_or_else(|| refuse(format!("{vm} has no control group")))?;
        let made = match step {
            Step::SetCpu { socket, to, .. } => guest.grant(&self.sockets, *socket, *to),
            Step::Place { to, .. } if self.places => {
                let socket = self.sockets.0.get(to.socket.index());
                let socket = socket.ok_or_else(|| refuse(format!("{} has no CPUs here", to.socket)))?;
                guest.place(&self.sockets, socket, to)
            }
            _ => return Err(refuse("this driver changes CPU time of VMs only".into())),
        };
        made.map(|()| Progress::Done).map_err(|error| refuse(error_chain(&error)))
    }

    fn poll(&mut self, _: Ticket) -> Progress {
        Progress::Failed { why: "no such change is under way".into() }
    }
}

impl Driver for CpuDriver {
    fn name(&self) -> &'static str {
        "cgroup-cpu"
    }

    fn capabilities(&self) -> Capabilities {
        let cpu = Control { pace: Duration::from_millis(100), granularity: 10, ..Control::FREE };
        let place = Control { pace: Duration::from_secs(10), cost_s: 0.05, ..Control::FREE };
        let all = Capabilities::none().with(ChangeKind::Cpu, Some(cpu));
        all.with(ChangeKind::Placement, self.places.then_some(place))
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        for holding in &mut held.holdings {
            let Some(guest) = self.guests.get_mut(&holding.vm) else { continue };
            if let Err(error) = guest.read(&self.sockets, self.places, holding) {
                tracing::debug!(vm = %holding.vm, error = error_chain(&error), "not read");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOCKET: SocketId = SocketId(0);

    fn sockets(cores: u64) -> Sockets {
        let time = MilliCpu::cores(cores);
        Sockets(vec![SocketCpus { cpus: NumberList::default(), nodes: None, time }])
    }

    proptest! {
        /// What is written is read as it is, and nothing is written that the kernel does not take.
        #[test]
        fn a_weight_stands_for_its_share(cores in 1..512_u64, part in 0.0..=1.0_f64) {
            let sockets = sockets(cores);
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let share = MilliCpu::new((cores as f64 * 1000.0 * part) as u64);
            for (version, allowed) in [(Version::V1, 2..=262_144), (Version::V2, 1..=10_000)] {
                let weight = sockets.weight(version, SOCKET, share);
                prop_assert!(allowed.contains(&weight), "{version:?}: {weight}");
                let read = sockets.share(version, SOCKET, weight);
                let off = read.get().abs_diff(share.get());
                let fine = match version {
                    Version::V1 => if share.get() <= 2 { 2 } else { share.get().saturating_sub(262_144) },
                    // Half a weight, which is a ten thousandth of the socket; the least stands for nothing.
                    Version::V2 => cores * 1000 / 10_000 * 3 / 2 + 1,
                };
                prop_assert!(off <= fine, "{version:?}: {share:?} is {weight}, which is {read:?}");
            }
        }

        #[test]
        fn ratios_of_shares_above_a_hundredth_of_the_socket_are_kept(
            cores in 1..512_u64, one in 0.01..=1.0_f64, other in 0.01..=1.0_f64,
        ) {
            let sockets = sockets(cores);
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let [one, other] = [one, other].map(|part| MilliCpu::new((cores as f64 * 1000.0 * part) as u64));
            #[allow(clippy::cast_precision_loss)]
            let ratio = |one: u64, other: u64| one as f64 / other as f64;
            let weight = |share| sockets.weight(Version::V2, SOCKET, share);
            let (wanted, got) = (ratio(one.get(), other.get()), ratio(weight(one), weight(other)));
            prop_assert!((got / wanted - 1.0).abs() <= 0.0101, "{wanted} became {got}");
        }

        #[test]
        fn a_quota_stands_for_its_ceiling(cores in 1..512_u64, milli in 0..600_000_u64) {
            let sockets = sockets(cores);
            let ceiling = MilliCpu::new(milli);
            let max = sockets.max(SOCKET, ceiling);
            let read = sockets.ceiling(SOCKET, max);
            let expected = milli.max(LEAST_QUOTA_US / US_PER_MILLI).min(cores * 1000);
            prop_assert_eq!(read, MilliCpu::new(expected));
            prop_assert_eq!(max.quota_us == Limit::None, milli >= cores * 1000, "the whole socket is no quota");
        }
    }
}
