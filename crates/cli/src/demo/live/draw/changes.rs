//! What changed and why, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::scene::Note;
use super::super::units::clock;
use super::{Frame, cut, lines};

/// Room for what changed where there is room for why as well.
const WHAT: usize = 44;

pub(super) fn remark(frame: &Frame<'_>) -> String {
    format!("and {:.1} shares/s", frame.scene.shares_per_s)
}

pub(super) fn draw(frame: &Frame<'_>, top: usize, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    if frame.scene.notes.is_empty() {
        let nothing = Span::styled(" nothing yet but shares", frame.theme.dim());
        lines(vec![Line::from(nothing)], area, buffer);
        return;
    }
    let notes = frame.scene.notes.iter().skip(top).take(usize::from(area.height));
    lines(notes.map(|note| line(frame, note, width)).collect(), area, buffer);
}

fn line<'a>(frame: &Frame<'_>, note: &Note, width: usize) -> Line<'a> {
    let time = format!(" {} ", clock(note.at));
    let rest = width.saturating_sub(time.chars().count());
    let style = if note.bad { frame.theme.bad() } else { frame.theme.plain() };
    let mut spans = vec![Span::styled(time, frame.theme.dim())];
    if rest < WHAT + 20 {
        let what = cut(&note.what, rest);
        let why = rest.saturating_sub(what.chars().count() + 2);
        spans.push(Span::styled(what, style));
        if why >= 12 {
            spans.push(Span::styled(format!("  {}", cut(&note.why, why)), frame.theme.dim()));
        }
    } else {
        spans.push(Span::styled(format!("{:<WHAT$}  ", cut(&note.what, WHAT)), style));
        spans.push(Span::styled(cut(&note.why, rest - WHAT - 2), frame.theme.dim()));
    }
    Line::from(spans)
}
