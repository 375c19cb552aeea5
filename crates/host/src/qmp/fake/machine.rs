//! What the fake QEMU is: a balloon, memory devices, block nodes, hot-pluggable devices, throttle groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// What kind of guest runs on it.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Memory at boot, in bytes.
    pub memory: u64,
    /// What a balloon cannot take below, in bytes.
    pub needs: u64,
    /// How fast a balloon moves, in bytes per second.
    pub balloon_rate: u64,
    /// virtio-mem devices: id, bytes plugged at the start, the most.
    pub virtio_mem: Vec<(String, u64, u64)>,
    /// How long it takes to let go of a device; nothing when it never does.
    pub lets_go_after: Option<Duration>,
    /// Whether hot-plug is native (pciehp), which refuses a second request.
    pub is_native: bool,
    /// How many requests to unplug are turned away as busy first.
    pub busy: u32,
    /// How many requests to unplug the guest misses first.
    pub misses: u32,
    /// Throttle groups.
    pub throttle_groups: Vec<String>,
    /// Ports that devices can be plugged into.
    pub ports: Vec<String>,
    /// Between two looks whether something happened; answers do not wait for it.
    pub pause: Duration,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            needs: 1 << 30,
            balloon_rate: 64 << 30,
            virtio_mem: Vec::new(),
            lets_go_after: Some(Duration::from_millis(20)),
            is_native: false,
            busy: 0,
            misses: 0,
            throttle_groups: Vec::new(),
            ports: vec!["rp0".into(), "rp1".into(), "rp2".into(), "rp3".into()],
            pause: Duration::from_millis(1),
        }
    }
}

#[derive(Debug)]
struct Plugged {
    bus: String,
    drive: Option<String>,
    leaves_at: Option<Instant>,
    asked: bool,
}

#[derive(Debug)]
struct Slot {
    size: u64,
    requested: u64,
    most: u64,
}

