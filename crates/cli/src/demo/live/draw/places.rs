//! Where everything stands: four panels side by side where there is room, else the focused one above
//! two small ones, else the focused one alone. Explanations are always alone.

use ratatui::layout::Rect;

use super::super::view::Panel;

/// From this size on, all panels are shown at full size.
const WIDE: (u16, u16) = (118, 30);

/// From this height on, small panels stand below the focused one.
const TALL: u16 = 18;

/// Columns that the host panel is laid out for.
const HOST_WIDTH: u16 = 51;

/// The rectangles of one screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Places {
    pub(super) header: Rect,
    pub(super) panels: Vec<(Panel, Rect)>,
    pub(super) keys: Option<Rect>,
}

impl Places {
    /// Divides a screen; everything lies within it, however small it is.
    pub(in super::super) fn of(screen: Rect, focus: Panel) -> Self {
        let header_height = match screen.height {
            0..=7 => 1.min(screen.height),
            8..=15 => 2,
            _ => 3,
        };
        let keys_height = u16::from(screen.height >= 10);
        let (header, rest) = split_top(screen, header_height);
        let (body, keys) = split_top(rest, rest.height - keys_height.min(rest.height));
        // An explanation has long lines and many of them.
        let panels = if focus == Panel::Why && body.height >= 3 {
            vec![(focus, body)]
        } else if screen.width >= WIDE.0 && screen.height >= WIDE.1 {
            wide(body)
        } else if screen.height >= TALL {
            stacked(body, focus)
        } else if body.height >= 3 {
            vec![(focus, body)]
        } else {
            Vec::new()
        };
        Self { header, panels, keys: (keys_height > 0).then_some(keys) }
    }

    /// Where a panel stands, if it is shown.
    pub(super) fn panel(&self, panel: Panel) -> Option<Rect> {
        self.panels.iter().find(|(shown, _)| *shown == panel).map(|(_, area)| *area)
    }
}

fn wide(body: Rect) -> Vec<(Panel, Rect)> {
    let bottom = (body.height * 3 / 10).max(8);
    let (above, below) = split_top(body, body.height - bottom);
    // What the VM table cannot use goes to the host.
    let left = HOST_WIDTH.max(body.width * 36 / 100).min(72);
    let (host, vms) = split_left(above, left);
    let (utility, changes) = split_left(below, left);
    vec![(Panel::Host, host), (Panel::Vms, vms), (Panel::Utility, utility), (Panel::Changes, changes)]
}

fn stacked(body: Rect, focus: Panel) -> Vec<(Panel, Rect)> {
    let bottom = (body.height / 3).max(6);
    let (above, below) = split_top(body, body.height - bottom);
    let (left, right) = split_left(below, below.width * 2 / 5);
    let mut panels = vec![(focus, above)];
    match focus {
        Panel::Changes => panels.push((Panel::Utility, below)),
        Panel::Utility | Panel::Why => panels.push((Panel::Changes, below)),
        Panel::Vms | Panel::Host => panels.extend([(Panel::Utility, left), (Panel::Changes, right)]),
    }
    panels
}

fn split_top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    let below = Rect { y: area.y + height, height: area.height - height, ..area };
    (Rect { height, ..area }, below)
}

fn split_left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    let right = Rect { x: area.x + width, width: area.width - width, ..area };
    (Rect { width, ..area }, right)
}
