//! Who is watched, how far it is, how it stands; and the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::scene::{Meter, Tempo};
use super::super::stage::FIXED;
use super::super::units::{clock, speed};
use super::bar::bar;
use super::{Frame, cut, lines};

pub(super) fn draw(frame: &Frame<'_>, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    if area.height == 1 {
        lines(vec![small(frame)], area, buffer);
        return;
    }
    let width = usize::from(area.width);
    lines(vec![title(frame, width), standing(frame, width), progress(frame, width)], area, buffer);
}

/// Everything that matters in one line.
fn small<'a>(frame: &Frame<'_>) -> Line<'a> {
    let mut spans = vec![Span::raw(format!("{} ", clock(frame.scene.now)))];
    spans.push(difference(frame));
    spans.push(Span::raw(format!(" {}", missing(frame))));
    Line::from(spans)
}

fn title<'a>(frame: &Frame<'_>, width: usize) -> Line<'a> {
    let scene = frame.scene;
    let mut left = vec![Span::styled(" HALCYON", frame.theme.strong())];
    if width >= 78 {
        left.push(Span::styled("  on ", frame.theme.dim()));
        // The clock is worth more than a long name.
        left.push(Span::raw(cut(&scene.host, width - 60)));
        left.push(Span::styled(format!(", {} VMs", scene.vms.len()), frame.theme.dim()));
    }
    let mut right = Vec::new();
    if let Some(state) = state(scene.tempo, scene.now >= scene.duration) {
        right.push(Span::styled(format!("{state}  "), frame.theme.unmet()));
    }
    right.push(Span::styled(clock(scene.now), frame.theme.strong()));
    right.push(Span::styled(format!(" of {}  at ", clock(scene.duration)), frame.theme.dim()));
    right.push(Span::raw(format!("{} ", speed(scene.tempo.speed))));
    apart(left, right, width)
}

fn state(tempo: Tempo, over: bool) -> Option<&'static str> {
    if over {
        Some("finished")
    } else if tempo.paused {
        Some("paused")
    } else {
        None
    }
}

fn standing<'a>(frame: &Frame<'_>, width: usize) -> Line<'a> {
    let (scene, theme) = (frame.scene, frame.theme);
    let left = vec![
        Span::styled(" utility  ", theme.dim()),
        Span::styled(format!("{} {:.4}", scene.policy, scene.utility.watched), theme.watched()),
        Span::raw(format!("  {FIXED} {:.4}  ", scene.utility.fixed)),
        difference(frame),
    ];
    let missed = if scene.violating.watched > 0 { theme.bad() } else { theme.good() };
    let roomy = width >= 110;
    let what = if roomy { "objectives missed in the last minute  " } else { "missed " };
    let right = vec![
        Span::styled(what, theme.dim()),
        Span::raw(if roomy { format!("{} ", scene.policy) } else { String::new() }),
        Span::styled(scene.violating.watched.to_string(), missed),
        Span::raw(format!("  {FIXED} {}", scene.violating.fixed)),
        Span::styled(format!("  of {} ", scene.judged), theme.dim()),
    ];
    apart(left, right, width)
}

fn difference<'a>(frame: &Frame<'_>) -> Span<'a> {
    let difference = frame.scene.utility.watched - frame.scene.utility.fixed;
    let style = match difference {
        d if d >= 5e-5 => frame.theme.good(),
        d if d <= -5e-5 => frame.theme.bad(),
        _ => frame.theme.plain(),
    };
    // Nothing is not written as minus nothing.
    let shown = if difference.abs() < 5e-5 { 0.0 } else { difference };
    Span::styled(format!("{shown:+.4}"), style)
}

fn missing(frame: &Frame<'_>) -> String {
    format!("{} missed", frame.scene.violating.watched)
}

fn progress<'a>(frame: &Frame<'_>, width: usize) -> Line<'a> {
    let scene = frame.scene;
    let (done, whole) = (scene.now.as_secs_f64(), scene.duration.as_secs_f64());
    let percent = (100.0 * done / whole.max(1.0)).floor().min(100.0);
    let mut spans = vec![Span::raw(" ")];
    spans.extend(bar(&Meter::of(done, whole), width.saturating_sub(8), frame.theme));
    spans.push(Span::raw(format!(" {percent:>3.0} % ")));
    Line::from(spans)
}

/// Two texts at both ends of a line; where they do not fit, the right one is left out.
fn apart<'a>(mut left: Vec<Span<'a>>, right: Vec<Span<'a>>, width: usize) -> Line<'a> {
    let of = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let taken = of(&left) + of(&right);
    if taken < width {
        left.push(Span::raw(" ".repeat(width - taken)));
        left.extend(right);
    }
    Line::from(left)
}

pub(super) fn keys(frame: &Frame<'_>, area: Rect, buffer: &mut Buffer) {
    const KEYS: [(&str, &str); 8] = [
        ("q", "to the table"),
        ("space", "pause"),
        ("+ -", "speed"),
        ("s", "sort"),
        ("↑ ↓", "scroll"),
        ("Tab", "panel"),
        ("e", "why"),
        ("?", "help"),
    ];
    let mut spans = Vec::new();
    for (key, what) in KEYS {
        spans.push(Span::styled(format!(" {key} "), frame.theme.strong()));
        spans.push(Span::styled(format!("{what} "), frame.theme.dim()));
    }
    lines(vec![Line::from(spans)], area, buffer);
}
