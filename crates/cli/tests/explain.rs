//! `halcyon explain` as a person meets it.

use std::path::Path;
use std::process::{Command, Output};

fn halcyon(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.current_dir(root).arg("explain").args(args).output().expect("the program starts")
}

const SMALL: &str = "examples/scenarios/small.toml";

#[test]
fn the_last_change_is_explained_in_text_and_in_json() {
    let output = halcyon(&[SMALL, "--at", "1m"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("plan #"), "{text}");
    for line in ["reason", "driver", "need", "cost", "gain", "runner-up"] {
        assert!(text.contains(&format!("\n  {line} ")), "{line}: {text}");
    }
    let output = halcyon(&[SMALL, "--at", "60s", "--json", "-"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let plan = &json["plan"];
    assert!(plan["at_s"].as_f64().is_some_and(|at| at > 0.0 && at <= 60.0), "{json}");
    let changes = plan["changes"].as_array().expect("changes");
    assert_eq!(text.matches("runner-up").count(), changes.len());
    for change in changes {
        assert!(change["vm"].as_str().is_some_and(|vm| text.contains(vm)), "{change}");
        let forecast = &change["forecast"];
        let quantiles = ["p10", "p50", "p90"].map(|name| forecast[name].as_f64());
        assert!(forecast.is_null() || quantiles.is_sorted() && quantiles[0].is_some(), "{change}");
    }
}

#[test]
fn mistakes_are_named() {
    for (args, code, says) in [
        (&["none.toml"][..], 1, "cannot read the scenario none.toml"),
        (
            &[SMALL, "--vm", "nobody"],
            2,
            "there is no VM `nobody` in the scenario; choose one of key-value-0, ",
        ),
        (&[SMALL, "--at", "3h"], 2, "--at 10800s is beyond the end of the scenario, which lasts 7200s"),
        (&[SMALL, "--at", "soon"], 2, "`soon` is not a time; give one such as 90s, 10m or 1.5h"),
        (&[SMALL, "--at", "-5s"], 2, "must be above 0"),
        (&[SMALL, "--json", "no/such/folder.json"], 1, "cannot write no/such/folder.json"),
        (&["examples/hosts/small.toml"], 1, "examples/hosts/small.toml: "),
        (&["--at", "5s"], 2, "SCENARIO.toml"),
        (&["--socket", "none.sock"], 1, "cannot reach a daemon at none.sock"),
        (&["--json", SMALL], 2, "is there already"),
    ] {
        let output = halcyon(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says) && output.stdout.is_empty(), "{args:?}: {said}");
    }
}
