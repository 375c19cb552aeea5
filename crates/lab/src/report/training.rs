//! The page of a training: what it came to after each round.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::markup::{escape, signed, spell};
use crate::train::{Row, Training};

/// Points of one line.
const MOST_POINTS: usize = 400;

/// The page of a training so far; `command` repeats it.
#[must_use]
pub fn training_html(training: &Training, command: &str) -> String {
    let rows = training.rows();
    let mut out = String::with_capacity(1 << 16);
    super::head(&mut out, "training");
    headline(&mut out, training);
    let step = rows.len().div_ceil(MOST_POINTS).max(1);
    let points: Vec<&Row> = rows.iter().step_by(step).collect();
    if points.is_empty() {
        out.push_str("<p class=\"note\">No round is over yet.</p>\n");
    } else {
        out.push_str("<section id=\"curves\">\n<h2>Round by round</h2>\n<div class=\"panels sums\">\n");
        curves(&mut out, &points);
        out.push_str("</div>\n</section>\n");
        table(&mut out, rows, training.best().map(|(round, _)| round));
    }
    let _ = write!(
        out,
        "<footer id=\"footnotes\">\n<h2>Footnotes</h2>\n<dl><dt>Again</dt><dd><code>{}</code><br/>The same command \
         gives the same figures on any machine, but for times.</dd></dl>\n</footer>\n",
        escape(command)
    );
    super::tail(&mut out, "null");
    out
}

fn headline(out: &mut String, training: &Training) {
    let recipe = training.recipe();
    let (rounds, done) = (recipe.course.rounds(), training.rows().last().map_or(0, |row| row.round));
    let best = training.best().and_then(|(round, _)| training.rows().iter().find(|row| row.round == round));
    let says = best.map_or_else(
        || "Nothing was learned yet.".to_owned(),
        |row| {
            format!(
                "After round {} of {rounds} it is {} in utility against reactive.",
                row.round,
                signed(row.score - row.reactive, 4)
            )
        },
    );
    let seconds: f64 = training.rows().iter().map(|row| row.seconds).sum();
    let _ = write!(
        out,
        "<header id=\"headline\">\n<p class=\"kicker\">Halcyon · a training</p>\n<h1>{says}</h1>\n<p class=\"what\">\
         <b>{done} of {rounds} rounds</b> in {} · after each, {} scenarios of {} that nothing is learned from; the \
         best round is chosen by them, and the verdict in README.md rests on others</p>\n</header>\n",
        spell(seconds),
        recipe.exam.chosen,
        spell(recipe.exam.length.as_secs_f64())
    );
}

/// One line of a figure.
struct Line<'a> {
    name: &'a str,
    class: &'a str,
    colour: &'a str,
    values: Vec<Option<f64>>,
}

fn curves(out: &mut String, rows: &[&Row]) {
    let of = |value: &dyn Fn(&Row) -> Option<f64>| rows.iter().map(|row| value(row)).collect::<Vec<_>>();
    let mut utility = vec![
        Line {
            name: "held out",
            class: "line chosen",
            colour: "var(--k2)",
            values: of(&|row| Some(row.score)),
        },
        Line {
            name: "reactive",
            class: "line base",
            colour: "var(--k1)",
            values: of(&|row| Some(row.reactive)),
        },
    ];
    figure(out, "Utility where nothing is learned from", rows, &utility);
    utility = vec![Line {
        name: "its runs",
        class: "line chosen",
        colour: "var(--k5)",
        values: of(&|row| row.utility),
    }];
    figure(out, "Utility of the runs of the round", rows, &utility);
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.losses.keys()).map(String::as_str).collect();
    for name in names {
        let values = of(&|row| row.losses.get(name).copied());
        let line = [Line { name, class: "line chosen", colour: "var(--k3)", values }];
        figure(out, &format!("Loss: {name}"), rows, &line);
    }
}

#[allow(clippy::cast_precision_loss)]
fn figure(out: &mut String, title: &str, rows: &[&Row], lines: &[Line<'_>]) {
    let known = || lines.iter().flat_map(|line| line.values.iter().flatten()).copied();
    let (low, high) =
        known().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return;
    }
    let room = (0.06 * (high - low)).max(1e-4);
    let (low, high) = (low - room, high + room);
    let y = |value: f64| 1000.0 * (high - value) / (high - low);
    let (first, last) = (rows.first().map_or(0, |row| row.round), rows.last().map_or(0, |row| row.round));
    let x = |round: usize| 1000.0 * (round - first) as f64 / (last - first).max(1) as f64;
    let title = escape(title);
    let _ = write!(out, "<div class=\"panel-table\"><h3>{title}</h3>\n<p class=\"legend\">");
    for line in lines {
        let last = line.values.iter().rev().flatten().next();
        let last = last.map_or_else(|| "–".to_owned(), |last| format!("{last:.4}"));
        let _ = write!(
            out,
            "<span style=\"--c:{}\"><i class=\"swatch\"></i>{} {last}</span> ",
            line.colour,
            escape(line.name)
        );
    }
    out.push_str("</p><div class=\"figure\"><div class=\"yaxis\" aria-hidden=\"true\">");
    for share in [0.1, 0.5, 0.9] {
        let value = high - share * (high - low);
        let _ = write!(out, "<span style=\"top:{:.1}%\">{value:.3}</span>", 100.0 * share);
    }
    let _ = write!(
        out,
        "</div><div class=\"plot\"><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\" role=\"img\"><title>{title}, round by round</title>\
         <path class=\"grid\" d=\"M0 100H1000M0 500H1000M0 900H1000\"/>"
    );
    for line in lines {
        let known =
            rows.iter().zip(&line.values).filter_map(|(row, value)| Some((x(row.round), y((*value)?))));
        let path: Vec<String> = known.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = write!(
            out,
            "<path class=\"{}\" style=\"--c:{}\" d=\"M{}\"/>",
            line.class,
            line.colour,
            path.join("L")
        );
    }
    let _ = write!(
        out,
        "</svg></div>\n<div class=\"xaxis\" aria-hidden=\"true\"><span style=\"left:0%\">round {first}</span>\
         <span class=\"last\" style=\"left:100%\">{last}</span></div></div></div>\n"
    );
}

fn table(out: &mut String, rows: &[Row], best: Option<usize>) {
    out.push_str(
        "<section id=\"rounds\">\n<h2>All rounds</h2>\n<div class=\"scroll\"><table class=\"figures\"><thead><tr>\
         <th>round</th><th>kind</th><th>losses</th><th class=\"n\">utility of its runs</th>\
         <th class=\"n\">held-out utility</th><th class=\"n\">against reactive</th><th class=\"n\">time</th></tr></thead><tbody>\n",
    );
    for row in rows {
        let losses: Vec<String> =
            row.losses.iter().map(|(name, loss)| format!("{} {loss:.4}", escape(name))).collect();
        let half = row.half_width.map_or_else(String::new, |half| format!("&#160;±{half:.4}"));
        let _ = writeln!(
            out,
            "<tr{}><th>{}</th><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.4}</td>\
             <td class=\"n\">{}{half}</td><td class=\"n\">{}</td></tr>",
            if best == Some(row.round) { " class=\"best\"" } else { "" },
            row.round,
            escape(&row.kind),
            losses.join(", "),
            row.utility.map_or_else(|| "–".to_owned(), |utility| format!("{utility:.4}")),
            row.score,
            signed(row.score - row.reactive, 4),
            spell(row.seconds)
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}
