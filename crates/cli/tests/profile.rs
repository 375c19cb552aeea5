//! `halcyon profile` as people meet it: what it writes, what it says, what it refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn profile(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.arg("profile").args(arguments).output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(arguments: &[&str]) -> String {
    let output = profile(arguments);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_fit_writes_list_and_show_read() {
    let curves = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/tests/curves");
    let curves = curves.to_str().expect("a plain path");
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("apps");
    let output = output.to_str().expect("a plain path");
    let fit = ["fit", "--curves", curves, "-o", output];
    let table = said(&profile(&fit));
    assert!(table.contains("knee") && table.contains("IPC over all 33 points"), "{table}");
    let written = fs::read(Path::new(output).join("knee.toml")).expect("written");
    assert!(refused(&fit).contains("--force"));
    said(&profile(&[&fit[..], &["--force"]].concat()));
    assert_eq!(fs::read(Path::new(output).join("knee.toml")).expect("still there"), written);
    let list = said(&profile(&["list", "--profiles", output]));
    assert_eq!(list.lines().skip(2).count(), 5, "{list}");
    let page = said(&profile(&["show", "net", "--profiles", output]));
    assert!(page.contains("7 of 7") && page.contains("cores keep one GPU busy"), "{page}");
}

#[test]
fn what_comes_with_halcyon_is_listed_and_what_does_not_is_refused() {
    assert!(said(&profile(&["list"])).contains("mcf00"));
    assert!(said(&profile(&["show", "mcf00"])).contains("27.5 MiB"));
    assert!(refused(&["show", "nothing"]).contains("no application `nothing`"));
    assert!(refused(&["list", "--profiles", "/nowhere"]).contains("cannot read /nowhere"));
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("a plain path");
    assert!(refused(&["fit", "--curves", empty]).contains("spec_llc_ways.csv"));
}
