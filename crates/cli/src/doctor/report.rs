//! The two forms of a report: text for a person, JSON for a program.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use super::finding::{Area, Finding, Status};
use super::summary::{self, Verdict};

const WIDTH: usize = 100;
const INDENT: &str = "              ";

/// The JSON form, schema 1: fields may be added, none is renamed.
#[derive(Serialize)]
struct Wire<'a> {
    schema: u32,
    findings: &'a [Finding],
    summary: Map<String, Value>,
}

/// One JSON object, with a newline at the end.
pub(crate) fn json(findings: &[Finding]) -> serde_json::Result<String> {
    let mut features = Map::new();
    for verdict in summary::verdicts(findings) {
        features.insert(verdict.name.to_owned(), serde_json::to_value(&verdict)?);
    }
    let wire = Wire { schema: 1, findings, summary: features };
    Ok(serde_json::to_string_pretty(&wire)? + "\n")
}

/// The report as text. Without colour it holds no escape sequence at all.
pub(crate) fn text(findings: &[Finding], colour: bool) -> String {
    let mut out = String::new();
    heading(&mut out, "What Halcyon could use on this host", colour);
    for verdict in summary::verdicts(findings) {
        verdict_line(&mut out, &verdict, colour);
    }
    for area in Area::ALL {
        let mut of_area = findings.iter().filter(|finding| finding.area == area).peekable();
        if of_area.peek().is_some() {
            out.push('\n');
            heading(&mut out, area.title(), colour);
        }
        for finding in of_area {
            finding_lines(&mut out, finding, colour);
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let (ready, limited) = (count(Status::Ready), count(Status::Limited));
    let (missing, unknown) = (count(Status::Missing), count(Status::Unknown));
    put(&mut out, format_args!("\n{ready} ready, {limited} limited, {missing} missing, {unknown} unknown\n"));
    out
}

fn verdict_line(out: &mut String, verdict: &Verdict, colour: bool) {
    let mark = mark(verdict.status, colour);
    put(out, format_args!("  {mark} {:<18}", verdict.title));
    if !verdict.held_back_by.is_empty() {
        put(out, format_args!(" see {}", verdict.held_back_by.join(", ")));
    }
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

fn finding_lines(out: &mut String, finding: &Finding, colour: bool) {
    put(out, format_args!("  {} {}\n", mark(finding.status, colour), finding.name));
    wrapped(out, &finding.detail, "");
    if let Some(how) = &finding.enable {
        wrapped(out, how, "→ ");
    }
}

/// The text in lines of at most `WIDTH`, the first one opened by `lead`. A word is never cut.
fn wrapped(out: &mut String, text: &str, lead: &str) {
    let hang = " ".repeat(lead.chars().count());
    let mut column = 0;
    for (index, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index == 0 {
            put(out, format_args!("{INDENT}{lead}{word}"));
            column = INDENT.len() + hang.len() + length;
        } else if column + 1 + length > WIDTH {
            put(out, format_args!("\n{INDENT}{hang}{word}"));
            column = INDENT.len() + hang.len() + length;
        } else {
            put(out, format_args!(" {word}"));
            column += 1 + length;
        }
    }
    if column > 0 {
        out.push('\n');
    }
}

fn heading(out: &mut String, title: &str, colour: bool) {
    if colour {
        put(out, format_args!("\u{1b}[1m{title}\u{1b}[0m\n"));
    } else {
        put(out, format_args!("{title}\n"));
    }
}

/// The status as one word of fixed width, so that it reads without colour too.
fn mark(status: Status, colour: bool) -> String {
    let (word, code) = match status {
        Status::Ready => ("ready", 32),
        Status::Limited => ("limited", 33),
        Status::Missing => ("missing", 31),
        Status::Unknown => ("unknown", 35),
    };
    if colour { format!("\u{1b}[{code}m[{word:<7}]\u{1b}[0m") } else { format!("[{word:<7}]") }
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_wrap_and_long_words_stay_whole() {
        let mut out = String::new();
        wrapped(&mut out, &format!("{} {}", "word ".repeat(30).trim(), "x".repeat(200)), "→ ");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with(&format!("{INDENT}→ word")));
        assert!(lines[1].starts_with(&format!("{INDENT}  word")));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH || line.trim().len() == 200));
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let findings = [Area::Host.ready("kernel", "Linux")];
        assert!(!text(&findings, false).contains('\u{1b}'));
        assert!(text(&findings, true).contains("\u{1b}[32m[ready  ]\u{1b}[0m kernel"));
    }

    #[test]
    fn the_json_form_has_a_verdict_for_every_feature() {
        let value: Value =
            serde_json::from_str(&json(&[Area::Host.missing("kernel", "x")]).unwrap()).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["findings"][0]["status"], "missing");
        assert_eq!(value["findings"][0]["enable"], Value::Null);
        let features: Vec<&String> = value["summary"].as_object().unwrap().keys().collect();
        let expected = [
            "cache",
            "cpu_control",
            "cxl",
            "device_hotplug",
            "gpu",
            "link_control",
            "memory",
            "memory_bandwidth",
        ];
        assert_eq!(features, expected);
    }
}
