//! What the processor can do, from the folder `info`.

use halcyon_model::CacheMask;

use super::bandwidth::{Throttle, Unit};
use super::error::Error;
use super::files::Files;
use super::schemata::{Resource, Schemata, number};
use super::tree::{SMALL, Tree};

/// What a processor can do, and under which mount options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// The last-level cache, where its ways can be divided.
    pub l3: Option<CacheInfo>,
    /// The second-level cache, where its ways can be divided.
    pub l2: Option<CacheInfo>,
    /// How memory bandwidth is limited, where it can be.
    pub throttle: Option<Throttle>,
    /// Whether each thread of a core keeps its own limit (`per-thread`) or the lowest one holds for all of
    /// them (`max`); only Intel says so.
    pub throttles_threads: Option<bool>,
    /// Whether bandwidth to slow memory can be limited (`SMBA`).
    pub slow_memory: bool,
    /// What is counted, where anything is.
    pub monitoring: Option<MonitoringInfo>,
    /// How many groups the hardware has, the default one with them: the least of all resources.
    pub classes: u32,
}

/// A cache that can be divided by ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheInfo {
    /// Every way (`cbm_mask`).
    pub all: CacheMask,
    /// The fewest ways of a mask (`min_cbm_bits`).
    pub min_ways: u32,
    /// Ways that something else than CPUs uses as well, such as devices (`shareable_bits`).
    pub shareable: CacheMask,
    /// Whether ways need not be in one run; older kernels do not say.
    pub sparse: Option<bool>,
    /// Whether code and data have masks of their own (mount option `cdp`).
    pub code_and_data: bool,
}

impl CacheInfo {
    /// The ways of a mask that are also used by others than CPUs. To be told, not to be refused.
    #[must_use]
    pub const fn shared_with_devices(&self, mask: CacheMask) -> CacheMask {
        CacheMask(self.shareable.0 & mask.0)
    }
}

/// What is counted of each group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MonitoringInfo {
    /// How many groups can be counted at once (`num_rmids`), groups of control with them.
    pub groups: u32,
    /// Whether the use of the cache is counted.
    pub occupancy: bool,
    /// Whether all traffic to memory is counted.
    pub total: bool,
    /// Whether the traffic to the own socket's memory is counted.
    pub local: bool,
}

/// A decimal number alone in its file.
#[must_use]
pub fn parse_number(text: &str) -> Option<u32> {
    let text = text.trim();
    (!text.is_empty()).then(|| number(text, 10)).flatten()
}

/// A hexadecimal mask alone in its file.
#[must_use]
pub fn parse_mask(text: &str) -> Option<CacheMask> {
    let text = text.trim();
    (!text.is_empty()).then(|| number(text, 16)).flatten().map(CacheMask)
}

/// What `mon_features` names; events that are not known are passed over.
#[must_use]
pub fn parse_features(text: &str) -> MonitoringInfo {
    let has = |event: &str| text.lines().any(|line| line.trim() == event);
    MonitoringInfo {
        groups: 0,
        occupancy: has("llc_occupancy"),
        total: has("mbm_total_bytes"),
        local: has("mbm_local_bytes"),
    }
}

/// The values of one folder below `info`.
struct Folder<'a, F> {
    tree: &'a Tree<F>,
    name: &'a str,
}

