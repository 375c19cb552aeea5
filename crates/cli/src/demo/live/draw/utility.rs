//! Both utilities over time.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::Span;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::super::scene::{Beside, Point};
use super::super::stage::FIXED;
use super::super::units::clock;
use super::Frame;

pub(super) fn remark(frame: &Frame<'_>) -> String {
    format!("⣀⠤⠒ {}  ··· {FIXED}", frame.scene.policy)
}

pub(super) fn draw(frame: &Frame<'_>, area: Rect, buffer: &mut Buffer) {
    let (scene, theme) = (frame.scene, frame.theme);
    if area.width < 12 || area.height < 3 {
        return;
    }
    let columns = usize::from(area.width.saturating_sub(6));
    let points = thin(&scene.curve, scene.duration.as_secs_f64(), columns);
    let line = |of: fn(&Beside<f64>) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|point| (point.at_s, of(&point.utility))).collect()
    };
    let (watched, fixed) = (line(|both| both.watched), line(|both| both.fixed));
    let lowest = watched.iter().chain(&fixed).map(|(_, utility)| *utility).fold(0.95, f64::min);
    let floor = ((lowest * 20.0).floor() / 20.0).max(0.0);
    let dataset = |data, marker, style: Style| {
        Dataset::default().data(data).marker(marker).graph_type(GraphType::Line).style(style)
    };
    let label = |text: String| Span::styled(text, theme.dim());
    let end = scene.duration.as_secs_f64().max(1.0);
    let mut x = Axis::default().bounds([0.0, end]).style(theme.dim());
    if area.height >= 7 {
        let short = |seconds: f64| label(clock(std::time::Duration::from_secs_f64(seconds))[..5].to_string());
        x = x.labels([short(0.0), short(end / 2.0), short(end)]);
    }
    let middle = f64::midpoint(floor, 1.0);
    let y = Axis::default().bounds([floor, 1.0]).style(theme.dim());
    let y = if area.height >= 7 {
        y.labels([label(format!("{floor:.2}")), label(format!("{middle:.2}")), label("1.00".into())])
    } else {
        y.labels([label(format!("{floor:.2}")), label("1.00".into())])
    };
    Chart::new(vec![
        dataset(&fixed, Marker::Dot, theme.plain()),
        dataset(&watched, Marker::Braille, theme.watched()),
    ])
    .x_axis(x)
    .y_axis(y)
    .legend_position(None)
    .render(area, buffer);
}

/// One point for each column: the mean of the windows in it. More would be a blot, not a line.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn thin(curve: &[Point], duration_s: f64, columns: usize) -> Vec<Point> {
    let column = |point: &Point| (point.at_s / duration_s.max(1.0) * columns as f64) as usize;
    let groups = curve.chunk_by(|a, b| column(a) == column(b));
    let mean = |group: &[Point]| {
        let of = |value: fn(&Point) -> f64| group.iter().map(value).sum::<f64>() / group.len() as f64;
        let utility = Beside { watched: of(|p| p.utility.watched), fixed: of(|p| p.utility.fixed) };
        Point { at_s: of(|p| p.at_s), utility }
    };
    groups.map(mean).collect()
}
