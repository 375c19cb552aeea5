//! The way to the wire and back loses nothing, and no value anywhere on it brings Halcyon down.

use std::sync::Arc;
use std::time::Duration;

use halcyon_control::{Config, Cycle};
use halcyon_hal::{Actuate, ActuateError, Inventory, MemoryJournal, Observe, ObserveError, Progress, Ticket};
use halcyon_model::describe::{parse_host, parse_vms};
use halcyon_model::{Assignment, Snapshot, Step, VmSample, World, admit};
use halcyon_policy::Reactive;
use serde_json::{Value, json};

use crate::outside::opened::Opened;
use crate::outside::{encode, wire};
use crate::still::Still;

const HOST: &str = include_str!("../../../../../examples/hosts/two-socket.toml");
const VMS: &str = include_str!("../../../../../examples/vms/example.toml");

fn world() -> Value {
    let host = parse_host(HOST).unwrap();
    let vms = parse_vms(VMS, &host.topology).unwrap();
    let held =
        admit(World { topology: &host.topology, vms: &vms, capabilities: &host.capabilities }).unwrap();
    serde_json::to_value(wire::World {
        schema: 1,
        kind: wire::IsWorld::Is,
        host: encode::host(&host.topology),
        changes: encode::changes(&host.capabilities),
        vms: vms.iter().map(encode::vm).collect(),
        held: encode::held(&vms, &held),
        duration_s: 60.0,
        step_s: 1.0,
    })
    .unwrap()
}

fn open(value: &Value) -> Option<Opened> {
    let form: wire::World = serde_json::from_value(value.clone()).ok()?;
    Opened::new(&form).ok()
}

#[test]
fn the_way_to_the_wire_and_back_loses_nothing() {
    let first = world();
    let opened = open(&first).expect("what was read can be sent");
    let Inventory { topology, vms, capabilities, .. } = &opened.inventory;
    assert_eq!(serde_json::to_value(encode::host(topology)).unwrap(), first["host"]);
    assert_eq!(serde_json::to_value(encode::changes(capabilities)).unwrap(), first["changes"]);
    assert_eq!(serde_json::to_value(encode::held(vms, &opened.held)).unwrap(), first["held"]);
    let host = parse_host(HOST).unwrap();
    assert_eq!(*vms, parse_vms(VMS, &host.topology).unwrap());
    assert_eq!(*capabilities, host.capabilities);
    assert_eq!(topology.nodes(), host.topology.nodes());
    assert_eq!(topology.fabric().links, host.topology.fabric().links);
    assert_eq!(topology.fabric().switches, host.topology.fabric().switches);
    assert_eq!(topology.gpus(), host.topology.gpus());
}

/// A machine on which every step is done at once.
struct Obedient {
    inventory: Arc<Inventory>,
    held: Assignment,
}

impl Observe for Obedient {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        snapshot.at += Duration::from_secs(1);
        snapshot.assignment.clone_from(&self.held);
        let sample = |spec: &halcyon_model::VmSpec| VmSample { vm: spec.id, ..VmSample::default() };
        snapshot.vms = self.inventory.vms.iter().map(sample).collect();
        Ok(())
    }
}

impl Actuate for Obedient {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::ZERO
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let refused =
            |error: halcyon_model::Mismatch| ActuateError { step: step.to_string(), why: error.to_string() };
        self.held.apply(step).map(|()| Progress::Done).map_err(refused)
    }

    fn poll(&mut self, _: Ticket) -> Progress {
        Progress::Done
    }
}

fn drive(opened: Opened) {
    let mut host = Obedient { inventory: Arc::new(opened.inventory), held: opened.held };
    let policy = || Box::new(Reactive::default());
    let mut cycle = Cycle::new(policy(), policy(), MemoryJournal::new(16), Config::default());
    for second in 1..=2 {
        cycle.tick(&mut host, Duration::from_secs(second), &Still).unwrap();
    }
    halcyon_model::check(host.inventory.world(), &host.held).unwrap();
}

/// The paths of all values below one.
fn paths(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.into());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| paths(item, &format!("{here}/{at}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| paths(field, &format!("{here}/{name}"), found));
        }
        _ => {}
    }
}

#[test]
fn no_value_in_the_place_of_another_brings_halcyon_down() {
    let first = world();
    let mut all = Vec::new();
    paths(&first, "", &mut all);
    let odd = [
        json!(null),
        json!(-1),
        json!(0),
        json!(1),
        json!(7),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(1e-300),
        json!(""),
        json!("\u{1b}[2J"),
        json!([]),
        json!({}),
    ];
    let (mut taken, mut refused) = (0, 0);
    for path in &all {
        for odd in &odd {
            let mut changed = first.clone();
            *changed.pointer_mut(path).unwrap() = odd.clone();
            match open(&changed) {
                Some(opened) => {
                    taken += 1;
                    drive(opened);
                }
                None => refused += 1,
            }
        }
    }
    println!("{} places, {taken} changed worlds taken and driven, {refused} refused", all.len());
    assert!(taken > 100 && refused > 1000);
}
