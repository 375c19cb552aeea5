//! Halcyon's own drivers over the lab's guests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use halcyon_hal::{Driver, Inventory};
use halcyon_host::cgroup::{CpuDriver, Group, NumberList, SocketCpus};
use halcyon_host::qmp::{
    Backend, Bus, Client, Clock, DeviceDriver, MemoryBinding, MemoryDriver, Part, Plug, Ports, Throttle,
    ThrottleDriver,
};
use halcyon_model::VmId;
use serde_json::{Map, Value, json};

use crate::rig::{DRIVE, NODE};

/// How long guests may take to greet.
const GREETING: Duration = Duration::from_secs(5);
/// A guest's balloon that has not moved for so long will not.
const STILL: Duration = Duration::from_secs(4);

/// The drivers of guests whose monitors listen at these sockets.
///
/// # Errors
/// When one does not answer.
pub(crate) fn of(sockets: [&Path; 2], drive: &Path) -> anyhow::Result<Vec<Box<dyn Driver>>> {
    let bus = Bus::start().context("no thread for QMP")?;
    let clients = sockets.map(|socket| bus.client(socket));
    for client in &clients {
        // One that is no more holds nothing, and the drivers know that.
        if let Err(error) = client.wait_connected(GREETING)
            && !client.is_gone()
        {
            bail!(error);
        }
    }
    let began = Instant::now();
    // What rests for a moment at the start does not have to.
    let clock: Clock = Arc::new(move || began.elapsed() + Duration::from_secs(60));
    let by_vm = |index: usize, client: &Client| (VmId::at(index), client.clone());
    let guests = || clients.iter().enumerate().map(|(index, client)| by_vm(index, client));
    let memory =
        guests().map(|(vm, client)| (vm, MemoryBinding { client, plug: Plug::Balloon { node: NODE } }));
    let ports =
        guests().map(|(vm, client)| (vm, Ports { client, buses: BTreeMap::from([(DRIVE, "rp0".into())]) }));
    let parts = BTreeMap::from([(DRIVE, part(drive))]);
    Ok(vec![
        Box::new(DeviceDriver::new(parts, ports.collect(), Arc::clone(&clock))),
        Box::new(MemoryDriver::new(memory.collect(), clock).with_patience(STILL)),
    ])
}

/// Drivers of limits: CPU time of guests in these groups, and the drive of the first behind the throttle
/// group `tg0`.
///
/// # Errors
/// When the first guest does not answer.
pub(crate) fn of_limits(
    groups: &[Group; 2],
    socket: &Path,
    inventory: &Inventory,
) -> anyhow::Result<Vec<Box<dyn Driver>>> {
    let client = Bus::start().context("no thread for QMP")?.client(socket);
    client.wait_connected(GREETING)?;
    let began = Instant::now();
    let groups = groups.iter().enumerate().map(|(index, group)| (VmId::at(index), group.clone()));
    let sockets = inventory.topology.sockets().iter();
    let cpus =
        sockets.map(|socket| SocketCpus { cpus: NumberList::default(), nodes: None, time: socket.cpu() });
    let most = inventory.topology.fabric().devices[DRIVE.index()].bandwidth;
    let throttles = BTreeMap::from([(DRIVE, Throttle { group: "tg0".into(), most })]);
    let clock: Clock = Arc::new(move || began.elapsed());
    Ok(vec![
        Box::new(CpuDriver::new(groups.collect(), cpus.collect())),
        Box::new(ThrottleDriver::new(BTreeMap::from([(VmId::at(0), client)]), throttles, clock)),
    ])
}

/// The drive, by the names that the checks move it by hand with.
fn part(drive: &Path) -> Part {
    let file = json!({ "driver": "file", "filename": drive });
    let backend = object(json!({ "driver": "raw", "node-name": "lab-drive", "file": file }));
    let add = object(json!({ "driver": "nvme", "drive": "lab-drive", "serial": "LAB" }));
    let backend = Backend::Block { node: "lab-drive".into(), add: backend };
    Part { id: "lab-nvme".into(), add, backend: Some(backend) }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
