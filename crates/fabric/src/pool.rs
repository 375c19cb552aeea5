//! Hosts and the switches that they share, as far as bandwidth goes: every link with what it is capable of and what
//! it trained at, the route of every device and logical device to the memory of its host, and what holds it back.
//!
//! ```text
//!  host's root port ──link── switch (upstream port · VCS · vPPB · downstream port) ──link── device ─── LD
//!                                                                                   limit of the LD ┘
//! ```
//! A host is a [`Topology`], which has root ports, switches of its own, devices, their functions and logical
//! devices, and IOMMU groups; a shared switch is what its manager read.

use std::collections::BTreeMap;

use halcyon_model::topology::Attachment;
use halcyon_model::{Bandwidth, DeviceId, LinkId, LinkSetting, Topology};

use crate::cxl_fm::{PhysicalPort, PortState, VcsId};
use crate::shares::{self, Bottleneck, Flow};
use crate::view::{Part, Place, View};

/// Something that all bandwidth on a route goes through.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// What people call it.
    pub name: String,
    /// The most that it can carry in one direction; none where nobody says.
    pub capable: Option<Bandwidth>,
    /// What it carries as it is trained or limited now; none where nobody says, which is no limit.
    pub current: Option<Bandwidth>,
}

impl Segment {
    /// Whether it carries less than it could.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.capable.zip(self.current).is_some_and(|(capable, current)| current < capable)
    }
}

/// Where a host meets a shared switch: the link that leads there from one of its root ports, as a segment
/// of the switch's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostId(usize);

/// A shared switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedId(usize);

/// Something that moves data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mover {
    /// A device of a host, or a function or logical device of one.
    Device(HostId, DeviceId),
    /// What is bound to a bridge of a shared switch.
    Bridge(SharedId, Place),
}

/// What a mover moves.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// How much.
    pub rate: Bandwidth,
    /// The name of what holds it back; none when it moves what it wants to.
    pub bottleneck: Option<String>,
}

/// Hosts and the switches that they share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pool {
    segments: Vec<Segment>,
    hosts: Vec<HostPart>,
    shared: Vec<SharedPart>,
}

#[derive(Debug, Clone, PartialEq)]
struct HostPart {
    /// By device.
    routes: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct SharedPart {
    ports: BTreeMap<PhysicalPort, usize>,
    limits: BTreeMap<Part, usize>,
    bound: BTreeMap<Place, Part>,
    upstream: BTreeMap<VcsId, PhysicalPort>,
}

impl Pool {
    /// Adds a host, with what its links are trained at, by link. Links without a setting are as they start.
    pub fn add_host(&mut self, topology: &Topology, trained: &[LinkSetting]) -> HostId {
        let fabric = topology.fabric();
        let first = self.segments.len();
        for link in &fabric.links {
            let port = &fabric.ports[link.upper.index()].name;
            let setting = trained.get(link.id.index()).copied().unwrap_or(link.initial);
            self.segments.push(Segment {
                name: format!("link below {port} of {}", topology.name()),
                capable: Some(link.capable.bandwidth()),
                current: Some(setting.bandwidth()),
            });
        }
        let own = self.segments.len();
        for device in &fabric.devices {
            let bandwidth = Some(device.bandwidth);
            let name = format!("{} of {}", device.name, topology.name());
            self.segments.push(Segment { name, capable: bandwidth, current: bandwidth });
        }
        let route = |device: &halcyon_model::topology::Device| {
            let mut route = vec![own + device.id.index()];
            if let Attachment::PartOf(whole) = device.attachment {
                route.push(own + whole.index());
            }
            route.extend(fabric.route(device.id).iter().map(|LinkId(link)| first + *link as usize));
            route
        };
        self.hosts.push(HostPart { routes: fabric.devices.iter().map(route).collect() });
        HostId(self.hosts.len() - 1)
    }

