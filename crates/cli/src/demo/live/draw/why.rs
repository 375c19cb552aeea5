//! Why the last plan that was explained changes what it changes; what gains or costs most comes first.

use halcyon_lab::Explained;
use halcyon_policy::Explanation;
use halcyon_policy::explain::text::{facts, headline};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::scene::Scene;
use super::super::units::clock;
use super::{Frame, cut, lines};
use crate::explain::text::{WIDTH, together};

/// One row.
enum Row {
    Blank,
    Remark(String),
    Change(String),
    Fact(&'static str, String),
}

pub(super) fn remark(scene: &Scene) -> String {
    let Some(why) = &scene.why else { return String::new() };
    let changes = if why.changes.len() == 1 { "change" } else { "changes" };
    format!("plan {} at {} · {} {changes}", why.plan, clock(why.at), why.changes.len())
}

pub(super) fn rows(scene: &Scene) -> usize {
    scene.why.as_deref().map_or(0, |why| all(why).len())
}

pub(super) fn draw(frame: &Frame<'_>, top: usize, area: Rect, buffer: &mut Buffer) {
    let (theme, width) = (frame.theme, usize::from(area.width).saturating_sub(1));
    let Some(why) = &frame.scene.why else {
        let go_on = if frame.scene.tempo.paused { "; space goes on" } else { "" };
        let nothing = format!(" the next plan will be explained here{go_on}");
        lines(vec![Line::from(Span::styled(nothing, theme.dim()))], area, buffer);
        return;
    };
    let shown = all(why).into_iter().skip(top).take(usize::from(area.height)).map(|row| match row {
        Row::Blank => Line::default(),
        Row::Remark(text) => Line::from(Span::styled(format!(" {}", cut(&text, width)), theme.dim())),
        Row::Change(text) => Line::from(Span::styled(format!(" {}", cut(&text, width)), theme.strong())),
        Row::Fact(what, text) => Line::from(vec![
            Span::styled(format!("  {what:<WIDTH$} "), theme.dim()),
            Span::raw(cut(&text, width.saturating_sub(WIDTH + 2))),
        ]),
    });
    lines(shown.collect(), area, buffer);
}

fn all(why: &Explained) -> Vec<Row> {
    let mut changes: Vec<&Explanation> = why.changes.iter().collect();
    let size = |change: &Explanation| change.gain_s_per_min.unwrap_or(0.0).abs();
    changes.sort_by(|one, other| size(other).total_cmp(&size(one)));
    let mut rows = vec![Row::Remark(together(why))];
    for change in changes {
        rows.extend([Row::Blank, Row::Change(headline(change))]);
        rows.extend(facts(change).into_iter().map(|(what, fact)| Row::Fact(what, fact)));
    }
    rows
}
