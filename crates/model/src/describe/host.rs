//! Reads a host file: names to ids, forms to [`Parts`], and whatever does not fit to a line.

use std::collections::BTreeSet;

use toml::Spanned;

use super::DescribeError;
use super::changes::capabilities;
use super::element::Element;
use super::fabric::Builder;
use super::form::{CacheForm, HostForm, MemoryForm, SocketForm};
use super::gpus::gpus;
use super::names::{Kind, Names, check_name};
use super::text::Text;
use crate::capability::Capabilities;
use crate::ids::{DeviceId, NodeId, SocketId};
use crate::topology::{
    Cache, Device, DeviceClass, MemoryKind, MemoryNode, Parts, Socket, Topology, TopologyError,
};
use crate::units::{ByteSize, MilliCpu};

/// More sockets than one coherent machine has. With [`MOST_NODES`] it bounds the table of distances.
const MOST_SOCKETS: usize = 64;
/// More memory nodes than Linux is built for (`CONFIG_NODES_SHIFT` is at most 10).
const MOST_NODES: usize = 1024;

/// A host as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// What it is made of.
    pub topology: Topology,
    /// What can be changed on it.
    pub capabilities: Capabilities,
}

/// Reads a host file.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse_host(text: &str) -> Result<Host, DescribeError> {
    let text = Text::open(text)?;
    let form: HostForm = text.read()?;
    let host = Element::new(&text, "the host".into(), form.name.span());
    check_name(&host, &form.name)?;
    let mut names = Names::new(&text);
    let mut parts = Parts { name: form.name.get_ref().clone(), ..Parts::default() };
    parts.sockets = sockets(&host, &mut names, &form.socket)?;
    Builder::new(&mut names, &mut parts, &form).build()?;
    parts.nodes = nodes(&host, &mut names, &form.memory, &parts.devices)?;
    parts.gpus = gpus(&text, &names, &parts, &form.gpu)?;
    parts.distances = distances(&host, &parts, form.distances.as_ref())?;
    let topology = Topology::new(parts).map_err(|error| place(&host, &names, &error))?;
    let capabilities = capabilities(&text, &topology, form.change)?;
    Ok(Host { topology, capabilities })
}

/// Every rule of [`Topology::new`] that the file can break, with the line of the part it names.
fn place(host: &Element<'_>, names: &Names<'_>, error: &TopologyError) -> DescribeError {
    match names.place(&error.part) {
        Some((kind, line)) => DescribeError::new(line, &format!("{kind} `{}`", error.part), &error.problem),
        None => host.fault(&error.problem),
    }
}

fn sockets(
    host: &Element<'_>,
    names: &mut Names<'_>,
    forms: &[SocketForm],
) -> Result<Vec<Socket>, DescribeError> {
    host.ensure((1..=MOST_SOCKETS).contains(&forms.len()), || {
        format!("has {} sockets; write 1 to {MOST_SOCKETS} [[socket]] tables", forms.len())
    })?;
    forms.iter().enumerate().map(|(index, form)| socket(names, index, form)).collect()
}

fn socket(names: &mut Names<'_>, index: usize, form: &SocketForm) -> Result<Socket, DescribeError> {
    let element = names.give(Kind::Socket, index, &form.name)?;
    let cores = element.count("cores", &form.cores, 1..=4096)?;
    let threads_per_core = match &form.threads_per_core {
        Some(threads) => element.count("threads_per_core", threads, 1..=8)?,
        None => 1,
    };
    let all = MilliCpu::cores(u64::from(cores) * u64::from(threads_per_core));
    let host_cpu = match &form.host_cpu {
        Some(kept) => {
            element.ensure_at(kept, *kept.get_ref() < all, || {
                format!("host_cpu keeps {} of {all} CPUs; leave some for the VMs", kept.get_ref())
            })?;
            *kept.get_ref()
        }
        None => MilliCpu::ZERO,
    };
    let cache = form.cache.as_ref().map(|form| cache(&element, form)).transpose()?;
    Ok(Socket {
        id: SocketId::at(index),
        name: form.name.get_ref().clone(),
        cores,
        threads_per_core,
        host_cpu,
        cache,
    })
}