    /// Adds a shared switch as it was read.
    pub fn add_switch(&mut self, name: &str, view: &View) -> SharedId {
        let mut shared = SharedPart::default();
        for (port, state) in &view.ports {
            shared.ports.insert(*port, self.segments.len());
            self.segments.push(Segment {
                name: format!("{port} of {name}"),
                capable: state.capable().map(|(width, speed)| speed.bandwidth(width)),
                current: trained(state),
            });
        }
        for (port, device) in &view.bandwidth {
            let carried = view.ports.get(port).and_then(trained);
            for (ld, limit) in (0..device.lds).zip(&device.limit) {
                shared.limits.insert(Part { port: *port, ld: Some(ld) }, self.segments.len());
                self.segments.push(Segment {
                    name: format!("limit of {port} LD {ld} of {name}"),
                    capable: carried,
                    // The highest value stands for no limit.
                    current: carried.filter(|_| *limit < u8::MAX).map(|carried| of_256(carried, *limit)),
                });
            }
        }
        shared.upstream = view.vcss.values().map(|vcs| (vcs.id, vcs.upstream)).collect();
        let places = view.bridges().map(|(place, _)| place);
        shared.bound = places.filter_map(|place| Some((place, view.part_at(place)?))).collect();
        self.shared.push(shared);
        SharedId(self.shared.len() - 1)
    }

    /// Everything that a mover's data goes through, the device first; none if there is no such device, or
    /// nothing is bound there.
    #[must_use]
    pub fn route(&self, mover: Mover) -> Option<Vec<&Segment>> {
        Some(self.numbers(mover)?.into_iter().map(|number| &self.segments[number]).collect())
    }

    /// What each mover moves of what it wants to when all move at once, by weight.
    ///
    /// A mover without a route moves nothing, and its bottleneck says so.
    #[must_use]
    pub fn shares(&self, movers: &[(Mover, Bandwidth, f64)]) -> Vec<Share> {
        let unlimited = f64::INFINITY;
        let capacity = |segment: &Segment| segment.current.map_or(unlimited, Bandwidth::as_f64);
        let capacities: Vec<f64> = self.segments.iter().map(capacity).collect();
        let flow = |(mover, wanted, weight): &(Mover, Bandwidth, f64)| Flow {
            // One that there is not, for what has no route.
            route: self.numbers(*mover).unwrap_or_else(|| vec![self.segments.len()]),
            wanted: wanted.as_f64(),
            weight: *weight,
        };
        let flows: Vec<Flow> = movers.iter().map(flow).collect();
        let share = |(rate, bottleneck)| Share {
            rate: Bandwidth::from_f64(rate),
            bottleneck: match bottleneck {
                Bottleneck::Wanted => None,
                Bottleneck::Segment(number) => Some(
                    self.segments.get(number).map_or("there is no route", |segment| &segment.name).to_owned(),
                ),
            },
        };
        shares::divide(&capacities, &flows).into_iter().map(share).collect()
    }

    /// Everything that carries less than it could.
    pub fn degraded(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.is_degraded())
    }

    fn numbers(&self, mover: Mover) -> Option<Vec<usize>> {
        match mover {
            Mover::Device(HostId(host), device) => self.hosts.get(host)?.routes.get(device.index()).cloned(),
            Mover::Bridge(SharedId(shared), place) => {
                let shared = self.shared.get(shared)?;
                let part = shared.bound.get(&place)?;
                let down = *shared.ports.get(&part.port)?;
                let up = *shared.ports.get(shared.upstream.get(&place.vcs)?)?;
                Some(shared.limits.get(part).copied().into_iter().chain([down, up]).collect())
            }
        }
    }
}

fn trained(state: &PortState) -> Option<Bandwidth> {
    state.width().zip(state.speed()).map(|(width, speed)| speed.bandwidth(width))
}

fn of_256(whole: Bandwidth, part: u8) -> Bandwidth {
    Bandwidth::from_f64(whole.as_f64() * f64::from(part) / 256.0)
}
