//! What everything means, over the rest of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use super::super::scene::Meter;
use super::bar::bar;
use super::{Frame, inner, lines};

const WIDTH: u16 = 70;

const KEYS: [(&str, &str); 9] = [
    ("q  Esc", "run the rest at full speed and print the table"),
    ("space", "pause, go on"),
    ("+  -", "twice as fast, half as fast"),
    ("s", "VMs by id, or the worst first"),
    ("Tab", "next panel"),
    ("e", "why a plan changes what it changes; again: the VMs"),
    ("↑ ↓  PgUp PgDn", "scroll the panel; Home and End too"),
    ("?", "this help; any key closes it"),
    ("Ctrl-C", "leave at once"),
];

const WORDS: [(&str, &str); 5] = [
    ("━ used", "CPU time, or traffic, that it gets"),
    ("┅ wanted", "and does not get"),
    ("─ free", "up to its ceiling; blank is out of reach"),
    ("│ share", "what is set aside for it"),
    ("now", "utility in the last minute; ! misses its objective"),
];

pub(super) fn draw(frame: &Frame<'_>, screen: Rect, buffer: &mut Buffer) {
    let theme = frame.theme;
    let row = |(left, right): (&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!(" {left:<16}"), theme.strong()), Span::raw(right)])
    };
    let mut text: Vec<Line<'_>> = KEYS.into_iter().map(row).collect();
    text.push(Line::default());
    text.extend(WORDS.into_iter().map(row));
    let example = Meter { used: 4.0, wanted: 5.0, share: Some(7.0), ceiling: 8.5, whole: 10.0 };
    let mut line = vec![Span::styled(" for example     ", theme.dim())];
    line.extend(bar(&example, 24, theme));
    text.push(Line::from(line));
    let height = u16::try_from(text.len()).unwrap_or(u16::MAX).saturating_add(2);
    let area = screen.centered(
        ratatui::layout::Constraint::Length(WIDTH.min(screen.width)),
        ratatui::layout::Constraint::Length(height.min(screen.height)),
    );
    Clear.render(area, buffer);
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.focus())
        .title_top(Span::styled(" Help ", theme.strong()))
        .render(area, buffer);
    lines(text, inner(area), buffer);
}
