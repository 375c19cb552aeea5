//! `cargo xtask tidy`: gathers the workspace as it is and holds it against the rules of the sibling
//! modules. Prints every finding, not only the first, and ends with status 1 if there was one.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::arrows::{self, Graph, Uses};
use crate::files;
use crate::manifests::{self, Manifest};

/// The chore as the command line runs it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let metadata = metadata()?;
    let root = metadata.workspace_root.as_std_path();
    let mut findings = arrows::broken(&graph(&metadata));
    findings.extend(manifests::findings(&parse(&root.join("Cargo.toml"))?, &members(&metadata)?));
    let tracked = tracked_files(root)?;
    for path in &tracked {
        // A file may be tracked and deleted in the working tree; the next commit settles that.
        if let Ok(content) = std::fs::read(root.join(path)) {
            findings.extend(files::findings(path, &content));
        }
    }
    for finding in &findings {
        println!("tidy: {finding}");
    }
    let crates = metadata.workspace_members.len();
    println!("tidy: {crates} crates, {} tracked files, {} findings", tracked.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The workspace's own packages; the network is not asked.
pub(crate) fn metadata() -> anyhow::Result<Metadata> {
    MetadataCommand::new().no_deps().exec().context("cargo metadata failed; is this the repository's root?")
}

fn graph(metadata: &Metadata) -> Graph {
    let packages = metadata.workspace_packages();
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let short = |name: &str| name.strip_prefix("halcyon-").unwrap_or(name).to_owned();
    let mut graph = Graph::new();
    for package in &packages {
        let mut uses = Uses::default();
        for dependency in package.dependencies.iter().filter(|it| names.contains(&it.name.as_str())) {
            let kind =
                if dependency.kind == DependencyKind::Development { &mut uses.dev } else { &mut uses.normal };
            kind.insert(short(&dependency.name));
        }
        graph.insert(short(&package.name), uses);
    }
    graph
}

fn members(metadata: &Metadata) -> anyhow::Result<Vec<Manifest>> {
    let root = &metadata.workspace_root;
    let load = |path: &cargo_metadata::camino::Utf8PathBuf| {
        let name = path.strip_prefix(root).unwrap_or(path).to_string();
        Ok(Manifest { path: name, table: parse(path.as_std_path())? })
    };
    metadata.workspace_packages().iter().map(|package| load(&package.manifest_path)).collect()
}

fn parse(path: &Path) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

/// What git tracks. A checkout that belongs to another user (a mounted volume, a container) is read
/// all the same: listing names runs nothing of it.
fn tracked_files(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root)
        .output()
        .context("cannot run git, which lists the tracked files")?;
    if !output.status.success() {
        bail!(
            "git ls-files failed in {}: {}",
            root.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
