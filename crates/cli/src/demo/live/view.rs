//! What the person at the keyboard chose to look at, and what their keys mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A part of the screen that can be looked at more closely.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Panel {
    #[default]
    Vms,
    Host,
    Changes,
    Utility,
    /// Why a plan changes what it changes; shown only while it is looked at.
    Why,
}

impl Panel {
    pub(super) const ALL: [Self; 5] = [Self::Vms, Self::Host, Self::Changes, Self::Utility, Self::Why];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Vms => "VMs",
            Self::Host => "Host",
            Self::Changes => "Changes",
            Self::Utility => "Utility",
            Self::Why => "Why",
        }
    }

    fn turn(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// The order of the VMs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    ById,
    WorstFirst,
}

/// How many rows a panel has and how many of them fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) rows: usize,
    pub(super) page: usize,
}

impl Extent {
    /// The row that is at the top when the last row is at the bottom.
    pub(super) fn last_top(self) -> usize {
        self.rows.saturating_sub(self.page)
    }
}

/// What a key asks of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing, or nothing but another look.
    Look,
    /// On to the table.
    Leave,
    /// Out of the program.
    Interrupt,
    Pause,
    Faster,
    Slower,
}

/// What is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) focus: Panel,
    pub(super) order: Order,
    pub(super) help: bool,
    /// The first row shown of each panel.
    pub(super) tops: [usize; Panel::ALL.len()],
}

impl View {
    /// The first row that a panel shows, given how many fit.
    pub(super) fn top(&self, panel: Panel, extent: Extent) -> usize {
        self.tops[panel as usize].min(extent.last_top())
    }

    /// Takes a key; `extent` tells how large a panel is on the screen.
    pub(super) fn key(&mut self, key: KeyEvent, extent: impl Fn(Panel) -> Extent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Look;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            let interrupt = matches!(key.code, KeyCode::Char('c' | 'C'));
            return if interrupt { Action::Interrupt } else { Action::Look };
        }
        if std::mem::take(&mut self.help) {
            // Whatever key closes the help does nothing else.
            return Action::Look;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Leave,
            KeyCode::Char(' ') => return Action::Pause,
            KeyCode::Char('+' | '=') => return Action::Faster,
            KeyCode::Char('-' | '_') => return Action::Slower,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('s') => self.turn_order(),
            KeyCode::Char('e') => self.turn_why(),
            KeyCode::Tab => self.focus = self.focus.turn(1),
            KeyCode::BackTab => self.focus = self.focus.turn(Panel::ALL.len() - 1),
            code => self.scroll(code, extent(self.focus)),
        }
        Action::Look
    }

    /// Whether plans are to be explained.
    pub(super) fn asks_why(&self) -> bool {
        self.focus == Panel::Why
    }

    fn turn_why(&mut self) {
        self.focus = if self.asks_why() { Panel::default() } else { Panel::Why };
    }

    fn turn_order(&mut self) {
        self.order = match self.order {
            Order::ById => Order::WorstFirst,
            Order::WorstFirst => Order::ById,
        };
        self.tops[Panel::Vms as usize] = 0;
    }

    fn scroll(&mut self, code: KeyCode, extent: Extent) {
        let page = extent.page.saturating_sub(1).max(1);
        let top = self.top(self.focus, extent);
        self.tops[self.focus as usize] = match code {
            KeyCode::Up | KeyCode::Char('k') => top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => top + 1,
            KeyCode::PageUp => top.saturating_sub(page),
            KeyCode::PageDown => top + page,
            KeyCode::Home => 0,
            KeyCode::End => extent.last_top(),
            _ => top,
        }
        .min(extent.last_top());
    }
}
