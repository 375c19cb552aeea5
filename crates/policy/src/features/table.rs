//! The tables of features: names for weights to be checked against, and a page for people to read.

use std::fmt::Write as _;

use super::host::Host;
use super::vm::Vm;

/// One number that the learned policy sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its name, which stays.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// What it says, and how it is normalised.
    pub meaning: &'static str,
}

/// A feature, and how it is computed from what `of` takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<F> {
    pub(super) feature: Feature,
    pub(super) of: F,
}

pub(super) type VmColumn = Column<fn(&Vm<'_>) -> f64>;
pub(super) type HostColumn = Column<fn(&Host<'_>) -> f64>;

pub(super) const fn vm(
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
    of: fn(&Vm<'_>) -> f64,
) -> VmColumn {
    Column { feature: Feature { name, unit, meaning }, of }
}

pub(super) const fn host(
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
    of: fn(&Host<'_>) -> f64,
) -> HostColumn {
    Column { feature: Feature { name, unit, meaning }, of }
}

/// The number of columns in all groups.
pub(super) const fn count<F: Copy>(groups: &[&[Column<F>]]) -> usize {
    let (mut total, mut group) = (0, 0);
    while group < groups.len() {
        total += groups[group].len();
        group += 1;
    }
    total
}

/// The features of all groups, of which there are `N`.
pub(super) const fn list<F: Copy, const N: usize>(groups: &[&[Column<F>]]) -> [Feature; N] {
    let mut table = [Feature { name: "", unit: "", meaning: "" }; N];
    let (mut next, mut group) = (0, 0);
    while group < groups.len() {
        let mut column = 0;
        while column < groups[group].len() {
            table[next] = groups[group][column].feature;
            (next, column) = (next + 1, column + 1);
        }
        group += 1;
    }
    table
}

pub(super) fn digest(vms: &[Feature], host: &[Feature]) -> String {
    let names = |table: &[Feature]| table.iter().fold(String::new(), |text, next| text + next.name + "\n");
    let text = names(vms) + "\n" + &names(host);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

pub(super) fn page(vms: &[Feature], host: &[Feature]) -> String {
    let mut page = format!(
        "# What the learned policy sees\n\n\
         <!-- Written from the tables of crates/policy/src/features. Do not edit; see the end of the page. -->\n\n\
         Each VM is a row of {} numbers and the host is {} more. They are shares of what the host or the VM \
         can have, or logarithms of shares, so that a host of twice the size with twice the use looks the \
         same. Each lies within ±{}. What the host does not measure is 0, and the feature of the unit `bit` \
         before it says whether it is measured. Where a quantity of which a logarithm is taken is zero, the \
         feature is at its lower bound.\n\n\
         Digest: `{}`. Weights that were learned with another one are refused.\n",
        vms.len(),
        host.len(),
        super::MOST,
        digest(vms, host)
    );
    for (title, table) in [("Of each VM", vms), ("Of the host", host)] {
        let _ = write!(page, "\n## {title}\n\n| | name | unit | meaning |\n|---:|---|---|---|\n");
        for (place, Feature { name, unit, meaning }) in table.iter().enumerate() {
            let _ = writeln!(page, "| {place} | `{name}` | {unit} | {meaning} |");
        }
    }
    page.push_str(
        "\nThis page is written by `cargo run -p halcyon-policy --example features > docs/src/features.md`; \
         a test compares the two.\n",
    );
    page
}
