//! `halcyon train` as its users meet it: a folder that is whole at any moment, weights that do not depend
//! on interruptions, and messages that say what to do.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A training of seconds.
const TINY: [&str; 16] = [
    "--rounds",
    "4",
    "--reinforce",
    "0",
    "--runs",
    "2",
    "--minutes",
    "1",
    "--steps",
    "4",
    "--batch",
    "64",
    "--width",
    "8",
    "--judged",
    "3",
];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.arg("train").args(arguments);
    command
}

fn halcyon(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = halcyon(arguments);
    assert!(output.stdout.is_empty(), "a failure leaves nothing on standard output");
    let message = String::from_utf8(output.stderr).expect("messages are text");
    assert!(!message.contains("panicked") && !message.contains("backtrace"), "{message}");
    (output.status.code(), message)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The curves without the last column, which is wall-clock time.
fn curves(folder: &Path) -> Vec<String> {
    let text = String::from_utf8(read(&folder.join("curves.csv"))).expect("curves are text");
    text.lines().map(|line| line.rsplit_once(',').expect("columns").0.to_owned()).collect()
}

/// A training that nobody interrupts.
fn whole(folder: &Path) -> PathBuf {
    let path = folder.join("whole");
    let output = halcyon(&[&["-o", text(&path), "--threads", "1"], &TINY[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Begins a training and waits until a round is over.
fn begun(path: &Path) -> Child {
    let mut child = command(&[&["-o", text(path)], &TINY[..]].concat());
    let mut child = child.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary runs");
    let began = Instant::now();
    let rounds = || std::fs::read_to_string(path.join("curves.csv")).map_or(0, |text| text.lines().count());
    while rounds() < 2 && child.try_wait().expect("a child").is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "no round is over");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn same(one: &Path, other: &Path) {
    assert!(read(&one.join("halcyon.safetensors")) == read(&other.join("halcyon.safetensors")), "other bits");
    assert_eq!(curves(one), curves(other));
}

#[test]
fn a_killed_training_goes_on_to_the_same_bits() {
    let folder = folder();
    let whole = whole(folder.path());
    let killed = folder.path().join("killed");
    let mut child = begun(&killed);
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let output = halcyon(&["--resume", text(&killed), "--threads", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    same(&whole, &killed);
    let left: Vec<_> = std::fs::read_dir(&killed).expect("the folder").flatten().collect();
    assert_eq!(left.len(), 5, "{left:?}");

    // What is complete stays as it is.
    let before = read(&killed.join("README.md"));
    let output = halcyon(&["--resume", text(&killed)]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("is complete"));
    assert!(read(&killed.join("README.md")) == before);
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_how_to_go_on() {
    let folder = folder();
    let path = folder.path().join("stopped");
    let child = begun(&path);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    let output = child.wait_with_output().expect("its end");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        eprintln!("skipped: the training was over before the signal came");
        return;
    }
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("halcyon train --resume") && message.contains("interrupted"), "{message}");
    assert!(path.join("checkpoint.safetensors").is_file());
}

#[test]
fn the_folder_says_what_came_of_it() {
    let folder = folder();
    let path = whole(folder.path());
    let card = String::from_utf8(read(&path.join("README.md"))).expect("text");
    for part in
        ["halcyon train -o DIR --rounds 4 --runs 2", "## Score", "`reactive`", "## Curves", "## Limits"]
    {
        assert!(card.contains(part), "{part} in {card}");
    }
    let page = String::from_utf8(read(&path.join("curves.html"))).expect("text");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Loss: actions"));
    assert!(!page.contains("src=") && !page.contains("@import"), "the page fetches nothing");
    assert_eq!(curves(&path).len(), 5);
}

#[test]
fn mistakes_are_said_before_anything_is_done() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let new = path("new");
    let new = text(&new);
    assert_eq!(failure(&[]).0, Some(2), "neither a folder nor --smoke");
    assert_eq!(failure(&["-o", new, "--rounds", "0"]).0, Some(2));
    assert_eq!(failure(&["-o", new, "--width", "5000"]).0, Some(2));
    assert_eq!(failure(&["--smoke", "--rounds", "3"]).0, Some(2));
    assert_eq!(failure(&["-o", new, "--model", "x"]).0, Some(2), "a model alone says nothing");
    assert_eq!(failure(&["--resume", new, "--from", "x"]).0, Some(2));

    std::fs::create_dir(path("full")).expect("a folder");
    std::fs::write(path("full/notes.txt"), "mine").expect("a file");
    let (code, message) = failure(&["-o", text(&path("full"))]);
    assert!(code == Some(1) && message.contains("notes.txt"), "{message}");
    let (code, message) = failure(&["-o", text(&path("full/notes.txt"))]);
    assert!(code == Some(1) && message.contains("notes.txt"), "{message}");
    let (code, message) = failure(&["-o", "/proc/nowhere"]);
    assert!(code == Some(1) && message.contains("/proc/nowhere"), "{message}");
    let (code, message) = failure(&["--resume", text(&path("full"))]);
    assert!(code == Some(1) && message.contains("no training to go on with"), "{message}");
    let (code, message) = failure(&["--resume", new]);
    assert!(code == Some(1) && message.contains("there is no folder"), "{message}");
    assert!(!Path::new(new).exists());
}

#[test]
fn a_checkpoint_that_is_broken_or_of_another_recipe_changes_nothing() {
    let folder = folder();
    let path = whole(folder.path());
    let (code, message) = failure(&["--resume", text(&path), "--rounds", "9"]);
    assert!(code == Some(2) && message.contains("has --rounds 4, not 9"), "{message}");
    let checkpoint = path.join("checkpoint.safetensors");
    let good = read(&checkpoint);
    let weights = read(&path.join("halcyon.safetensors"));
    let mut flipped = good.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    for bad in [&good[..good.len() / 2], &[], &weights, &flipped] {
        std::fs::write(&checkpoint, bad).expect("a file");
        let (code, message) = failure(&["--resume", text(&path)]);
        assert!(code == Some(1) && message.contains("checkpoint.safetensors"), "{message}");
        assert!(read(&checkpoint) == bad && read(&path.join("halcyon.safetensors")) == weights);
    }
}

/// A recording: a drawn scenario as a file.
fn recording(folder: &Path, vms: &str, hours: &str) -> PathBuf {
    let path = folder.join("recording.toml");
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hosts/small.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command
        .args(["scenario", "new", "--vms", vms, "--load", "0.9", "--seed", "5", "--hours", hours, "--host"]);
    let output = command.arg(host).arg("-o").arg(&path).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn weights_that_are_not_better_on_what_was_held_back_are_not_handed_over() {
    let folder = folder();
    let recording = recording(folder.path(), "4", "2");
    let path = folder.path().join("tuned");
    let tiny =
        ["--rounds", "1", "--runs", "1", "--minutes", "5", "--steps", "1", "--batch", "8", "--judged", "3"];
    let output = halcyon(&[&["-o", text(&path), "--from", text(&recording)], &tiny[..]].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "one step changes next to nothing: {message}");
    assert!(message.contains("not better than the weights it began with"), "{message}");
    assert!(!path.join("halcyon.safetensors").exists());
    assert!(String::from_utf8_lossy(&read(&path.join("README.md"))).contains("keep those that you have"));
    assert_eq!(halcyon(&["--resume", text(&path)]).status.code(), Some(1), "and it stays so");

    // Without its card it is judged once more, if the recording is still the one it was.
    std::fs::remove_file(path.join("README.md")).expect("the card");
    assert_eq!(halcyon(&["--resume", text(&path)]).status.code(), Some(1));
    std::fs::remove_file(path.join("README.md")).expect("the card");
    let changed = String::from_utf8(read(&recording)).expect("text") + "\n# changed\n";
    std::fs::write(&recording, changed).expect("a file");
    let (code, message) = failure(&["--resume", text(&path)]);
    assert!(code == Some(1) && message.contains("was changed since"), "{message}");
}

#[test]
fn weights_that_are_better_on_what_was_held_back_are_handed_over() {
    let folder = folder();
    let recording = recording(folder.path(), "10", "8");
    let (weak, path) = (folder.path().join("weak"), folder.path().join("tuned"));
    let one = [
        "--rounds",
        "1",
        "--runs",
        "1",
        "--minutes",
        "1",
        "--steps",
        "1",
        "--width",
        "16",
        "--judged",
        "2",
        "--reinforce",
        "0",
    ];
    assert!(halcyon(&[&["-o", text(&weak)], &one[..]].concat()).status.success());
    let model = weak.join("halcyon.safetensors");
    let more = "--rounds 3 --runs 4 --minutes 10 --steps 200 --batch 256 --judged 36";
    let more: Vec<&str> = more.split(' ').collect();
    let from = ["--from", text(&recording), "--model", text(&model), "-o", text(&path)];
    let output = halcyon(&[&from[..], &more[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("the weights it began with"), "{said}");
    assert!(read(&path.join("halcyon.safetensors")) != read(&model));
    assert!(curves(&path)[1].starts_with("0,begin"), "the beginning is the first row");
}

#[test]
fn what_is_no_recording_or_no_model_is_refused() {
    let folder = folder();
    let new = folder.path().join("new");
    let (new, short) = (text(&new), recording(folder.path(), "4", "0.2"));
    let (code, message) = failure(&["-o", new, "--from", text(&short)]);
    assert!(code == Some(1) && message.contains("lasts 12 min"), "{message}");
    let (code, message) = failure(&["-o", new, "--from", text(&short), "--model", text(&short)]);
    assert!(
        code == Some(1) && message.contains("cannot use the weights") && message.contains("recording.toml"),
        "{message}"
    );
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/halcyon.safetensors");
    let (code, message) = failure(&["-o", new, "--from", text(&model)]);
    assert!(code == Some(1) && message.contains("is no scenario"), "{message}");
    let (code, message) = failure(&["-o", new, "--from", "nowhere.toml"]);
    assert!(code == Some(1) && message.contains("cannot read nowhere.toml"), "{message}");
    assert!(!Path::new(new).exists());
}
