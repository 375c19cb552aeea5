//! The host of a scenario: what there is, and how much of it is promised.

use std::fmt::Write;

use halcyon_model::topology::{MemoryKind, MemoryNode};

use super::{figure, shares};
use crate::report::markup::{escape, short, trim};
use crate::scenario::{Outline, Scenario};

/// Sockets, and nodes, that are listed.
const MOST_ROWS: usize = 64;

const GIB: f64 = 1_073_741_824.0;
const MIB: f64 = 1_048_576.0;

pub(super) fn write(out: &mut String, scenario: &Scenario, outline: &Outline) {
    out.push_str("<section id=\"host\">\n<h2>The host</h2>\n");
    resources(out, outline);
    out.push_str("<div class=\"panels\">");
    sockets(out, scenario);
    nodes(out, scenario);
    if !outline.devices.is_empty() {
        devices(out, outline);
    }
    kinds(out, outline);
    out.push_str("</div>\n</section>\n");
}

/// A table; columns whose name begins with `#` are numbers.
fn table(out: &mut String, title: &str, columns: &[&str], rows: &[Vec<String>]) {
    let _ =
        write!(out, "<div class=\"panel-table scroll\"><h3>{title}</h3><table class=\"facts\"><thead><tr>");
    for column in columns {
        let (class, name) = column.strip_prefix('#').map_or(("", *column), |name| (" class=\"n\"", name));
        let _ = write!(out, "<th scope=\"col\"{class}>{name}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows.iter().take(MOST_ROWS) {
        out.push_str("<tr>");
        for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
            let class = if column.starts_with('#') { " class=\"n\"" } else { "" };
            let _ = match index {
                0 => write!(out, "<th scope=\"row\">{cell}</th>"),
                _ => write!(out, "<td{class}>{cell}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>");
    if rows.len() > MOST_ROWS {
        let _ = write!(out, "<p class=\"note\">{} more are not listed.</p>", rows.len() - MOST_ROWS);
    }
    out.push_str("</div>\n");
}

fn resources(out: &mut String, outline: &Outline) {
    let rows: Vec<Vec<String>> = outline
        .resources
        .iter()
        .map(|resource| {
            let percent =
                |share: Option<f64>| share.map_or("–".into(), |share| format!("{share:.0}&#160;%"));
            let of = |amount: f64| (resource.capacity > 0.0).then_some(100.0 * amount / resource.capacity);
            let shares = shares(resource);
            let limits = resource.limits.filter(|_| resource.capacity > 0.0);
            vec![
                escape(resource.resource),
                format!("{} {}", figure(resource.capacity), resource.unit),
                percent(of(resource.reserved)),
                limits.map_or("–".into(), |limits| format!("{:.2}&#160;×", limits / resource.capacity)),
                percent(shares.map(|(mean, _)| mean)),
                percent(shares.map(|(_, peak)| peak)),
            ]
        })
        .collect();
    let columns = ["resource", "#there", "#reserved", "#limits", "#asked on average", "#asked at most"];
    table(out, "What VMs share", &columns, &rows);
}

fn sockets(out: &mut String, scenario: &Scenario) {
    let topology = &scenario.topology;
    let rows: Vec<Vec<String>> = topology
        .sockets()
        .iter()
        .map(|socket| {
            let cache = socket.cache.as_ref();
            vec![
                short(&socket.name, 22),
                socket.cores.to_string(),
                trim(socket.cpu().as_f64() / 1000.0),
                cache.map_or("–".into(), |cache| {
                    format!("{} MiB in {} ways", trim(cache.size.as_f64() / MIB), cache.ways)
                }),
                figure(topology.memory_bandwidth(socket.id).as_f64() / 1e9),
            ]
        })
        .collect();
    table(out, "Sockets", &["socket", "#cores", "#CPUs for VMs", "#cache", "#GB/s of memory"], &rows);
}

fn nodes(out: &mut String, scenario: &Scenario) {
    let kind = |node: &MemoryNode| match node.kind {
        MemoryKind::Dram { .. } => "DRAM",
        MemoryKind::Cxl { .. } => "CXL",
    };
    let row = |node: &MemoryNode| {
        vec![
            short(&node.name, 22),
            kind(node).into(),
            figure(node.available().as_f64() / GIB),
            figure(node.bandwidth.as_f64() / 1e9),
        ]
    };
    let rows: Vec<Vec<String>> = scenario.topology.nodes().iter().map(row).collect();
    table(out, "Memory", &["node", "kind", "#GiB for VMs", "#GB/s"], &rows);
}

fn devices(out: &mut String, outline: &Outline) {
    let rows: Vec<Vec<String>> = outline
        .devices
        .iter()
        .map(|devices| {
            let numbers =
                [devices.there.to_string(), devices.reserved.to_string(), devices.wanted.to_string()];
            [vec![devices.class.to_string()], numbers.to_vec()].concat()
        })
        .collect();
    table(out, "Devices that VMs can own", &["class", "#there", "#reserved", "#of use"], &rows);
}

fn kinds(out: &mut String, outline: &Outline) {
    let rows: Vec<Vec<String>> = outline
        .kinds
        .iter()
        .map(|kind| {
            vec![
                short(&kind.kind, 22),
                kind.vms.to_string(),
                figure(kind.cpu),
                figure(kind.memory_gib),
                short(&kind.programs.join(", "), 60),
            ]
        })
        .collect();
    table(out, "Kinds of VMs", &["kind", "#VMs", "#cores", "#GiB", "programs"], &rows);
}
