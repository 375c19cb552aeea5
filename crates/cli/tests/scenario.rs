//! `halcyon scenario` as a person meets it.

use std::path::Path;
use std::process::{Command, Output};

fn halcyon(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.current_dir(folder).arg("scenario").args(args).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_drawn_can_be_shown_and_is_drawn_alike_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.toml", "b.toml"] {
        let args = ["new", "--vms", "12", "--hours", "1", "--churn", "0.5", "--seed", "4", "-o", name];
        let drawn = halcyon(folder.path(), &args);
        assert!(drawn.status.success(), "{}", said(&drawn));
    }
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("it was written");
    assert!(read("a.toml") == read("b.toml"));
    let shown = halcyon(folder.path(), &["show", "a.toml"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("two-socket") && text.contains("3.00 x") && text.contains("GPU slices"), "{text}");
    let json = halcyon(folder.path(), &["show", "a.toml", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((json["schema"].as_u64(), json["vms"].as_u64()), (Some(1), Some(12)));
    assert_eq!(json["course"]["cpu"].as_array().map(Vec::len), Some(120));
}

#[test]
fn mistakes_are_named_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "schema = 9\n").expect("written");
    for (args, says) in [
        (&["new", "-o", "mine.toml"][..], "mine.toml exists"),
        (&["new", "--vms", "0", "-o", "x.toml"], "1..=10000"),
        (&["new", "--churn", "nan", "-o", "x.toml"], "churn is NaN"),
        (&["new", "--overcommit", "2", "--load", "0.5", "-o", "x.toml"], "cannot be used with"),
        (&["new", "--host", "none.toml", "-o", "x.toml"], "cannot read none.toml"),
        (&["new", "--traces", "none.csv", "-o", "x.toml"], "none.csv"),
        (&["new", "--profiles", "none", "-o", "x.toml"], "none"),
        (&["new", "-o", "no/such/folder.toml"], "cannot write no/such/folder.toml"),
        (&["show", "mine.toml"], "mine.toml: line 1: schema: is 9; this version reads 1"),
        (&["show", "none.toml"], "cannot read the scenario none.toml"),
    ] {
        let output = halcyon(folder.path(), args);
        assert!(!output.status.success(), "{args:?}");
        assert!(said(&output).contains(says), "{args:?}: {}", said(&output));
    }
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "schema = 9\n");
    assert!(!folder.path().join("x.toml").exists());
}

#[test]
fn a_page_is_written_whole_and_replaces_nothing_but_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let drawn = halcyon(folder.path(), &["new", "--vms", "6", "--hours", "1", "-o", "a.toml"]);
    assert!(drawn.status.success(), "{}", said(&drawn));
    for _ in 0..2 {
        let shown = halcyon(folder.path(), &["show", "a.toml", "--html", "it's.html"]);
        assert!(shown.status.success() && shown.stdout.is_empty(), "{}", said(&shown));
        assert!(said(&shown).contains("it's.html"));
    }
    let page = std::fs::read_to_string(folder.path().join("it's.html")).expect("it was written");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("All VMs together"));
    assert!(page.contains("halcyon scenario show a.toml --html &#39;it"), "the command is there, quoted");
    for (args, says) in [
        (["show", "a.toml", "--html", "a.toml"], "will not replace a.toml"),
        (["show", "a.toml", "--html", "no/such.html"], "cannot write no/such.html"),
        (["show", "none.toml", "--html", "x.html"], "cannot read the scenario none.toml"),
    ] {
        let output = halcyon(folder.path(), &args);
        assert!(!output.status.success() && said(&output).contains(says), "{args:?}: {}", said(&output));
    }
    assert!(!folder.path().join("x.html").exists());
}
