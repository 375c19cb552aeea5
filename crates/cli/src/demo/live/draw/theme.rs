//! Few colours, and none where `NO_COLOR` asks for none: then weight and signs say the same.

use ratatui::style::{Color, Modifier, Style};

/// Styles by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Theme {
    pub(in super::super) colour: bool,
}

impl Theme {
    fn of(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    /// Labels, and whatever is of little weight.
    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The policy that is watched, and what is in use under it.
    pub(super) fn watched(self) -> Style {
        self.of(Color::Cyan)
    }

    pub(super) fn focus(self) -> Style {
        if self.colour { self.of(Color::Cyan) } else { self.strong() }
    }

    pub(super) fn good(self) -> Style {
        self.of(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// An objective that is missed; a change that failed.
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is wanted beyond what is had.
    pub(super) fn unmet(self) -> Style {
        self.of(Color::Yellow)
    }
}
