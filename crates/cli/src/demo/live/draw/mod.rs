//! Draws a [`Frame`]. What is drawn depends on nothing but the frame and the size of the screen.

mod bar;
mod changes;
mod header;
mod help;
mod host;
mod places;
mod theme;
mod utility;
mod vms;
mod why;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Widget};

pub(super) use places::Places;
pub(super) use theme::Theme;

use super::scene::Scene;
use super::view::{Extent, Panel, View};

/// All that a screen shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) scene: &'a Scene,
    pub(super) view: &'a View,
    pub(super) theme: Theme,
}

impl Frame<'_> {
    /// How much of a panel fits on a screen of this size.
    pub(super) fn extent(&self, screen: Rect, panel: Panel) -> Extent {
        let places = Places::of(screen, self.view.focus);
        places.panel(panel).map_or(Extent::default(), |area| self.extent_in(inner(area), panel))
    }

    fn extent_in(&self, inner: Rect, panel: Panel) -> Extent {
        let height = usize::from(inner.height);
        match panel {
            Panel::Vms => Extent { rows: self.scene.vms.len(), page: height.saturating_sub(1) },
            Panel::Host => Extent { rows: self.scene.host_rows.len(), page: height },
            Panel::Changes => Extent { rows: self.scene.notes.len(), page: height },
            Panel::Utility => Extent::default(),
            Panel::Why => Extent { rows: why::rows(self.scene), page: height },
        }
    }

    fn panel(&self, panel: Panel, area: Rect, buffer: &mut Buffer) {
        let inside = inner(area);
        let extent = self.extent_in(inside, panel);
        let top = self.view.top(panel, extent);
        let focused = self.view.focus == panel;
        let (border, title) = if focused {
            (self.theme.focus(), self.theme.strong())
        } else {
            (self.theme.dim(), self.theme.plain())
        };
        let mut block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(border)
            .title_top(Line::from(Span::styled(format!(" {} ", panel.title()), title)));
        let remark = self.remark(panel, top, extent);
        let room = usize::from(area.width).saturating_sub(panel.title().len() + 7);
        if let Some(remark) = remark.filter(|remark| remark.chars().count() <= room) {
            let remark = Span::styled(format!(" {remark} "), self.theme.dim());
            block = block.title_top(Line::from(remark).right_aligned());
        }
        block.render(area, buffer);
        match panel {
            Panel::Vms => vms::draw(self, top, inside, buffer),
            Panel::Host => host::draw(self, top, inside, buffer),
            Panel::Changes => changes::draw(self, top, inside, buffer),
            Panel::Utility => utility::draw(self, inside, buffer),
            Panel::Why => why::draw(self, top, inside, buffer),
        }
    }

    /// What stands at the right of a panel's title.
    fn remark(&self, panel: Panel, top: usize, extent: Extent) -> Option<String> {
        let own = match panel {
            Panel::Vms => vms::remark(self),
            Panel::Changes => changes::remark(self),
            Panel::Utility => utility::remark(self),
            Panel::Why => why::remark(self.scene),
            Panel::Host => String::new(),
        };
        let hidden = extent.rows > extent.page && panel != Panel::Changes;
        let rows = format!("{}–{} of {}", top + 1, (top + extent.page).min(extent.rows), extent.rows);
        match (own.is_empty(), hidden) {
            (true, true) => Some(rows),
            (false, true) => Some(format!("{own} · {rows}")),
            (false, false) => Some(own),
            (true, false) => None,
        }
    }
}

impl Widget for Frame<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let places = Places::of(area, self.view.focus);
        header::draw(&self, places.header, buffer);
        for (panel, place) in &places.panels {
            self.panel(*panel, *place, buffer);
        }
        if let Some(keys) = places.keys {
            header::keys(&self, keys, buffer);
        }
        if self.view.help {
            help::draw(&self, area, buffer);
        }
    }
}

/// What the frame around a panel leaves.
fn inner(area: Rect) -> Rect {
    Block::bordered().inner(area)
}

/// Writes lines from the top of an area down; what does not fit is cut off.
fn lines(lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(lines).render(area, buffer);
}

/// Cuts a text off at a width, with an ellipsis. All texts here have one column for each character.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { format!("{kept}…") }
}
