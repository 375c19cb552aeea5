//! What changed and why, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::scene::Note;
use super::super::units::clock;
use super::{Frame, cut, lines};

/// Columns of the time, and the least for a reason.
const TIME: usize = 10;
const WHY: usize = 36;

/// With fewer columns than this for what changed, the reason is left out.
const MOST_CUT: usize = 18;

pub(super) fn remark(frame: &Frame<'_>) -> String {
    format!("and {:.1} share changes/s", frame.scene.shares_per_s)
}

pub(super) fn draw(frame: &Frame<'_>, top: usize, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    if frame.scene.notes.is_empty() {
        let nothing = Span::styled(" nothing yet but shares", frame.theme.dim());
        lines(vec![Line::from(nothing)], area, buffer);
        return;
    }
    let notes: Vec<_> = frame.scene.notes.iter().skip(top).take(usize::from(area.height)).collect();
    let longest = notes.iter().map(|note| note.what.chars().count()).max().unwrap_or(0);
    // One column for all reasons on the screen, where that leaves room for them.
    let column = longest.min(width.saturating_sub(TIME + WHY + 2));
    lines(notes.into_iter().map(|note| line(frame, note, column, width)).collect(), area, buffer);
}

fn line<'a>(frame: &Frame<'_>, note: &Note, column: usize, width: usize) -> Line<'a> {
    let style = if note.bad { frame.theme.bad() } else { frame.theme.plain() };
    let mut spans = vec![Span::styled(format!(" {} ", clock(note.at)), frame.theme.dim())];
    let rest = width.saturating_sub(TIME);
    if column < MOST_CUT {
        spans.push(Span::styled(cut(&note.what, rest), style));
    } else {
        spans.push(Span::styled(format!("{:<column$}  ", cut(&note.what, column)), style));
        spans.push(Span::styled(cut(&note.why, rest - column - 2), frame.theme.dim()));
    }
    Line::from(spans)
}
