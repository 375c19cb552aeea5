//! The host file as it is written, field by field; nothing here is checked beyond its type.

use serde::Deserialize;
use toml::Spanned;

use crate::ids::PciAddress;
use crate::topology::DeviceClass;
use crate::units::{Bandwidth, ByteSize, Lanes, LinkSpeed, MilliCpu};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostForm {
    pub(super) name: Spanned<String>,
    pub(super) distances: Option<Spanned<Vec<Vec<u32>>>>,
    #[serde(default)]
    pub(super) socket: Vec<SocketForm>,
    #[serde(default)]
    pub(super) memory: Vec<MemoryForm>,
    #[serde(default)]
    pub(super) root_port: Vec<RootPortForm>,
    #[serde(default)]
    pub(super) lane_pool: Vec<LanePoolForm>,
    #[serde(default)]
    pub(super) switch: Vec<SwitchForm>,
    #[serde(default)]
    pub(super) port: Vec<PortForm>,
    #[serde(default)]
    pub(super) device: Vec<DeviceForm>,
    #[serde(default)]
    pub(super) gpu: Vec<GpuForm>,
    #[serde(default)]
    pub(super) change: ChangesForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketForm {
    pub(super) name: Spanned<String>,
    pub(super) cores: Spanned<u32>,
    pub(super) threads_per_core: Option<Spanned<u32>>,
    pub(super) host_cpu: Option<Spanned<MilliCpu>>,
    pub(super) cache: Option<CacheForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheForm {
    pub(super) size: Spanned<ByteSize>,
    pub(super) ways: Spanned<u32>,
    pub(super) min_ways: Option<Spanned<u32>>,
    pub(super) classes: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryForm {
    pub(super) name: Spanned<String>,
    pub(super) socket: Option<Spanned<String>>,
    pub(super) device: Option<Spanned<String>>,
    pub(super) capacity: Spanned<ByteSize>,
    pub(super) host_memory: Option<Spanned<ByteSize>>,
    pub(super) bandwidth: Spanned<Bandwidth>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootPortForm {
    pub(super) name: Spanned<String>,
    pub(super) socket: Spanned<String>,
    pub(super) width: Lanes,
    pub(super) speed: LinkSpeed,
    pub(super) hot_plug: Option<bool>,
    pub(super) pool: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanePoolForm {
    pub(super) name: Spanned<String>,
    pub(super) lanes: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchForm {
    pub(super) name: Spanned<String>,
    pub(super) below: Spanned<String>,
    pub(super) width: Lanes,
    pub(super) speed: LinkSpeed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortForm {
    pub(super) name: Spanned<String>,
    pub(super) switch: Spanned<String>,
    pub(super) width: Lanes,
    pub(super) speed: LinkSpeed,
    pub(super) hot_plug: Option<bool>,
    pub(super) pool: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceForm {
    pub(super) name: Spanned<String>,
    pub(super) class: DeviceClass,
    pub(super) port: Option<Spanned<String>>,
    pub(super) part_of: Option<Spanned<String>>,
    pub(super) width: Option<Spanned<Lanes>>,
    pub(super) speed: Option<Spanned<LinkSpeed>>,
    pub(super) initial_width: Option<Spanned<Lanes>>,
    pub(super) bandwidth: Spanned<Bandwidth>,
    pub(super) address: Option<Spanned<PciAddress>>,
    pub(super) iommu_group: Option<u32>,
    pub(super) hot_plug: Option<bool>,
    pub(super) host_owned: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GpuForm {
    pub(super) device: Spanned<String>,
    pub(super) memory: Spanned<ByteSize>,
    pub(super) slices: Spanned<u32>,
    #[serde(default)]
    pub(super) profile: Vec<ProfileForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileForm {
    pub(super) name: Spanned<String>,
    pub(super) compute: Spanned<u32>,
    pub(super) span: Spanned<u32>,
    pub(super) starts: Spanned<Vec<u32>>,
}

/// One field for each [`ChangeKind`](crate::capability::ChangeKind), so that the parser itself points at
/// a kind that does not exist.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct ChangesForm {
    pub(super) cpu: Option<Spanned<ChangeForm>>,
    pub(super) memory_bandwidth: Option<Spanned<ChangeForm>>,
    pub(super) placement: Option<Spanned<ChangeForm>>,
    pub(super) memory: Option<Spanned<ChangeForm>>,
    pub(super) memory_migration: Option<Spanned<ChangeForm>>,
    pub(super) cache_mask: Option<Spanned<ChangeForm>>,
    pub(super) cache_class: Option<Spanned<ChangeForm>>,
    pub(super) device: Option<Spanned<ChangeForm>>,
    pub(super) device_bandwidth: Option<Spanned<ChangeForm>>,
    pub(super) link: Option<Spanned<ChangeForm>>,
    pub(super) gpu_instance: Option<Spanned<ChangeForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeForm {
    pub(super) available: Option<bool>,
    pub(super) pace_ms: Option<Spanned<u64>>,
    pub(super) latency_ms: Option<Spanned<u64>>,
    pub(super) interruption_ms: Option<Spanned<u64>>,
    pub(super) cost_s: Option<Spanned<f64>>,
    pub(super) granularity: Option<Spanned<toml::Value>>,
}
