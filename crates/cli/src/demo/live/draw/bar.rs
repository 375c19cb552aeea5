//! Bars of lines: `━━━━┅┅│──  ` is used, wanted and not had, set aside, free to use, out of reach.

use ratatui::style::Style;
use ratatui::text::Span;

use super::super::scene::Meter;
use super::theme::Theme;

/// One cell of a bar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Used,
    Unmet,
    Free,
    Beyond,
}

impl Cell {
    fn draw(self, share: bool, theme: Theme) -> (char, Style) {
        let (plain, marked, style) = match self {
            Self::Used => ('━', '┿', theme.watched()),
            Self::Unmet => ('┅', '┿', theme.unmet()),
            Self::Free => ('─', '┼', theme.dim()),
            Self::Beyond => (' ', '│', theme.dim()),
        };
        if share { (marked, theme.plain()) } else { (plain, style) }
    }
}

/// A meter as a bar of `width` columns.
pub(super) fn bar(meter: &Meter, width: usize, theme: Theme) -> Vec<Span<'static>> {
    let upto = |amount: f64| cells(amount, meter.whole, width);
    let (used, wanted, ceiling) = (upto(meter.used), upto(meter.wanted), upto(meter.ceiling));
    let share = meter.share.map(|share| upto(share).clamp(1, width.max(1)) - 1);
    let mut spans: Vec<Span<'static>> = Vec::new();
    for index in 0..width {
        let cell = match index {
            index if index < used => Cell::Used,
            index if index < wanted => Cell::Unmet,
            index if index < ceiling => Cell::Free,
            _ => Cell::Beyond,
        };
        let (symbol, style) = cell.draw(share == Some(index), theme);
        match spans.last_mut().filter(|span| span.style == style) {
            Some(span) => span.content.to_mut().push(symbol),
            None => spans.push(Span::styled(symbol.to_string(), style)),
        }
    }
    spans
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn cells(amount: f64, whole: f64, width: usize) -> usize {
    if whole > 0.0 { (amount / whole * width as f64).round().clamp(0.0, width as f64) as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(meter: &Meter) -> String {
        bar(meter, 10, Theme { colour: true }).iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn a_bar_shows_use_want_share_and_ceiling() {
        let meter = Meter { used: 4.0, wanted: 6.0, share: Some(5.0), ceiling: 8.0, whole: 10.0 };
        assert_eq!(text(&meter), "━━━━┿┅──  ");
        assert_eq!(text(&Meter { share: Some(7.0), ..meter }), "━━━━┅┅┼─  ");
        assert_eq!(text(&Meter { share: Some(10.0), ..meter }), "━━━━┅┅── │");
    }

    #[test]
    fn amounts_that_make_no_sense_make_no_bar() {
        let meter = Meter { used: f64::NAN, wanted: -1.0, share: Some(9e9), ceiling: 0.0, whole: 0.0 };
        assert_eq!(text(&meter), "│         ");
    }
}
