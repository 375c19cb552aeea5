//! VMs × time as a heat map of utility, two policies side by side. The cells travel as one letter each and
//! are painted by the script: as elements they would be most of the file.

use std::fmt::Write;

use halcyon_model::Objective;

use super::frame::time_axis;
use super::markup::{escape, short, spell};
use super::series::{letters, stride, thin};
use super::view::{View, class};

/// Cells of one row.
const MOST_COLUMNS: usize = 180;
/// Rows; more VMs share rows.
const MOST_ROWS: usize = 400;
/// With more rows than this there is no room for names.
const MOST_NAMES: usize = 64;

/// Positions of VMs by row: by class, those that gain most first; neighbours share a row if they must.
pub(super) fn rows(view: &View<'_>) -> Vec<Vec<usize>> {
    let objective = |vm: usize| -> Objective { view.scenario.guests[vm].spec.objective };
    let mut order = view.order.clone();
    order.sort_by_key(|vm| class(objective(*vm)));
    let each = stride(order.len(), MOST_ROWS);
    order.chunks(each).map(<[usize]>::to_vec).collect()
}

/// Windows in one cell.
pub(super) fn columns(view: &View<'_>) -> usize {
    stride(view.windows(), MOST_COLUMNS)
}

/// The cells of a policy, a text for each row.
pub(super) fn cells(view: &View<'_>, policy: usize) -> Vec<String> {
    let stride = columns(view);
    let record = view.shown[policy].record;
    rows(view)
        .iter()
        .map(|vms| {
            let tracks: Vec<Vec<f64>> = vms
                .iter()
                .filter_map(|vm| record.vms.get(*vm))
                .map(|track| thin(&track.utility, stride))
                .collect();
            let length = tracks.iter().map(Vec::len).min().unwrap_or(0);
            #[allow(clippy::cast_precision_loss)]
            let mean =
                |at: usize| tracks.iter().map(|track| track[at]).sum::<f64>() / tracks.len().max(1) as f64;
            letters(&(0..length).map(mean).collect::<Vec<f64>>())
        })
        .collect()
}

/// What people call a row.
pub(super) fn row_name(view: &View<'_>, vms: &[usize]) -> String {
    match vms {
        [] => String::new(),
        [only] => view.name(*only).to_string(),
        [first, rest @ ..] => format!("{} and {} more", view.name(*first), rest.len()),
    }
}

pub(super) fn write(out: &mut String, view: &View<'_>) {
    let rows = rows(view);
    #[allow(clippy::cast_precision_loss)]
    let each = spell(view.window_s() * columns(view) as f64);
    let shared = match rows.iter().map(Vec::len).max() {
        Some(many) if many > 1 => format!(" {many} VMs share a row, which shows their mean."),
        _ => String::new(),
    };
    let _ = write!(
        out,
        "<section id=\"heat\">\n<h2>Every VM over time</h2>\n<p class=\"note\">Utility of {} VMs; each cell is a mean over \
         {each}.{shared} Rows are grouped by objective, then sorted by gain; the darker (on a dark page: the brighter), \
         the more is lost.</p>\n\
         <p class=\"legend\" aria-hidden=\"true\">1 <i class=\"ramp\"></i> 0 utility</p>\n",
        view.scenario.guests.len()
    );
    let named = rows.len() <= MOST_NAMES;
    let height = if named { 13 * rows.len() } else { (3 * rows.len()).clamp(300, 800) };
    let _ = write!(out, "<div class=\"heats\" style=\"--h:{}px\">", height.max(40));
    if named {
        out.push_str("<div class=\"heat-names\" aria-hidden=\"true\"><div>");
        for vms in &rows {
            let _ = write!(out, "<span>{}</span>", short(&row_name(view, vms), 16));
        }
        out.push_str("</div></div>");
    }
    let axis = time_axis(view.seconds());
    for (id, policy) in [("left", view.base), ("right", view.chosen)] {
        let _ = write!(
            out,
            "<div class=\"heat\"><label><select id=\"heat-{id}-policy\" aria-label=\"Policy on the {id}\">"
        );
        for (index, shown) in view.shown.iter().enumerate() {
            let selected = if index == policy { " selected=\"\"" } else { "" };
            let _ = write!(out, "<option value=\"{index}\"{selected}>{}</option>", escape(shown.name));
        }
        let _ = write!(
            out,
            "</select></label><div class=\"cells\"><canvas id=\"heat-{id}\" role=\"img\" aria-label=\"Heat map of utility, VMs by \
             time; the table above has each VM's mean\"></canvas></div>{axis}</div>"
        );
    }
    out.push_str(
        "</div>\n<p class=\"readout\" id=\"heat-readout\" aria-live=\"polite\">&#160;</p>\n</section>\n",
    );
}
