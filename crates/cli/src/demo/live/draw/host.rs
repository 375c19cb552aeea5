//! The host: sockets and memory with their load, the fabric with who holds what and what flows.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::scene::{HostRow, Meter, Owner, Unit};
use super::super::units::rate;
use super::bar::bar;
use super::{Frame, cut, lines};

/// Columns of a link's setting, and of what flows.
const LINK: usize = 11;
const FLOW: usize = 14;

pub(super) fn draw(frame: &Frame<'_>, top: usize, area: Rect, buffer: &mut Buffer) {
    let rows = frame.scene.host_rows.iter().skip(top).take(usize::from(area.height));
    let width = usize::from(area.width);
    lines(rows.map(|row| line(frame, row, width)).collect(), area, buffer);
}

fn line<'a>(frame: &Frame<'_>, row: &HostRow, width: usize) -> Line<'a> {
    match row {
        HostRow::Meter { name, what, meter, unit } => {
            let name = if *unit == Unit::Cores {
                Span::styled(pad(name, 11), frame.theme.strong())
            } else {
                Span::raw(pad(&format!(" {name}"), 11))
            };
            let mut spans = vec![name, Span::styled(format!("{what:<8}"), frame.theme.dim())];
            spans.extend(bar(meter, width.saturating_sub(19 + 19), frame.theme));
            spans.push(Span::raw(figures(meter, *unit)));
            Line::from(spans)
        }
        HostRow::Fabric { branch, name, link, owner, flow, carries } => {
            let names = width.saturating_sub(LINK + FLOW);
            let owner_width = (names.div_ceil(2) + 1).min(14).min(names);
            // What has no link of its own may write its name in the link's column.
            let link_width = if link.is_some() { LINK } else { 0 };
            let link = link.map_or(String::new(), |link| pad(&link.to_string(), link_width));
            let label = branch.chars().count() + 1;
            let mut spans = vec![
                Span::styled(format!(" {branch}"), frame.theme.dim()),
                Span::raw(pad(name, (names - owner_width + LINK - link_width).saturating_sub(label))),
                Span::styled(link, frame.theme.dim()),
                owner_span(frame, owner, owner_width),
            ];
            spans.extend(flow_spans(frame, *flow, *carries));
            Line::from(spans)
        }
    }
}

fn owner_span<'a>(frame: &Frame<'_>, owner: &Owner, width: usize) -> Span<'a> {
    match owner {
        Owner::Vm(name) => Span::styled(pad(name, width), frame.theme.watched()),
        Owner::Nobody => Span::styled(pad("free", width), frame.theme.dim()),
        Owner::Host => Span::styled(pad("host", width), frame.theme.dim()),
        Owner::Divided => Span::raw(" ".repeat(width)),
    }
}

fn flow_spans<'a>(frame: &Frame<'_>, flow: f64, carries: f64) -> Vec<Span<'a>> {
    if flow < 0.5e6 {
        return Vec::new();
    }
    let mut spans = bar(&Meter::of(flow, carries), FLOW - 10, frame.theme);
    let full = flow > 0.98 * carries;
    let style = if full { frame.theme.unmet() } else { frame.theme.plain() };
    spans.push(Span::styled(format!("{:>10}", rate(flow)), style));
    spans
}

fn figures(meter: &Meter, unit: Unit) -> String {
    let (digits, name) = match unit {
        Unit::Cores => (1, "cores"),
        Unit::Gib => (0, "GiB"),
        Unit::GbPerSecond => (1, "GB/s"),
        Unit::Lanes => (0, "lanes"),
    };
    format!(" {:>5.digits$} of {:>3.0} {name:<5}", meter.used, meter.whole)
}

/// A text in exactly `width` columns.
fn pad(text: &str, width: usize) -> String {
    // One column stays free, so that texts do not touch.
    let text = cut(text, width.saturating_sub(1));
    format!("{text:<width$}")
}