fn cache(element: &Element<'_>, form: &CacheForm) -> Result<Cache, DescribeError> {
    let ways = element.count("ways of the cache", &form.ways, 1..=32)?;
    let min_ways = match &form.min_ways {
        Some(least) => element.count("min_ways", least, 1..=ways)?,
        None => 1,
    };
    Ok(Cache {
        size: element.size("size of the cache", &form.size)?,
        ways,
        min_ways,
        classes: element.count("classes of the cache", &form.classes, 1..=256)?,
    })
}

fn nodes(
    host: &Element<'_>,
    names: &mut Names<'_>,
    forms: &[MemoryForm],
    devices: &[Device],
) -> Result<Vec<MemoryNode>, DescribeError> {
    host.ensure((1..=MOST_NODES).contains(&forms.len()), || {
        format!("has {} memory nodes; write 1 to {MOST_NODES} [[memory]] tables", forms.len())
    })?;
    let mut backed = BTreeSet::new();
    for name in forms.iter().filter_map(|form| form.device.as_ref()) {
        let problem =
            || format!("`{}` holds another memory node already; write one for each", name.get_ref());
        host.ensure_at(name, backed.insert(name.get_ref()), problem)?;
    }
    forms.iter().enumerate().map(|(index, form)| node(names, index, form, devices)).collect()
}

fn node(
    names: &mut Names<'_>,
    index: usize,
    form: &MemoryForm,
    devices: &[Device],
) -> Result<MemoryNode, DescribeError> {
    let element = names.give(Kind::Memory, index, &form.name)?;
    let kind = match (&form.socket, &form.device) {
        (Some(socket), None) => {
            MemoryKind::Dram { socket: SocketId::at(names.find(&element, Kind::Socket, socket)?) }
        }
        (None, Some(name)) => {
            let device = names.find(&element, Kind::Device, name)?;
            let class = devices[device].class;
            element.ensure_at(name, class == DeviceClass::CxlMemory, || {
                format!("`{}` is of class {class}; memory hangs on one of class cxl-memory", name.get_ref())
            })?;
            MemoryKind::Cxl { device: DeviceId::at(device) }
        }
        _ => return Err(element.fault("needs either `socket` (its channels) or `device` (CXL memory)")),
    };
    let capacity = element.size("capacity", &form.capacity)?;
    let host_memory = match &form.host_memory {
        Some(kept) => {
            element.ensure_at(kept, *kept.get_ref() < capacity, || {
                format!("host_memory keeps {} of {capacity}; leave some for the VMs", kept.get_ref())
            })?;
            *kept.get_ref()
        }
        None => ByteSize::ZERO,
    };
    let bandwidth = element.rate("bandwidth", &form.bandwidth)?;
    let name = form.name.get_ref().clone();
    Ok(MemoryNode { id: NodeId::at(index), name, kind, capacity, host_memory, bandwidth })
}

fn distances(
    host: &Element<'_>,
    parts: &Parts,
    form: Option<&Spanned<Vec<Vec<u32>>>>,
) -> Result<Vec<Vec<u32>>, DescribeError> {
    let Some(form) = form else { return Ok(Vec::new()) };
    let (rows, columns) = (parts.sockets.len(), parts.nodes.len());
    let table = form.get_ref();
    let shaped = table.len() == rows && table.iter().all(|row| row.len() == columns);
    host.ensure_at(form, shaped, || {
        format!("distances needs {rows} rows (sockets) of {columns} figures (memory nodes)")
    })?;
    host.ensure_at(form, table.iter().flatten().all(|figure| (10..=255).contains(figure)), || {
        "distances are those of an ACPI SLIT, from 10 (local) to 255".into()
    })?;
    Ok(table.clone())
}
