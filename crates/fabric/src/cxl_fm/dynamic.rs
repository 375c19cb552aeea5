//! Dynamic capacity: memory of a device that is offered to a host, and taken back, in extents.

use super::bytes::{DecodeError, LONGEST_PAYLOAD, Payload, Reader, zeros};

/// Bytes of an extent.
const EXTENT: usize = 40;
/// Regions that a device may have.
pub const REGIONS: usize = 8;

/// Asks what a device can do with dynamic capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GetDynamicInfo;

/// What a device can do with dynamic capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DynamicInfo {
    /// Hosts that it can serve.
    pub hosts: u8,
    /// Regions of each.
    pub regions: u8,
    /// Ways of choosing extents to add, one bit each.
    pub selection_policies: u16,
    /// Ways of choosing extents to release, one bit each.
    pub removal_policies: u16,
    /// Regions whose sanitizing can be set, one bit each.
    pub sanitize: u8,
    /// Capacity in all, in units of 256 MiB.
    pub capacity: u64,
    /// Block sizes of each region, one bit each: bit n for 2ⁿ bytes.
    pub block_sizes: [u64; REGIONS],
}

/// Asks for a host's regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetHostRegions {
    /// The host.
    pub host: u16,
    /// How many.
    pub count: u8,
    /// The first.
    pub start: u8,
}

/// A host's regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRegions {
    /// The host.
    pub host: u16,
    /// Regions in all.
    pub regions: u8,
    /// How many of the eight that follow mean something.
    pub returned: u8,
    /// The regions.
    pub list: [Region; REGIONS],
    /// Extents that the device can have.
    pub extents: u32,
    /// Of them, those that are left.
    pub extents_left: u32,
    /// Tags that the device can have.
    pub tags: u32,
    /// Of them, those that are left.
    pub tags_left: u32,
}

/// A region of dynamic capacity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Region {
    /// Where it begins, in bytes.
    pub base: u64,
    /// What is decoded, in units of 256 MiB.
    pub decode_length: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The unit of extents in bytes.
    pub block_size: u64,
    /// What kind of memory it is.
    pub flags: u8,
    /// Whether memory is sanitized when it is released.
    pub sanitize: u8,
}

/// Sets the block size of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetRegion {
    /// The region.
    pub region: u8,
    /// The unit of extents in bytes.
    pub block_size: u64,
    /// Whether memory is sanitized when it is released.
    pub sanitize: u8,
}

/// Asks which extents a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetExtents {
    /// The host.
    pub host: u16,
    /// How many.
    pub count: u32,
    /// The first.
    pub start: u32,
}

/// Which extents a host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extents {
    /// The host.
    pub host: u16,
    /// The first of the list.
    pub start: u32,
    /// Extents in all.
    pub total: u32,
    /// Rises with each change: lists of two numbers do not belong together.
    pub generation: u32,
    /// The extents.
    pub list: Vec<Extent>,
}

/// A piece of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the device, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// What it is for.
    pub tag: [u8; 16],
    /// Order among extents that several hosts share; 0 if they do not.
    pub sequence: u16,
}

/// Offers memory to a host. It has it once it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCapacity {
    /// The host.
    pub host: u16,
    /// Who chooses the extents; 3 is the manager.
    pub policy: u8,
    /// The region.
    pub region: u8,
    /// Bytes in all.
    pub length: u64,
    /// What it is for.
    pub tag: [u8; 16],
    /// The extents, where the manager chooses.
    pub extents: Vec<Extent>,
}

/// Asks a host for memory back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseCapacity {
    /// The host.
    pub host: u16,
    /// Who chooses the extents (bits 3:0), by force (bit 4), sanitize (bit 5).
    pub flags: u8,
    /// Bytes in all.
    pub length: u64,
    /// What it was for.
    pub tag: [u8; 16],
    /// The extents, where the manager chooses.
    pub extents: Vec<Extent>,
}

impl ReleaseCapacity {
    /// The flag that takes memory from a host that uses it.
    pub const FORCED: u8 = 0x10;
}

impl Payload for GetDynamicInfo {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

impl Payload for DynamicInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.hosts, self.regions, 0, 0]);
        out.extend(self.selection_policies.to_le_bytes());
        zeros(out, 2);
        out.extend(self.removal_policies.to_le_bytes());
        out.extend([self.sanitize, 0]);
        out.extend(self.capacity.to_le_bytes());
        out.extend(self.block_sizes.iter().flat_map(|sizes| sizes.to_le_bytes()));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let hosts = reader.u8("number of hosts")?;
        let regions = reader.u8("number of regions")?;
        reader.skip(2)?;
        let selection_policies = reader.u16("selection policies")?;
        reader.skip(2)?;
        let removal_policies = reader.u16("removal policies")?;
        let sanitize = reader.u8("sanitize on release")?;
        reader.skip(1)?;
        let capacity = reader.u64("total capacity")?;
        let mut block_sizes = [0; REGIONS];
        for sizes in &mut block_sizes {
            *sizes = reader.u64("block sizes")?;
        }
        Ok(Self { hosts, regions, selection_policies, removal_policies, sanitize, capacity, block_sizes })
    }
}

impl Payload for GetHostRegions {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.host.to_le_bytes());
        out.extend([self.count, self.start]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = reader.u16("host")?;
        Ok(Self { host, count: reader.u8("number of regions")?, start: reader.u8("first region")? })
    }
}

