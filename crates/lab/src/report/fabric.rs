//! The fabric as a tree from root ports to devices, with widths and owners at the start and at the end.

use std::collections::BTreeMap;
use std::fmt::Write;

use halcyon_model::topology::{Attachment, Device, LinkEnd, PortKind};
use halcyon_model::{Assignment, DeviceId, LinkId, LinkSetting, PortId};

use super::markup::{escape, short};
use super::pools;
use super::view::View;

/// Devices that are drawn.
const MOST_ROWS: usize = 120;
/// Switches below switches that are drawn; a chain of thousands would exhaust the stack.
const MOST_DEPTH: usize = 6;
const ROW: f64 = 26.0;
const ROOT: f64 = 118.0;
const COLUMN: f64 = 200.0;
const SWITCH: f64 = 84.0;
const LABEL: f64 = 150.0;
const DEVICE: f64 = 150.0;
const OWNER: f64 = 170.0;

pub(super) fn write(out: &mut String, view: &View<'_>) {
    out.push_str("<section id=\"fabric\">\n<h2>The fabric at the start and at the end</h2>\n<p class=\"note\">Root ports, switches, \
         links and devices; a link is as thick as it is wide. What is different at the end stands out in colour.</p>\n");
    for (index, shown) in view.choices() {
        let _ =
            write!(out, "<div {} style=\"--c:{}\">\n<div class=\"scroll\">", view.only(index), shown.colour);
        Drawing::new(view, &shown.record.end).write(out, index);
        out.push_str("</div>\n");
        pools::write(out, view, &shown.record.end);
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

/// A link downwards from what was drawn on its left.
struct Branch {
    link: LinkId,
    x: f64,
    y: f64,
}

struct Drawing<'a> {
    view: &'a View<'a>,
    end: &'a Assignment,
    /// The link that hangs from each port.
    below: BTreeMap<PortId, LinkId>,
    parts: BTreeMap<DeviceId, Vec<&'a Device>>,
    depth: usize,
    rows: usize,
    left_out: usize,
    svg: String,
}

impl<'a> Drawing<'a> {
    fn new(view: &'a View<'a>, end: &'a Assignment) -> Self {
        let fabric = view.scenario.topology.fabric();
        let mut parts: BTreeMap<DeviceId, Vec<&Device>> = BTreeMap::new();
        for device in &fabric.devices {
            if let Attachment::PartOf(whole) = device.attachment {
                parts.entry(whole).or_default().push(device);
            }
        }
        let below = fabric.links.iter().map(|link| (link.upper, link.id)).collect();
        let deepest = (0..fabric.devices.len()).map(|device| fabric.route(DeviceId::at(device)).len()).max();
        let depth = deepest.unwrap_or(1).saturating_sub(1).min(MOST_DEPTH);
        Self { view, end, below, parts, depth, rows: 0, left_out: 0, svg: String::new() }
    }

    fn device_x(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let switches = self.depth as f64 * COLUMN;
        ROOT + switches + LABEL
    }

    fn write(mut self, out: &mut String, id: usize) {
        let fabric = self.view.scenario.topology.fabric();
        for port in &fabric.ports {
            let PortKind::Root { socket } = port.kind else { continue };
            let Some(link) = self.below.get(&port.id).copied() else { continue };
            if let Some(branch) = self.branch(link, 0) {
                let socket = &self.view.scenario.topology.sockets()[socket.index()].name;
                let label = format!("{} · {}", short(socket, 7), short(&port.name, 9));
                self.node(0.0, branch.y, ROOT - 10.0, &label, "root");
                let y = branch.y;
                self.connect(ROOT - 10.0, y, &branch);
            }
        }
        let (x, width) = (self.device_x(), self.device_x() + DEVICE + 2.0 * OWNER + 10.0);
        #[allow(clippy::cast_precision_loss)]
        let height = 24.0 + ROW * self.rows as f64;
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"tree\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\" aria-labelledby=\"ft-{id} fd-{id}\"><title id=\"ft-{id}\">Tree of the PCIe \
             and CXL fabric</title><desc id=\"fd-{id}\">From root ports over switches to devices, with the width of \
             links and the owner of each device at the start and at the end of the run.</desc>\
             <text class=\"head\" x=\"{x}\" y=\"11\">device</text><text class=\"head\" x=\"{}\" y=\"11\">owner at the start</text>\
             <text class=\"head\" x=\"{}\" y=\"11\">at the end</text>{}</svg>",
            x + DEVICE + 14.0,
            x + DEVICE + 14.0 + OWNER,
            self.svg
        );
        if self.left_out > 0 {
            let _ = write!(out, "<p class=\"note\">{} more devices are not drawn.</p>", self.left_out);
        }
    }

    /// Draws what hangs from a link, and says where the link ends.
    fn branch(&mut self, link: LinkId, depth: usize) -> Option<Branch> {
        let fabric = self.view.scenario.topology.fabric();
        match fabric.links[link.index()].lower {
            LinkEnd::Device(device) => {
                let (x, y) = (self.device_x(), self.device(&fabric.devices[device.index()])?);
                Some(Branch { link, x, y })
            }
            LinkEnd::Switch(switch) => {
                if depth >= MOST_DEPTH {
                    self.left_out += 1;
                    return None;
                }
                let switch = &fabric.switches[switch.index()];
                let links: Vec<LinkId> =
                    switch.downstream.iter().filter_map(|port| self.below.get(port).copied()).collect();
                let branches: Vec<Branch> =
                    links.into_iter().filter_map(|link| self.branch(link, depth + 1)).collect();
                let (first, last) = (branches.first()?, branches.last()?);
                #[allow(clippy::cast_precision_loss)]
                let (x, y) = (ROOT + COLUMN * (depth + 1) as f64 - SWITCH, f64::midpoint(first.y, last.y));
                for branch in &branches {
                    self.connect(x + SWITCH, y, branch);
                }
                self.node(x, y, SWITCH, &short(&switch.name, 11), "switch");
                Some(Branch { link, x, y })
            }
        }
    }

    /// A device with its parts below it; nothing when there is no room left.
    fn device(&mut self, device: &Device) -> Option<f64> {
        let parts = self.parts.get(&device.id).cloned().unwrap_or_default();
        if self.rows >= MOST_ROWS {
            self.left_out += 1 + parts.len();
            return None;
        }
        let x = self.device_x();
        let y = self.row(device, x);
        for part in parts {
            if self.rows >= MOST_ROWS {
                self.left_out += 1;
                continue;
            }
            let below = self.row(part, x + 22.0);
            let _ = write!(
                self.svg,
                "<path class=\"part\" d=\"M{:.1} {:.1}V{below:.1}H{:.1}\"/>",
                x + 10.0,
                y + 10.0,
                x + 22.0
            );
        }
        Some(y)
    }

    fn row(&mut self, device: &Device, x: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let y = 24.0 + ROW * (self.rows as f64 + 0.5);
        self.rows += 1;
        let end = self.device_x() + DEVICE;
        let label = format!("{} <tspan class=\"soft\">{}</tspan>", short(&device.name, 13), device.class);
        self.node(x, y, end - x, &label, "device");
        let (before, after) = (self.owner(device, &self.view.scenario.start), self.owner(device, self.end));
        let (changed, dot) =
            if before == after { ("", "") } else { (" changed", "<tspan class=\"dot\">● </tspan>") };
        let _ = write!(
            self.svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"after{changed}\" x=\"{:.1}\" y=\"{:.1}\">{dot}{}</text>",
            end + 14.0,
            y + 4.0,
            short(&before, 24),
            end + 14.0 + OWNER,
            y + 4.0,
            short(&after, 24)
        );
        y
    }

    fn owner(&self, device: &Device, assignment: &Assignment) -> String {
        let topology = &self.view.scenario.topology;
        let name = |vm| {
            let guest = self.view.scenario.guests.iter().find(|guest| guest.spec.id == vm);
            guest.map_or_else(|| format!("{vm}"), |guest| guest.spec.name.clone())
        };
        if let Some(gpu) = topology.gpus().iter().position(|gpu| gpu.device == device.id) {
            let own = assignment.gpu_instances.iter().filter(|instance| instance.gpu.index() == gpu);
            let names: Vec<String> = own.map(|instance| name(instance.owner)).collect();
            return if names.is_empty() { "no slices given".into() } else { names.join(", ") };
        }
        if device.host_owned {
            return "the host".into();
        }
        match assignment.devices.get(device.id.index()).and_then(|holding| holding.owner) {
            Some(vm) => name(vm),
            None if self.parts.contains_key(&device.id) => "its parts".into(),
            None => "nobody".into(),
        }
    }

    fn node(&mut self, x: f64, y: f64, width: f64, label: &str, class: &str) {
        let _ = write!(
            self.svg,
            "<g class=\"node {class}\"><rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"20\" rx=\"3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{label}</text></g>",
            y - 10.0,
            x + 7.0,
            y + 4.0
        );
    }

    fn connect(&mut self, x: f64, y: f64, branch: &Branch) {
        let before = setting(&self.view.scenario.start, branch.link);
        let after = setting(self.end, branch.link).or(before);
        let (Some(before), Some(after)) = (before, after) else { return };
        let changed = if before == after { "" } else { " changed" };
        let bend = x + 12.0;
        let _ = write!(
            self.svg,
            "<path class=\"wire{changed}\" stroke-width=\"{}\" d=\"M{x:.1} {y:.1}H{bend:.1}V{2:.1}H{1:.1}\"/>\
             <text class=\"width{changed}\" x=\"{3:.1}\" y=\"{4:.1}\">{5}</text>",
            thickness(after),
            branch.x,
            branch.y,
            bend + 6.0,
            branch.y - 5.0,
            escape(&label(before, after))
        );
    }
}

fn setting(assignment: &Assignment, link: LinkId) -> Option<LinkSetting> {
    assignment.links.get(link.index()).copied()
}

fn label(before: LinkSetting, after: LinkSetting) -> String {
    let speed = |setting: LinkSetting| setting.speed.to_string().replace("GT/s", " GT/s");
    match (before.width == after.width, before.speed == after.speed) {
        (true, true) => format!("{} {}", after.width, speed(after)),
        (false, true) => format!("{} → {} {}", before.width, after.width, speed(after)),
        _ => format!("{} {} → {} {}", before.width, speed(before), after.width, speed(after)),
    }
}

fn thickness(setting: LinkSetting) -> &'static str {
    match setting.width.get() {
        0..=1 => "1.2",
        2 => "2",
        3..=4 => "3",
        5..=8 => "4.5",
        _ => "6",
    }
}
