//! What the manifests must say: the lints that every crate takes over, and no workspace dependency
//! that nobody uses.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// One member's manifest, parsed, with the path to name it by.
pub(crate) struct Manifest {
    /// Path below the workspace root, such as `crates/model/Cargo.toml`.
    pub(crate) path: String,
    pub(crate) table: Table,
}

/// Every breach of the manifest rules, one sentence each.
pub(crate) fn findings(root: &Table, members: &[Manifest]) -> Vec<String> {
    let mut findings = unsafe_limits(root, members);
    findings.extend(unused_dependencies(root, members));
    findings
}

/// Every crate limits unsafe code: through the workspace's lints, or by a table of its own where a
/// crate needs an exception (`deny`, which single modules may lift, in place of `forbid`).
fn unsafe_limits(root: &Table, members: &[Manifest]) -> Vec<String> {
    let mut findings = Vec::new();
    let workspace_lints = root.get("workspace").and_then(|it| it.get("lints"));
    let workspace_limits = workspace_lints.is_some_and(limits_unsafe);
    if !workspace_limits {
        findings.push("Cargo.toml: [workspace.lints.rust] must set unsafe_code to forbid or deny".to_owned());
    }
    for member in members {
        let lints = member.table.get("lints");
        let inherits = lints.and_then(|it| it.get("workspace")).and_then(Value::as_bool) == Some(true);
        if !inherits && !lints.is_some_and(limits_unsafe) {
            findings.push(format!(
                "{}: unsafe code is not limited; say `workspace = true` under [lints]",
                member.path
            ));
        }
    }
    findings
}

fn limits_unsafe(lints: &Value) -> bool {
    let level = lints.get("rust").and_then(|rust| rust.get("unsafe_code"));
    let level = level.and_then(|level| level.as_str().or_else(|| level.get("level")?.as_str()));
    matches!(level, Some("forbid" | "deny"))
}

fn unused_dependencies(root: &Table, members: &[Manifest]) -> Vec<String> {
    let used: BTreeSet<&str> =
        members.iter().flat_map(|member| inherited(&member.table)).map(String::as_str).collect();
    let declared = root.get("workspace").and_then(|it| it.get("dependencies")).and_then(Value::as_table);
    declared
        .into_iter()
        .flat_map(Table::keys)
        .filter(|name| !used.contains(name.as_str()))
        .map(|name| format!("Cargo.toml: workspace dependency {name} is used by no crate; remove it"))
        .collect()
}

/// The names of all dependencies of one manifest that come from the workspace.
fn inherited(manifest: &Table) -> Vec<&String> {
    let mut tables: Vec<&Table> = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
        tables.extend(targets.values().filter_map(Value::as_table));
    }
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables
        .into_iter()
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(Table::iter)
        .filter(|(_, value)| value.get("workspace").and_then(Value::as_bool) == Some(true))
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "
        [workspace.dependencies]
        serde = '1'
        libc = '1'
        gone = { version = '1' }
        [workspace.lints.rust]
        unsafe_code = 'forbid'
    ";

    fn member(text: &str) -> Manifest {
        Manifest { path: "crates/x/Cargo.toml".to_owned(), table: text.parse().unwrap() }
    }

    #[test]
    fn an_unused_workspace_dependency_is_named() {
        let members = [
            member("lints.workspace = true\ndependencies.serde.workspace = true"),
            member(
                "lints.workspace = true\n[target.'cfg(unix)'.dev-dependencies]\nlibc = { workspace = true }",
            ),
        ];
        let findings = findings(&ROOT.parse().unwrap(), &members);
        assert_eq!(findings, ["Cargo.toml: workspace dependency gone is used by no crate; remove it"]);
    }

    #[test]
    fn unsafe_code_must_be_limited_everywhere() {
        let root: Table = "[workspace.lints.rust]\nunsafe_code = 'warn'".parse().unwrap();
        let members = [
            member("[package]\nname = 'x'"),
            member("[lints.rust]\nunsafe_code = { level = 'deny', priority = 1 }"),
        ];
        let findings = findings(&root, &members);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("Cargo.toml: [workspace.lints.rust]"));
        assert!(findings[1].starts_with("crates/x/Cargo.toml: unsafe code is not limited"));
    }
}
