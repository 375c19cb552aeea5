//! The VMs: what each wants, holds and gets, and how well it does beside the static assignment.

use std::cmp::Ordering;

use halcyon_model::Objective;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::scene::VmRow;
use super::super::stage::FIXED;
use super::super::units::{GIB, backlog, short};
use super::super::view::Order;
use super::bar::bar;
use super::{Frame, cut, lines};

/// A column; those that are first in [`DROPPED`] go first when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Objective,
    Bar,
    Wanted,
    Share,
    Memory,
    Io,
    Backlog,
    Now,
    Fixed,
}

use Column::{Backlog, Bar, Fixed, Io, Memory, Name, Now, Share, Wanted};

const ALL: [Column; 10] = [Name, Column::Objective, Bar, Wanted, Share, Memory, Io, Backlog, Now, Fixed];

const DROPPED: [Column; 8] = [Column::Objective, Share, Backlog, Io, Memory, Wanted, Bar, Fixed];

/// The least width that a bar is worth drawing in, and the most.
const BAR: (usize, usize) = (10, 60);

impl Column {
    const fn width(self) -> usize {
        match self {
            Name => 13,
            Column::Objective => 11,
            Bar => BAR.0,
            Wanted | Share => 5,
            Backlog | Now | Fixed => 6,
            Memory => 11,
            Io => 4,
        }
    }

    const fn head(self) -> &'static str {
        match self {
            Name => " VM",
            Column::Objective => "objective",
            Bar => "CPU",
            Wanted => "wants",
            Share => "share",
            Memory => "GiB use/has",
            Io => "MB/s",
            Backlog => "waits",
            Now => "now",
            Fixed => FIXED,
        }
    }

    const fn is_text(self) -> bool {
        matches!(self, Name | Column::Objective | Bar)
    }
}

/// The columns that fit, with the bar's width.
fn columns(width: usize) -> (Vec<Column>, usize) {
    let mut kept = ALL.to_vec();
    let taken = |kept: &[Column]| kept.iter().map(|column| column.width() + 1).sum::<usize>() - 1;
    for column in DROPPED {
        if taken(&kept) <= width {
            break;
        }
        kept.retain(|found| *found != column);
    }
    let spare = width.saturating_sub(taken(&kept));
    (kept, (BAR.0 + spare).min(BAR.1))
}

pub(super) fn remark(frame: &Frame<'_>) -> String {
    match frame.view.order {
        Order::ById => "by id".into(),
        Order::WorstFirst => "worst first".into(),
    }
}

pub(super) fn draw(frame: &Frame<'_>, top: usize, area: Rect, buffer: &mut Buffer) {
    let (columns, bar_width) = columns(usize::from(area.width));
    let width = |column: Column| if column == Bar { bar_width } else { column.width() };
    let mut head = Vec::new();
    for column in &columns {
        let (title, width) = (column.head(), width(*column));
        let text = if column.is_text() { format!("{title:<width$} ") } else { format!("{title:>width$} ") };
        head.push(Span::styled(text, frame.theme.dim()));
    }
    let mut all = vec![Line::from(head)];
    for row in sorted(frame).into_iter().skip(top).take(usize::from(area.height.saturating_sub(1))) {
        let mut spans = Vec::new();
        for column in &columns {
            cell(frame, row, *column, width(*column), &mut spans);
            spans.push(Span::raw(" "));
        }
        all.push(Line::from(spans));
    }
    lines(all, area, buffer);
}

fn sorted<'a>(frame: &Frame<'a>) -> Vec<&'a VmRow> {
    let mut rows: Vec<&VmRow> = frame.scene.vms.iter().collect();
    if frame.view.order == Order::WorstFirst {
        // Idle VMs last; the order among equals stays.
        let key = |row: &VmRow| row.utility.watched.unwrap_or(f64::INFINITY);
        rows.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal));
    }
    rows
}

fn cell<'a>(frame: &Frame<'_>, row: &VmRow, column: Column, width: usize, spans: &mut Vec<Span<'a>>) {
    let theme = frame.theme;
    let missed = row.violating.watched;
    let (text, style) = match column {
        Bar => return spans.extend(bar(&row.cpu, width, theme)),
        Name => {
            let sign = if missed { '!' } else { ' ' };
            let style = if missed { theme.bad() } else { theme.plain() };
            (format!("{sign}{:<1$}", cut(&row.name, width - 1), width - 1), style)
        }
        Column::Objective => (format!("{:<width$}", objective(row.objective)), theme.dim()),
        Wanted => {
            let short = row.cpu.wanted > 1.05 * row.cpu.used + 0.05;
            let style = if short { theme.unmet() } else { theme.plain() };
            (format!("{:>width$.2}", row.cpu.wanted), style)
        }
        Share => (format!("{:>width$.2}", row.cpu.share.unwrap_or(0.0)), theme.plain()),
        Memory => {
            let short = row.working_set_bytes > row.memory_bytes;
            let style = if short { theme.unmet() } else { theme.plain() };
            let (uses, has) = (row.working_set_bytes / GIB, row.memory_bytes / GIB);
            (format!("{uses:>5.1}/{has:<5.1}"), style)
        }
        Io => (format!("{:>width$.0}", row.io_bytes_s / 1e6), theme.plain()),
        Backlog => (format!("{:>width$}", backlog(row.backlog_s)), theme.plain()),
        Now => {
            let style = if missed { theme.bad() } else { theme.strong() };
            (utility(row.utility.watched, width), style)
        }
        Fixed => {
            let style = if row.violating.fixed { theme.unmet() } else { theme.dim() };
            (utility(row.utility.fixed, width), style)
        }
    };
    spans.push(Span::styled(text, style));
}

fn utility(value: Option<f64>, width: usize) -> String {
    value.map_or_else(|| format!("{:>width$}", "idle"), |value| format!("{value:>width$.3}"))
}

fn objective(objective: Objective) -> String {
    match objective {
        Objective::Latency { p99 } => format!("p99 {}", short(p99)),
        Objective::Throughput => "throughput".into(),
        Objective::BestEffort => "best effort".into(),
    }
}
