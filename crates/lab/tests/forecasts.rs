//! Forecasts are judged alike, whoever made them, on generated and on real demand.

mod common;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::{generated, on_demo_host};
use halcyon_lab::Draw;
use halcyon_lab::bench::{Entry, training};
use halcyon_lab::measure::{ForecastReport, SHORTEST_FORECAST, forecasts};
use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::network::Parameters;
use halcyon_policy::{Card, Features, Network, Shape};
use halcyon_sim::trace::{self, Selection, TraceSet};

const LASTS: Duration = Duration::from_secs(1500);

/// A network that foresees that all stays as it is, and is sure of it.
fn constant() -> Network {
    let shape = Shape { features: Features::PER_VM, host: Features::HOST, width: 1, outputs: OUTPUTS };
    let zeros = Parameters::new(shape, vec![0.0; shape.parameters()]).expect("as many as it takes");
    Network::new(Card { model: "constant".into(), features: Features::digest() }, zeros)
}

fn judged(traces: TraceSet, vms: usize) -> ForecastReport {
    let entry = Entry::new(traces.source.clone(), 1, LASTS, move |duration| {
        Ok(on_demo_host(&traces, Draw { load: 0.8, ..Draw::new(vms, duration, 1) })?)
    });
    let tuning = [training(0).lasting(SHORTEST_FORECAST)];
    let found = forecasts(&constant(), &[entry], &tuning, 2, &AtomicBool::new(false));
    found.expect("they run").expect("nobody stopped it")
}

fn assert_sane(report: &ForecastReport) {
    assert_eq!(report.model, "constant");
    for row in &report.rows {
        assert_eq!(
            row.methods.iter().map(|method| method.method.as_str()).collect::<Vec<_>>(),
            ["network", "last", "seasonal", "ewma"]
        );
        let loss = |place: usize| row.methods[place].pinball.expect("it was judged");
        // Who is sure of the last value covers nothing; its own errors make it better.
        assert!(row.methods[0].coverage.expect("it was judged") < 0.5, "{row:?}");
        // Until horizons of minutes, so short a run holds too few errors for them to help.
        if row.horizon_s <= 10.0 {
            // The working set is told against its mean over seconds, which may be better than its last reading.
            assert!(loss(0) > loss(1) || row.quantity == "working-set", "{row:?}");
            let coverage = row.methods[1].coverage.expect("it was judged");
            assert!((0.5..=0.95).contains(&coverage), "{row:?}");
            assert_eq!((row.ahead_in, row.scenarios), (0, 1));
        }
        assert!((row.without_day - 1.0).abs() < 1e-9, "nobody has seen a day");
        assert!((loss(1) - loss(2)).abs() < 1e-12, "so it repeats the last value");
    }
}

#[test]
fn a_network_that_repeats_what_it_saw_is_behind_the_last_value() {
    let report = judged(generated(8, LASTS, 3), 8);
    assert_eq!(report.rows.len(), 16, "four quantities until four horizons");
    assert_sane(&report);
    let text = report.to_string();
    assert!(text.contains("working-set") && text.contains("in 100 % of its forecasts"), "{text}");
}

#[test]
fn too_short_a_run_is_refused() {
    let entries = [training(0).lasting(Duration::from_secs(600))];
    let error = forecasts(&constant(), &entries, &[], 1, &AtomicBool::new(false)).unwrap_err();
    assert!(format!("{error:?}").contains("too short to judge forecasts"), "{error:?}");
}

#[test]
fn forecasts_of_real_demand_are_judged() {
    let data = std::env::var_os("HALCYON_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = data.join("traces/planetlab/20110303.tar.gz");
    if !path.exists() {
        eprintln!("skipped: {} is not there; HALCYON_DATA names the folder with traces", path.display());
        return;
    }
    let selection = Selection::new(8, LASTS, 1);
    let readings = trace::open(&path, None).expect("it can be read");
    let traces = TraceSet::collect(readings, &selection, &path).expect("it is whole");
    assert_sane(&judged(traces, 8));
}