impl<F: Files> Folder<'_, F> {
    fn value<T>(
        &self,
        file: &str,
        parse: impl Fn(&str) -> Option<T>,
        expected: &'static str,
    ) -> Result<T, Error> {
        let path = format!("info/{}/{file}", self.name);
        let text = self.tree.read(&path, SMALL)?;
        parse(&text).ok_or_else(|| self.tree.form(&path, &text, expected))
    }

    /// Nothing where the kernel has no such file.
    fn maybe<T>(
        &self,
        file: &str,
        parse: impl Fn(&str) -> Option<T>,
        expected: &'static str,
    ) -> Result<Option<T>, Error> {
        match self.value(file, parse, expected) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn number(&self, file: &str) -> Result<u32, Error> {
        self.value(file, parse_number, "a decimal number")
    }

    fn cache(&self, code_and_data: bool) -> Result<CacheInfo, Error> {
        let ways = |text: &str| parse_mask(text).filter(|mask| mask.0 != 0);
        Ok(CacheInfo {
            all: self.value("cbm_mask", ways, "a hexadecimal mask of at least one way")?,
            min_ways: self.number("min_cbm_bits")?,
            shareable: self.maybe("shareable_bits", parse_mask, "a hexadecimal mask")?.unwrap_or_default(),
            sparse: self.maybe("sparse_masks", |text| parse_number(text).map(|flag| flag != 0), "0 or 1")?,
            code_and_data,
        })
    }

    fn throttle(&self, root: &Schemata, controller: bool) -> Result<Throttle, Error> {
        let granularity = self.value(
            "bandwidth_gran",
            |text| parse_number(text).filter(|step| *step > 0),
            "a number above 0",
        )?;
        let linear = self.maybe("delay_linear", parse_number, "0 or 1")?;
        let values = root.lines.get(&Resource::Bandwidth).into_iter().flatten();
        let above = values.into_iter().any(|(_, value)| *value > Unit::Percent.unlimited());
        // AMD's limits are absolute and not linear, those of Intel and ARM are percentages and linear.
        let unit = match linear {
            Some(0) => Unit::EighthGigabyte,
            _ if controller || above => Unit::Mebibyte,
            _ => Unit::Percent,
        };
        let least = self.number("min_bandwidth")?;
        // The kernel's own controller takes any amount.
        let (least, granularity) = if unit == Unit::Mebibyte { (1, 1) } else { (least, granularity) };
        Ok(Throttle { unit, least, granularity })
    }

    fn monitoring(&self) -> Result<MonitoringInfo, Error> {
        let groups = self.number("num_rmids")?;
        let features = self.value("mon_features", |text| Some(parse_features(text)), "events")?;
        Ok(MonitoringInfo { groups, ..features })
    }
}

impl Info {
    /// Reads the folder `info`, and from the default group in which unit bandwidth is.
    pub(super) fn read<F: Files>(tree: &Tree<F>) -> Result<Self, Error> {
        let names: Vec<String> =
            tree.list("info")?.into_iter().filter(|it| it.is_folder).map(|it| it.name).collect();
        let folder =
            |name: &'static str| names.iter().any(|there| there == name).then_some(Folder { tree, name });
        let cache = |plain, data| -> Result<Option<CacheInfo>, Error> {
            match (folder(data), folder(plain)) {
                (Some(split), _) => split.cache(true).map(Some),
                (None, Some(whole)) => whole.cache(false).map(Some),
                (None, None) => Ok(None),
            }
        };
        let mut info = Self {
            l3: cache("L3", "L3DATA")?,
            l2: cache("L2", "L2DATA")?,
            slow_memory: folder("SMBA").is_some(),
            ..Self::default()
        };
        if let Some(bandwidth) = folder("MB") {
            let controller = tree.list("")?.iter().any(|entry| entry.name == "mba_MBps_event");
            info.throttle = Some(bandwidth.throttle(&tree.schemata("")?, controller)?);
            let mode = |text: &str| Some(text.trim().to_owned());
            let mode = bandwidth.maybe("thread_throttle_mode", mode, "a mode")?;
            info.throttles_threads = match mode.as_deref() {
                Some("per-thread") => Some(true),
                Some("max") => Some(false),
                _ => None,
            };
        }
        info.monitoring = folder("L3_MON").map(|counted| counted.monitoring()).transpose()?;
        let dividing = Resource::ALL.into_iter().filter_map(|resource| folder(resource.name()));
        for resource in dividing {
            let classes = resource.number("num_closids")?;
            info.classes = if info.classes == 0 { classes } else { info.classes.min(classes) };
        }
        Ok(info)
    }
}
