//! The fabric of a host file down to its ports. Links are not written in the file: one is made for each
//! switch and for each device that sits in a slot, as wide and fast as both of its ends can.

use std::collections::BTreeMap;

use toml::Spanned;

use super::DescribeError;
use super::element::Element;
use super::form::HostForm;
use super::names::{Kind, Names};
use crate::ids::{LinkId, PoolId, PortId, SocketId, SwitchId};
use crate::topology::{LanePool, Link, LinkEnd, LinkSetting, Parts, Port, PortKind, Switch};
use crate::units::Lanes;

/// The most switches between a device and its root port; it bounds the table of routes.
const MOST_DEPTH: usize = 16;

/// Fills in the parts of the fabric in the order in which they refer to each other.
pub(super) struct Builder<'b, 'a> {
    pub(super) names: &'b mut Names<'a>,
    pub(super) parts: &'b mut Parts,
    pub(super) form: &'b HostForm,
    /// What is plugged into each port so far.
    plugged: BTreeMap<PortId, String>,
}

impl<'b, 'a> Builder<'b, 'a> {
    pub(super) fn new(names: &'b mut Names<'a>, parts: &'b mut Parts, form: &'b HostForm) -> Self {
        Self { names, parts, form, plugged: BTreeMap::new() }
    }

    /// Builds pools, ports, switches, and the devices in them.
    pub(super) fn build(mut self) -> Result<(), DescribeError> {
        self.pools()?;
        self.root_ports()?;
        self.switches()?;
        self.downstream_ports()?;
        self.plug_switches()?;
        self.devices()?;
        self.pools_are_local()?;
        self.pools_suffice()
    }

    fn pools(&mut self) -> Result<(), DescribeError> {
        for (index, form) in self.form.lane_pool.iter().enumerate() {
            let element = self.names.give(Kind::Pool, index, &form.name)?;
            let lanes = element.count("lanes", &form.lanes, 1..=4096)?;
            self.parts.pools.push(LanePool {
                id: PoolId::at(index),
                name: form.name.get_ref().clone(),
                lanes,
            });
        }
        Ok(())
    }

    fn root_ports(&mut self) -> Result<(), DescribeError> {
        for form in &self.form.root_port {
            let id = PortId::at(self.parts.ports.len());
            let element = self.names.give(Kind::Port, id.index(), &form.name)?;
            let socket = SocketId::at(self.names.find(&element, Kind::Socket, &form.socket)?);
            let pool = self.pool(&element, form.pool.as_ref())?;
            self.parts.ports.push(Port {
                id,
                name: form.name.get_ref().clone(),
                kind: PortKind::Root { socket },
                max_width: form.width,
                max_speed: form.speed,
                hot_plug: form.hot_plug.unwrap_or(false),
                pool,
            });
        }
        Ok(())
    }

    /// Switches with their upstream ports, not plugged in yet.
    fn switches(&mut self) -> Result<(), DescribeError> {
        for (index, form) in self.form.switch.iter().enumerate() {
            let (id, upstream) = (SwitchId::at(index), PortId::at(self.parts.ports.len()));
            self.names.give(Kind::Switch, index, &form.name)?;
            let name = form.name.get_ref().clone();
            let port = format!("{name}.upstream");
            self.names.enter(Kind::Upstream, upstream.index(), port.clone(), form.name.span())?;
            self.parts.ports.push(Port {
                id: upstream,
                name: port,
                kind: PortKind::Upstream { switch: id },
                max_width: form.width,
                max_speed: form.speed,
                hot_plug: false,
                pool: None,
            });
            self.parts.switches.push(Switch { id, name, upstream, downstream: Vec::new() });
        }
        Ok(())
    }

    fn downstream_ports(&mut self) -> Result<(), DescribeError> {
        for form in &self.form.port {
            let id = PortId::at(self.parts.ports.len());
            let element = self.names.give(Kind::Port, id.index(), &form.name)?;
            let switch = SwitchId::at(self.names.find(&element, Kind::Switch, &form.switch)?);
            let pool = self.pool(&element, form.pool.as_ref())?;
            self.parts.switches[switch.index()].downstream.push(id);
            self.parts.ports.push(Port {
                id,
                name: form.name.get_ref().clone(),
                kind: PortKind::Downstream { switch },
                max_width: form.width,
                max_speed: form.speed,
                hot_plug: form.hot_plug.unwrap_or(true),
                pool,
            });
        }
        Ok(())
    }

    fn pool(
        &self,
        element: &Element<'_>,
        name: Option<&Spanned<String>>,
    ) -> Result<Option<PoolId>, DescribeError> {
        name.map(|name| self.names.find(element, Kind::Pool, name).map(PoolId::at)).transpose()
    }

