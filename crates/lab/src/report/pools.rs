//! How ports divide the lanes of a pool, at the start and at the end.

use std::fmt::Write;

use halcyon_model::topology::{LanePool, Link, LinkEnd};
use halcyon_model::{Assignment, LinkSetting};

use super::markup::{escape, short};
use super::view::View;

/// Pools that are shown.
const MOST_POOLS: usize = 12;
/// Links of one pool that are shown.
const MOST_LINKS: usize = 64;

pub(super) fn write(out: &mut String, view: &View<'_>, end: &Assignment) {
    let fabric = view.scenario.topology.fabric();
    for pool in fabric.pools.iter().take(MOST_POOLS) {
        let own = |link: &&Link| fabric.ports[link.upper.index()].pool == Some(pool.id);
        let links: Vec<&Link> = fabric.links.iter().filter(own).take(MOST_LINKS).collect();
        let _ = writeln!(
            out,
            "<div class=\"pool\"><h3>Lanes of {} <small>{} in all</small></h3>",
            escape(&pool.name),
            pool.lanes
        );
        bar(out, view, pool, &links, ("start", &view.scenario.start));
        bar(out, view, pool, &links, ("end", end));
        out.push_str("</div>\n");
    }
    let left_out = fabric.pools.len().saturating_sub(MOST_POOLS);
    if left_out > 0 {
        let _ = write!(out, "<p class=\"note\">{left_out} more pools are not shown.</p>");
    }
}

fn bar(
    out: &mut String,
    view: &View<'_>,
    pool: &LanePool,
    links: &[&Link],
    (when, now): (&str, &Assignment),
) {
    let fabric = view.scenario.topology.fabric();
    let _ = write!(out, "<div class=\"lanes\"><b>{when}</b><div>");
    let mut free = pool.lanes;
    for link in links {
        let start = view.scenario.start.links.get(link.id.index());
        let Some(setting) = now.links.get(link.id.index()).or(start) else { continue };
        let lanes = u32::from(setting.width.get());
        free = free.saturating_sub(lanes);
        let below = match link.lower {
            LinkEnd::Device(device) => &fabric.devices[device.index()].name,
            LinkEnd::Switch(switch) => &fabric.switches[switch.index()].name,
        };
        let changed = if start.map(width) == Some(width(setting)) { "" } else { " class=\"changed\"" };
        let _ = write!(
            out,
            "<span{changed} style=\"flex:{lanes} 1 0\" title=\"{0}: {1} lanes\">{2} <small>{1}</small></span>",
            escape(below),
            lanes,
            short(below, 14)
        );
    }
    if free > 0 {
        let _ =
            write!(out, "<span class=\"free\" style=\"flex:{free} 1 0\">free <small>{free}</small></span>");
    }
    out.push_str("</div></div>\n");
}

fn width(setting: &LinkSetting) -> u8 {
    setting.width.get()
}
