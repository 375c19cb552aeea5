//! What the host counts of a VM outside of its control group: interfaces and PCIe links.
//!
//! Forms: the kernel's `ABI/testing/sysfs-class-net-statistics` and `ABI/testing/sysfs-bus-pci`.

use std::path::Path;

use halcyon_model::{DeviceId, Lanes, LinkSpeed, PciAddress};

use super::guest::{Counted, Guest, Paces};
use super::source::{Kind, Moment, SampleError, Source, number};
use crate::kept::Kept;

/// More than any of these files has.
const MOST: usize = 256;

/// What an interface of the host received and sent. On a tap, what the host received is what the guest sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Carried {
    /// Bytes received by the host.
    pub(super) received_bytes: u64,
    /// Bytes sent by the host.
    pub(super) sent_bytes: u64,
}

/// How a link is and what it could be. What the kernel does not know is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// The function below it.
    pub address: PciAddress,
    /// Its speed now.
    pub speed: Option<LinkSpeed>,
    /// Its width now.
    pub width: Option<Lanes>,
    /// The highest speed of the function.
    pub most_speed: Option<LinkSpeed>,
    /// The largest width of the function.
    pub most_width: Option<Lanes>,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) device: DeviceId,
    name: String,
    files: [Kept; 2],
    pub(super) carried: Source<Carried>,
}

impl Interface {
    /// Those that count for a VM.
    pub(super) fn all(net: &Path, guest: &Guest) -> Vec<Self> {
        let interface = |(device, counted): &(DeviceId, Counted)| match counted {
            Counted::Interface(name) => {
                let file = |file: &str| Kept::new(net.join(name).join("statistics").join(file));
                let carried = Source::new(Kind::Interfaces);
                let files = ["rx_bytes", "tx_bytes"].map(file);
                Some(Self { device: *device, name: name.clone(), files, carried })
            }
            _ => None,
        };
        guest.devices.iter().filter_map(interface).collect()
    }

    pub(super) fn refresh(&mut self, at: Moment, paces: &Paces, buffer: &mut String) {
        let Self { name, files: [received, sent], carried, .. } = self;
        carried.refresh(at, paces.devices, |_| {
            if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
                return Err(SampleError::Name(name.chars().take(60).collect()));
            }
            let received_bytes = count(received, buffer)?;
            Ok(Some(Carried { received_bytes, sent_bytes: count(sent, buffer)? }))
        });
    }
}

#[derive(Debug)]
pub(super) struct Link {
    address: PciAddress,
    /// Speed and width now, and at most.
    files: [Kept; 4],
    pub(super) state: Source<LinkState>,
}

impl Link {
    pub(super) fn new(pci: &Path, address: PciAddress) -> Self {
        let folder = pci.join(address.to_string());
        let names = ["current_link_speed", "current_link_width", "max_link_speed", "max_link_width"];
        let files = names.map(|name| Kept::new(folder.join(name)));
        Self { address, files, state: Source::new(Kind::Links) }
    }

    pub(super) fn refresh(&mut self, at: Moment, paces: &Paces, buffer: &mut String) {
        let Self { address, files: [speed_now, width_now, most_speed, most_width], state } = self;
        state.refresh(at, paces.links, |_| {
            Ok(Some(LinkState {
                address: *address,
                speed: speed(text(speed_now, buffer)?),
                width: width(text(width_now, buffer)?),
                most_speed: speed(text(most_speed, buffer)?),
                most_width: width(text(most_width, buffer)?),
            }))
        });
    }
}

/// `16.0 GT/s PCIe`; older kernels write `8 GT/s`, and `Unknown` where a link is down.
fn speed(text: &str) -> Option<LinkSpeed> {
    let rate: f64 = text.split_whitespace().next()?.parse().ok()?;
    let is = |speed: &LinkSpeed| {
        speed.gt_s().trim_end_matches("GT/s").parse::<f64>().is_ok_and(|known| (known - rate).abs() < 0.01)
    };
    LinkSpeed::ALL.into_iter().find(is)
}

/// Zero where a link is down, and 255 where the function is gone.
fn width(text: &str) -> Option<Lanes> {
    text.trim().parse::<u8>().ok().and_then(Lanes::new)
}

fn text<'a>(file: &mut Kept, buffer: &'a mut String) -> Result<&'a str, SampleError> {
    file.read(MOST, buffer).map_err(|error| SampleError::read(file.path(), error))?;
    Ok(buffer)
}

fn count(file: &mut Kept, buffer: &mut String) -> Result<u64, SampleError> {
    let text = text(file, buffer)?;
    number(file.path(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_kernels_write_them() {
        assert_eq!(speed("16.0 GT/s PCIe\n"), Some(LinkSpeed::Gen4));
        assert_eq!(speed("2.5 GT/s PCIe\n"), Some(LinkSpeed::Gen1));
        assert_eq!(speed("8 GT/s\n"), Some(LinkSpeed::Gen3));
        for odd in ["", "Unknown\n", "Unknown speed\n", "3.0 GT/s", "NaN GT/s", "-8 GT/s", "inf"] {
            assert_eq!(speed(odd), None, "{odd}");
        }
        assert_eq!(width("16\n"), Lanes::new(16));
        for odd in ["0", "255", "3", "x", "", "4096"] {
            assert_eq!(width(odd), None, "{odd}");
        }
    }
}