type Failure = (&'static str, String);

/// The state of a fake QEMU.
#[derive(Debug)]
pub struct Machine {
    guest: Guest,
    actual: u64,
    target: u64,
    looked_at: Option<Instant>,
    slots: BTreeMap<String, Slot>,
    nodes: BTreeMap<String, Value>,
    networks: BTreeSet<String>,
    devices: BTreeMap<String, Plugged>,
    limits: BTreeMap<String, Map<String, Value>>,
    events: Vec<Value>,
    /// What it answers to questions that it would answer otherwise or not at all, and by `PATH PROPERTY` what `qom-get` finds and `qom-set`
    /// changes, beside all that it is itself.
    pub answers: BTreeMap<String, Value>,
    /// How many commands it was given, by name.
    pub executed: BTreeMap<String, u64>,
}

fn generic(desc: impl Into<String>) -> Failure {
    ("GenericError", desc.into())
}

impl Machine {
    pub(super) fn new(guest: Guest) -> Self {
        let slots = guest
            .virtio_mem
            .iter()
            .map(|(id, size, most)| (id.clone(), Slot { size: *size, requested: *size, most: *most }));
        let slots = slots.collect();
        let limits = guest.throttle_groups.iter().map(|id| (id.clone(), unlimited())).collect();
        Self {
            actual: guest.memory,
            target: guest.memory,
            guest,
            looked_at: None,
            slots,
            nodes: BTreeMap::new(),
            networks: BTreeSet::new(),
            devices: BTreeMap::new(),
            limits,
            events: Vec::new(),
            answers: BTreeMap::new(),
            executed: BTreeMap::new(),
        }
    }

    /// The guest, whose habits may change while it runs.
    pub fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    /// Bytes that the balloon leaves now.
    #[must_use]
    pub fn actual(&self) -> u64 {
        self.actual
    }

    /// Ids of the devices that are plugged in.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.devices.keys().cloned().collect()
    }

    /// Names of block nodes that are open.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Ids of the ways into networks that are open.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.networks.iter().cloned().collect()
    }

    /// Limits of a throttle group, as set last.
    #[must_use]
    pub fn limit(&self, group: &str, name: &str) -> Option<u64> {
        self.limits.get(group)?.get(name)?.as_u64()
    }

    /// Something happens on it.
    pub fn emit(&mut self, name: &str, data: Value) {
        self.events.push(event(name, data));
    }

    /// The guest itself switches a slot off.
    pub fn guest_removes(&mut self, id: &str) {
        if self.devices.remove(id).is_some() {
            self.deleted(id);
        }
    }

    /// Lets time pass, and says what happened.
    pub(super) fn pass(&mut self, now: Instant) -> Vec<Value> {
        let elapsed = self.looked_at.map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        self.looked_at = Some(now);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let moved = (elapsed.as_secs_f64() * self.guest.balloon_rate as f64) as u64;
        let towards = |from: u64, to: u64| {
            if from > to { from.saturating_sub(moved).max(to) } else { (from + moved).min(to) }
        };
        let before = self.actual;
        let reachable = self.target.max(self.guest.needs.min(self.actual));
        self.actual = towards(self.actual, reachable);
        if before != self.actual {
            self.events.push(event("BALLOON_CHANGE", json!({ "actual": self.actual })));
        }
        for slot in self.slots.values_mut() {
            slot.size = towards(slot.size, slot.requested) & !0x1f_ffff;
        }
        let left: Vec<String> = self
            .devices
            .iter()
            .filter(|(_, device)| device.leaves_at.is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in left {
            self.devices.remove(&id);
            self.deleted(&id);
        }
        std::mem::take(&mut self.events)
    }

    fn deleted(&mut self, id: &str) {
        let path = format!("/machine/peripheral/{id}");
        // Children go first, and name no device.
        self.events.push(event("DEVICE_DELETED", json!({ "path": format!("{path}/virtio-backend") })));
        self.events.push(event("DEVICE_DELETED", json!({ "device": id, "path": path })));
    }

    pub(super) fn execute(&mut self, name: &str, arguments: &Value, now: Instant) -> Result<Value, Failure> {
        *self.executed.entry(name.into()).or_default() += 1;
        let events = self.pass(now);
        self.events.splice(0..0, events);
        let text = |field: &str| arguments[field].as_str().unwrap_or_default().to_owned();
        if let Some(answer) = self.answers.get(name) {
            return Ok(answer.clone());
        }
        match name {
            "query-status" => Ok(json!({ "status": "running", "running": true })),
            "query-cpus-fast" => Ok(json!([{ "cpu-index": 0, "thread-id": std::process::id() }])),
            "query-balloon" => Ok(json!({ "actual": self.actual })),
            "balloon" => {
                let value =
                    arguments["value"].as_u64().ok_or_else(|| generic("Parameter 'value' expects a size"))?;
                self.target = value.min(self.guest.memory) & !0xfff;
                Ok(json!({}))
            }
            "query-blockstats" => Ok(json!([])),
            "query-memory-devices" => Ok(self.memory_devices()),
            "qom-set" => self.set(&text("path"), &text("property"), &arguments["value"]),
            "qom-get" => self.get(&text("path"), &text("property")),
            "qom-list" if text("path") == "/machine/peripheral" => {
                let child = |id: &String| json!({ "name": id, "type": "child<nvme>" });
                let kind = json!([{ "name": "type", "type": "string" }]);
                let mut list = kind.as_array().cloned().unwrap_or_default();
                list.extend(self.devices.keys().map(child));
                Ok(Value::Array(list))
            }
            "blockdev-add" => self.blockdev_add(&text("node-name"), arguments),
            "blockdev-del" => self.blockdev_del(&text("node-name")),
            "netdev_add" if self.networks.insert(text("id")) => Ok(json!({})),
            "netdev_add" => Err(generic(format!("Duplicate ID '{}'", text("id")))),
            "netdev_del" if self.networks.remove(&text("id")) => Ok(json!({})),
            "netdev_del" => Err(("DeviceNotFound", format!("Device '{}' not found", text("id")))),
            "device_add" => self.device_add(arguments),
            "device_del" => self.device_del(&text("id"), now),
            _ => Err(("CommandNotFound", format!("The command {name} has not been found"))),
        }
    }

    fn memory_devices(&self) -> Value {
        let devices = self.slots.iter().map(|(id, slot)| {
            json!({ "type": "virtio-mem", "data": {
                "id": id, "size": slot.size, "requested-size": slot.requested, "max-size": slot.most } })
        });
        devices.collect()
    }

    fn set(&mut self, path: &str, property: &str, value: &Value) -> Result<Value, Failure> {
        if let Some(answer) = self.answers.get_mut(&format!("{path} {property}")) {
            *answer = value.clone();
            return Ok(json!({}));
        }
        let id = path.rsplit('/').next().unwrap_or_default();
        if let (Some(slot), "requested-size") = (self.slots.get_mut(id), property) {
            let size = value.as_u64().ok_or_else(|| generic("Invalid parameter type"))?;
            if size > slot.most {
                return Err(generic(format!(
                    "'requested-size' cannot exceed the memory backend size(0x{:x})",
                    slot.most
                )));
            }
            if size % 0x20_0000 != 0 {
                return Err(generic("'requested-size' has to be multiples of 'block-size' (0x200000)"));
            }
            slot.requested = size;
            return Ok(json!({}));
        }
        if let (Some(limits), "limits", Some(new)) = (self.limits.get_mut(id), property, value.as_object()) {
            // What is not named keeps its value.
            limits.extend(new.clone());
            return Ok(json!({}));
        }
        Err(("DeviceNotFound", format!("Device '{path}' not found")))
    }

    fn get(&self, path: &str, property: &str) -> Result<Value, Failure> {
        if let Some(answer) = self.answers.get(&format!("{path} {property}")) {
            return Ok(answer.clone());
        }
        let id = path.rsplit('/').next().unwrap_or_default();
        match (self.limits.get(id), property) {
            (Some(limits), "limits") => Ok(Value::Object(limits.clone())),
            _ => Err(("DeviceNotFound", format!("Device '{path}' not found"))),
        }
    }

    fn blockdev_add(&mut self, node: &str, arguments: &Value) -> Result<Value, Failure> {
        if self.nodes.contains_key(node) {
            return Err(generic(format!("Duplicate nodes with node-name='{node}'")));
        }
        self.nodes.insert(node.into(), arguments.clone());
        Ok(json!({}))
    }

    fn blockdev_del(&mut self, node: &str) -> Result<Value, Failure> {
        if self.devices.values().any(|device| device.drive.as_deref() == Some(node)) {
            return Err(generic(format!("Node {node} is in use")));
        }
        let found = self.nodes.remove(node).map(|_| json!({}));
        found.ok_or_else(|| generic(format!("Failed to find node with node-name='{node}'")))
    }

    fn device_add(&mut self, arguments: &Value) -> Result<Value, Failure> {
        let text = |field: &str| arguments[field].as_str().unwrap_or_default().to_owned();
        let (id, bus) = (text("id"), text("bus"));
        let drive = arguments["drive"].as_str().map(str::to_owned);
        if self.devices.contains_key(&id) {
            return Err(generic(format!("Duplicate device ID '{id}'")));
        }
        if !self.guest.ports.contains(&bus) {
            return Err(generic(format!("Bus '{bus}' not found")));
        }
        if let Some((other, _)) = self.devices.iter().find(|(_, device)| device.bus == bus) {
            return Err(generic(format!("PCI: slot 0 function 0 already occupied by {other}")));
        }
        if let Some(drive) = drive.as_ref().filter(|drive| !self.nodes.contains_key(*drive)) {
            return Err(generic(format!("Property 'nvme.drive' can't find value '{drive}'")));
        }
        if let Some(network) =
            arguments["netdev"].as_str().filter(|network| !self.networks.contains(*network))
        {
            return Err(generic(format!("Property 'virtio-net-device.netdev' can't find value '{network}'")));
        }
        self.devices.insert(id, Plugged { bus, drive, leaves_at: None, asked: false });
        Ok(json!({}))
    }

    fn device_del(&mut self, id: &str, now: Instant) -> Result<Value, Failure> {
        let Some(device) = self.devices.get_mut(id) else {
            return Err(("DeviceNotFound", format!("Device '{id}' not found")));
        };
        if self.guest.busy > 0 {
            self.guest.busy -= 1;
            return Err(generic("Hot-unplug failed: guest is busy (power indicator blinking)"));
        }
        if device.asked && self.guest.is_native {
            return Err(generic(format!("Device {id} is already in the process of unplug")));
        }
        if self.guest.misses > 0 {
            self.guest.misses -= 1;
            return Ok(json!({}));
        }
        device.asked = true;
        device.leaves_at = device.leaves_at.or(self.guest.lets_go_after.map(|after| now + after));
        Ok(json!({}))
    }
}

fn unlimited() -> Map<String, Value> {
    let names = ["bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"];
    names.into_iter().map(|name| (name.to_owned(), Value::from(0))).collect()
}

fn event(name: &str, data: Value) -> Value {
    json!({ "event": name, "data": data, "timestamp": { "seconds": 0, "microseconds": 0 } })
}