    fn plug_switches(&mut self) -> Result<(), DescribeError> {
        let form = self.form;
        let mut above = Vec::new();
        for (index, switch) in form.switch.iter().enumerate() {
            let element = self.names.element(Kind::Switch, &switch.name);
            let own = LinkSetting { width: switch.width, speed: switch.speed };
            let lower = LinkEnd::Switch(SwitchId::at(index));
            let link = self.plug(&element, &switch.below, lower, own, None)?;
            above.push(self.parts.links[link.index()].upper);
        }
        for (index, switch) in form.switch.iter().enumerate() {
            let element = self.names.element(Kind::Switch, &switch.name);
            self.check_climb(&element, &switch.below, index, &above)?;
        }
        Ok(())
    }

    /// Climbs from a switch to its root port.
    fn check_climb(
        &self,
        element: &Element<'_>,
        below: &Spanned<String>,
        start: usize,
        above: &[PortId],
    ) -> Result<(), DescribeError> {
        let next = |switch: usize| match self.parts.ports[above[switch].index()].kind {
            PortKind::Downstream { switch } => Some(switch.index()),
            _ => None,
        };
        let mut climb = std::iter::successors(Some(start), |switch| next(*switch));
        if climb.nth(MOST_DEPTH).is_none() {
            return Ok(());
        }
        // Reached at most once, as it is an error either way; a climb past every switch is a cycle.
        let problem = if climb.nth(above.len()).is_some() {
            "its way up comes back to itself and never reaches a root port; put one switch below one".into()
        } else {
            format!("sits below more than {MOST_DEPTH} switches; plug it in nearer to a root port")
        };
        Err(element.fault_at(&below.span(), &problem))
    }

    /// Makes the link between a port and what is plugged into it.
    pub(super) fn plug(
        &mut self,
        element: &Element<'_>,
        name: &Spanned<String>,
        lower: LinkEnd,
        own: LinkSetting,
        initial: Option<&Spanned<Lanes>>,
    ) -> Result<LinkId, DescribeError> {
        let upper = PortId::at(self.names.find(element, Kind::Port, name)?);
        if let Some(other) = self.plugged.get(&upper) {
            let problem = format!("port `{}` already holds {other}; a port takes one thing", name.get_ref());
            return Err(element.fault_at(&name.span(), &problem));
        }
        self.plugged.insert(upper, element.label().to_owned());
        let port = &self.parts.ports[upper.index()];
        let most = LinkSetting { width: port.max_width, speed: port.max_speed };
        let capable = LinkSetting { width: own.width.min(most.width), speed: own.speed.min(most.speed) };
        let width = initial.map_or(capable.width, |width| *width.get_ref());
        if let Some(initial) = initial {
            element.ensure_at(initial, width <= capable.width, || {
                format!("initial_width is {width}, but its link can be no wider than {}", capable.width)
            })?;
        }
        let id = LinkId::at(self.parts.links.len());
        let initial = LinkSetting { width, speed: capable.speed };
        self.parts.links.push(Link { id, upper, lower, capable, initial });
        Ok(id)
    }

    /// Lanes can be shared within one root complex or one switch, not across.
    fn pools_are_local(&self) -> Result<(), DescribeError> {
        let pools = self.form.root_port.iter().map(|form| (&form.name, &form.pool));
        let pools = pools.chain(self.form.port.iter().map(|form| (&form.name, &form.pool)));
        let mut homes: BTreeMap<&str, PortKind> = BTreeMap::new();
        for (name, pool) in pools {
            let Some(pool) = pool else { continue };
            let element = self.names.element(Kind::Port, name);
            let port = self.names.find(&element, Kind::Port, name)?;
            let kind = self.parts.ports[port].kind;
            let home = *homes.entry(pool.get_ref()).or_insert(kind);
            element.ensure_at(pool, home == kind, || {
                format!(
                    "lane pool `{}` belongs to another socket or switch; give each its own",
                    pool.get_ref()
                )
            })?;
        }
        Ok(())
    }

    /// What the links start with fits the pools that their ports draw on.
    fn pools_suffice(&self) -> Result<(), DescribeError> {
        let mut held = vec![0_u32; self.parts.pools.len()];
        for link in &self.parts.links {
            if let Some(pool) = self.parts.ports[link.upper.index()].pool {
                held[pool.index()] += u32::from(link.initial.width.get());
            }
        }
        for (form, held) in self.form.lane_pool.iter().zip(held) {
            let (element, lanes) = (self.names.element(Kind::Pool, &form.name), *form.lanes.get_ref());
            element.ensure_at(&form.lanes, held <= lanes, || {
                format!(
                    "has {lanes} lanes, but its links start with {held}; give devices on its ports a smaller \
                     initial_width"
                )
            })?;
        }
        Ok(())
    }
}