impl Payload for HostRegions {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.host.to_le_bytes());
        out.extend([self.regions, self.returned]);
        self.list.iter().for_each(|region| region.put(out));
        for number in [self.extents, self.extents_left, self.tags, self.tags_left] {
            out.extend(number.to_le_bytes());
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = reader.u16("host")?;
        let regions = reader.u8("number of regions")?;
        let returned = reader.u8("regions returned")?;
        let mut list = [Region::default(); REGIONS];
        for region in &mut list {
            *region = Region::take(reader)?;
        }
        Ok(Self {
            host,
            regions,
            returned,
            list,
            extents: reader.u32("supported extents")?,
            extents_left: reader.u32("available extents")?,
            tags: reader.u32("supported tags")?,
            tags_left: reader.u32("available tags")?,
        })
    }
}

impl Payload for Region {
    fn put(&self, out: &mut Vec<u8>) {
        for number in [self.base, self.decode_length, self.length, self.block_size] {
            out.extend(number.to_le_bytes());
        }
        out.extend([self.flags, 0, 0, 0, self.sanitize, 0, 0, 0]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let base = reader.u64("region base")?;
        let decode_length = reader.u64("region decode length")?;
        let length = reader.u64("region length")?;
        let block_size = reader.u64("region block size")?;
        let flags = reader.u8("region flags")?;
        reader.skip(3)?;
        let sanitize = reader.u8("region sanitize on release")?;
        reader.skip(3)?;
        Ok(Self { base, decode_length, length, block_size, flags, sanitize })
    }
}

impl Payload for SetRegion {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.region, 0, 0, 0]);
        out.extend(self.block_size.to_le_bytes());
        out.extend([self.sanitize, 0, 0, 0]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let region = reader.u8("region")?;
        reader.skip(3)?;
        let block_size = reader.u64("block size")?;
        let sanitize = reader.u8("sanitize on release")?;
        reader.skip(3)?;
        Ok(Self { region, block_size, sanitize })
    }
}

impl Payload for GetExtents {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.host.to_le_bytes());
        zeros(out, 2);
        out.extend(self.count.to_le_bytes());
        out.extend(self.start.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = reader.u16("host")?;
        reader.skip(2)?;
        Ok(Self { host, count: reader.u32("number of extents")?, start: reader.u32("first extent")? })
    }
}

impl Payload for Extents {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.host.to_le_bytes());
        zeros(out, 2);
        out.extend(self.start.to_le_bytes());
        put_number(self.list.len(), out);
        out.extend(self.total.to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        zeros(out, 4);
        self.list.iter().for_each(|extent| extent.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = reader.u16("host")?;
        reader.skip(2)?;
        let start = reader.u32("first extent")?;
        let returned = reader.u32("extents returned")?;
        let total = reader.u32("extents in all")?;
        let generation = reader.u32("generation")?;
        reader.skip(4)?;
        Ok(Self { host, start, total, generation, list: extents(reader, returned)? })
    }
}

impl Payload for Extent {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.start.to_le_bytes());
        out.extend(self.length.to_le_bytes());
        out.extend(self.tag);
        out.extend(self.sequence.to_le_bytes());
        zeros(out, 6);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.u64("extent start")?;
        let length = reader.u64("extent length")?;
        let tag = reader.array("extent tag")?;
        let sequence = reader.u16("shared extent sequence")?;
        reader.skip(6)?;
        Ok(Self { start, length, tag, sequence })
    }
}

impl Payload for AddCapacity {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.host.to_le_bytes());
        out.extend([self.policy, self.region]);
        put_extents(self.length, self.tag, &self.extents, out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = reader.u16("host")?;
        let policy = reader.u8("selection policy")?;
        let region = reader.u8("region")?;
        let (length, tag, extents) = take_extents(reader)?;
        Ok(Self { host, policy, region, length, tag, extents })
    }
}

impl Payload for ReleaseCapacity {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.host.to_le_bytes());
        out.extend([self.flags, 0]);
        put_extents(self.length, self.tag, &self.extents, out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = reader.u16("host")?;
        let flags = reader.u8("removal policy")?;
        reader.skip(1)?;
        let (length, tag, extents) = take_extents(reader)?;
        Ok(Self { host, flags, length, tag, extents })
    }
}

fn put_number(number: usize, out: &mut Vec<u8>) {
    out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_extents(length: u64, tag: [u8; 16], extents: &[Extent], out: &mut Vec<u8>) {
    out.extend(length.to_le_bytes());
    out.extend(tag);
    put_number(extents.len(), out);
    // The header of the list is 32 bytes, and the extents begin on a boundary of 4.
    extents.iter().for_each(|extent| extent.put(out));
}

fn take_extents(reader: &mut Reader<'_>) -> Result<(u64, [u8; 16], Vec<Extent>), DecodeError> {
    let length = reader.u64("length")?;
    let tag = reader.array("tag")?;
    let number = reader.u32("number of extents")?;
    Ok((length, tag, extents(reader, number)?))
}

fn extents(reader: &mut Reader<'_>, number: u32) -> Result<Vec<Extent>, DecodeError> {
    let most = u32::try_from(LONGEST_PAYLOAD / EXTENT).unwrap_or(u32::MAX);
    if number > most {
        return Err(reader.wrong("number of extents", number.into(), "no payload has room for so many"));
    }
    reader.list("an extent", number as usize, EXTENT)
}
