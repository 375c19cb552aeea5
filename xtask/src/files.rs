//! What a tracked file must not contain, and how long it may be.
//!
//! The forbidden words are put together from halves, so that this file passes its own check.

/// A source file longer than this wants to be two.
const MAX_LINES: usize = 900;
/// The kinds of file that people write and read, to which the length limit applies. Lock files, data,
/// generated pages and snapshots have no limit.
const WRITTEN: &[&str] = &["rs", "sh", "py", "js", "ts", "css", "html", "toml"];

/// Absolute folders of a development machine: a file that names one works nowhere else.
const DEVELOPMENT_PATHS: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// What finished Rust code does not have.
const UNFINISHED: &[&str] =
    &[concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!(")];

/// Every breach in one tracked file, each as `path:line: …` or `path: …`.
pub(crate) fn findings(path: &str, content: &[u8]) -> Vec<String> {
    let mut findings = development_paths(path, content);
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let lines = content.iter().filter(|&&byte| byte == b'\n').count();
    let data = path.starts_with("examples/scenarios/");
    if WRITTEN.contains(&extension) && !data && lines > MAX_LINES {
        findings.push(format!("{path}: {lines} lines, more than {MAX_LINES}; split it"));
    }
    if extension == "rs" {
        let text = String::from_utf8_lossy(content);
        findings.extend(unfinished(path, &text));
        let is_root = ["lib.rs", "main.rs"].iter().any(|name| path.ends_with(&format!("src/{name}")));
        if is_root && !text.starts_with("//!") {
            findings.push(format!(
                "{path}: must open with `//!`, saying why the crate exists and what it promises"
            ));
        }
    }
    findings
}

fn development_paths(path: &str, content: &[u8]) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in content.split(|&byte| byte == b'\n').enumerate() {
        for needle in DEVELOPMENT_PATHS {
            if positions(line, needle.as_bytes()).any(|at| at == 0 || !continues_a_path(line[at - 1])) {
                findings.push(format!("{path}:{}: names the development folder {needle}", number + 1));
            }
        }
    }
    findings
}

/// In `home/user/tmp/` the word after `user` is part of a longer path and no absolute folder.
fn continues_a_path(before: u8) -> bool {
    before.is_ascii_alphanumeric() || b"._-~}*".contains(&before)
}

fn unfinished(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bytes = line.as_bytes();
        for needle in UNFINISHED {
            let in_a_word =
                |at: usize| at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
            if positions(bytes, needle.as_bytes()).any(|at| !in_a_word(at)) {
                findings.push(format!("{path}:{}: {needle} has no place in finished code", number + 1));
            }
        }
    }
    findings
}

fn positions<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    haystack.windows(needle.len()).enumerate().filter(move |(_, window)| *window == needle).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_folder_is_found_in_any_kind_of_file() {
        let text = format!("one\nsee {}notes\n", DEVELOPMENT_PATHS[0]);
        assert_eq!(findings("docs/a.md", text.as_bytes()).len(), 1);
        assert!(findings("docs/a.md", text.as_bytes())[0].starts_with("docs/a.md:2: "));
        let binary = [&[0xff, 0][..], DEVELOPMENT_PATHS[1].as_bytes()].concat();
        assert_eq!(findings("models/weights.bin", &binary).len(), 1);
    }

    #[test]
    fn a_relative_path_of_the_same_name_is_no_finding() {
        let text = format!("target{0}x ..{0}y ${{HOME}}{0}", DEVELOPMENT_PATHS[1]);
        assert_eq!(findings("a.sh", text.as_bytes()), Vec::<String>::new());
    }

    #[test]
    fn unfinished_code_is_found_and_similar_names_are_not() {
        for needle in UNFINISHED {
            let text = format!("//! doc\n    {needle} …\n");
            assert_eq!(findings("crates/a/src/b.rs", text.as_bytes()).len(), 1, "{needle}");
            assert_eq!(findings("notes.txt", text.as_bytes()).len(), 0, "{needle}");
        }
        let similar = format!("my_{}x)", UNFINISHED[1]);
        assert_eq!(findings("crates/a/src/b.rs", similar.as_bytes()), Vec::<String>::new());
    }

    #[test]
    fn a_crate_root_opens_with_its_purpose_and_files_stay_short() {
        assert_eq!(findings("crates/a/src/lib.rs", b"use x;\n").len(), 1);
        assert_eq!(findings("crates/a/src/other.rs", b"use x;\n").len(), 0);
        let long = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(findings("crates/a/src/other.rs", long.as_bytes()).len(), 1);
        assert_eq!(findings("Cargo.lock", long.as_bytes()).len(), 0);
    }
}
